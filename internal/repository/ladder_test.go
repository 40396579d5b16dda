package repository_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"holdfast/internal/keyring"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
	"holdfast/internal/repository/seal"
)

// withConfig is a golden repository whose config says other versions.
func withConfig(t *testing.T, format, minReader, minWriter int) *mem.Store {
	t.Helper()
	store := golden(t, 1)
	for _, name := range []string{"config.a", "config.b"} {
		content, err := seal.OpenPlainBox(seal.Config, fetch(t, store, name))
		if err != nil {
			t.Fatal(err)
		}
		var cfg repository.Config
		if err := json.Unmarshal(content, &cfg); err != nil {
			t.Fatal(err)
		}
		cfg.Format, cfg.MinReader, cfg.MinWriter = format, minReader, minWriter
		if content, err = json.Marshal(cfg); err != nil {
			t.Fatal(err)
		}
		replace(t, store, name, seal.PlainBox(seal.Config, content))
	}
	return store
}

// The ladder of repository-format.md: a newer format that this release can read
// and write, one that it can only read, one that it can't, and none.
func TestLadder(t *testing.T) {
	t.Parallel()
	const now, next = repository.Format, repository.Format + 1
	store := withConfig(t, next, now, now)
	r := openRepo(t, store, repository.Options{})
	p := mustBackup(t, r, "new", "s", nil, &memDisk{data: goldenDisk(1)})
	mustRestore(t, r, p, goldenDisk(1))

	_, err := repository.Open(t.Context(), withConfig(t, next, next, next), testKey, repository.Options{})
	if !errors.Is(err, repository.ErrVersion) || errors.Is(err, repository.ErrDamaged) || !strings.Contains(err.Error(), "format 3") || !strings.Contains(err.Error(), "knows 1 to 2") {
		t.Errorf("a format that is too new: %v", err)
	}
	_, _, err = repository.Recover(t.Context(), withConfig(t, next, next, next), testKey, repository.Options{})
	if !errors.Is(err, repository.ErrVersion) {
		t.Errorf("recovery of a format that is too new: %v", err)
	}
	_, err = repository.Open(t.Context(), withConfig(t, 0, 0, 0), testKey, repository.Options{})
	if !errors.Is(err, repository.ErrDamaged) {
		t.Errorf("no format at all: %v", err)
	}
}

// A repository that this release may only read is read in full and not changed
// in a single object, whatever is asked.
func TestReadOnlyFormat(t *testing.T) {
	t.Parallel()
	const now, next = repository.Format, repository.Format + 1
	store := withConfig(t, next, now, next)
	before := objects(t, store)
	r := openRepo(t, store, repository.Options{})
	for n, id := range []string{"p0", "p1", "p2"} {
		p, err := r.Point(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		mustRestore(t, r, p, goldenDisk(n))
	}
	if rep, err := r.Check(t.Context(), repository.CheckOptions{}); err != nil || len(rep.Findings) > 0 {
		t.Errorf("check: %+v, %v", rep, err)
	}
	if _, err := r.Verify(t.Context(), repository.VerifyOptions{}); err != nil {
		t.Error(err)
	}
	key := keyring.Raw(keyring.Secret{5})
	for name, do := range map[string]func() error{
		"begin":     func() error { _, err := r.Begin(t.Context(), repository.PointSpec{ID: "x"}); return err },
		"delete":    func() error { return r.DeletePoint(t.Context(), "p0") },
		"collect":   func() error { _, err := r.Collect(t.Context(), repository.CollectOptions{}); return err },
		"repair":    func() error { _, err := r.Check(t.Context(), repository.CheckOptions{Repair: true}); return err },
		"retention": func() error { return r.SetRetention(t.Context(), 0) },
		"add key":   func() error { _, err := r.AddKey(t.Context(), key, ""); return err },
		"rotate":    func() error { _, err := r.RotateKey(t.Context(), key, ""); return err },
		"remove":    func() error { return r.RemoveKey(t.Context(), "x") },
		"recover": func() error {
			_, _, err := repository.Recover(t.Context(), store, testKey, repository.Options{})
			return err
		},
	} {
		if err := do(); !errors.Is(err, repository.ErrVersion) {
			t.Errorf("%s: %v", name, err)
		}
	}
	after := objects(t, store)
	if len(before) != len(after) || countObjects(t, store, "keys/") != 6 {
		t.Errorf("the store was changed: %v, was %v", after, before)
	}
}
