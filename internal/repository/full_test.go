package repository_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/fault"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
)

// A session whose last record the store did not take holds nothing back: the run
// that it was of knows that it has ended.
func TestEndedWhileAway(t *testing.T) {
	t.Parallel()
	store := fault.New(mem.New(mem.Options{}))
	initRepo(t, store)
	server := repository.Options{Owner: repository.Owner{ID: "server", Instance: "1"}}
	first, err := openRepo(t, store, server).Begin(t.Context(), repository.PointSpec{ID: "a", Series: "s"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openRepo(t, store, server).Begin(t.Context(), repository.PointSpec{ID: "b", Series: "s"}); !errors.Is(err, repository.ErrBusy) {
		t.Errorf("beside a session that runs: %v", err)
	}
	store.On(fault.Rule{Verb: fault.Put, Times: fault.Forever}, fault.Fail(errStore))
	first.Abort()
	store.Clear()
	w, err := openRepo(t, store, server).Begin(t.Context(), repository.PointSpec{ID: "b", Series: "s"})
	if err != nil {
		t.Fatalf("after it ended: %v", err)
	}
	w.Abort()
}

// A store that backups have filled to the brim still takes what deleting and
// collecting need, and after it backups again.
func TestFullStoreMakesRoom(t *testing.T) {
	t.Parallel()
	store := mem.New(mem.Options{Limit: 8 << 20})
	r := initRepo(t, store)
	rng := rand.New(rand.NewPCG(3, 5))
	noise := func(size int64) *memDisk {
		d := change(rng, nil, size, 0)
		for i := range d.data {
			d.data[i] = byte(rng.Uint32())
		}
		return d
	}
	var points []string
	for size := int64(1 << 20); size >= 64; {
		id := fmt.Sprint("p", len(points))
		_, err := backup(t.Context(), r, id, "s", nil, noise(size))
		switch {
		case errors.Is(err, objstore.ErrFull):
			size /= 2
		case err != nil:
			t.Fatal(err)
		default:
			points = append(points, id)
		}
	}
	if len(points) < 2 {
		t.Fatalf("%d points filled the store", len(points))
	}
	if err := r.DeletePoint(t.Context(), points[0]); err != nil {
		t.Fatalf("delete: %v", err)
	}
	if _, err := r.Collect(t.Context(), repository.CollectOptions{}); err != nil {
		t.Fatalf("collect: %v", err)
	}
	mustBackup(t, r, "again", "s", nil, noise(512<<10))
}

// A collection that has no room to write thin packs anew frees those that nobody
// needs; the next one has the room.
func TestCollectWithoutRoom(t *testing.T) {
	t.Parallel()
	store := fault.New(mem.New(mem.Options{}))
	r := initRepo(t, store)
	rng := rand.New(rand.NewPCG(7, 9))
	const size = 40 * chunkSize
	mustBackup(t, r, "gone", "other", nil, change(rng, nil, size, 40))
	first := change(rng, nil, size, 40)
	p := mustBackup(t, r, "first", "s", nil, first)
	mustBackup(t, r, "last", "s", p.Disk("vda"), change(rng, first.data, size, 60))
	for _, id := range []string{"gone", "first"} {
		if err := r.DeletePoint(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	store.On(fault.Rule{Verb: fault.Put, Prefix: "packs/", Times: fault.Forever}, fault.Full())
	full, err := r.Collect(t.Context(), repository.CollectOptions{})
	if err != nil || full.Condemned == 0 || full.Moved != 0 {
		t.Fatalf("without room: %+v, %v", full, err)
	}
	store.Clear()
	next, err := r.Collect(t.Context(), repository.CollectOptions{})
	if err != nil || next.Moved == 0 {
		t.Errorf("with the room: %+v, %v", next, err)
	}
}
