package repository_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"holdfast/internal/disk"
	"holdfast/internal/objstore"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
)

// hurtRepo is a small repository with every kind of artifact, and what its
// points hold.
type hurtRepo struct {
	store  *mem.Store
	points []repository.Point
	want   [][]byte
}

func makeHurtRepo(t *testing.T) *hurtRepo {
	t.Helper()
	rng := rand.New(rand.NewPCG(5, 5))
	h := &hurtRepo{store: mem.New(mem.Options{})}
	r := initRepo(t, h.store)
	const size = 66*chunkSize + 1000 // two levels
	data := make([]byte, size)
	for i := range 40 {
		fillChunk(rng, data[i*chunkSize:(i+1)*chunkSize])
	}
	fillChunk(rng, data[size-1000-chunkSize:size-1000])
	h.add(mustBackup(t, r, "p0", "s", nil, &memDisk{data: data, kinds: zeroKinds(data)}), data)
	for i := 1; i < 4; i++ {
		src := change(rng, h.want[i-1], size, 0)
		for range 6 {
			at := rng.IntN(40)
			fillChunk(rng, src.data[at*chunkSize:(at+1)*chunkSize])
			src.kinds[at] = disk.Data
		}
		h.add(mustBackup(t, r, fmt.Sprintf("p%d", i), "s", h.points[i-1].Disk("vda"), src), src.data)
	}
	return h
}

func (h *hurtRepo) add(p repository.Point, want []byte) {
	h.points, h.want = append(h.points, p), append(h.want, want)
}

// zeroKinds is the map of a disk that knows its zeros.
func zeroKinds(data []byte) []disk.Kind {
	kinds := make([]disk.Kind, (len(data)+chunkSize-1)/chunkSize)
	for i := range kinds {
		c := data[i*chunkSize : min((i+1)*chunkSize, len(data))]
		if bytes.Count(c, []byte{0}) == len(c) {
			kinds[i] = disk.Zero
		}
	}
	return kinds
}

func fetch(t testing.TB, s objstore.Store, name string) []byte {
	t.Helper()
	rc, err := s.Get(t.Context(), name, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func replace(t testing.TB, s objstore.Store, name string, b []byte) {
	t.Helper()
	if err := s.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if b == nil {
		return
	}
	if err := s.Put(t.Context(), name, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// Damage to any one object, by a flipped bit, a cut or its loss, is found and
// named, hands out no wrong byte, leaves the points that it doesn't hurt, and
// is healed by the next backup where the source still has the content.
func TestDamage(t *testing.T) {
	t.Parallel()
	h := makeHurtRepo(t)
	rng := rand.New(rand.NewPCG(6, 6))
	count, flips := 0, 3
	if os.Getenv("HOLDFAST_SOAK") != "" {
		flips = 500
	}
	head := ""
	for info, err := range h.store.List(t.Context(), "ledger/", "") {
		if err != nil {
			t.Fatal(err)
		}
		head = info.Name
	}
	for info, err := range h.store.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		whole := fetch(t, h.store, info.Name)
		damages := [][]byte{nil, {}, whole[:len(whole)-1], whole[:rng.IntN(len(whole))]}
		for range flips {
			b := bytes.Clone(whole)
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
			damages = append(damages, b)
		}
		if info.Name == head {
			damages = damages[1:] // without its head the ledger is that of a moment ago (threat-model.md)
		}
		for i, b := range damages {
			store := h.store.Clone()
			replace(t, store, info.Name, b)
			h.survives(t, fmt.Sprintf("%s damage %d", info.Name, i), info.Name, store)
			count++
			if t.Failed() {
				return
			}
		}
	}
	t.Logf("%d damages", count)
}

func (h *hurtRepo) survives(t *testing.T, what, object string, store objstore.Store) {
	t.Helper()
	ctx := t.Context()
	r, err := repository.Open(ctx, store, testKey, repository.Options{})
	if err != nil {
		t.Errorf("%s: open: %v", what, err)
		return
	}
	defer func() { _ = r.Close() }()
	named, hurt := inspect(ctx, t, what, r)
	if !named[object] {
		t.Errorf("%s: not named; named are %v", what, named)
		return
	}
	points, err := r.Points(ctx, "")
	if err != nil {
		t.Errorf("%s: points: %v", what, err)
		return
	}
	for _, p := range points {
		want := h.want[p.ID[1]-'0']
		err := restores(ctx, r, p, want)
		if err != nil && (!errors.Is(err, repository.ErrDamaged) || !hurt[p.ID]) {
			t.Errorf("%s: point %s: %v (reported hurt: %v)", what, p.ID, err, hurt[p.ID])
		}
	}
	h.heals(ctx, t, what, r, points)
}

// inspect answers the artifacts that check and verify name, and the points that
// they report hurt.
func inspect(ctx context.Context, t *testing.T, what string, r *repository.Repository) (named, hurt map[string]bool) {
	t.Helper()
	named, hurt = map[string]bool{}, map[string]bool{}
	rep, err := r.Check(ctx, repository.CheckOptions{})
	if err != nil {
		t.Errorf("%s: check: %v", what, err)
	}
	for _, f := range rep.Findings {
		named[f.Artifact] = true
		for _, p := range f.Points {
			hurt[p.Point] = hurt[p.Point] || len(p.Ranges) > 0
		}
	}
	st, err := r.Verify(ctx, repository.VerifyOptions{})
	if err != nil && !errors.Is(err, repository.ErrDamaged) {
		t.Errorf("%s: verify: %v", what, err)
	}
	for _, d := range st.Damage {
		named[d.Artifact] = true
		for _, p := range d.Points {
			hurt[p.Point] = true
		}
	}
	return named, hurt
}

func restores(ctx context.Context, r *repository.Repository, p repository.Point, want []byte) error {
	target := &memDisk{data: make([]byte, len(want)), fresh: true}
	if _, err := r.Restore(ctx, p, "vda", target, repository.RestoreOptions{}); err != nil {
		return err
	}
	if !bytes.Equal(target.data, want) {
		return errors.New("wrong bytes")
	}
	return nil
}

// heals backs every state of the disk up again: an incremental without changes
// on the newest point, then the older states. Then everything must be right.
func (h *hurtRepo) heals(ctx context.Context, t *testing.T, what string, r *repository.Repository, points []repository.Point) {
	t.Helper()
	last := len(h.want) - 1
	src := change(rand.New(rand.NewPCG(1, 1)), h.want[last], int64(len(h.want[last])), 0)
	src.kinds[len(src.kinds)-1] = disk.Same
	var base *repository.Disk
	if n := len(points); n > 0 && points[n-1].ID == h.points[last].ID {
		base = points[n-1].Disk("vda")
	} else {
		src.kinds = nil
	}
	p, err := backup(ctx, r, "again", "s", base, src)
	if err == nil {
		err = restores(ctx, r, p, h.want[last])
	}
	if err != nil {
		t.Errorf("%s: the next backup: %v", what, err)
		return
	}
	for i, want := range h.want[:last] {
		if _, err := backup(ctx, r, fmt.Sprintf("again%d", i), "s", nil, &memDisk{data: want, kinds: zeroKinds(want)}); err != nil {
			t.Errorf("%s: backup of state %d: %v", what, i, err)
		}
	}
	for _, p := range points {
		if err := restores(ctx, r, p, h.want[p.ID[1]-'0']); err != nil {
			t.Errorf("%s: point %s after all was backed up again: %v", what, p.ID, err)
		}
	}
	if _, err := r.Collect(ctx, repository.CollectOptions{}); err != nil {
		t.Errorf("%s: collect: %v", what, err)
	}
	for _, p := range points {
		if err := restores(ctx, r, p, h.want[p.ID[1]-'0']); err != nil {
			t.Errorf("%s: point %s after collection: %v", what, p.ID, err)
		}
	}
}
