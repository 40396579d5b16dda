package repository

import (
	"fmt"
	"strings"
	"sync"

	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/tree"
)

// Range is a half-open range of bytes of a disk.
type Range struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

// Hurt is what damage costs one point.
type Hurt struct {
	Point      string  `json:"point"`
	Disk       string  `json:"disk,omitempty"`
	Ranges     []Range `json:"ranges,omitempty"`     // of the disk, that cannot be read
	Attributes bool    `json:"attributes,omitempty"` // the point's attributes cannot be read
}

// DamageError is ErrDamaged with its cost.
type DamageError struct {
	Artifact string // the object that is wrong
	Cause    error
	Points   []Hurt
}

func (e *DamageError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %v", e.Artifact, e.Cause)
	for _, h := range e.Points {
		fmt.Fprintf(&b, "; point %s", h.Point)
		if h.Attributes {
			b.WriteString(" loses its attributes")
		}
		for i, r := range h.Ranges {
			if i == 3 {
				fmt.Fprintf(&b, " and %d more ranges", len(h.Ranges)-i)
				break
			}
			fmt.Fprintf(&b, " disk %s bytes %d to %d", h.Disk, r.Offset, r.Offset+r.Length)
		}
	}
	return b.String()
}

// Unwrap makes errors.Is(err, ErrDamaged) true.
func (e *DamageError) Unwrap() []error { return []error{ErrDamaged, e.Cause} }

// badBlobs are the blobs that this process found damaged.
type badBlobs struct {
	mu   sync.Mutex
	set  map[pack.ID]map[uint32]bool
	news int // how many of them the ledger did not know
}

// add notes a damaged blob; known says that the ledger knows it.
func (b *badBlobs) add(at tree.Ref, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !known && !b.set[at.Pack][at.Ordinal] {
		b.news++
	}
	if b.set == nil {
		b.set = map[pack.ID]map[uint32]bool{}
	}
	if b.set[at.Pack] == nil {
		b.set[at.Pack] = map[uint32]bool{}
	}
	b.set[at.Pack][at.Ordinal] = true
}

func (b *badBlobs) has(at tree.Ref) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.set[at.Pack][at.Ordinal]
}

// met is how often damage was met of which nobody knew.
func (b *badBlobs) met() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.news
}

func (b *badBlobs) any() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.set) > 0
}

// addRange adds a range to ranges, which are in order, joining neighbours.
func addRange(ranges []Range, r Range) []Range {
	if n := len(ranges); n > 0 && ranges[n-1].Offset+ranges[n-1].Length == r.Offset {
		ranges[n-1].Length += r.Length
		return ranges
	}
	return append(ranges, r)
}
