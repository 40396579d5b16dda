package repository_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"holdfast/internal/disk"
	"holdfast/internal/keyring"
	"holdfast/internal/objstore"
	"holdfast/internal/repository"
)

const chunkSize = 64 << 10

// memDisk is a disk in memory: a Source with a given map, and a Target.
type memDisk struct {
	mu    sync.Mutex
	data  []byte
	kinds []disk.Kind // by chunk; nil: all Data
	fresh bool
	reads int64
	wrote int64
}

func (d *memDisk) Size() int64 { return int64(len(d.data)) }
func (d *memDisk) Fresh() bool { return d.fresh }
func (d *memDisk) Sync() error { return nil }

func (d *memDisk) Extents(context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		for off := int64(0); off < d.Size(); off += chunkSize {
			k := disk.Data
			if d.kinds != nil {
				k = d.kinds[off/chunkSize]
			}
			if !yield(disk.Extent{Offset: off, Length: min(chunkSize, d.Size()-off), Kind: k}, nil) {
				return
			}
		}
	}
}

func (d *memDisk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := copy(p, d.data[min(off, d.Size()):])
	d.reads += int64(n)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d *memDisk) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off+int64(len(p)) > d.Size() {
		return 0, errors.New("write past the end")
	}
	d.wrote += int64(len(p))
	return copy(d.data[off:], p), nil
}

func (d *memDisk) Zero(off, length int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.data[off : off+length])
	return nil
}

// content makes chunks of which some are zero, some repeat, some compress and
// some don't.
func content(rng *rand.Rand, size int64) []byte {
	b := make([]byte, size)
	for off := int64(0); off < size; off += chunkSize {
		fillChunk(rng, b[off:min(off+chunkSize, size)])
	}
	return b
}

func fillChunk(rng *rand.Rand, c []byte) {
	switch rng.IntN(6) {
	case 0:
		clear(c)
	case 1:
		v := byte(rng.IntN(3))
		for i := range c {
			c[i] = v
		}
	case 2:
		for i := range c {
			c[i] = byte(rng.Uint32())
		}
	default:
		text := fmt.Sprintf("line %d of a text that compresses\n", rng.Uint64())
		for i := range c {
			c[i] = text[i%len(text)]
		}
	}
}

// change is the next day of a disk: some chunks differ, the map knows which.
func change(rng *rand.Rand, old []byte, size int64, n int) *memDisk {
	d := &memDisk{data: make([]byte, size)}
	copy(d.data, old)
	d.kinds = make([]disk.Kind, (size+chunkSize-1)/chunkSize)
	for i := range d.kinds {
		d.kinds[i] = disk.Same
		if int64(i+1)*chunkSize > int64(len(old)) {
			d.kinds[i] = disk.Data
		}
	}
	for range n {
		if len(d.kinds) == 0 {
			break
		}
		i := rng.IntN(len(d.kinds))
		c := d.data[i*chunkSize : min(int64(i+1)*chunkSize, size)]
		fillChunk(rng, c)
		d.kinds[i] = disk.Data
		if bytes.Count(c, []byte{0}) == len(c) {
			d.kinds[i] = disk.Zero
		}
	}
	return d
}

var testKey = keyring.Raw(keyring.Secret{1, 2, 3})

func initRepo(t testing.TB, store objstore.Store) *repository.Repository {
	t.Helper()
	return mustOpen(t, store, repository.Options{}, repository.Init)
}

func openRepo(t testing.TB, store objstore.Store, opt repository.Options) *repository.Repository {
	t.Helper()
	return mustOpen(t, store, opt, repository.Open)
}

// mustOpen makes or opens a repository and closes it at the test's end.
func mustOpen(t testing.TB, store objstore.Store, opt repository.Options,
	open func(context.Context, objstore.Store, keyring.Key, repository.Options) (*repository.Repository, error)) *repository.Repository {
	t.Helper()
	r, err := open(t.Context(), store, testKey, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func backup(ctx context.Context, r *repository.Repository, id, series string, base *repository.Disk, src disk.Source) (repository.Point, error) {
	w, err := r.Begin(ctx, repository.PointSpec{ID: id, Series: series, Created: time.Unix(1, 0)})
	if err != nil {
		return repository.Point{}, err
	}
	defer w.Abort()
	if _, err := w.Disk(ctx, repository.DiskSpec{Name: "vda", Base: base}, src); err != nil {
		return repository.Point{}, err
	}
	return w.Commit(ctx, repository.Manifest{Time: time.Unix(2, 0), Attributes: []byte(`{"xml":"` + id + `"}`)})
}

func mustBackup(t testing.TB, r *repository.Repository, id, series string, base *repository.Disk, src disk.Source) repository.Point {
	t.Helper()
	p, err := backup(t.Context(), r, id, series, base, src)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mustRestore demands that the disk of p is want, bit for bit.

// mustChain makes the points p0, p1, … of series s: data, and then each a change of
// the one before. It answers what each holds.
func mustChain(t testing.TB, rng *rand.Rand, r *repository.Repository, data []byte, points, changes int) map[string][]byte {
	t.Helper()
	want := map[string][]byte{}
	src := &memDisk{data: data}
	var base *repository.Disk
	for i := range points {
		if i > 0 {
			src = change(rng, src.data, int64(len(data)), changes)
		}
		p := mustBackup(t, r, fmt.Sprintf("p%d", i), "s", base, src)
		want[p.ID], base = src.data, p.Disk("vda")
	}
	return want
}

func mustRestore(t testing.TB, r *repository.Repository, p repository.Point, want []byte) {
	t.Helper()
	target := &memDisk{data: make([]byte, len(want)), fresh: true}
	if _, err := r.Restore(t.Context(), p, "vda", target, repository.RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(target.data, want) {
		for i := range want {
			if target.data[i] != want[i] {
				t.Fatalf("point %s differs at %d (chunk %d) of %d", p.ID, i, i/chunkSize, len(want))
			}
		}
	}
}
