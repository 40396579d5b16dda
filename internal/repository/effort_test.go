package repository

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"testing"
	"time"

	"holdfast/internal/disk"
	"holdfast/internal/keyring"
	"holdfast/internal/objstore"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
)

// gate is a store whose puts of packs tell that they have begun, and wait.
type gate struct {
	objstore.Store
	begun, open chan struct{}
}

func (g *gate) Put(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
	if _, ok := packOf(name); ok && g.begun != nil {
		g.begun <- struct{}{}
		<-g.open
	}
	return g.Store.Put(ctx, name, body, opt)
}

// text is a disk of words, some of them often: what compresses the better the
// harder one tries.
type text struct{ size int64 }

func (d text) Size() int64 { return d.size }

func (d text) Extents(context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		yield(disk.Extent{Length: d.size, Kind: disk.Data}, nil)
	}
}

func (d text) ReadAt(p []byte, off int64) (int, error) {
	rng := rand.New(rand.NewPCG(1, uint64(off)))
	for b := p[:0]; len(b) < len(p); {
		n := rng.IntN(1 + rng.IntN(1+rng.IntN(20_000)))
		word := fmt.Sprintf("%x ", uint64(n)*0x9e3779b97f4a7c15>>(16+n%32))
		b = append(b, word[:min(len(word), len(p)-len(b))]...)
	}
	return len(p), nil
}

func effortRepo(t *testing.T, store objstore.Store) *Repository {
	t.Helper()
	r, err := Init(t.Context(), store, keyring.Raw(keyring.Secret{1}), Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// The store is behind if waiting for it took more than an eighth of the time of
// the last pack, and no longer behind when it didn't.
func TestEffortFollowsTheStore(t *testing.T) {
	t.Parallel()
	store := &gate{Store: mem.New(mem.Options{}), begun: make(chan struct{}, chunkPacks), open: make(chan struct{})}
	r := effortRepo(t, store)
	s := &session{r: r, id: newSession()}
	p := newPacker(t.Context(), s, pack.Chunks, func(*pack.Builder, int64) {})
	times := make(chan time.Duration, 2)
	origin := time.Now()
	p.now = func() time.Time { return origin.Add(<-times) }
	at := time.Duration(0)
	// next begins a pack fill after the last began, and gets a buffer wait later.
	next := func(fill, wait time.Duration) {
		times <- at + fill
		times <- at + fill + wait
		at += fill + wait
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
		p.rotate()
	}
	for range chunkPacks {
		next(80*time.Second, 0)
		<-store.begun
		if p.effort() != seal.Fast {
			t.Fatal("small packs though nobody waited")
		}
	}
	for i, c := range []struct {
		fill, wait time.Duration
		want       seal.Effort
	}{{80 * time.Second, 11 * time.Second, seal.Fast}, {80 * time.Second, 12 * time.Second, seal.Small}, {time.Second, time.Hour, seal.Small}, {time.Hour, time.Second, seal.Fast}} {
		store.open <- struct{}{} // one of those that are being stored ends
		next(c.fill, c.wait)
		<-store.begun
		if got := p.effort(); got != c.want {
			t.Errorf("case %d: %v of waiting after %v of work: effort %v, not %v", i, c.wait, c.fill, got, c.want)
		}
	}
	close(store.open)
	if err := p.flush(); err != nil {
		t.Fatal(err)
	}
}

// What is stored while the store is behind is compressed harder, and so smaller.
func TestBehindStoresLess(t *testing.T) {
	t.Parallel()
	stored := map[bool]int64{}
	for _, behind := range []bool{false, true} {
		r := effortRepo(t, mem.New(mem.Options{}))
		w, err := r.Begin(t.Context(), PointSpec{ID: "p", Series: "s"})
		if err != nil {
			t.Fatal(err)
		}
		// Each look at the clock is one second later, so that the first pack was
		// waited for: an endless time, or none of the hour that it follows.
		at := time.Now()
		w.chunks.began = at
		if !behind {
			w.chunks.began = at.Add(-time.Hour)
		}
		w.chunks.now = func() time.Time { at = at.Add(time.Second); return at }
		stats, err := w.Disk(t.Context(), DiskSpec{Name: "disk"}, text{8 * frameChunks * chunk.Size})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(t.Context(), Manifest{}); err != nil {
			t.Fatal(err)
		}
		stored[behind] = stats.Stored
	}
	t.Logf("stored %d bytes, behind %d", stored[false], stored[true])
	if stored[true] > stored[false]*97/100 {
		t.Errorf("stored %d bytes while the store was behind, %d while it was not", stored[true], stored[false])
	}
}
