package image

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/internal/disk"
	"holdfast/internal/disk/disktest"
)

// faultyMount is a file system whose disk takes no more than some MiB, which
// the kernel learns only when it writes pages back.
func faultyMount(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	small, big := filepath.Join(dir, "small"), filepath.Join(dir, "big")
	device := filepath.Join(small, "device")
	for _, c := range [][]string{
		{"mkdir", small, big},
		{"mount", "-t", "tmpfs", "-o", "size=24m", "none", small},
		{"truncate", "-s", "256M", device},
		{"mkfs.ext4", "-q", "-O", "^has_journal", device},
		{"mount", "-o", "loop", device, big},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no faulty file system to be had: %v: %v: %s", c, err, out)
		}
		if c[0] == "mount" {
			t.Cleanup(func() { _ = exec.Command("umount", "--lazy", c[len(c)-1]).Run() })
		}
	}
	return big
}

// TestLostWrite says that what the kernel took and then could not write is an
// error of the Target, however early the kernel told, and that no image is left.
func TestLostWrite(t *testing.T) {
	path := filepath.Join(faultyMount(t), "d.raw")
	d, err := CreateTarget(context.Background(), path, Raw, 128<<20)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 1<<20)
	disktest.Fill(p, 1)
	for off := int64(0); off < 120<<20 && err == nil; off += int64(len(p)) {
		_, err = d.WriteAt(p, off)
	}
	d.sending.Lock()
	d.send() // nothing that was written is left for fsync to fail on
	if d.lost.Load() == nil {
		t.Error("120 MiB went to a disk of 24 MiB and the sender noticed nothing")
	}
	if err := d.Sync(); err == nil {
		t.Error("Sync says that all is durable")
	}
	if err := d.Commit(); err == nil {
		t.Error("Commit says that the image is whole")
	}
	_ = d.Close()
	if _, err := os.Stat(path); err == nil {
		t.Error("there is an image under the name")
	}
}

// TestLostWriteIsKept has the kernel tell of a lost write once, to the sender,
// and never again, as kernels may: no write, no Sync and no Commit succeeds after
// that, and no image is left.
func TestLostWriteIsKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "d.raw")
	d, err := CreateTarget(context.Background(), path, Raw, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	told := false
	d.arrive = func(int) error {
		if told {
			return nil
		}
		told = true
		return unix.EIO
	}
	for range 2 { // the second time all is well again
		d.sending.Lock()
		d.send()
	}
	if _, err := d.WriteAt(make([]byte, 1), 0); !errors.Is(err, unix.EIO) {
		t.Errorf("WriteAt: %v, want EIO", err)
	}
	if err := d.Sync(); !errors.Is(err, unix.EIO) {
		t.Errorf("Sync: %v, want EIO", err)
	}
	if err := d.Commit(); !errors.Is(err, unix.EIO) {
		t.Errorf("Commit: %v, want EIO", err)
	}
	_ = d.Close()
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// counting is a Target whose Syncs are counted and fail as told.
type counting struct {
	disk.Target
	syncs int
	err   error
}

func (c *counting) Sync() error {
	c.syncs++
	return c.err
}

// TestSyncs: Sync does its work when something was written since, and only then;
// a Sync that fails has failed for good, as fsync(2) has.
func TestSyncs(t *testing.T) {
	t.Parallel()
	d, err := CreateTarget(context.Background(), filepath.Join(t.TempDir(), "d.raw"), Raw, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	below := &counting{Target: d.Target}
	d.Target = below
	write := func() error { _, err := d.WriteAt([]byte{1}, 0); return err }
	for i, step := range []struct {
		do    func() error
		syncs int
	}{
		{d.Sync, 1}, {d.Sync, 1}, {write, 1}, {d.Sync, 2}, {d.Sync, 2},
		{func() error { return d.Zero(0, 512) }, 2}, {d.Sync, 3}, {d.Sync, 3},
	} {
		if err := step.do(); err != nil || below.syncs != step.syncs {
			t.Errorf("step %d: %d syncs, want %d (%v)", i, below.syncs, step.syncs, err)
		}
	}
	below.err = unix.EIO
	if err := errors.Join(write(), d.Sync()); !errors.Is(err, unix.EIO) {
		t.Errorf("a Sync that fails: %v", err)
	}
	below.err = nil
	if err := d.Commit(); !errors.Is(err, unix.EIO) {
		t.Errorf("Commit after a Sync that failed: %v, want EIO", err)
	}
}
