package repository_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/keyring"
	"holdfast/internal/objstore"
	"holdfast/internal/objstore/crash"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
)

// crashPoints is how many crash points one run takes; HOLDFAST_SOAK makes
// it many more (make soak).
func crashPoints(t testing.TB) int {
	n := 10_000
	if testing.Short() {
		n = 500
	}
	if os.Getenv("HOLDFAST_SOAK") != "" {
		n *= 50
	}
	return n
}

// crashHistory is a random history of one repository on a disk that may lose
// power at any step, and what it has promised so far.
type crashHistory struct {
	t       *testing.T
	rng     *rand.Rand
	disk    *crash.Disk
	points  map[string][]byte // committed, and not being deleted
	unsure  map[string][]byte // being committed or deleted
	keys    []keyring.Key     // each must open it
	either  []keyring.Key     // while the only key is replaced: one of them must
	count   *int
	steps   map[string]int // crash points by what was about to happen
	cache   string         // beside the repository
	futures string         // the same for what goes on after the crashes: full of what never happened
	n       int
}

// Every committed point restores bit for bit after a crash at any step of a
// random history of backup, delete, collect, verify, copy and key rotation, and
// the repository takes new work.
func TestCrash(t *testing.T) {
	t.Parallel()
	want, got := crashPoints(t), 0
	steps := map[string]int{}
	seed := uint64(0)
	for ; got < want; seed++ {
		h := &crashHistory{t: t, rng: rand.New(rand.NewPCG(seed, 99)), disk: crash.NewDisk(),
			points: map[string][]byte{}, unsure: map[string][]byte{}, count: &got, steps: steps,
			cache: t.TempDir(), futures: t.TempDir()}
		h.run()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d crash points in %d histories: %v", got, seed, steps)
	for _, kind := range []string{"link packs", "link index", "link points", "link ledger", "link state", "link keys",
		"remove packs", "remove index", "remove points", "remove ledger", "remove state", "remove keys"} {
		if steps[kind] == 0 && !testing.Short() {
			t.Errorf("no crash before %s", kind)
		}
	}
}

func (h *crashHistory) run() {
	ctx := h.t.Context()
	store, err := crash.Open(ctx, h.disk)
	if err != nil {
		h.t.Fatal(err)
	}
	h.keys = []keyring.Key{testKey}
	r, err := repository.Init(ctx, store, testKey, repository.Options{Owner: repository.Owner{ID: "o"}, Workers: 1, CacheDir: h.cache})
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if h.rng.IntN(4) == 0 { // so many records that the history folds its third state and trims
		for range 348 + h.rng.IntN(36) {
			if err := r.DeletePoints(ctx); err != nil {
				h.t.Fatal(err)
			}
		}
	}
	h.disk.Before(func(s crash.Step) error {
		dir, _, _ := strings.Cut(s.Path, "/")
		h.steps[s.Op+" "+dir] += 2
		h.check(s, h.disk.PowerLoss(nil))
		h.check(s, h.disk.PowerLoss(h.rng))
		if h.t.Failed() {
			return errors.New("a check failed")
		}
		return nil
	})
	for range 14 {
		h.act(ctx, r, store)
		if h.t.Failed() {
			return
		}
	}
	h.disk.Before(nil)
}

func (h *crashHistory) act(ctx context.Context, r *repository.Repository, store objstore.Store) {
	var err error
	what := h.rng.IntN(12)
	switch {
	case what < 6 || len(h.points) == 0:
		what = 0
		err = h.backup(ctx, r)
	case what < 8:
		id := slices.Sorted(maps.Keys(h.points))[h.rng.IntN(len(h.points))]
		h.unsure[id] = h.points[id]
		delete(h.points, id)
		err = r.DeletePoint(ctx, id)
		delete(h.unsure, id)
	case what == 8:
		_, err = r.Verify(ctx, repository.VerifyOptions{})
	case what == 9:
		err = h.rotate(ctx, r)
	case what == 10:
		err = h.copy(ctx, r)
	default:
		_, err = r.Collect(ctx, repository.CollectOptions{Thin: 0.9})
	}
	if err != nil {
		h.t.Errorf("act %d: %v", what, err)
	}
}

// backup commits a point that is a change of an earlier one, or new.
func (h *crashHistory) backup(ctx context.Context, r *repository.Repository) error {
	h.n++
	id := fmt.Sprintf("p%d", h.n)
	size := int64(h.rng.IntN(8))*chunkSize + int64(h.rng.IntN(3))*100
	src := &memDisk{data: content(h.rng, size)}
	var base *repository.Disk
	points, err := r.Points(ctx, "s")
	if err != nil {
		return err
	}
	if len(points) > 0 && h.rng.IntN(4) > 0 {
		last := points[h.rng.IntN(len(points))]
		base = last.Disk("vda")
		src = change(h.rng, h.points[last.ID], size, 2)
	}
	h.unsure[id] = src.data
	if h.rng.IntN(8) == 0 { // given up
		w, err := r.Begin(ctx, repository.PointSpec{ID: id, Series: "s"})
		if err != nil {
			return err
		}
		_, err = w.Disk(ctx, repository.DiskSpec{Name: "vda", Base: base}, src)
		w.Abort()
		delete(h.unsure, id)
		return err
	}
	_, err = backup(ctx, r, id, "s", base, src)
	delete(h.unsure, id)
	h.points[id] = src.data
	return err
}

// rotate adds a key of any kind and, later, takes the oldest away; or puts a new
// one in the place of the only one.
func (h *crashHistory) rotate(ctx context.Context, r *repository.Repository) error {
	key := h.newKey()
	if h.rng.IntN(2) == 0 && len(h.keys) == 1 {
		return h.replace(ctx, r, key)
	}
	if _, err := r.AddKey(ctx, key, "rotated"); err != nil {
		return err
	}
	h.keys = append(h.keys, key)
	if len(h.keys) < 3 {
		return nil
	}
	slots, err := r.Keys(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(slots, func(a, b keyring.Slot) int { return a.Created.Compare(b.Created) })
	h.keys = h.keys[1:]
	return r.RemoveKey(ctx, slots[0].ID)
}

func (h *crashHistory) newKey() keyring.Key {
	a, b := byte(h.rng.Uint32()), byte(h.rng.Uint32())
	switch h.rng.IntN(3) {
	case 0:
		return keyring.WeakPassphrase(fmt.Sprint("key ", a, b))
	case 1:
		return kmsKey(h.t, "base64key://"+base64.URLEncoding.EncodeToString(append(make([]byte, 30), a, b)))
	}
	return keyring.Raw(keyring.Secret{a, b})
}

// replace rotates the only key. At every moment the old key or the new one opens
// the repository.
func (h *crashHistory) replace(ctx context.Context, r *repository.Repository, key keyring.Key) error {
	h.either = []keyring.Key{h.keys[0], key}
	_, err := r.RotateKey(ctx, key, "replaced")
	h.keys, h.either = []keyring.Key{key}, nil
	return err
}

// open opens a store with a key that must open it.
func (h *crashHistory) open(ctx context.Context, store objstore.Store) (r *repository.Repository, err error) {
	keys := []keyring.Key{h.keys[h.rng.IntN(len(h.keys))]}
	if h.either != nil {
		keys = h.either
	}
	for _, key := range keys {
		r, err = repository.Open(ctx, store, key, repository.Options{Owner: repository.Owner{ID: "o"}, Workers: 1, CacheDir: h.futures})
		if err == nil {
			return r, nil
		}
	}
	return nil, err
}

// copy copies a point of another repository into this one.
func (h *crashHistory) copy(ctx context.Context, r *repository.Repository) error {
	other, err := repository.Init(ctx, mem.New(mem.Options{}), testKey, repository.Options{Workers: 1})
	if err != nil {
		return err
	}
	defer func() { _ = other.Close() }()
	h.n++
	id := fmt.Sprintf("copy%d", h.n)
	data := content(h.rng, 5*chunkSize)
	if _, err := backup(ctx, other, id, "s", nil, &memDisk{data: data}); err != nil {
		return err
	}
	h.unsure[id] = data
	_, err = repository.Copy(ctx, other, r, id, repository.CopyOptions{})
	delete(h.unsure, id)
	h.points[id] = data
	return err
}

// check opens what a power loss left and demands every promise.
func (h *crashHistory) check(s crash.Step, left *crash.Disk) {
	if h.t.Failed() {
		return
	}
	*h.count++
	ctx := h.t.Context()
	fail := func(format string, a ...any) { h.t.Errorf("before %s: "+format, append([]any{s}, a...)...) }
	store, err := crash.Open(ctx, left)
	if err != nil {
		fail("open store: %v", err)
		return
	}
	r, err := h.open(ctx, store)
	if err != nil {
		fail("open: %v", err)
		return
	}
	defer func() { _ = r.Close() }()
	points, err := r.Points(ctx, "")
	if err != nil {
		fail("points: %v", err)
		return
	}
	there := map[string]bool{}
	for _, p := range points {
		there[p.ID] = true
		want, ok := h.points[p.ID]
		if !ok {
			want, ok = h.unsure[p.ID]
		}
		if !ok {
			fail("point %s should not be there", p.ID)
			return
		}
		if err := sameDisk(ctx, r, p, want); err != nil {
			fail("%v", err)
			return
		}
	}
	for id := range h.points {
		if !there[id] {
			fail("point %s is lost", id)
		}
	}
	if h.rng.IntN(4) == 0 {
		h.worksOn(ctx, r, points, fail)
	}
}

// worksOn demands that the repository takes new work: a backup on the newest
// point, a collection, and that all is still right.
func (h *crashHistory) worksOn(ctx context.Context, r *repository.Repository, points []repository.Point, fail func(string, ...any)) {
	data := content(h.rng, 3*chunkSize)
	p, err := backup(ctx, r, "after", "s", nil, &memDisk{data: data})
	if err == nil && h.rng.IntN(2) == 0 {
		_, err = r.Collect(ctx, repository.CollectOptions{Thin: 0.9})
	}
	if err == nil {
		err = sameDisk(ctx, r, p, data)
	}
	for _, q := range points {
		want, ok := h.points[q.ID]
		if err == nil && ok {
			err = sameDisk(ctx, r, q, want)
		}
	}
	if err != nil {
		fail("new work: %v", err)
	}
}

// sameDisk restores vda of p and compares it, and reads its attributes.
func sameDisk(ctx context.Context, r *repository.Repository, p repository.Point, want []byte) error {
	target := &memDisk{data: make([]byte, len(want)), fresh: true}
	if p.Disk("vda").Size != int64(len(want)) {
		return fmt.Errorf("point %s has %d bytes, not %d", p.ID, p.Disk("vda").Size, len(want))
	}
	if _, err := r.Restore(ctx, p, "vda", target, repository.RestoreOptions{}); err != nil {
		return err
	}
	if !bytes.Equal(target.data, want) {
		return fmt.Errorf("point %s restores wrong bytes", p.ID)
	}
	if _, err := r.Point(ctx, p.ID); err != nil {
		return err
	}
	return nil
}
