package objstore

import (
	"fmt"
	"strings"
)

// Limits of a name, in bytes. The segment limit is the lowest of the file
// systems and of Azure Blob (254 characters a path segment), less room for the
// prefix or suffix that a store may add.
const (
	MaxName    = 512
	MaxSegment = 240
)

// ValidName reports with ErrInvalid why name can't name an object, or nil. A
// name has 1 to MaxName bytes of a-z, 0-9, '-', '_', '.' and '/'; its segments
// between '/' have 1 to MaxSegment bytes and don't end in '.' (which Azure Blob
// strips, and which keeps out "." and ".."). So a name is a relative path that
// can't leave its directory, on every store, without encoding.
func ValidName(name string) error {
	if name == "" {
		return fmt.Errorf("%w: empty name", ErrInvalid)
	}
	if len(name) > MaxName {
		return fmt.Errorf("%w: name of %d bytes, at most %d", ErrInvalid, len(name), MaxName)
	}
	for seg := range strings.SplitSeq(name, "/") {
		if err := validSegment(seg); err != nil {
			return fmt.Errorf("%w in name %q", err, name)
		}
	}
	return nil
}

// ValidPrefix reports with ErrInvalid why no name can start with prefix, or
// nil. The empty prefix is valid.
func ValidPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	if len(prefix) > MaxName {
		return fmt.Errorf("%w: prefix of %d bytes, at most %d", ErrInvalid, len(prefix), MaxName)
	}
	dir, last := "", prefix
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		dir, last = prefix[:i], prefix[i+1:]
		if err := ValidName(dir); err != nil {
			return err
		}
	}
	if last == "" {
		return nil
	}
	// The name may go on where the prefix stops: dots at its end can be right.
	if len(last) == MaxSegment {
		return validSegment(last)
	}
	return validSegment(last + "x")
}

func validSegment(seg string) error {
	switch {
	case seg == "":
		return fmt.Errorf("%w: empty segment", ErrInvalid)
	case len(seg) > MaxSegment:
		return fmt.Errorf("%w: segment of %d bytes, at most %d", ErrInvalid, len(seg), MaxSegment)
	case seg[len(seg)-1] == '.':
		return fmt.Errorf("%w: segment ends in '.'", ErrInvalid)
	}
	for i := range len(seg) {
		c := seg[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return fmt.Errorf("%w: character %q", ErrInvalid, c)
		}
	}
	return nil
}

// CheckRange returns the number of bytes that Get of off and length means on an
// object of size bytes, or ErrInvalid when the range isn't inside of it.
func CheckRange(size, off, length int64) (int64, error) {
	if off < 0 || off > size {
		return 0, fmt.Errorf("%w: offset %d of an object of %d bytes", ErrInvalid, off, size)
	}
	if length < 0 {
		return size - off, nil
	}
	if length > size-off {
		return 0, fmt.Errorf("%w: %d bytes from %d of an object of %d bytes", ErrInvalid, length, off, size)
	}
	return length, nil
}
