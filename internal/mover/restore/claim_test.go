package restore

import (
	"os"
	"path/filepath"
	"testing"

	"holdfast"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestClaimNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	mine, theirs := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write(t, theirs, "precious")
	_, err := claim(dir, "r1", []string{mine, theirs})
	if holdfast.KindOf(err) != holdfast.Conflict {
		t.Fatalf("err = %v, want a Conflict", err)
	}
	if got := names(t, dir); len(got) != 1 || got[0] != "b" {
		t.Fatalf("a refused claim left %v", got)
	}
}

func TestClaimAfterACrashRedoesItsOwn(t *testing.T) {
	dir := t.TempDir()
	paths := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	if _, err := claim(dir, "r1", paths); err != nil {
		t.Fatal(err)
	}
	write(t, paths[0], "half done") // and then the process died
	if _, err := claim(dir, "r2", paths); holdfast.KindOf(err) != holdfast.Conflict {
		t.Fatalf("another restore took the files: %v", err)
	}
	c, err := claim(dir, "r1", paths)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(paths[0]); err == nil {
		t.Fatal("the dead run's file is still there")
	}
	write(t, paths[0], "whole")
	if err := c.settle(true); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); len(got) != 1 || got[0] != "a" {
		t.Fatalf("after success: %v", got)
	}
}

func TestFailedRestoreLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	c, err := claim(dir, "r1", []string{path})
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "half done")
	c.made = append(c.made, path)
	if err := c.settle(false); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); len(got) != 0 {
		t.Fatalf("left %v", got)
	}
}
