package repository_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/cli/repository"
)

// run runs the command line and answers what it printed.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := repository.Command()
	c.SilenceUsage, c.SilenceErrors = true, true
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(args)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := run(t, args...)
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// The life of a repository by the command line: init, import, incremental
// import, export, diff, copy, key rotation, damage, recovery, collection.
func TestLife(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	key, repo, image := filepath.Join(dir, "key"), filepath.Join(dir, "repo"), filepath.Join(dir, "disk.raw")
	at := func(args ...string) []string { return append(args, "--key-file", key) }
	rng := rand.New(rand.NewPCG(1, 1))
	day0 := make([]byte, 5<<20+512)
	for i := range 3 << 20 {
		day0[i] = byte(rng.Uint32())
	}
	write(t, image, day0)
	must(t, at("init", repo)...)
	if _, err := run(t, at("init", repo)...); exitCode(err) != 4 {
		t.Errorf("second init: %v", err)
	}
	must(t, at("import", image, "--repo", repo, "--name", "day0")...)
	day1 := bytes.Clone(day0)
	copy(day1[1<<20:], bytes.Repeat([]byte{9}, 100_000))
	write(t, image, day1)
	dirty := filepath.Join(dir, "dirty")
	write(t, dirty, []byte(fmt.Sprintf("{\"offset\":%d,\"length\":131072}\n", 1<<20)))
	out := must(t, at("import", image, "--repo", "file://"+repo, "--name", "day1", "--base", "day0", "--dirty-map", dirty, "--json")...)
	var imported struct{ Stats struct{ Read int64 } }
	if err := json.Unmarshal([]byte(out), &imported); err != nil || imported.Stats.Read != 131072 {
		t.Errorf("incremental import read %d bytes, %v: %s", imported.Stats.Read, err, out)
	}
	for name, want := range map[string][]byte{"day0": day0, "day1": day1} {
		to := filepath.Join(dir, name)
		must(t, at("export", name, "--repo", repo, "--to", to)...)
		if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s came back wrong: %v", name, err)
		}
	}
	if got := must(t, at("export", "day1", "--repo", repo, "--to", "-", "--quiet")...); got != string(day1) {
		t.Error("standard output differs")
	}
	must(t, at("export", "day1", "--repo", repo, "--to", filepath.Join(dir, "day0"), "--resume")...)
	if got, err := os.ReadFile(filepath.Join(dir, "day0")); err != nil || !bytes.Equal(got, day1) {
		t.Errorf("resume left the wrong content: %v", err)
	}
	// What a killed export left is gone on with, and gets its name.
	rest := make([]byte, len(day1))
	copy(rest, day1[:len(day1)/2])
	if err := os.WriteFile(filepath.Join(dir, "killed.partial"), rest, 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, at("export", "day1", "--repo", repo, "--to", filepath.Join(dir, "killed"), "--resume")...)
	if got, err := os.ReadFile(filepath.Join(dir, "killed")); err != nil || !bytes.Equal(got, day1) {
		t.Errorf("a killed export that was gone on with: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "killed.partial")); err == nil {
		t.Error("the partial file is still there")
	}
	if out := must(t, at("diff", "day0", "day1", "--repo", repo)...); !strings.HasPrefix(out, "1048576\t131072\n") {
		t.Errorf("diff: %s", out)
	}
	// A ledger whose end is gone: the points that it had named are told of.
	cut := filepath.Join(dir, "cut")
	if err := os.CopyFS(cut, os.DirFS(repo)); err != nil {
		t.Fatal(err)
	}
	records, err := filepath.Glob(filepath.Join(cut, "ledger", "*"))
	if err != nil || len(records) < 3 {
		t.Fatalf("%v, %v", records, err)
	}
	for _, r := range records[len(records)-2:] {
		if err := os.Remove(r); err != nil {
			t.Fatal(err)
		}
	}
	if out := must(t, at("check", cut)...); !strings.Contains(out, "a whole point that the ledger does not name") || strings.Contains(out, "You can sleep well") {
		t.Errorf("check of a ledger whose end is gone: %s", out)
	}
	other := filepath.Join(dir, "other")
	must(t, at("init", other)...)
	must(t, at("copy", "day0", "day1", "--from", repo, "--to", other)...)
	must(t, at("verify", other)...)
	newKey := filepath.Join(dir, "new-key")
	must(t, at("key", "rotate", repo, "--new-key-file", newKey)...)
	if _, err := run(t, at("points", repo)...); exitCode(err) != 4 {
		t.Errorf("the old key: %v", err)
	}
	key = newKey
	must(t, at("delete", "day0", "--repo", repo)...)
	must(t, at("collect", repo)...)
	lose(t, repo)
	if out := must(t, at("recover", repo)...); !strings.Contains(out, "ledger was rebuilt") {
		t.Errorf("recover: %s", out)
	}
	must(t, at("check", repo)...)
	must(t, at("verify", repo)...)
	if out := must(t, at("points", repo)...); !strings.Contains(out, "day1") || strings.Contains(out, "day0") {
		t.Errorf("points: %s", out)
	}
	must(t, at("info", repo, "--json")...)
}

// lose damages every record and state of the ledger, and the config.
func lose(t *testing.T, repo string) {
	t.Helper()
	err := filepath.WalkDir(repo, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(repo, path)
		if strings.HasPrefix(rel, "ledger/") || strings.HasPrefix(rel, "state/") || strings.HasPrefix(rel, "config") {
			return os.Truncate(path, 30)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func exitCode(err error) int {
	if e, ok := err.(interface{ ExitCode() int }); ok {
		return e.ExitCode()
	}
	return 0
}

// What is wrong with a command line is said before anything is done.
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOLDFAST_PASSPHRASE", "")
	for want, args := range map[string][]string{
		"no key":             {"points", dir},
		"HOLDFAST_NEW_PASSP": {"key", "add", dir},
		"unknown flag":       {"points", dir, "--nonsense"},
		"required flag":      {"import", "x", "--repo", dir},
	} {
		if _, err := run(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
	t.Setenv("HOLDFAST_PASSPHRASE", "x")
	if _, err := run(t, "points", dir); exitCode(err) != 3 {
		t.Errorf("no repository: %v", err)
	}
}
