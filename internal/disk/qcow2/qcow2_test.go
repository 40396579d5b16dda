package qcow2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"holdfast/internal/disk"
	"holdfast/internal/disk/disktest"
)

func qemu(t testing.TB, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed: %v", name, err)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func create(t testing.TB, size int64) (*Target, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "d.qcow2")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Create(f, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d, path
}

// same has QEMU check the image and compare it with the model, and then reads
// it here.
func same(t *testing.T, path string, model []byte) {
	t.Helper()
	if out := qemu(t, "qemu-img", "check", "-f", "qcow2", path); !strings.Contains(out, "No errors were found") {
		t.Fatalf("qemu-img check: %s", out)
	}
	rawPath := path + ".model"
	if err := os.WriteFile(rawPath, model, 0o600); err != nil {
		t.Fatal(err)
	}
	qemu(t, "qemu-img", "compare", "-f", "qcow2", "-F", "raw", path, rawPath)
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	disktest.Check(t, s, model, nil)
}

// TestRandomWrites fills images at random, syncs now and then, and has QEMU
// judge each time.
func TestRandomWrites(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{512, cluster, 5<<20 + 512*3, 20 << 20} {
		for _, align := range []int64{1, cluster} {
			t.Run(fmt.Sprint(size, " ", align), func(t *testing.T) {
				t.Parallel()
				d, path := create(t, size)
				w := disktest.NewWriter(size, uint64(size+align))
				w.Align, w.Most = align, 1<<20
				steps := disktest.Steps(60)
				for i := range steps {
					if e, err := w.Step(d); err != nil {
						t.Fatalf("%+v: %v", e, err)
					}
					if i%(steps/2) == steps/2-1 {
						if err := d.Sync(); err != nil {
							t.Fatal(err)
						}
						same(t, path, w.Model)
					}
				}
			})
		}
	}
}

// TestParallelWriters has writers share clusters.
func TestParallelWriters(t *testing.T) {
	t.Parallel()
	const size, piece = 6 << 20, 10_007
	d, path := create(t, size)
	model := make([]byte, size)
	disktest.Fill(model, 7)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for off := int64(g * piece); off < size; off += 8 * piece {
				p := model[off:min(off+piece, size)]
				if _, err := d.WriteAt(p, off); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	same(t, path, model)
}

// TestLargeSparse writes the ends and the middle of large disks: nothing grows
// with the size but the L1 table.
func TestLargeSparse(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{tableBytes + 512, 32 << 40, MaxSize} {
		d, path := create(t, size)
		spots := []int64{0, size/2 - 1000, size - 5000}
		p := make([]byte, 4097)
		for i, off := range spots {
			disktest.Fill(p, uint64(i))
			if _, err := d.WriteAt(p, off); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
		if out := qemu(t, "qemu-img", "check", "-f", "qcow2", path); !strings.Contains(out, "No errors were found") {
			t.Fatalf("size %d: %s", size, out)
		}
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var data int64
		for e, err := range s.Extents(context.Background()) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind == disk.Data {
				data += e.Length
			}
		}
		if data > 6*cluster {
			t.Errorf("size %d: %d bytes of data", size, data)
		}
		got := make([]byte, len(p))
		for i, off := range spots {
			disktest.Fill(p, uint64(i))
			if _, err := s.ReadAt(got, off); err != nil || !bytes.Equal(got, p) {
				t.Errorf("size %d: bytes at %d differ: %v", size, off, err)
			}
		}
	}
}

// TestBlockBorder crosses the 2 GiB of file that one reference count block
// counts.
func TestBlockBorder(t *testing.T) {
	t.Parallel()
	d, path := create(t, 3<<30)
	p := make([]byte, 3*cluster)
	disktest.Fill(p, 5)
	if _, err := d.WriteAt(p, 0); err != nil {
		t.Fatal(err)
	}
	d.next = perBlock - 4 // as if the clusters before had been given out
	d.synced = d.next
	if _, err := d.WriteAt(make([]byte, 9*cluster), 1<<30); err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt(p, 1<<30+3*cluster-100); err != nil {
		t.Fatal(err)
	}
	d.synced = 0
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("qemu-img", "check", "-f", "qcow2", path).CombinedOutput()
	// The clusters that were left out are leaks (exit code 3), and nothing else is wrong.
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || bytes.Contains(out, []byte("ERROR")) {
		t.Fatalf("qemu-img check: %v\n%.2000s", err, out)
	}
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got := make([]byte, len(p))
	if _, err := s.ReadAt(got, 1<<30+3*cluster-100); err != nil || !bytes.Equal(got, p) {
		t.Fatalf("bytes differ across the border: %v", err)
	}
}

// TestNoHeaderBeforeSync: a file that was not synced is no image.
func TestNoHeaderBeforeSync(t *testing.T) {
	t.Parallel()
	d, path := create(t, 1<<20)
	if _, err := d.WriteAt([]byte("x"), 5); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, ErrNotQcow2) {
		t.Fatalf("before Sync: %v", err)
	}
}

func TestTargetRefusals(t *testing.T) {
	t.Parallel()
	d, path := create(t, 1000) // rounded to 1024
	if d.Size() != 1024 {
		t.Errorf("size %d", d.Size())
	}
	if _, err := d.WriteAt(make([]byte, 2), 1023); err == nil {
		t.Error("write over the end")
	}
	if err := d.Zero(-1, 1); err == nil {
		t.Error("zero before the start")
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Create(f, MaxSize+1); err == nil {
		t.Error("too large")
	}
	if _, err := f.WriteString("content"); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(f, 512); err == nil {
		t.Error("file with content")
	}
}

// TestReadQEMUImages reads what qemu-img writes, in every shape that is read.
func TestReadQEMUImages(t *testing.T) {
	t.Parallel()
	model := make([]byte, 9<<20)
	disktest.FillText(model[1<<20:4<<20], 1)
	disktest.Fill(model[6<<20+300:6<<20+200_000], 2)
	dir := t.TempDir()
	rawPath := filepath.Join(dir, "m.raw")
	if err := os.WriteFile(rawPath, model, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"v2":           {"-o", "compat=0.10"},
		"v2 zlib":      {"-c", "-o", "compat=0.10"},
		"v3":           {"-o", "compat=1.1,lazy_refcounts=on"},
		"v3 zlib":      {"-c"},
		"v3 zstd":      {"-c", "-o", "compression_type=zstd"},
		"512 clusters": {"-o", "cluster_size=512"},
		"4K zstd":      {"-c", "-o", "cluster_size=4k,compression_type=zstd"},
		"2M clusters":  {"-c", "-o", "cluster_size=2M"},
		"preallocated": {"-o", "preallocation=metadata"},
		"no zeroes":    {"-S", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(dir, name+".qcow2")
			qemu(t, "qemu-img", append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, args...), rawPath, path)...)
			s, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			disktest.Check(t, s, model, nil)
		})
	}
}

// TestReadUsedImage reads an image with internal snapshots, zero clusters,
// bitmaps and a changed size.
func TestReadUsedImage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "d.qcow2")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", path, "8M")
	qemu(t, "qemu-io", "-f", "qcow2", "-c", "write -P 1 0 4M", path)
	qemu(t, "qemu-img", "snapshot", "-c", "s1", path)
	qemu(t, "qemu-img", "bitmap", "--add", path, "b0")
	qemu(t, "qemu-io", "-f", "qcow2", "-c", "write -P 2 1M 1M", "-c", "write -z 2M 64k", "-c", "discard 3M 128k", path)
	qemu(t, "qemu-img", "resize", "-q", path, "12M")
	model := make([]byte, 12<<20)
	for i := range 4 << 20 {
		model[i] = 1
	}
	for i := range 1 << 20 {
		model[1<<20+i] = 2
	}
	clear(model[2<<20 : 2<<20+64<<10])
	clear(model[3<<20 : 3<<20+128<<10])
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Header().Bitmaps != 1 {
		t.Errorf("%d bitmaps", s.Header().Bitmaps)
	}
	disktest.Check(t, s, model, nil)
}

// TestUnsupported refuses what it does not read, and says what it is.
func TestUnsupported(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	base := filepath.Join(dir, "base.qcow2")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", base, "1M")
	for word, args := range map[string][]string{
		"backing file": {"-b", base, "-F", "qcow2"},
		"subclusters":  {"-o", "extended_l2=on"},
		"data file":    {"-o", "data_file=" + filepath.Join(dir, "data")},
	} {
		path := filepath.Join(dir, word)
		args = append(append([]string{"create", "-q", "-f", "qcow2"}, args...), path)
		if word != "backing file" {
			args = append(args, "1M")
		}
		qemu(t, "qemu-img", args...)
		if _, err := Open(path); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", word, err)
		}
	}
	f, err := os.OpenFile(base, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0, 0, 0, 2}, 32); err != nil { // crypt_method: LUKS
		t.Fatal(err)
	}
	if _, err := Open(base); !errors.Is(err, ErrEncrypted) || !errors.Is(err, ErrUnsupported) {
		t.Errorf("encrypted: %v", err)
	}
}
