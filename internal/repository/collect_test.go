package repository_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
)

// After deletions, collection frees what nobody needs and nothing else, and
// what it leaves of the store is what the points cost.
func TestCollect(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 7))
	store := mem.New(mem.Options{})
	r := initRepo(t, store)
	const size = 20 * 64 * chunkSize
	data := content(rng, size)
	points := []repository.Point{mustBackup(t, r, "p0", "s", nil, &memDisk{data: data})}
	want := [][]byte{data}
	for i := 1; i < 12; i++ {
		src := change(rng, want[i-1], size, 60)
		points = append(points, mustBackup(t, r, fmt.Sprintf("p%d", i), "s", points[i-1].Disk("vda"), src))
		want = append(want, src.data)
	}
	full := store.Used()
	for i := range 11 {
		if err := r.DeletePoint(t.Context(), points[i].ID); err != nil {
			t.Fatal(err)
		}
	}
	st, err := r.Collect(t.Context(), repository.CollectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if st.Deleted == 0 || store.Used() >= full {
		t.Errorf("nothing freed: %+v; %d bytes, were %d", st, store.Used(), full)
	}
	again, err := r.Collect(t.Context(), repository.CollectOptions{})
	if err != nil || again.Dead*2 > again.Live+again.Dead {
		t.Errorf("second collection: %+v, %v", again, err)
	}
	r = openRepo(t, store, repository.Options{})
	mustRestore(t, r, points[11], want[11])
	// What was collected is stored again when it comes back.
	p := mustBackup(t, r, "again", "s", nil, &memDisk{data: want[3]})
	mustRestore(t, r, p, want[3])
	if err := r.DeletePoints(t.Context(), "again", points[11].ID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Collect(t.Context(), repository.CollectOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := countObjects(t, store, "packs/"); n != 0 {
		t.Errorf("%d packs are left of an empty repository", n)
	}
}

// A writer that began before a collection may commit what the collector
// condemned beside it.
func TestCollectBesideWriter(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(8, 8))
	store := mem.New(mem.Options{})
	r := initRepo(t, store)
	data := content(rng, 10*64*chunkSize)
	p := mustBackup(t, r, "p", "s", nil, &memDisk{data: data})
	w, err := r.Begin(t.Context(), repository.PointSpec{ID: "q", Series: "s"})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.DeletePoint(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	other := openRepo(t, store, repository.Options{})
	st, err := other.Collect(t.Context(), repository.CollectOptions{})
	if err != nil || len(st.Waiting) != 1 || st.Deleted != 0 {
		t.Fatalf("collection beside a writer: %+v, %v", st, err)
	}
	src := change(rng, data, int64(len(data)), 3)
	if _, err := w.Disk(t.Context(), repository.DiskSpec{Name: "vda", Base: p.Disk("vda")}, src); err != nil {
		t.Fatal(err)
	}
	q, err := w.Commit(t.Context(), repository.Manifest{})
	if err != nil {
		t.Fatal(err)
	}
	st, err = other.Collect(t.Context(), repository.CollectOptions{})
	if err != nil || st.Kept == 0 {
		t.Errorf("collection after the writer: %+v, %v", st, err)
	}
	mustRestore(t, r, q, src.data)
}

// A collection with a rate waits before it moves: a second's worth in a second.
// What it does in the end is the same.
func TestCollectRate(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(9, 9))
	store := mem.New(mem.Options{})
	r := initRepo(t, store)
	data := content(rng, 20*64*chunkSize)
	p := mustBackup(t, r, "p", "s", nil, &memDisk{data: data})
	src := change(rng, data, int64(len(data)), 900)
	q := mustBackup(t, r, "q", "s", p.Disk("vda"), src)
	if err := r.DeletePoint(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	hurried, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // at a byte a second it wants days
	defer cancel()
	if _, err := r.Collect(hurried, repository.CollectOptions{Thin: 0.9, Rate: 1}); err == nil {
		t.Error("at a byte a second the collection was done at once")
	}
	st, err := r.Collect(t.Context(), repository.CollectOptions{Thin: 0.9, Rate: 1 << 30})
	if err != nil || st.Moved == 0 {
		t.Errorf("at a gigabyte a second: %+v, %v", st, err)
	}
	mustRestore(t, r, q, src.data)
}
