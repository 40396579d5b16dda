package mover_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/mover"
	"holdfast/internal/objstore"
	"holdfast/internal/objstore/open"
	"holdfast/internal/repository"
)

// place is a data directory with the operational repository of one site.
type place struct {
	dir string
	ref holdfast.RepositoryRef
}

func newPlace(t *testing.T) place {
	dir := t.TempDir()
	return place{dir, holdfast.RepositoryRef{URL: "file://" + filepath.Join(dir, "operational", "here"), KeyID: "operational-here"}}
}

func (p place) path() string { return filepath.Join(p.dir, "operational", "here") }

// opener is a server's, as cmd/holdfast makes it.
func (p place) opener(t *testing.T) *mover.Opener {
	t.Helper()
	o := &mover.Opener{KeyDir: filepath.Join(p.dir, "keys"), CacheDir: filepath.Join(p.dir, "cache"), Owner: repository.Owner{ID: p.dir, Instance: rand.Text()},
		OpenStore: func(ctx context.Context, url string, create bool) (objstore.Store, error) {
			if create {
				return open.Create(ctx, url)
			}
			return open.Open(ctx, url)
		}}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// mark leaves an empty point, to know the repository by.
func mark(t *testing.T, r *repository.Repository) {
	t.Helper()
	w, err := r.Begin(t.Context(), repository.PointSpec{ID: "mark", Series: "s", Created: time.Unix(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context(), repository.Manifest{Time: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
}

// TestOperational: an operational repository is made at first use and found
// again; lost or beyond repair it is made anew, with a word to its user, and
// whatever is left of it stays.
func TestOperational(t *testing.T) {
	t.Parallel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		what  string
		spoil func(p place) // nil: nothing
		note  string        // "" is no word: the same repository
		aside bool          // the old one is kept
	}{
		{"nothing happened", nil, "", false},
		{"its directory is gone", func(p place) { must(os.RemoveAll(p.path())) }, "was not there any more", false},
		{"it was emptied", func(p place) { must(os.RemoveAll(p.path())); must(os.Mkdir(p.path(), 0o700)) }, "was not there any more", false},
		{"its config is gone", func(p place) { must(os.Remove(p.path() + "/config.a")); must(os.Remove(p.path() + "/config.b")) }, "set aside", true},
		{"its config is damaged", func(p place) {
			must(os.WriteFile(p.path()+"/config.a", []byte("x"), 0o600))
			must(os.WriteFile(p.path()+"/config.b", []byte("x"), 0o600))
		}, "set aside", true},
		{"its key is gone", func(p place) { must(os.Remove(filepath.Join(p.dir, "keys", p.ref.KeyID+".key"))) }, "set aside", true},
		{"its key is another", func(p place) {
			must(os.Rename(filepath.Join(p.dir, "keys", "other.key"), filepath.Join(p.dir, "keys", p.ref.KeyID+".key")))
		}, "set aside", true},
	} {
		for _, running := range []bool{true, false} {
			t.Run(c.what+map[bool]string{true: " while it is open"}[running], func(t *testing.T) {
				if running && strings.Contains(c.what, "key") {
					t.Skip("a key is read when a repository is opened")
				}
				p := newPlace(t)
				o := p.opener(t)
				r, note, err := o.Operational(t.Context(), p.ref)
				if err != nil || note != "" {
					t.Fatalf("at first use: %q, %v", note, err)
				}
				if _, _, err := o.Key("other"); err != nil {
					t.Fatal(err)
				}
				mark(t, r)
				if !running {
					must(o.Close())
					o = p.opener(t)
				}
				if c.spoil != nil {
					c.spoil(p)
				}
				r, note, err = o.Operational(t.Context(), p.ref)
				if err != nil || !strings.Contains(note, c.note) || (note == "") != (c.note == "") {
					t.Fatalf("%q, %v", note, err)
				}
				_, err = r.Point(t.Context(), "mark")
				if (err == nil) != (c.note == "") || err != nil && !errors.Is(err, repository.ErrNoPoint) {
					t.Errorf("the old repository is there: %v", err)
				}
				if left, err := filepath.Glob(p.path() + ".damaged-*/ledger"); err != nil || (len(left) == 1) != c.aside {
					t.Errorf("set aside: %v, %v", left, err)
				}
				if _, note, err := o.Operational(t.Context(), p.ref); err != nil || note != "" {
					t.Errorf("then: %q, %v", note, err)
				}
			})
		}
	}
}

// TestOperationalAway: storage that does not answer is an error and no reason to
// make anything anew.
func TestOperationalAway(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	o := p.opener(t)
	if _, _, err := o.Operational(t.Context(), p.ref); err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = p.opener(t)
	away := errors.New("the disk does not answer")
	works := o.OpenStore
	o.OpenStore = func(context.Context, string, bool) (objstore.Store, error) { return nil, away }
	if _, _, err := o.Operational(t.Context(), p.ref); !errors.Is(err, away) {
		t.Errorf("%v, want %v", err, away)
	}
	o.OpenStore = works
	if _, note, err := o.Operational(t.Context(), p.ref); err != nil || note != "" {
		t.Errorf("when it is back: %q, %v", note, err)
	}
}

// TestOperationalGiven: a place that somebody chose is not made: its file system may
// not be mounted. What cannot be used there is set aside all the same.
func TestOperationalGiven(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.ref.Given = true
	o := p.opener(t)
	away := func(what string) {
		t.Helper()
		if _, note, err := o.Operational(t.Context(), p.ref); holdfast.KindOf(err) != holdfast.Unreachable || note != "" {
			t.Errorf("%s: %q, %v", what, note, err)
		}
		if _, err := os.Stat(p.path()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s, and yet there is a directory: %v", what, err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	away("before it was made")
	must(os.MkdirAll(p.path(), 0o700))
	r, _, err := o.Operational(t.Context(), p.ref)
	must(err)
	mark(t, r)
	must(os.Rename(p.path(), p.path()+".elsewhere"))
	away("not mounted")
	must(os.Rename(p.path()+".elsewhere", p.path()))
	r, note, err := o.Operational(t.Context(), p.ref)
	must(err)
	if _, err := r.Point(t.Context(), "mark"); err != nil || note != "" {
		t.Errorf("mounted again: %q, %v", note, err)
	}
	_, err = o.SetAside(p.ref, errors.New("a test"))
	must(err)
	r, _, err = o.Operational(t.Context(), p.ref)
	must(err)
	if _, err := r.Point(t.Context(), "mark"); !errors.Is(err, repository.ErrNoPoint) {
		t.Errorf("set aside: %v", err)
	}
}
