package repository_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"holdfast/internal/disk"
	"holdfast/internal/objstore"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
)

// relied is a quick repository with one point whose packs are then damaged in a
// way that nobody has met.
type relied struct {
	store *mem.Store
	r     *repository.Repository
	data  []byte
	first repository.Point
}

func newRelied(t *testing.T) *relied {
	t.Helper()
	rng := rand.New(rand.NewPCG(81, 81))
	d := &relied{store: mem.New(mem.Options{}), data: make([]byte, 160*chunkSize)} // three leaves
	for i := range 160 {
		ownChunk(rng, d.data[i*chunkSize:][:chunkSize])
	}
	r, err := repository.Init(t.Context(), d.store, testKey, repository.Options{Quick: true})
	if err != nil {
		t.Fatal(err)
	}
	d.first = mustBackup(t, r, "first", "s", nil, &memDisk{data: d.data})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return d
}

// reopen is the start of another process, which has nothing in memory.
func (d *relied) reopen(t *testing.T) {
	t.Helper()
	d.r = openRepo(t, d.store, repository.Options{Quick: true})
}

// harms are what can become of a stored pack.
var harms = map[string]func(b []byte) []byte{
	"a flipped byte": func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 1; return b },
	"a cut":          func(b []byte) []byte { return b[:len(b)/2] },
	"a loss":         func([]byte) []byte { return nil },
}

// harm damages every pack of the store.
func (d *relied) harm(t *testing.T, how func([]byte) []byte) {
	t.Helper()
	for name := range objects(t, d.store) {
		if strings.HasPrefix(name, "packs/") {
			replace(t, d.store, name, how(fetch(t, d.store, name)))
		}
	}
}

// unchanged is the disk of d of which the source says that nothing but the first
// chunk has changed.
func (d *relied) unchanged() *memDisk {
	kinds := make([]disk.Kind, len(d.data)/chunkSize)
	for i := range kinds {
		kinds[i] = disk.Same
	}
	kinds[0] = disk.Data
	return &memDisk{data: d.data, kinds: kinds}
}

// TestReliesOnNothingUnread: a point that finds its content in packs that were
// damaged unnoticed is whole all the same: what is damaged is stored again and
// known from then on.
func TestReliesOnNothingUnread(t *testing.T) {
	t.Parallel()
	for name, how := range harms {
		for _, based := range []bool{false, true} { // a raw disk is read in full against its last point
			d := newRelied(t)
			d.harm(t, how)
			d.reopen(t)
			var base *repository.Disk
			if based {
				base = d.first.Disk("vda")
			}
			p := mustBackup(t, d.r, "second", "s", base, &memDisk{data: d.data})
			d.reopen(t)
			mustRestore(t, d.r, p, d.data)
			if n := d.told(t); n != 0 {
				t.Errorf("%s, based %v: %d points are told; what was stored again heals the first point, too", name, based, n)
			}
		}
	}
}

// TestRefusesWhatNobodyRead: once damage is met, a point that takes anything over
// unread is not committed; read in full it is.
func TestRefusesWhatNobodyRead(t *testing.T) {
	t.Parallel()
	for name, how := range harms {
		d := newRelied(t)
		d.harm(t, how)
		d.reopen(t)
		p, err := backup(t.Context(), d.r, "second", "s", d.first.Disk("vda"), d.unchanged())
		if err == nil { // then all of it was read
			d.reopen(t)
			mustRestore(t, d.r, p, d.data)
		} else if !errors.Is(err, repository.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		mustRestore(t, d.r, mustBackup(t, d.r, "third", "s", nil, &memDisk{data: d.data}), d.data)
		// What is known is worked around: no more full reads.
		mustRestore(t, d.r, mustBackup(t, d.r, "fourth", "s", d.first.Disk("vda"), d.unchanged()), d.data)
	}
}

// told is of how many points damage is told.
func (d *relied) told(t *testing.T) (n int) {
	t.Helper()
	damage, err := d.r.Damage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range damage {
		n += len(e.Points)
	}
	return n
}

// TestDamageIsTold: what is lost is told without reading packs, and not once it is
// there again.
func TestDamageIsTold(t *testing.T) {
	t.Parallel()
	d := newRelied(t)
	whole := map[string][]byte{}
	for name := range objects(t, d.store) {
		whole[name] = fetch(t, d.store, name)
	}
	d.reopen(t)
	if n := d.told(t); n != 0 {
		t.Errorf("nothing is wrong, and %d points are told", n)
	}
	d.harm(t, harms["a loss"])
	if d.told(t) == 0 {
		t.Error("all packs are gone, and no point is told")
	}
	for name, b := range whole {
		if strings.HasPrefix(name, "packs/") {
			if err := d.store.Put(t.Context(), name, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if strings.HasPrefix(name, "points/") {
			replace(t, d.store, name, b[:len(b)/2])
		}
	}
	if n := d.told(t); n != 1 {
		t.Errorf("the attributes are cut, and %d points are told", n)
	}
}
