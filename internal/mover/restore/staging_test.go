package restore

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"holdfast"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// want checks which names a directory has.
func want(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, names) {
		t.Errorf("the directory has %v, want %v", got, names)
	}
}

// begun is a restore of files a and b, of which a is published and b half made.
func begun(t *testing.T) (string, staging) {
	t.Helper()
	dir := t.TempDir()
	s := stagingIn(dir, "r1")
	if err := s.begin([]string{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	write(t, s.path("a"), "whole")
	if err := s.publish("a"); err != nil {
		t.Fatal(err)
	}
	write(t, s.path("b.partial"), "half")
	return dir, s
}

func TestStagingNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "b"), "precious")
	if err := stagingIn(dir, "r1").begin([]string{"a", "b"}); holdfast.KindOf(err) != holdfast.Conflict {
		t.Fatalf("err = %v, want a Conflict", err)
	}
	want(t, dir, "b")

	dir, s := begun(t)
	write(t, s.path("b"), "whole")
	write(t, s.final("b"), "precious") // made by somebody else meanwhile
	if err := s.publish("b"); holdfast.KindOf(err) != holdfast.Conflict {
		t.Fatalf("err = %v, want a Conflict", err)
	}
	if err := s.remove(); err != nil {
		t.Fatal(err)
	}
	want(t, dir, "b")
}

func TestStagingKeeps(t *testing.T) {
	dir, s := begun(t)
	if err := s.keep(); err != nil {
		t.Fatal(err)
	}
	want(t, dir, "a")
}

// The process that died is not the one that removes: only the directory tells.
func TestStagingRemovesWhatADeadRunMade(t *testing.T) {
	dir, _ := begun(t)
	if err := stagingIn(dir, "r2").remove(); err != nil {
		t.Fatal(err)
	}
	want(t, dir, ".holdfast-restore-r1", "a")
	if err := stagingIn(dir, "r1").remove(); err != nil {
		t.Fatal(err)
	}
	want(t, dir)
}

// A file that its user replaced meanwhile is not the restore's any more.
func TestStagingSparesOthers(t *testing.T) {
	dir, s := begun(t)
	if err := os.Remove(s.final("a")); err != nil {
		t.Fatal(err)
	}
	write(t, s.final("a"), "precious")
	if err := s.remove(); err != nil {
		t.Fatal(err)
	}
	want(t, dir, "a")
}
