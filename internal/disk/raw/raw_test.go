package raw

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/internal/disk"
	"holdfast/internal/disk/disktest"
)

func newTarget(t *testing.T, size int64) (*Target, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "d.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewTarget(f, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d, path
}

func TestRandomWrites(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{1, 4097, 3<<20 + 5} {
		d, path := newTarget(t, size)
		w := disktest.NewWriter(size, uint64(size))
		for range disktest.Steps(60) {
			if e, err := w.Step(d); err != nil {
				t.Fatalf("%+v: %v", e, err)
			}
		}
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
		s, err := OpenSource(path)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		disktest.Check(t, s, w.Model, nil)
	}
}

// TestSparse says that holes are Zero and cost nothing, and that Zero frees
// space again.
func TestSparse(t *testing.T) {
	t.Parallel()
	d, path := newTarget(t, 1<<40)
	p := make([]byte, 1<<20)
	disktest.Fill(p, 1)
	if _, err := d.WriteAt(p, 1<<39); err != nil {
		t.Fatal(err)
	}
	s, err := OpenSource(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var data int64
	n := 0
	for e, err := range s.Extents(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; e.Kind == disk.Data {
			data += e.Length
		}
	}
	if n != 3 || data != 1<<20 {
		t.Errorf("%d extents, %d bytes of data", n, data)
	}
	if err := d.Zero(1<<39, 1<<20); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Blocks != 0 {
		t.Errorf("%d blocks after zeroing, %v", st.Blocks, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := OpenSource(dir); !errors.Is(err, ErrNotDisk) {
		t.Errorf("directory: %v", err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSource(fifo); !errors.Is(err, ErrNotDisk) {
		t.Errorf("fifo: %v", err)
	}
	d, path := newTarget(t, 4096)
	if _, err := d.WriteAt([]byte{1, 2}, 4095); err == nil {
		t.Error("write over the end")
	}
	if err := d.Zero(4095, 2); err == nil {
		t.Error("zero over the end")
	}
	s, err := OpenSource(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadAt(make([]byte, 200), 0); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read of a file that got shorter: %v", err)
	}
	var last error
	for _, err := range s.Extents(context.Background()) {
		last = err
	}
	if !errors.Is(last, io.ErrUnexpectedEOF) {
		t.Errorf("map of a file that got shorter: %v", last)
	}
}

// overwrite fills a disk that has content and reads it back.
func overwrite(t *testing.T, path string, size int64) {
	t.Helper()
	d, err := OpenTarget(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Fresh() || d.Size() != size {
		t.Fatalf("fresh %v, %d bytes", d.Fresh(), d.Size())
	}
	old := make([]byte, size)
	disktest.Fill(old, 6)
	if _, err := d.WriteAt(old, 0); err != nil {
		t.Fatal(err)
	}
	w := disktest.NewWriter(size, 7)
	w.Model = old
	for range 40 {
		if e, err := w.Step(d); err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
	}
	src := disktest.New(size)
	disktest.FillText(src.Bytes[size/3:size/2], 8)
	got := make([]byte, size)
	if _, err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, w.Model) {
		t.Fatalf("bytes differ after random writes: %v", err)
	}
	if _, err := disk.Copy(context.Background(), d, src, disk.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	s, err := OpenSource(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	disktest.Check(t, s, src.Bytes, nil)
}

func TestOverwriteFile(t *testing.T) {
	t.Parallel()
	d, path := newTarget(t, 3<<20+99)
	overwrite(t, path, d.Size())
}

// TestOverwriteDevice does the same to a block device, where there can be one.
func TestOverwriteDevice(t *testing.T) {
	t.Parallel()
	d, path := newTarget(t, 4<<20)
	out, err := exec.Command("losetup", "--find", "--show", path).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device to be had: %v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() { _ = exec.Command("losetup", "--detach", device).Run() })
	overwrite(t, device, d.Size())
}
