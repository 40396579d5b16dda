package repository_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"holdfast/internal/objstore/mem"
	"holdfast/internal/objstore/trace"
	"holdfast/internal/repository"
)

// However many points are made without a collection, the segments, records and
// states that a reader has to look at stay few, and a backup costs the requests
// that it cost at first.
func TestManyPointsStayCheap(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(41, 41))
	inner := mem.New(mem.Options{})
	store := trace.New(inner, trace.Options{})
	r := initRepo(t, store)
	data := content(rng, 70*chunkSize)
	p := mustBackup(t, r, "p0", "s", nil, &memDisk{data: data})
	const n = 600
	var calls [n]uint64
	for i := 1; i < n; i++ {
		before := store.Counts().Calls()
		src := change(rng, data, int64(len(data)), 1)
		p = mustBackup(t, r, fmt.Sprintf("p%d", i), "s", p.Disk("vda"), src)
		data, calls[i] = src.data, uint64(store.Counts().Calls()-before)
	}
	segments, records, states := countObjects(t, inner, "index/"), countObjects(t, inner, "ledger/"), countObjects(t, inner, "state/")
	t.Logf("after %d points: %d segments, %d records, %d states", n, segments, records, states)
	if segments > 15 || records > 400 || states > 3 {
		t.Errorf("after %d points: %d segments, %d records, %d states", n, segments, records, states)
	}
	var first, last uint64
	for i := range 200 {
		first, last = first+calls[100+i], last+calls[n-200+i]
	}
	t.Logf("requests of 200 points: %d at first, %d at last", first, last)
	if last > first*5/4 {
		t.Errorf("requests of 200 points: %d at first, %d at last", first, last)
	}
	r = openRepo(t, inner, repository.Options{})
	mustRestore(t, r, p, data)
	if rep, err := r.Check(t.Context(), repository.CheckOptions{}); err != nil || len(rep.Findings) > 0 {
		t.Errorf("check: %+v, %v", rep.Findings, err)
	}
}

// Two writers that began on the same index merge the same segments: the second
// finds them gone, and its own goes in alone.
func TestWritersMergeTheSame(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(42, 42))
	store := mem.New(mem.Options{})
	r := initRepo(t, store)
	var want [][]byte
	for i := range 3 {
		want = append(want, content(rng, 5*chunkSize))
		mustBackup(t, r, fmt.Sprint("p", i), "s", nil, &memDisk{data: want[i]})
	}
	if n := countObjects(t, store, "index/"); n != 3 {
		t.Fatalf("%d segments before", n)
	}
	var writers []*repository.Writer
	for i := 3; i < 6; i++ {
		own := openRepo(t, store, repository.Options{})
		w, err := own.Begin(t.Context(), repository.PointSpec{ID: fmt.Sprint("p", i), Series: fmt.Sprint("s", i)})
		if err != nil {
			t.Fatal(err)
		}
		writers = append(writers, w)
	}
	for i, w := range writers {
		want = append(want, content(rng, 5*chunkSize))
		if _, err := w.Disk(t.Context(), repository.DiskSpec{Name: "vda"}, &memDisk{data: want[3+i]}); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range writers {
		if _, err := w.Commit(t.Context(), repository.Manifest{Attributes: []byte(`{"xml":"x"}`)}); err != nil {
			t.Fatal(err)
		}
	}
	// One merged, two went in alone and left what they merged in vain.
	r = openRepo(t, store, repository.Options{})
	rep, err := r.Check(t.Context(), repository.CheckOptions{})
	if err != nil || len(rep.Findings) > 0 || rep.Segments != 3 || rep.Points != 6 {
		t.Errorf("check: %+v, %v", rep, err)
	}
	points, err := r.Points(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range points {
		mustRestore(t, r, p, want[p.ID[1]-'0'])
	}
	if _, err := r.Collect(t.Context(), repository.CollectOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := countObjects(t, store, "index/"); n != 3 {
		t.Errorf("%d segments are left after a collection", n)
	}
	if again := mustBackup(t, r, "again", "s", nil, &memDisk{data: want[5]}); again.Disks[0].Stats.New != 0 {
		t.Errorf("%d bytes of known content are stored again", again.Disks[0].Stats.New)
	}
}

// A lost index and a lost ledger are made anew within a bound of memory, whatever
// the number of packs: no segment, which is what is gathered in memory, has more
// entries than that and one pack.
func TestRebuildInBounds(t *testing.T) { // not parallel: it sets a bound of all
	const bound = 100
	defer repository.SetRebuiltEntries(bound)()
	rng := rand.New(rand.NewPCG(43, 43))
	store := mem.New(mem.Options{})
	r := initRepo(t, store)
	data := content(rng, 40*chunkSize)
	p := mustBackup(t, r, "p0", "s", nil, &memDisk{data: data})
	for i := 1; i < 30; i++ {
		src := change(rng, data, int64(len(data)), 20)
		p, data = mustBackup(t, r, fmt.Sprint("p", i), "s", p.Disk("vda"), src), src.data
	}
	info, err := r.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	total := uint64(info.Blobs)
	lose := func(prefixes ...string) {
		for _, prefix := range prefixes {
			for info, err := range store.List(t.Context(), prefix, "") {
				if err != nil {
					t.Fatal(err)
				}
				if err := store.Delete(t.Context(), info.Name); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	rebuilt := func(what string, r *repository.Repository) {
		lens, err := r.SegmentLens(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sum := uint64(0)
		for _, n := range lens {
			if sum += n; n > bound+40 {
				t.Errorf("%s: a segment of %d entries", what, n)
			}
		}
		if t.Logf("%s: %d entries in %d segments", what, sum, len(lens)); sum != total {
			t.Errorf("%s: %d entries, were %d", what, sum, total)
		}
		mustRestore(t, r, p, data)
	}
	lose("index/")
	if _, err := r.Check(t.Context(), repository.CheckOptions{Repair: true}); err != nil {
		t.Fatal(err)
	}
	r = openRepo(t, store, repository.Options{})
	rebuilt("index", r)
	lose("index/", "ledger/", "state/")
	if _, err := repository.Open(t.Context(), store, testKey, repository.Options{}); !errors.Is(err, repository.ErrDamaged) {
		t.Errorf("a repository without its ledger opens: %v", err)
	}
	r, rec, err := repository.Recover(t.Context(), store, testKey, repository.Options{})
	if err != nil || !rec.Ledger || rec.Points != 30 {
		t.Fatalf("recover: %+v, %v", rec, err)
	}
	defer r.Close()
	rebuilt("ledger", r)
	if st, err := r.Collect(t.Context(), repository.CollectOptions{}); err != nil || st.Orphans > 0 {
		t.Errorf("collect: %+v, %v", st, err)
	}
	if lens, err := r.SegmentLens(t.Context()); err != nil || len(lens) > 6 {
		t.Errorf("%d segments are left by a collection, %v", len(lens), err)
	}
	mustRestore(t, r, p, data)
}
