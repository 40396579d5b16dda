package image

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"holdfast/internal/luks"
)

// TestSealed: what is written to an encrypted image comes back by its key, what nobody
// wrote is zeroes, and the file holds none of it in the clear.
func TestSealed(t *testing.T) {
	if _, err := exec.LookPath("qemu-nbd"); err != nil {
		t.Skip("no QEMU tools: ", err)
	}
	quick = true
	defer func() { quick = false }()
	const size = 4 << 20
	key := luks.Key("pass")
	for _, format := range []string{Raw, Qcow2} {
		path := filepath.Join(t.TempDir(), "a."+format)
		target, err := CreateSealed(t.Context(), path, format, size, key)
		if err != nil {
			t.Fatal(err)
		}
		if target.Size() != size || target.Fresh() != (format == Qcow2) {
			t.Errorf("%s: size %d, fresh %v", format, target.Size(), target.Fresh())
		}
		want := make([]byte, size)
		text := bytes.Repeat([]byte("plaintext"), 10_000)
		copy(want[1<<20:], text)
		if !target.Fresh() { // as who copies to it does
			if err := target.Zero(0, size); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := target.WriteAt(text, 1<<20); err != nil {
			t.Fatal(err)
		}
		if err := target.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := target.Close(); err != nil {
			t.Fatal(err)
		}
		if sealed, err := Encrypted(path, format); err != nil || !sealed {
			t.Errorf("%s is not encrypted, %v", format, err)
		}
		stored, err := os.ReadFile(path)
		if err != nil || bytes.Contains(stored, text[:64]) {
			t.Errorf("%s holds the plaintext, %v", format, err)
		}
		cmd := exec.Command("qemu-img", "convert", "-O", "raw")
		args, started, err := key.Hand(cmd)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Args = append(append(cmd.Args, args...), "--image-opts", luks.Opts(format, path), path+".plain")
		out, err := cmd.CombinedOutput()
		started()
		if err != nil {
			t.Fatalf("%s: %v %s", format, err, out)
		}
		if got, err := os.ReadFile(path + ".plain"); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s comes back with other bytes, %v", format, err)
		}
	}
	// One that is given up leaves nothing.
	path := filepath.Join(t.TempDir(), "b")
	target, err := CreateSealed(t.Context(), path, Qcow2, size, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(path + "*"); err != nil || left != nil {
		t.Errorf("it left %v, %v", left, err)
	}
	if sealed, err := Encrypted(os.Args[0], Raw); err != nil || sealed {
		t.Errorf("this program is encrypted: %v, %v", sealed, err)
	}
}
