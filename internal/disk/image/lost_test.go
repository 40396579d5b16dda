package image

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

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
	if d.lost == nil {
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
