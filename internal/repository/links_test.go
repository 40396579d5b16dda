package repository_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"holdfast/internal/objstore/mem"
	"holdfast/internal/objstore/trace"
	"holdfast/internal/repository"
)

// Collections that know from earlier ones where the trees lead find and free
// exactly what one that reads all of it does, over random histories of backup,
// deletion and damage.
func TestLinksChangeNothing(t *testing.T) {
	t.Parallel()
	reads, all := int64(0), int64(0)
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 51))
		store := mem.New(mem.Options{})
		initRepo(t, store)
		r := openRepo(t, store, repository.Options{CacheDir: t.TempDir()})
		data := content(rng, 200*chunkSize)
		want := map[string][]byte{"p0": data}
		points := []repository.Point{mustBackup(t, r, "p0", "s", nil, &memDisk{data: data})}
		for i := 1; i < 24; i++ {
			last := points[rng.IntN(len(points))]
			src := change(rng, want[last.ID], int64(200+rng.IntN(30))*chunkSize, 1+rng.IntN(40))
			p := mustBackup(t, r, fmt.Sprint("p", i), "s", last.Disk("vda"), src)
			points, want[p.ID] = append(points, p), src.data
			for len(points) > 2 && rng.IntN(2) == 0 {
				k := rng.IntN(len(points))
				if err := r.DeletePoint(t.Context(), points[k].ID); err != nil {
					t.Fatal(err)
				}
				points = append(points[:k:k], points[k+1:]...)
			}
			if rng.IntN(3) > 0 {
				continue
			}
			opt := repository.CollectOptions{Thin: []float64{-1, 0.5, 0.95}[rng.IntN(3)]}
			clone := store.Clone()
			full, err := openRepo(t, clone, repository.Options{}).Collect(t.Context(), opt)
			if err != nil {
				t.Fatal(err)
			}
			known, err := r.Collect(t.Context(), opt)
			if err != nil {
				t.Fatal(err)
			}
			reads, all = reads+known.Read, all+full.Read
			known.Read, full.Read = 0, 0
			if fmt.Sprint(known) != fmt.Sprint(full) || countObjects(t, store, "packs/") != countObjects(t, clone, "packs/") {
				t.Fatalf("seed %d, step %d: with links %+v, without %+v", seed, i, known, full)
			}
			for _, p := range points {
				mustRestore(t, r, p, want[p.ID])
			}
		}
	}
	t.Logf("%d nodes read, %d without links", reads, all)
	if reads*2 > all {
		t.Errorf("%d nodes read, %d without links", reads, all)
	}
}

// A collection after one more point reads from the store what that point has of
// its own, however many others there are.
func TestCollectCostsWhatIsNew(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(52, 52))
	inner := mem.New(mem.Options{})
	store := trace.New(inner, trace.Options{})
	initRepo(t, store)
	r := openRepo(t, store, repository.Options{CacheDir: t.TempDir()})
	data := content(rng, 300*chunkSize)
	p := mustBackup(t, r, "p0", "s", nil, &memDisk{data: data})
	const n = 60
	next := func(i int) {
		src := change(rng, data, int64(len(data)), 1)
		p = mustBackup(t, r, fmt.Sprintf("p%d", i), "s", p.Disk("vda"), src)
		data = src.data
	}
	for i := 1; i < n; i++ {
		next(i)
	}
	first, err := r.Collect(t.Context(), repository.CollectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	next(n)
	before := store.Counts().Calls()
	again, err := r.Collect(t.Context(), repository.CollectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	calls := store.Counts().Calls() - before
	t.Logf("%d nodes read of %d points; of one more %d, in %d requests", first.Read, n, again.Read, calls)
	if again.Read > 2 || calls > 40 || first.Read < n {
		t.Errorf("%d nodes read of %d points; of one more %d, in %d requests", first.Read, n, again.Read, calls)
	}
	if err := r.DeletePoint(t.Context(), "p7"); err != nil {
		t.Fatal(err)
	}
	if st, err := r.Collect(t.Context(), repository.CollectOptions{}); err != nil || st.Read > 2 {
		t.Errorf("after a deletion: %+v, %v", st, err)
	}
	mustRestore(t, r, p, data)
}
