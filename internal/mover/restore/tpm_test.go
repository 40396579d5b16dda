package restore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"holdfast/internal/snapshot"
)

func TestWriteTPM(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "uuid", "tpm2")
	files := []snapshot.File{{Name: "tpm2-00.permall", Data: []byte("state")}}
	if err := writeTPM(dir, files, os.Getuid(), os.Getgid()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "tpm2-00.permall"))
	if err != nil || string(got) != "state" {
		t.Errorf("%q, %v", got, err)
	}
	if err := writeTPM(dir, files, os.Getuid(), os.Getgid()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a state that is there: %v", err)
	}
	for _, name := range []string{"../other", "", ".", "a/b"} {
		where := filepath.Join(t.TempDir(), "uuid", "tpm2")
		if err := writeTPM(where, []snapshot.File{{Name: name}}, os.Getuid(), os.Getgid()); err == nil {
			t.Errorf("a file named %q was written", name)
		}
	}
}
