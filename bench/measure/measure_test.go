package measure

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

func TestRunCountsTheProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// A shell that fills 64 MiB of its memory and writes a file.
	c, err := Run(context.Background(), Command{Args: []string{"sh", "-c",
		"x=$(head -c 67108864 /dev/zero | tr '\\0' x); echo ${#x} >$HERE/length"}, Env: []string{"HERE=" + dir}}, dir)
	if err != nil {
		t.Fatal(err)
	}
	if c.Memory < 64<<20 || c.Wall <= 0 || c.CPU <= 0 {
		t.Fatalf("cost %+v of a process that held 64 MiB", c)
	}
	if n, err := Size(dir); err != nil || n != int64(len("67108864\n")) {
		t.Fatalf("size %d, %v", n, err)
	}
}

func TestRunReportsFailure(t *testing.T) {
	t.Parallel()
	if _, err := Run(context.Background(), Command{Args: []string{"sh", "-c", "echo no >&2; exit 3"}}); err == nil {
		t.Fatal("a process that failed counts as run")
	}
}

func TestSame(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string, size int64, at map[int64]string) string {
		path := filepath.Join(dir, name)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		for off, s := range at {
			if _, err := f.WriteAt([]byte(s), off); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	a := file("a", 8<<20, map[int64]string{1 << 20: "data", 7 << 20: "\x00\x00"})
	same := file("same", 8<<20, map[int64]string{1 << 20: "data"})
	more := file("more", 8<<20, map[int64]string{1 << 20: "data", 5 << 20: "x"})
	other := file("other", 8<<20, map[int64]string{1 << 20: "dada"})
	short := file("short", 4<<20, map[int64]string{1 << 20: "data"})
	if err := Same(a, same); err != nil {
		t.Error(err)
	}
	for _, b := range []string{more, other, short} {
		if Same(a, b) == nil || Same(b, a) == nil {
			t.Errorf("%s passes as the same as a", filepath.Base(b))
		}
	}
}
