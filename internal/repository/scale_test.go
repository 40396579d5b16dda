package repository_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/disk"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
)

const sparseSize = 32 << 40

// sparse is a huge disk of which only some chunks hold data.
type sparse struct {
	size  int64
	seed  byte
	data  map[int64]bool // chunk numbers
	kind  disk.Kind      // of the rest
	reads atomic.Int64
}

func (s *sparse) Size() int64 { return s.size }

func (s *sparse) Extents(context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		at := int64(0)
		for i := int64(0); i < s.size/chunkSize; i += s.step() {
			if !s.data[i] {
				continue
			}
			if i*chunkSize > at && !yield(disk.Extent{Offset: at, Length: i*chunkSize - at, Kind: s.kind}, nil) {
				return
			}
			if !yield(disk.Extent{Offset: i * chunkSize, Length: chunkSize, Kind: disk.Data}, nil) {
				return
			}
			at = (i + 1) * chunkSize
		}
		if at < sparseSize && !yield(disk.Extent{Offset: at, Length: sparseSize - at, Kind: s.kind}, nil) {
			return
		}
		if s.size > sparseSize { // what has grown is zero
			yield(disk.Extent{Offset: sparseSize, Length: s.size - sparseSize, Kind: disk.Zero}, nil)
		}
	}
}

// step is how far apart chunks with data may begin.
func (s *sparse) step() int64 { return 1 << 20 / chunkSize * 1024 } // every GiB

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	s.reads.Add(int64(len(p)))
	for i := range p {
		p[i] = s.seed + byte(off/chunkSize) + byte(i/100)
	}
	return len(p), nil
}

// A sparse disk of 32 TiB costs what its data costs; an incremental of it that
// changes nothing is quick, reads nothing and stores one root.
func TestSparse(t *testing.T) {
	t.Parallel()
	store := mem.New(mem.Options{})
	r := initRepo(t, store)
	full := &sparse{size: sparseSize, kind: disk.Zero, data: map[int64]bool{}}
	for i := int64(0); i < 32<<10; i += 97 {
		full.data[i*full.step()] = true
	}
	p := mustBackup(t, r, "full", "s", nil, full)
	if full.reads.Load() > int64(len(full.data))*chunkSize {
		t.Errorf("read %d bytes of a disk with %d", full.reads.Load(), len(full.data)*chunkSize)
	}
	if used := store.Used(); used > 8<<20 {
		t.Errorf("stored %d bytes for %d chunks", used, len(full.data))
	}
	packs := countObjects(t, store, "packs/")
	begun := time.Now()
	none := &sparse{size: sparseSize, kind: disk.Same}
	q := mustBackup(t, r, "none", "s", p.Disk("vda"), none)
	took := time.Since(begun)
	if none.reads.Load() != 0 || countObjects(t, store, "packs/") != packs || q.Disks[0].Root() != p.Disks[0].Root() {
		t.Errorf("a no-change incremental read %d bytes", none.reads.Load())
	}
	if took > 2*time.Second {
		t.Errorf("a no-change incremental took %v", took)
	}
	one := &sparse{size: sparseSize + 1<<40, seed: 9, kind: disk.Same, data: map[int64]bool{97 * full.step(): true}}
	g := mustBackup(t, r, "grown", "s", p.Disk("vda"), one)
	d, err := r.OpenDisk(t.Context(), g, "vda")
	if err != nil {
		t.Fatal(err)
	}
	data := 0
	for e, err := range d.Extents(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == disk.Data {
			data++
		}
	}
	t.Logf("%d chunks; no-change incremental in %v; grown disk has %d data extents", len(full.data), took, data)
}

// Thousands of points of one disk are listed in under a second and half of them
// deleted and collected. HOLDFAST_SOAK makes it 9,999.
func TestManyPoints(t *testing.T) {
	t.Parallel()
	n := 400
	if testing.Short() {
		n = 100
	}
	if os.Getenv("HOLDFAST_SOAK") != "" {
		n = 9999
	}
	rng := rand.New(rand.NewPCG(21, 21))
	store := mem.New(mem.Options{})
	r := initRepo(t, store)
	data := content(rng, 130*chunkSize)
	p := mustBackup(t, r, "p0", "s", nil, &memDisk{data: data})
	for i := 1; i < n; i++ {
		src := change(rng, data, int64(len(data)), 1)
		p = mustBackup(t, r, fmt.Sprintf("p%d", i), "s", p.Disk("vda"), src)
		data = src.data
	}
	begun := time.Now()
	r = openRepo(t, store, repository.Options{})
	points, err := r.Points(t.Context(), "s")
	if err != nil || len(points) != n {
		t.Fatalf("%d points, %v", len(points), err)
	}
	list := time.Since(begun)
	if list > time.Second {
		t.Errorf("listing took %v", list)
	}
	ids := make([]string, 0, n/2)
	for _, p := range points[:n/2] {
		ids = append(ids, p.ID)
	}
	begun = time.Now()
	if err := r.DeletePoints(t.Context(), ids...); err != nil {
		t.Fatal(err)
	}
	st, err := r.Collect(t.Context(), repository.CollectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mustRestore(t, r, p, data)
	t.Logf("%d points listed in %v; half deleted and collected in %v: %+v", n, list, time.Since(begun), st)
}
