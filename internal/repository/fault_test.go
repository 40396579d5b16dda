package repository_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/fault"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
)

var errStore = errors.New("the store failed")

// faultDay is one day of work on a store that has two points already: an
// incremental, a deletion, a collection and a verification. It goes on after
// errors, as a schedule would, and answers what was committed.
func faultDay(ctx context.Context, store objstore.Store, next *memDisk) (committed, deleted bool, errs []error) {
	r, err := repository.Open(ctx, store, testKey, repository.Options{Owner: repository.Owner{ID: "o"}, Workers: 1})
	if err != nil {
		return false, false, []error{err}
	}
	defer func() { _ = r.Close() }()
	points, err := r.Points(ctx, "s")
	if err != nil || len(points) == 0 {
		return false, false, []error{err}
	}
	_, err = backup(ctx, r, "new", "s", points[len(points)-1].Disk("vda"), next)
	committed = err == nil
	errs = append(errs, err)
	err = r.DeletePoint(ctx, "old")
	deleted = err == nil
	errs = append(errs, err)
	_, err = r.Collect(ctx, repository.CollectOptions{Thin: 0.9})
	errs = append(errs, err)
	st, err := r.Verify(ctx, repository.VerifyOptions{})
	if len(st.Damage) > 0 {
		errs = append(errs, fmt.Errorf("a failed call was taken for damage: %w", st.Damage[0]))
	}
	return committed, deleted, append(errs, err)
}

// Whichever call of a day's work fails, before or after its effect, or for ever
// from there on (a full or forbidden store), nothing that was promised is lost,
// nothing is taken for damage, and the next day's work succeeds.
func TestEveryCallFails(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(11, 11))
	const size = 12 * chunkSize
	first := content(rng, size)
	second := change(rng, first, size, 4)
	late := change(rng, second.data, size, 4)
	third := change(rng, late.data, size, 4)
	origin := mem.New(mem.Options{})
	r := initRepo(t, origin)
	p := mustBackup(t, r, "old", "s", nil, &memDisk{data: first})
	p = mustBackup(t, r, "mid", "s", p.Disk("vda"), second)
	mustBackup(t, r, "late", "s", p.Disk("vda"), late) // its segment is the third: the next backup merges them
	count := 0
	for name, f := range map[string]fault.Fault{"before": fault.Fail(errStore), "after": fault.FailAfter(errStore),
		"full": fault.Full(), "denied": fault.Denied(), "stale list": fault.StaleList(2)} {
		for n := 1; ; n++ {
			rule := fault.Rule{Nth: n}
			switch name {
			case "full":
				rule.Verb, rule.Times = fault.Put, fault.Forever
			case "denied":
				rule.Times = fault.Forever
			case "stale list":
				rule.Verb = fault.List
			}
			inner := origin.Clone()
			faulty := fault.New(inner)
			armed := faulty.On(rule, f)
			committed, deleted, errs := faultDay(t.Context(), faulty, third)
			if armed.Fired() == 0 {
				break
			}
			count++
			what := fmt.Sprintf("%s, call %d", name, n)
			for _, err := range errs {
				if errors.Is(err, repository.ErrDamaged) {
					t.Fatalf("%s: taken for damage: %v", what, err)
				}
			}
			want := map[string][]byte{"mid": second.data, "late": late.data}
			if committed {
				want["new"] = third.data
			}
			afterFault(t, what, inner, want, map[string][]byte{"old": first, "new": third.data}, deleted)
		}
	}
	t.Logf("%d failing calls", count)
}

// afterFault demands on a healthy store that want is there and right, that what
// else is there is whole, and that a day's work succeeds.
func afterFault(t *testing.T, what string, store objstore.Store, want, maybe map[string][]byte, deleted bool) {
	t.Helper()
	ctx := t.Context()
	r, err := repository.Open(ctx, store, testKey, repository.Options{Owner: repository.Owner{ID: "o"}, Workers: 1})
	if err != nil {
		t.Fatalf("%s: open: %v", what, err)
	}
	defer func() { _ = r.Close() }()
	points, err := r.Points(ctx, "")
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	all := maps.Clone(maybe)
	maps.Copy(all, want)
	for _, p := range points {
		delete(want, p.ID)
		data := all[p.ID]
		if deleted && p.ID == "old" {
			t.Errorf("%s: a deleted point is back", what)
		}
		if err := sameDisk(ctx, r, p, data); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for id := range want {
		t.Errorf("%s: point %s is lost", what, id)
	}
	data := content(rand.New(rand.NewPCG(3, 3)), 2*chunkSize)
	if _, err := backup(ctx, r, "next day", "s", nil, &memDisk{data: data}); err != nil {
		t.Errorf("%s: next day: %v", what, err)
	}
	if _, err := r.Collect(ctx, repository.CollectOptions{}); err != nil {
		t.Errorf("%s: next collection: %v", what, err)
	}
	if _, err := r.Verify(ctx, repository.VerifyOptions{}); err != nil {
		t.Errorf("%s: next verification: %v", what, err)
	}
	for _, p := range points {
		if err := sameDisk(ctx, r, p, all[p.ID]); err != nil {
			t.Errorf("%s: after the next collection: %v", what, err)
		}
	}
}

// Two writers, a collector and a verifier work at once; whatever they do to each
// other, every point that a writer committed and nobody deleted is right.
func TestTogether(t *testing.T) {
	t.Parallel()
	seeds, days := uint64(3), 8
	if os.Getenv("HOLDFAST_SOAK") != "" {
		seeds, days = 60, 30
	}
	done := 0
	for seed := range seeds {
		store := mem.New(mem.Options{})
		initRepo(t, store)
		var wg sync.WaitGroup
		var mu sync.Mutex
		want := map[string][]byte{}
		stop := make(chan struct{})
		for _, series := range []string{"a", "b"} {
			wg.Go(func() { togetherWriter(t, store, seed, series, days, &mu, want) })
		}
		var others sync.WaitGroup
		for _, work := range []func(*repository.Repository) error{
			func(r *repository.Repository) error {
				_, err := r.Collect(context.Background(), repository.CollectOptions{Thin: 0.9})
				return err
			},
			func(r *repository.Repository) error {
				_, err := r.Verify(context.Background(), repository.VerifyOptions{})
				return err
			},
		} {
			others.Go(func() {
				r := openRepo(t, store, repository.Options{Workers: 1})
				for {
					select {
					case <-stop:
						return
					default:
						if err := work(r); err != nil {
							t.Errorf("seed %d: %v", seed, err)
							return
						}
					}
				}
			})
		}
		wg.Wait()
		close(stop)
		others.Wait()
		r := openRepo(t, store, repository.Options{})
		if _, err := r.Collect(t.Context(), repository.CollectOptions{}); err != nil {
			t.Error(err)
		}
		points, err := r.Points(t.Context(), "")
		if err != nil || len(points) != len(want) {
			t.Fatalf("seed %d: %d points, not %d; %v", seed, len(points), len(want), err)
		}
		for _, p := range points {
			mustRestore(t, r, p, want[p.ID])
			done++
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d points right after %d seeds", done, seeds)
}

// togetherWriter makes a chain of points that share content with the other
// series, and deletes some.
func togetherWriter(t *testing.T, store objstore.Store, seed uint64, series string, days int, mu *sync.Mutex, want map[string][]byte) {
	r := openRepo(t, store, repository.Options{Workers: 2})
	rng := rand.New(rand.NewPCG(seed, uint64(series[0])))
	shared := rand.New(rand.NewPCG(seed, 5)) // both series begin alike
	data := content(shared, 20*chunkSize)
	var base *repository.Disk
	for day := range days {
		src := &memDisk{data: data}
		if base != nil {
			src = change(rng, data, int64(len(data)), 5)
			copy(src.data[:chunkSize], content(shared, chunkSize)) // the same new chunk in both
			src.kinds[0] = 0
		}
		id := fmt.Sprintf("%s%d", series, day)
		p, err := backup(context.Background(), r, id, series, base, src)
		if err != nil {
			t.Errorf("seed %d: %s: %v", seed, id, err)
			return
		}
		data, base = src.data, p.Disk("vda")
		mu.Lock()
		want[id] = data
		mine := slices.DeleteFunc(slices.Sorted(maps.Keys(want)), func(s string) bool { return s[:1] != series || s == id })
		mu.Unlock()
		if len(mine) > 2 {
			gone := mine[rng.IntN(len(mine))]
			if err := r.DeletePoint(context.Background(), gone); err != nil {
				t.Errorf("seed %d: delete %s: %v", seed, gone, err)
				return
			}
			mu.Lock()
			delete(want, gone)
			mu.Unlock()
		}
	}
}
