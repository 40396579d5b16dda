package repository_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
)

const day = 24 * time.Hour

// heldUntil demands that everything under these prefixes is held until at least
// a time, and counts it.
func heldUntil(t *testing.T, store objstore.Store, until time.Time, prefixes ...string) (n int) {
	t.Helper()
	for _, prefix := range prefixes {
		for info, err := range store.List(t.Context(), prefix, "") {
			if err != nil {
				t.Fatal(err)
			}
			if info, err = store.Stat(t.Context(), info.Name); err != nil {
				t.Fatal(err)
			}
			if info.RetainUntil.Before(until) {
				t.Errorf("%s is held until %v, not %v", info.Name, info.RetainUntil, until)
			}
			n++
		}
	}
	return n
}

// With a retention every object is held from its putting, and what a living
// point shares with old ones is held again and again; what nobody needs is freed
// when its time is over, and before that it stops no collection.
func TestRetention(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(41, 41))
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	store := mem.New(mem.Options{Retention: true, Now: clock})
	initRepo(t, store)
	r := openRepo(t, store, repository.Options{Clock: clock})
	data := content(rng, 40*chunkSize)
	p := mustBackup(t, r, "p0", "s", nil, &memDisk{data: data})
	if err := r.SetRetention(t.Context(), 30*day); err != nil {
		t.Fatal(err)
	}
	before := objects(t, store)
	other := mustBackup(t, r, "other", "o", nil, &memDisk{data: content(rng, 9*chunkSize)})
	for name := range objects(t, store) {
		if _, old := before[name]; !old {
			heldUntil(t, store, now.Add(30*day), name)
		}
	}
	st, err := r.Collect(t.Context(), repository.CollectOptions{})
	if err != nil || st.Extended == 0 {
		t.Fatalf("first collection: %+v, %v", st, err)
	}
	all := []string{"config", "keys/", "packs/", "index/", "points/", "ledger/"}
	if n := heldUntil(t, store, now.Add(30*day), all...); n < 8 {
		t.Errorf("%d objects", n)
	}
	if st, err = r.Collect(t.Context(), repository.CollectOptions{}); err != nil || st.Extended != 0 {
		t.Errorf("a collection right after: %+v, %v", st, err)
	}
	// The other point goes at once; its packs stay until their time.
	if err := r.DeletePoint(t.Context(), other.ID); err != nil {
		t.Fatal(err)
	}
	if st, err = r.Collect(t.Context(), repository.CollectOptions{}); err != nil || st.Held == 0 || st.Deleted != 0 {
		t.Errorf("a collection of what is held: %+v, %v", st, err)
	}
	want := [][]byte{data}
	for i := 1; i <= 20; i++ { // a point and a collection every other day
		now = now.Add(2 * day)
		src := change(rng, want[i-1], int64(len(data)), 1)
		p = mustBackup(t, r, fmt.Sprintf("p%d", i), "s", p.Disk("vda"), src)
		want = append(want, src.data)
		if st, err = r.Collect(t.Context(), repository.CollectOptions{Thin: -1}); err != nil {
			t.Fatal(err)
		}
		heldUntil(t, store, now.Add(30*day), "config", "keys/")
		mustRestore(t, r, p, want[i])
	}
	if n := heldUntil(t, store, now.Add(30*day), "packs/"); n < 20 {
		t.Errorf("%d packs", n)
	}
	for info, err := range store.List(t.Context(), "leases/", "") {
		t.Errorf("heartbeat %s is left, %v", info.Name, err)
	}
	r = openRepo(t, store, repository.Options{Clock: clock}) // what a later process does
	if err := r.DeletePoints(t.Context(), pointIDs(t, r)...); err != nil {
		t.Fatal(err)
	}
	if st, err = r.Collect(t.Context(), repository.CollectOptions{}); err != nil || st.Held == 0 {
		t.Errorf("everything deleted: %+v, %v", st, err)
	}
	now = now.Add(38 * day)
	if st, err = r.Collect(t.Context(), repository.CollectOptions{}); err != nil || st.Held != 0 || countObjects(t, store, "packs/") != 0 {
		t.Errorf("after the end of all: %+v, %v; %d packs", st, err, countObjects(t, store, "packs/"))
	}
}

func pointIDs(t *testing.T, r *repository.Repository) (ids []string) {
	t.Helper()
	points, err := r.Points(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range points {
		ids = append(ids, p.ID)
	}
	return ids
}

// A store without object lock takes no retention; nonsense is refused; a key
// slot that is held stays, and that is said.
func TestRetentionRefusals(t *testing.T) {
	t.Parallel()
	r := initRepo(t, mem.New(mem.Options{}))
	if err := r.SetRetention(t.Context(), day); !errors.Is(err, repository.ErrNoRetention) {
		t.Errorf("a store without object lock: %v", err)
	}
	if err := r.SetRetention(t.Context(), 0); err != nil {
		t.Errorf("no retention in a store without: %v", err)
	}
	r = initRepo(t, mem.New(mem.Options{Retention: true}))
	for _, d := range []time.Duration{-day, 101 * 365 * day} {
		if err := r.SetRetention(t.Context(), d); err == nil {
			t.Errorf("%v was taken", d)
		}
	}
	if err := r.SetRetention(t.Context(), day); err != nil {
		t.Fatal(err)
	}
	slot, err := r.AddKey(t.Context(), kmsKey(t, "base64key://smGbjm71Nxd1Ig5FS0wj9SlbzAIrnolCz9bQQ6uAhl4="), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.RemoveKey(t.Context(), slot.ID); !errors.Is(err, objstore.ErrHeld) {
		t.Errorf("remove a held key: %v", err)
	}
}
