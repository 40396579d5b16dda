package repository_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"holdfast/internal/keyring"
	"holdfast/internal/objstore"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
)

// Every size around the edges of chunks, leaves and levels comes back bit for
// bit, into fresh and into used targets.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	const leaf = 64 * chunkSize
	for _, size := range []int64{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, leaf - 1, leaf, leaf + 1, 3*leaf + 5*chunkSize + 512} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(uint64(size), 1))
			r := initRepo(t, mem.New(mem.Options{}))
			data := content(rng, size)
			p := mustBackup(t, r, "p", "s", nil, &memDisk{data: data})
			mustRestore(t, r, p, data)
			used := &memDisk{data: bytes.Repeat([]byte{7}, int(size))}
			if _, err := r.Restore(t.Context(), p, "vda", used, repository.RestoreOptions{}); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(used.data, data) {
				t.Error("a used target was not overwritten")
			}
			d, err := r.OpenDisk(t.Context(), p, "vda")
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, size)
			if n, err := d.ReadAt(got, 0); int64(n) != size || err != nil || !bytes.Equal(got, data) {
				t.Errorf("ReadAt = %d, %v", n, err)
			}
		})
	}
}

// A chain of incrementals that change, grow and shrink the disk: each point
// restores by itself, reads only what the map says, and stays right when those
// around it are deleted.
func TestIncremental(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	store := mem.New(mem.Options{})
	r := initRepo(t, store)
	data := content(rng, 5*64*chunkSize)
	points := []repository.Point{mustBackup(t, r, "p0", "s", nil, &memDisk{data: data})}
	want := [][]byte{data}
	for i, size := range []int64{5 * 64 * chunkSize, 70 * 64 * chunkSize, 70*64*chunkSize - 100, 4*64*chunkSize + 7, 64 * chunkSize, 9*64*chunkSize + chunkSize} {
		last := points[len(points)-1]
		src := change(rng, want[len(want)-1], size, 10)
		p := mustBackup(t, r, fmt.Sprintf("p%d", i+1), "s", last.Disk("vda"), src)
		points, want = append(points, p), append(want, src.data)
	}
	r = openRepo(t, store, repository.Options{})
	for i, p := range points {
		mustRestore(t, r, p, want[i])
	}
	for i := 0; i < len(points); i += 2 {
		if err := r.DeletePoint(t.Context(), points[i].ID); err != nil {
			t.Fatal(err)
		}
	}
	for i := 1; i < len(points); i += 2 {
		mustRestore(t, r, points[i], want[i])
	}
}

// A point that changes nothing reads nothing, stores no pack and has the same
// root; a full read of the same content finds everything again.
func TestNoChange(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	store := mem.New(mem.Options{})
	r := initRepo(t, store)
	data := content(rng, 100*64*chunkSize+3000)
	p := mustBackup(t, r, "a", "s", nil, &memDisk{data: data})
	packs := countObjects(t, store, "packs/")
	src := change(rng, data, int64(len(data)), 0)
	src.kinds[len(src.kinds)-1] = 2 // the cut-off last chunk is unchanged too
	q := mustBackup(t, r, "b", "s", p.Disk("vda"), src)
	if src.reads != 0 || q.Disks[0].Root() != p.Disks[0].Root() {
		t.Errorf("no-change backup read %d bytes, root %s, was %s", src.reads, q.Disks[0].Root(), p.Disks[0].Root())
	}
	for id, base := range map[string]*repository.Disk{"c": nil, "d": p.Disk("vda")} {
		x := mustBackup(t, r, id, "s", base, &memDisk{data: data})
		if x.Disks[0].Root() != p.Disks[0].Root() || x.Disks[0].Stats.New != 0 {
			t.Errorf("full read of the same content: root %s, was %s; %+v", x.Disks[0].Root(), p.Disks[0].Root(), x.Disks[0].Stats)
		}
	}
	if n := countObjects(t, store, "packs/"); n != packs {
		t.Errorf("%d packs, were %d", n, packs)
	}
}

func countObjects(t testing.TB, store objstore.Store, prefix string) (n int) {
	t.Helper()
	for _, err := range store.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// Opening tells apart what can go wrong.
func TestOpenErrors(t *testing.T) {
	t.Parallel()
	store := mem.New(mem.Options{})
	if _, err := repository.Open(t.Context(), store, testKey, repository.Options{}); !errors.Is(err, repository.ErrNotRepository) {
		t.Errorf("empty store: %v", err)
	}
	initRepo(t, store)
	if _, err := repository.Init(t.Context(), store, testKey, repository.Options{}); !errors.Is(err, repository.ErrExists) {
		t.Errorf("second init: %v", err)
	}
	if _, err := repository.Open(t.Context(), store, keyring.Raw(keyring.Secret{9}), repository.Options{}); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("wrong key: %v", err)
	}
}

// One writer a series; a taken id; an unknown point.
func TestWriterRules(t *testing.T) {
	t.Parallel()
	store := mem.New(mem.Options{})
	r := initRepo(t, store)
	mustBackup(t, r, "a", "s", nil, &memDisk{data: []byte("x")})
	if _, err := r.Begin(t.Context(), repository.PointSpec{ID: "a", Series: "s"}); !errors.Is(err, repository.ErrPointExists) {
		t.Errorf("taken id: %v", err)
	}
	w, err := r.Begin(t.Context(), repository.PointSpec{ID: "b", Series: "s"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Begin(t.Context(), repository.PointSpec{ID: "c", Series: "s"}); !errors.Is(err, repository.ErrBusy) {
		t.Errorf("second writer: %v", err)
	}
	other, err := r.Begin(t.Context(), repository.PointSpec{ID: "c", Series: "other"})
	if err != nil {
		t.Fatal(err)
	}
	other.Abort()
	w.Abort()
	w.Abort()
	if _, err := r.Point(t.Context(), "b"); !errors.Is(err, repository.ErrNoPoint) {
		t.Errorf("aborted point: %v", err)
	}
	if err := r.DeletePoint(t.Context(), "b"); !errors.Is(err, repository.ErrNoPoint) {
		t.Errorf("delete of an aborted point: %v", err)
	}
	p, err := r.Point(t.Context(), "a")
	if err != nil || string(p.Attributes) != `{"xml":"a"}` {
		t.Errorf("point: %s, %v", p.Attributes, err)
	}
}

// What a killed process of the same owner held is taken over at once; what a
// stranger holds is not.
func TestTakeover(t *testing.T) {
	t.Parallel()
	store := mem.New(mem.Options{})
	initRepo(t, store)
	server := func(instance string) *repository.Repository {
		return openRepo(t, store, repository.Options{Owner: repository.Owner{ID: "server", Instance: instance}})
	}
	dead, err := server("1").Begin(t.Context(), repository.PointSpec{ID: "a", Series: "s"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openRepo(t, store, repository.Options{}).Begin(t.Context(), repository.PointSpec{ID: "b", Series: "s"}); !errors.Is(err, repository.ErrBusy) {
		t.Errorf("stranger: %v", err)
	}
	w, err := server("2").Begin(t.Context(), repository.PointSpec{ID: "b", Series: "s"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dead.Commit(t.Context(), repository.Manifest{}); !errors.Is(err, repository.ErrFenced) {
		t.Errorf("commit of a fenced writer: %v", err)
	}
	if _, err := w.Commit(t.Context(), repository.Manifest{}); err != nil {
		t.Error(err)
	}
}
