package qcow2

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/internal/disk/disktest"
)

// onXFS makes a directory on a file system whose files can share blocks.
func onXFS(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	img := filepath.Join(dir, "xfs")
	for _, args := range [][]string{{"truncate", "-s", "512M", img}, {"mkfs.xfs", "-q", "-m", "reflink=1", img}, {"mount", "-o", "loop", img, dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no XFS can be mounted here: %v: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() { _ = exec.Command("umount", dir).Run() })
	return dir
}

// written makes an image of random writes, and gives what it holds.
func written(t *testing.T, path string, size int64, seed uint64) []byte {
	t.Helper()
	d := newImage(t, path, size)
	w := disktest.NewWriter(size, seed)
	for range disktest.Steps(60) {
		if e, err := w.Step(d); err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		t.Fatal(err)
	}
	return w.Model
}

func newImage(t *testing.T, path string, size int64) *Target {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Create(f, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// TestClone: a clone reads as what it is of, takes no room, and can be written to
// without touching that; disks of other sizes and with other clusters included.
func TestClone(t *testing.T) {
	t.Parallel()
	dir := onXFS(t)
	const size = 9<<20 + 512
	own, clusters := filepath.Join(dir, "own"), filepath.Join(dir, "2M")
	model := written(t, own, size, 1)
	if out, err := exec.Command("qemu-img", "convert", "-O", "qcow2", "-o", "cluster_size=2M", own, clusters).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for i, c := range []struct {
		of   string
		size int64
	}{{own, size}, {own, size + 3<<20}, {own, size - 3<<20}, {clusters, size}} {
		before, err := os.ReadFile(c.of)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, string(rune('a'+i)))
		d := newImage(t, path, c.size)
		if err := d.Clone(c.of); err != nil || d.Fresh() {
			t.Fatalf("%d: %v, fresh %v", i, err, d.Fresh())
		}
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil || st.Blocks*512 < 1<<20 {
			t.Errorf("%d: %d blocks, %v", i, st.Blocks, err)
		}
		w := disktest.NewWriter(c.size, uint64(i))
		copy(w.Model, model)
		got := make([]byte, c.size)
		if _, err := d.ReadAt(got, 0); err != nil || i != 3 && !bytes.Equal(got[:min(c.size, size)/cluster*cluster], w.Model[:min(c.size, size)/cluster*cluster]) {
			t.Fatalf("%d: the clone reads otherwise: %v", i, err)
		}
		// What could not be shared is written by who compares.
		for off := int64(0); off < c.size; off += 4096 {
			end := min(off+4096, c.size)
			if !bytes.Equal(got[off:end], w.Model[off:end]) {
				if _, err := d.WriteAt(w.Model[off:end], off); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range disktest.Steps(40) {
			if e, err := w.Step(d); err != nil {
				t.Fatalf("%+v: %v", e, err)
			}
		}
		if _, err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, w.Model) {
			t.Fatalf("%d: written to, it reads otherwise: %v", i, err)
		}
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
		same(t, path, w.Model)
		if after, err := os.ReadFile(c.of); err != nil || !bytes.Equal(before, after) {
			t.Fatalf("%d: what was cloned is not what it was: %v", i, err)
		}
	}
}

// TestCloneThatCannotBe leaves the new image as empty as it was.
func TestCloneThatCannotBe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	small, none := filepath.Join(dir, "small"), filepath.Join(dir, "none")
	if out, err := exec.Command("qemu-img", "create", "-f", "qcow2", "-o", "cluster_size=4k", small, "1M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	away, err := os.MkdirTemp("/dev/shm", "holdfast-clone-")
	if err != nil {
		t.Skipf("no second file system: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(away) })
	other := filepath.Join(away, "other")
	written(t, other, 1<<20, 1)
	for _, of := range []string{small, none, other} {
		d := newImage(t, filepath.Join(dir, "d"), 1<<20)
		if err := d.Clone(of); err == nil || !d.Fresh() {
			t.Errorf("%s: %v, fresh %v", of, err, d.Fresh())
		}
		w := disktest.NewWriter(1<<20, 1)
		for range 10 {
			if e, err := w.Step(d); err != nil {
				t.Fatalf("%+v: %v", e, err)
			}
		}
		got := make([]byte, 1<<20)
		if _, err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, w.Model) {
			t.Errorf("%s: it reads otherwise: %v", of, err)
		}
	}
}
