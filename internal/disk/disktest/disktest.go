// Package disktest makes disk content for tests: patterns from seeds, disks
// in memory, and random writers that keep a model of what they wrote. Only
// tests import it.
package disktest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"holdfast/internal/disk"
)

// Steps is how much a random test does: n, or a hundred times n where
// HOLDFAST_SOAK is set (make soak).
func Steps(n int) int {
	if os.Getenv("HOLDFAST_SOAK") != "" {
		return 100 * n
	}
	return n
}

// Fill fills p with incompressible bytes of a seed.
func Fill(p []byte, seed uint64) {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	_, _ = rand.NewChaCha8(key).Read(p) // never fails
}

// FillText fills p with bytes that compress about threefold, as program text
// and documents do.
func FillText(p []byte, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	words := make([][]byte, 512)
	for i := range words {
		words[i] = make([]byte, 3+r.IntN(9))
		for j := range words[i] {
			words[i][j] = byte('a' + r.IntN(26))
		}
	}
	for at := 0; at < len(p); {
		at += copy(p[at:], words[r.IntN(len(words))])
		at += copy(p[at:], []byte{' '})
	}
}

// Disk is a disk in memory: a disk.Source and a disk.Target at once. Its map
// calls zero grains Zero and, where Base is set, ranges that are equal to Base
// Same. Its methods may be called from many goroutines; whoever touches Bytes
// must be alone.
type Disk struct {
	Bytes   []byte
	Base    []byte // nil, or as long as Bytes
	IsFresh bool
	Grain   int // of the map, bytes; 0 is 64 KiB

	mu    sync.RWMutex // held by each method while it looks at Bytes
	syncs int
}

// New makes a fresh disk of zeroes.
func New(size int64) *Disk { return &Disk{Bytes: make([]byte, size), IsFresh: true} }

// Size of the disk, bytes.
func (d *Disk) Size() int64 { return int64(len(d.Bytes)) }

// Fresh is IsFresh.
func (d *Disk) Fresh() bool { return d.IsFresh }

// Sync counts.
func (d *Disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncs++
	return nil
}

// Syncs is how often Sync was called.
func (d *Disk) Syncs() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.syncs
}

// Snapshot is a copy of the bytes, taken while others may write.
func (d *Disk) Snapshot() []byte {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return bytes.Clone(d.Bytes)
}

// ReadAt reads as io.ReaderAt.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return bytes.NewReader(d.Bytes).ReadAt(p, off)
}

// WriteAt writes inside the disk.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > d.Size() {
		return 0, fmt.Errorf("disktest: write of %d at %d of %d", len(p), off, d.Size())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return copy(d.Bytes[off:], p), nil
}

// Zero clears a range inside the disk.
func (d *Disk) Zero(off, length int64) error {
	if off < 0 || off+length > d.Size() {
		return fmt.Errorf("disktest: zero of %d at %d of %d", length, off, d.Size())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.Bytes[off : off+length])
	return nil
}

// Extents maps the disk by its bytes.
func (d *Disk) Extents(ctx context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		grain := d.Grain
		if grain <= 0 {
			grain = 64 << 10
		}
		for off := 0; off < len(d.Bytes); off += grain {
			if ctx.Err() != nil {
				yield(disk.Extent{}, context.Cause(ctx))
				return
			}
			e := d.extent(off, min(grain, len(d.Bytes)-off))
			if !yield(e, nil) {
				return
			}
		}
	}
}

// extent says what one grain is.
func (d *Disk) extent(off, n int) disk.Extent {
	d.mu.RLock()
	defer d.mu.RUnlock()
	e := disk.Extent{Offset: int64(off), Length: int64(n)}
	p := d.Bytes[off : off+n]
	switch {
	case d.Base != nil && bytes.Equal(p, d.Base[off:][:n]):
		e.Kind = disk.Same
	case disk.IsZero(p):
		e.Kind = disk.Zero
	}
	return e
}

// Writer writes to a disk at random, as fsx does to a file, and keeps a model
// of what the disk must read as.
type Writer struct {
	Model []byte // what the disk holds
	Align int64  // of offsets and lengths, bytes; 0 is 1
	Most  int64  // longest single write, bytes; 0 is 256 KiB
	r     *rand.Rand
	seed  uint64
}

// NewWriter starts from a disk of zeroes; a caller with other content sets
// Model.
func NewWriter(size int64, seed uint64) *Writer {
	return &Writer{Model: make([]byte, size), r: rand.New(rand.NewPCG(seed, 2)), seed: seed << 20}
}

// Step does one random write or zeroing, on the target and on the model, and
// returns the range that it changed.
func (w *Writer) Step(t disk.Target) (disk.Extent, error) {
	size := int64(len(w.Model))
	align, most := max(w.Align, 1), w.Most
	if most == 0 {
		most = 256 << 10
	}
	off := w.r.Int64N(size) / align * align
	n := min(max(w.r.Int64N(most)/align*align, align), size-off)
	e := disk.Extent{Offset: off, Length: n}
	if w.r.IntN(4) == 0 {
		e.Kind = disk.Zero
		clear(w.Model[off : off+n])
		return e, t.Zero(off, n)
	}
	w.seed++
	p := w.Model[off : off+n]
	if w.r.IntN(2) == 0 {
		Fill(p, w.seed)
	} else {
		FillText(p, w.seed)
	}
	_, err := t.WriteAt(p, off)
	return e, err
}

// Check fails the test unless src reads as want, all at once and in random
// pieces, and its map is true: ordered, gapless, and Zero only where want is
// zero. Same is an error unless base is given and equal there.
func Check(t testing.TB, src disk.Source, want, base []byte) {
	t.Helper()
	if src.Size() != int64(len(want)) {
		t.Fatalf("size %d, want %d", src.Size(), len(want))
	}
	got := make([]byte, len(want)+1)
	if n, err := src.ReadAt(got, 0); n != len(want) || err != io.EOF {
		t.Fatalf("read of %d and one more: %d, %v", len(want), n, err)
	}
	if at := differ(got[:len(want)], want); at >= 0 {
		t.Fatalf("bytes differ at %d", at)
	}
	r := rand.New(rand.NewPCG(uint64(len(want)), 3))
	for range 64 {
		off := r.IntN(len(want))
		p := got[:min(1+r.IntN(300<<10), len(want)-off)]
		if n, err := src.ReadAt(p, int64(off)); n != len(p) || err != nil && err != io.EOF {
			t.Fatalf("read of %d at %d: %d, %v", len(p), off, n, err)
		}
		if at := differ(p, want[off:][:len(p)]); at >= 0 {
			t.Fatalf("read of %d at %d: bytes differ at %d", len(p), off, off+at)
		}
	}
	checkMap(t, src, want, base)
}

func checkMap(t testing.TB, src disk.Source, want, base []byte) {
	t.Helper()
	at := int64(0)
	for e, err := range src.Extents(context.Background()) {
		if err != nil {
			t.Fatalf("map: %v", err)
		}
		if e.Offset != at || e.Length <= 0 || e.End() > int64(len(want)) {
			t.Fatalf("map: %+v, expected one at %d of %d", e, at, len(want))
		}
		at = e.End()
		p := want[e.Offset:e.End()]
		switch {
		case e.Kind == disk.Zero && !disk.IsZero(p):
			t.Fatalf("map: %+v is not zero", e)
		case e.Kind == disk.Same && (base == nil || e.End() > int64(len(base)) || !bytes.Equal(p, base[e.Offset:e.End()])):
			t.Fatalf("map: %+v is not the same", e)
		}
	}
	if at != int64(len(want)) {
		t.Fatalf("map ends at %d of %d", at, len(want))
	}
}

// differ is the index of the first byte that differs, or -1.
func differ(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

var (
	_ disk.Source = (*Disk)(nil)
	_ disk.Target = (*Disk)(nil)
)
