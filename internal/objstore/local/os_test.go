package local_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/local"
)

func put(t *testing.T, s objstore.Store, name string, size int) error {
	t.Helper()
	return s.Put(t.Context(), name, bytes.NewReader(make([]byte, size)), objstore.PutOptions{})
}

func mustPut(t *testing.T, s objstore.Store, name string, size int) {
	t.Helper()
	if err := put(t, s, name, size); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, s objstore.Store, name string) string {
	t.Helper()
	r, err := s.Get(t.Context(), name, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func list(t *testing.T, s objstore.Store) (names []string) {
	t.Helper()
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, info.Name)
	}
	return names
}

func TestOpenNeedsTheDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "not", "there")
	if _, err := local.Open(t.Context(), dir); !errors.Is(err, objstore.ErrNotExist) {
		t.Fatalf("open: %v", err)
	}
	mustPut(t, open(t, dir), "a", 1)
	s, err := local.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := list(t, s); !slices.Equal(got, []string{"a"}) || s.String() != dir {
		t.Fatalf("%q in %s", got, s)
	}
	file := filepath.Join(dir, "a")
	if _, err := local.Create(t.Context(), file); !errors.Is(err, unix.ENOTDIR) {
		t.Fatalf("create where a file is: %v", err)
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	mustPut(t, open(t, dir), "a/b/c", 10)
	for path, want := range map[string]fs.FileMode{"": 0o700, "a": 0o700, "a/b": 0o700, "a/b/c": 0o600, "+tmp": 0o700} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%q has mode %o, want %o", path, info.Mode().Perm(), want)
		}
	}
}

// Files of others in the directory are neither objects nor in the way.
func TestForeignFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "README"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "a-directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	mustPut(t, s, "object", 1)
	if got := list(t, s); !slices.Equal(got, []string{"object"}) {
		t.Errorf("listed %q", got)
	}
	if _, err := s.Get(t.Context(), "out/secret", 0, -1); err == nil {
		t.Error("a symbolic link leads out of the store")
	}
	if _, err := s.Stat(t.Context(), "a-directory"); !errors.Is(err, objstore.ErrNotExist) {
		t.Errorf("stat of a directory: %v", err)
	}
	if err := s.Delete(t.Context(), "a-directory"); !errors.Is(err, objstore.ErrNotExist) {
		t.Errorf("delete of a directory: %v", err)
	}
	for _, name := range []string{"a-directory", "object/below"} {
		if err := put(t, s, name, 1); !errors.Is(err, objstore.ErrInvalid) {
			t.Errorf("put %q: %v", name, err)
		}
	}
}

// What a dead process left is removed; what a living one writes is not.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustPut(t, open(t, dir), "a", 1)
	dead := filepath.Join(dir, "+tmp", "dead")
	if err := os.WriteFile(dead, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	living, err := local.OpenOS(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()
	f, err := living.Create("+tmp/living")
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the dead process's file: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "+tmp", "living")); err != nil {
		t.Errorf("the living process's file: %v", err)
	}
	if got := list(t, s); !slices.Equal(got, []string{"a"}) {
		t.Errorf("listed %q", got)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	if left, err := os.ReadDir(filepath.Join(dir, "+tmp")); err != nil || len(left) > 0 {
		t.Errorf("%d temporary files are left, %v", len(left), err)
	}
}

// Nothing is said to be absent from a directory that is gone.
func TestDirectoryGone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	mustPut(t, s, "a/b", 1)
	moved := dir + "-moved"
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(t.Context(), "a/b"); err != nil {
		t.Fatalf("a store that is renamed goes on: %v", err)
	}
	if err := os.RemoveAll(moved); err != nil {
		t.Fatal(err)
	}
	_, serr := s.Stat(t.Context(), "a/b")
	_, gerr := s.Get(t.Context(), "a/b", 0, -1)
	var lerr error
	for _, lerr = range s.List(t.Context(), "a/", "") {
	}
	for verb, err := range map[string]error{"stat": serr, "get": gerr, "list": lerr, "delete": s.Delete(t.Context(), "a/b"), "put": put(t, s, "c", 1)} {
		if err == nil || errors.Is(err, objstore.ErrNotExist) {
			t.Errorf("%s: %v", verb, err)
		}
	}
}

// mount mounts a small file system for the test, or skips it.
func mount(t *testing.T, dir string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount("holdfast-test", dir, "tmpfs", flags, data); err != nil {
		t.Skipf("a file system can't be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// A real file system without space.
func TestFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mount(t, dir, 0, "size=1m")
	s := open(t, dir)
	mustPut(t, s, "small", 1000)
	err := put(t, s, "big/object", 2<<20)
	if !errors.Is(err, objstore.ErrFull) || !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("put of too much: %v", err)
	}
	if got := list(t, s); !slices.Equal(got, []string{"small"}) {
		t.Fatalf("listed %q", got)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "+tmp")); err != nil || len(left) > 0 {
		t.Fatalf("%d temporary files are left, %v", len(left), err)
	}
	mustPut(t, s, "big/fits", 500_000)
}

// A real file system that is read-only: everything but writing works.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mount(t, dir, 0, "size=1m")
	mustPut(t, open(t, dir), "a", 1000)
	if err := os.WriteFile(filepath.Join(dir, "+tmp", "left"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skipf("can't be made read-only here: %v", err)
	}
	s := open(t, dir)
	if _, err := s.Stat(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if got := list(t, s); !slices.Equal(got, []string{"a"}) {
		t.Fatalf("listed %q", got)
	}
	for verb, err := range map[string]error{"put": put(t, s, "b", 1), "delete": s.Delete(t.Context(), "a")} {
		if !errors.Is(err, objstore.ErrPermission) || !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v", verb, err)
		}
	}
}

func TestRemoveEmptyDirs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	mustPut(t, s, "a/b/c", 1)
	mustPut(t, s, "a/d/e", 1)
	if err := s.Delete(t.Context(), "a/b/c"); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveEmptyDirs(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a", "b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the empty directory: %v", err)
	}
	mustPut(t, s, "a/b/c", 1)
	if got := list(t, s); !slices.Equal(got, []string{"a/b/c", "a/d/e"}) {
		t.Errorf("listed %q", got)
	}
}
