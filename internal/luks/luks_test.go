package luks

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestImages: an image of each format is opened by its key alone, what is written to
// it is not in the file, and no argument has the key.
func TestImages(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("qemu-io"); err != nil {
		t.Skip("no QEMU tools: ", err)
	}
	key := Key("geheim, und mit Komma\x01")
	for _, format := range []string{"raw", "qcow2"} {
		path := filepath.Join(t.TempDir(), "a,b."+format)
		if err := Create(t.Context(), path, format, 8<<20, key, true); err != nil {
			t.Fatal(err)
		}
		io := func(k Key, command string) (string, error) {
			cmd := exec.CommandContext(t.Context(), "qemu-io", "-c", command)
			args, started, err := k.Hand(cmd)
			if err != nil {
				t.Fatal(err)
			}
			defer started()
			cmd.Args = append(append(cmd.Args, args...), "--image-opts", Opts(format, path))
			if strings.Contains(fmt.Sprint(cmd.Args), "geheim") {
				t.Error("the key is an argument")
			}
			out, err := cmd.CombinedOutput()
			return string(out), err
		}
		if out, err := io(key, "write -P 97 1M 64k"); err != nil {
			t.Fatalf("%s: %v %s", format, err, out)
		}
		if out, err := io(key, "read -P 97 1M 64k"); err != nil || strings.Contains(out, "verification failed") {
			t.Errorf("%s: %v %s", format, err, out)
		}
		if out, err := io(Key("another"), "read 1M 64k"); err == nil {
			t.Errorf("%s opens by another key: %s", format, out)
		}
		stored, err := os.ReadFile(path)
		if err != nil || bytes.Contains(stored, bytes.Repeat([]byte{97}, 64)) {
			t.Errorf("%s holds the plaintext, %v", format, err)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v %s", key, key, key, struct{ K Key }{key}); strings.Contains(s, "geheim") || strings.Contains(s, "103") {
		t.Errorf("the key prints: %s", s)
	}
	if _, _, err := Key(make([]byte, maxKey+1)).Hand(&exec.Cmd{}); err == nil {
		t.Error("a key that fits no pipe is taken")
	}
}
