package repository_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"holdfast/internal/disk"
	"holdfast/internal/keyring"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
)

// A chain of points is copied into a repository of another key with its frames
// taken over, takes there what it takes here, and is right. How chunks fall into
// frames depends on the workers, so that now and then the target has most of a
// frame already, and that one is compressed again.
func TestCopyTakesFramesOver(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(61, 61))
	from := initRepo(t, mem.New(mem.Options{}))
	store := mem.New(mem.Options{})
	to, err := repository.Init(t.Context(), store, keyring.Raw(keyring.Secret{42}), repository.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = to.Close() })
	data := content(rng, 5*64*chunkSize+1234)
	want := mustChain(t, rng, from, data, 5, 30)
	for i := range 5 {
		id := fmt.Sprintf("p%d", i)
		p, err := repository.Copy(t.Context(), from, to, id, repository.CopyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		mustRestore(t, to, p, want[id])
		here, err := from.Point(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		a, b := here.Disks[0].Stats, p.Disks[0].Stats
		if b.New > a.New+a.New/10 || b.Stored > a.Stored+a.Stored/10 || here.Disks[0].Root() == p.Disks[0].Root() {
			t.Errorf("%s: %+v, was %+v", id, b, a)
		}
	}
	if again, all := to.Compressed(), from.Compressed(); again*10 > all {
		t.Errorf("%d of %d frames were compressed again", again, all)
	}
	if _, err := to.Verify(t.Context(), repository.VerifyOptions{}); err != nil {
		t.Error(err)
	}
}

// Of a frame that the target has more than half of already, only the rest is
// stored; and what a repack has moved in the source is found where it went.
func TestCopyOfPart(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(62, 62))
	from := initRepo(t, mem.New(mem.Options{}))
	to, err := repository.Init(t.Context(), mem.New(mem.Options{}), keyring.Raw(keyring.Secret{42}), repository.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = to.Close() })
	old := make([]byte, 64*chunkSize)
	for i := range 64 {
		ownChunk(rng, old[i*chunkSize:(i+1)*chunkSize])
	}
	mustBackup(t, to, "old", "other", nil, &memDisk{data: old})
	compressed := to.Compressed()
	next := append([]byte(nil), old...)
	ownChunk(rng, next[5*chunkSize:6*chunkSize]) // one of the first frame's sixteen
	p := mustBackup(t, from, "next", "s", nil, &memDisk{data: next})
	q, err := repository.Copy(t.Context(), from, to, "next", repository.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mustRestore(t, to, q, next)
	if st := q.Disks[0].Stats; st.New != chunkSize || to.Compressed() != compressed+1 {
		t.Errorf("%+v, %d frames", st, to.Compressed()-compressed)
	}
	// Half of the disk goes, and the packs of what is left are written anew.
	src := &memDisk{data: append([]byte(nil), next...), kinds: make([]disk.Kind, 64)}
	for i := range src.kinds {
		src.kinds[i] = disk.Same
		if i%4 != 0 {
			src.kinds[i] = disk.Data
			ownChunk(rng, src.data[i*chunkSize:(i+1)*chunkSize])
		}
	}
	mustBackup(t, from, "last", "s", p.Disk("vda"), src)
	if err := from.DeletePoint(t.Context(), "next"); err != nil {
		t.Fatal(err)
	}
	if st, err := from.Collect(t.Context(), repository.CollectOptions{Thin: 0.9}); err != nil || st.Moved == 0 {
		t.Fatalf("%+v, %v", st, err)
	}
	q, err = repository.Copy(t.Context(), from, to, "last", repository.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mustRestore(t, to, q, src.data)
}

// ownChunk fills a chunk with what no other has, half of it compressible.
func ownChunk(rng *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(i / 512)
		if i%512 < 256 {
			b[i] = byte(rng.Uint32())
		}
	}
}

// A copy goes into the series that it is asked to, reads only what differs from
// the one before there, and does without that when it is damaged.
func TestCopyIntoSeries(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(63, 63))
	store := mem.New(mem.Options{})
	from := initRepo(t, store)
	to, err := repository.Init(t.Context(), mem.New(mem.Options{}), keyring.Raw(keyring.Secret{42}), repository.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = to.Close() })
	data := content(rng, 3*64*chunkSize)
	want := mustChain(t, rng, from, data, 3, 30)
	var reads []int64
	for i := range 3 {
		if i == 2 { // all is lost, and the last point stored anew
			for info, err := range store.List(t.Context(), "packs/", "") {
				if err != nil {
					t.Fatal(err)
				}
				if err := store.Delete(t.Context(), info.Name); err != nil {
					t.Fatal(err)
				}
			}
			from = openRepo(t, store, repository.Options{})
			if _, err := from.Verify(t.Context(), repository.VerifyOptions{}); !errors.Is(err, repository.ErrDamaged) {
				t.Fatal(err)
			}
			if err := from.DeletePoint(t.Context(), "p2"); err != nil {
				t.Fatal(err)
			}
			mustBackup(t, from, "p2", "s", nil, &memDisk{data: want["p2"]})
		}
		id := fmt.Sprintf("p%d", i)
		p, err := repository.Copy(t.Context(), from, to, id, repository.CopyOptions{Series: "other"})
		if err != nil {
			t.Fatal(err)
		}
		mustRestore(t, to, p, want[id])
		reads = append(reads, p.Disks[0].Stats.Read)
		if p.Series != "other" {
			t.Errorf("%s is in the series %s", id, p.Series)
		}
	}
	if reads[1]*2 > reads[0] || reads[2] < reads[0]/2 {
		t.Errorf("read %d bytes; the second with the help of the first, the third without", reads)
	}
}
