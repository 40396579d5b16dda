package restorepoint_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"path/filepath"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/disk/disktest"
	"holdfast/internal/matrix"
	"holdfast/internal/mover"
	"holdfast/internal/mover/capture"
	"holdfast/internal/mover/content"
	"holdfast/internal/mover/restorepoint"
	"holdfast/internal/objstore"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
)

// told is a Progress that nobody reads.
type told struct{ holdfast.Progress }

func (told) Task(string)             {}
func (told) Cancellable(bool)        {}
func (told) Bytes(int64, int64)      {}
func (told) Property(string, string) {}
func (told) Warn(string)             {}

const size = 8 << 20

// point makes a point with a disk in a repository.
func point(t *testing.T, r *repository.Repository, id string, data []byte) {
	t.Helper()
	w, err := r.Begin(t.Context(), repository.PointSpec{ID: id, Series: "vm", Created: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Disk(t.Context(), repository.DiskSpec{Name: "vda"}, &disktest.Disk{Bytes: bytes.Clone(data)}); err != nil {
		t.Fatal(err)
	}
	man := mover.Manifest{Version: mover.ManifestVersion, VM: holdfast.VMFact{VMRef: holdfast.VMRef{UUID: "u", Name: "web"}}, Time: time.Now().UTC(), Consistency: holdfast.CrashConsistent,
		Disks: []mover.ManifestDisk{{Fact: holdfast.DiskFact{LUN: -1, Target: "vda"}, Cost: holdfast.DiskResult{LUN: -1, Target: "vda", Size: size, Read: 42}}}}
	if _, err := w.Commit(t.Context(), repository.Manifest{Time: man.Time, Attributes: holdfast.Marshal(man)}); err != nil {
		t.Fatal(err)
	}
}

// TestCopy: a point of one site comes to another byte for byte, the second copy
// costs what has changed since the first, and a run after a crash answers with
// what is there.
func TestCopy(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RPL-05")
	stores, dir := map[string]*mem.Store{"mem://near": mem.New(mem.Options{}), "mem://far": mem.New(mem.Options{})}, t.TempDir()
	o := &mover.Opener{KeyDir: filepath.Join(dir, "keys"), CacheDir: filepath.Join(dir, "cache"), Owner: repository.Owner{ID: dir, Instance: rand.Text()},
		OpenStore: func(_ context.Context, url string, _ bool) (objstore.Store, error) { return stores[url], nil }}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	near, far := holdfast.RepositoryRef{URL: "mem://near", KeyID: "near"}, holdfast.RepositoryRef{URL: "mem://far", KeyID: "far"}
	source, _, err := o.Operational(t.Context(), near)
	if err != nil {
		t.Fatal(err)
	}
	m := restorepoint.Mover{Capture: &capture.Maker{Opener: o}, Repositories: o.Repository}
	data := make([]byte, size)
	disktest.Fill(data[:6<<20], 1)
	var before int64
	for n, id := range []string{"1", "2"} {
		disktest.Fill(data[n<<20:n<<20+64<<10], uint64(7+n))
		point(t, source, id, data)
		a := holdfast.RestorePointArgs{VM: holdfast.VMRef{UUID: "u", Name: "web"}, Operational: far, PointID: id, Source: &holdfast.PointRef{Repository: near, PointID: id}}
		for range 2 { // the second is the run after a crash
			if done, err := m.Undo(t.Context(), a); done || err != nil {
				t.Fatal(done, err)
			}
			res, err := m.Run(t.Context(), a, told{})
			if err != nil {
				t.Fatal(err)
			}
			if res.PointID != id || res.VM.Name != "web" || res.Consistency != holdfast.CrashConsistent || len(res.Disks) != 1 || res.Disks[0].Read == 42 || res.Disks[0].Size != size {
				t.Errorf("point %s: %+v", id, res)
			}
			if n == 1 && (res.Disks[0].Read > 1<<20 || res.Disks[0].New > 1<<20) {
				t.Errorf("the second copy cost %+v; %d bytes had changed", res.Disks[0], 64<<10)
			}
		}
		c, err := content.Mover{Repositories: o.Repository}.OpenDisk(t.Context(), far, id, "vda")
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, size)
		if _, err := c.ReadAt(got, 0); err != nil || c.Size() != size || !bytes.Equal(got, data) {
			t.Errorf("point %s comes back with other bytes, %v", id, err)
		}
		before = 0
		if err := c.Filled(t.Context(), func(_, length int64) bool { before += length; return true }); err != nil || before < 6<<20 || before >= size {
			t.Errorf("%d bytes are filled, %v", before, err)
		}
	}
	missing := content.Mover{Repositories: o.Repository}
	if _, err := missing.OpenDisk(t.Context(), far, "1", "vdz"); holdfast.KindOf(err) != holdfast.NotFound {
		t.Errorf("no such disk: %v", err)
	}
	if _, err := missing.OpenDisk(t.Context(), far, "9", "vda"); holdfast.KindOf(err) != holdfast.NotFound {
		t.Errorf("no such point: %v", err)
	}
	gone := holdfast.RestorePointArgs{Operational: far, PointID: "9", Source: &holdfast.PointRef{Repository: near, PointID: "9"}}
	if _, err := m.Run(t.Context(), gone, told{}); holdfast.KindOf(err) != holdfast.NotFound {
		t.Errorf("a copy of nothing: %v", err)
	}
}
