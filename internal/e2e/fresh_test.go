package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/guestlab"
	"holdfast/internal/keyring/keyringtest"
	"holdfast/internal/matrix"
)

const passphrase = "a horse, a battery and a staple"

// secretsOf are what nothing that is stored may hold.
func secretsOf(k *keyringtest.Service) (all [][]byte) {
	for _, s := range append(k.Plains(), k.Key[:], []byte(keyringtest.Token), []byte(passphrase)) {
		all = append(all, s, []byte(hex.EncodeToString(s)), []byte(base64.StdEncoding.EncodeToString(s)))
	}
	return all
}

// TestFreshServer: the key of a vault stays with its owner. Nothing that is
// stored holds it; without it nothing is restored; with it a fresh server brings
// the machine's disk back from the store alone, and goes on with its history.
func TestFreshServer(t *testing.T) {
	matrix.Covers(t, "SEC-04")
	k := keyringtest.New(t)
	g := guestlab.New(t, guestlab.Options{Name: "fresh", Disks: []guestlab.Disk{{Size: 32 << 20}}, Off: true})
	s := &story{server: serve(t, t.TempDir()), guest: g, dir: guestlab.Dir(t)}
	if out, err := exec.Command("sh", "-c", "head -c 30000000 /dev/urandom > "+s.dir+"/noise && qemu-img convert -O qcow2 "+s.dir+"/noise "+g.Disks[1]).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	store := t.TempDir()
	vault := []string{"vault", "create", "safe", "--repository", store, "--key-kms", "hashivault://backup"}
	s.run("site", "register", "home", "--uri", guestlab.URI, "--resource-group", "lab")
	s.run(vault...)
	s.run("protect", "start", g.Name)
	point := s.backup()
	holdsNone(t, secretsOf(k), s.data, store)
	s.stop()

	t.Setenv("HOLDFAST_NEW_PASSPHRASE", passphrase) // a second key, which a person keeps
	s.run("repository", "key", "add", store, "--key-kms", "hashivault://backup")
	t.Setenv("HOLDFAST_PASSPHRASE", passphrase+"?")
	s.refuses([]string{"wrong key for this repository"}, "repository", "points", store)
	t.Setenv("HOLDFAST_PASSPHRASE", passphrase)
	if out := s.run("repository", "points", store); !strings.Contains(out, point) {
		t.Errorf("by the passphrase: %s", out)
	}
	holdsNone(t, secretsOf(k), s.data, store)

	disk := func(prefix string) []string {
		return []string{"restore", "disks", g.Name, "--point", point, "--directory", s.dir, "--name-prefix", prefix}
	}
	if err := os.RemoveAll(filepath.Join(s.data, "operational")); err != nil { // the site's copy has a key of its own
		t.Fatal(err)
	}
	k.Set(func() { k.Away = true })
	s.server = serve(t, s.data)
	s.refuses([]string{"key service does not give", "permission denied"}, disk("none")...)
	s.stop()

	s.server = serve(t, t.TempDir())
	s.run("site", "register", "home", "--uri", guestlab.URI, "--resource-group", "lab")
	s.refuses([]string{"key service does not give"}, vault...)
	right := k.Key
	k.Set(func() { k.Away, k.Key = false, [32]byte{} })
	s.refuses([]string{"key service does not give", "authentication failed"}, vault...)
	s.refuses([]string{"itself the key"}, "vault", "create", "safe", "--repository", store, "--key-kms", "base64key://"+base64.URLEncoding.EncodeToString(right[:]))
	k.Set(func() { k.Key = right })
	s.run(vault...)
	if got := s.points(); len(got) != 1 || got[0] != point {
		t.Fatalf("the fresh server has the points %v, want %s", got, point)
	}
	s.run(disk("back")...)
	back, _ := filepath.Glob(filepath.Join(s.dir, "back*vdb*"))
	if len(back) != 1 {
		t.Fatalf("restored: %v", back)
	}
	if out, err := exec.Command("qemu-img", "compare", back[0], g.Disks[1]).CombinedOutput(); err != nil {
		t.Errorf("what came back is not what was there: %s", out)
	}
	s.run("protect", "start", g.Name)
	s.backup()
	if got := s.points(); len(got) != 2 || got[1] != point {
		t.Errorf("after going on: %v", got)
	}
	holdsNone(t, secretsOf(k), s.data, store)
}

// holdsNone fails the test if a file below the directories holds a secret.
func holdsNone(t *testing.T, secrets [][]byte, dirs ...string) {
	t.Helper()
	files := 0
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			files++
			for _, s := range secrets {
				if bytes.Contains(b, s) {
					t.Errorf("%s holds a secret", path)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 10 || len(secrets) < 9 {
		t.Errorf("%d files were looked at for %d secrets", files, len(secrets))
	}
}
