package repository_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/fault"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/objstore/trace"
	"holdfast/internal/repository"
)

// timers are the pauses that a repository asked for; none of them ends by itself.
type timers struct {
	mu  sync.Mutex
	all []chan time.Time
}

func (x *timers) after(time.Duration) <-chan time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := make(chan time.Time, 1)
	x.all = append(x.all, c)
	return c
}

// fire ends every pause and answers how many somebody could have waited for.
func (x *timers) fire() (n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range x.all {
		c <- time.Time{}
	}
	return len(x.all)
}

// An open repository that has work behind it asks the store for nothing: when
// every pause that it ever began has ended, nobody was waiting for it and no
// request was made.
func TestIdleAsksNothing(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(71, 71))
	store := trace.New(mem.New(mem.Options{}), trace.Options{})
	initRepo(t, store)
	pauses := &timers{}
	r := openRepo(t, store, repository.Options{After: pauses.after})
	data := content(rng, 20*chunkSize)
	p := mustBackup(t, r, "p", "s", nil, &memDisk{data: data})
	mustRestore(t, r, p, data)
	w, err := r.Begin(t.Context(), repository.PointSpec{ID: "given up", Series: "s"})
	if err != nil {
		t.Fatal(err)
	}
	w.Abort()
	if _, err := r.Collect(t.Context(), repository.CollectOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Verify(t.Context(), repository.VerifyOptions{}); err != nil {
		t.Fatal(err)
	}
	before := store.Counts().Calls()
	n := pauses.fire()
	if n < 3 {
		t.Errorf("%d heartbeats were begun by three sessions", n)
	}
	for i, c := range pauses.all {
		if len(c) != 1 {
			t.Errorf("somebody waited for pause %d of %d", i, n)
		}
	}
	if after := store.Counts().Calls(); after != before {
		t.Errorf("%d requests of an idle repository", after-before)
	}
	if before == 0 {
		t.Error("no request was counted at all")
	}
}

// A read that fails, in whatever way and at whatever object, is a failure and
// never damage: nothing is noted, nothing deleted, and when the store is well
// again all is whole.
func TestFailedReadIsNoDamage(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(72, 72))
	origin := mem.New(mem.Options{})
	r := initRepo(t, origin)
	data := content(rng, 70*chunkSize)
	p := mustBackup(t, r, "p", "s", nil, &memDisk{data: data})
	next := change(rng, data, int64(len(data)), 5)
	mustBackup(t, r, "q", "s", p.Disk("vda"), next)
	before := objects(t, origin)
	count := 0
	for name, why := range map[string]error{"store": errStore, "permission": objstore.ErrPermission,
		"deadline": context.DeadlineExceeded, "cut": io.ErrUnexpectedEOF} {
		for _, verb := range []fault.Verb{fault.Get, fault.Stat} {
			for _, prefix := range []string{"packs/", "index/", "points/", "ledger/", "config", "keys/"} {
				inner := origin.Clone()
				faulty := fault.New(inner)
				armed := faulty.On(fault.Rule{Verb: verb, Prefix: prefix, Times: fault.Forever}, fault.Fail(why))
				for _, err := range readAll(t, faulty, data) {
					if errors.Is(err, repository.ErrDamaged) || errors.Is(err, repository.ErrNoPoint) || errors.Is(err, repository.ErrNotRepository) {
						t.Errorf("%s of %s fails (%s): %v", verb, prefix, name, err)
					}
				}
				count += armed.Fired()
				if after := objects(t, inner); len(after) != len(before) {
					t.Errorf("%s of %s fails (%s): %d objects, were %d", verb, prefix, name, len(after), len(before))
				}
				well := openRepo(t, inner, repository.Options{})
				if rep, err := well.Check(t.Context(), repository.CheckOptions{}); err != nil || len(rep.Findings) > 0 {
					t.Errorf("%s of %s failed (%s), and after: %+v, %v", verb, prefix, name, rep.Findings, err)
				}
			}
		}
	}
	if count < 50 {
		t.Errorf("only %d reads failed", count)
	}
	t.Logf("%d failed reads", count)
}

// readAll does all that only reads, and answers the errors and findings.
func readAll(t *testing.T, store objstore.Store, data []byte) (errs []error) {
	t.Helper()
	r, err := repository.Open(t.Context(), store, testKey, repository.Options{Workers: 1})
	if err != nil {
		return []error{err}
	}
	defer func() { _ = r.Close() }()
	rep, err := r.Check(t.Context(), repository.CheckOptions{})
	errs = append(errs, err)
	for _, f := range rep.Findings {
		if !f.Unread || len(f.Points) > 0 || rep.Lost {
			errs = append(errs, repository.ErrDamaged)
			t.Errorf("check says of a failed read: %+v", f)
		}
	}
	st, err := r.Verify(t.Context(), repository.VerifyOptions{})
	errs = append(errs, err)
	if len(st.Damage) > 0 {
		errs = append(errs, st.Damage[0])
	}
	p, err := r.Point(t.Context(), "p")
	if errs = append(errs, err); err == nil {
		errs = append(errs, restores(t.Context(), r, p, data))
	}
	return errs
}
