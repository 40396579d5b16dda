package examine_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/disk/disktest"
	"holdfast/internal/mover"
	"holdfast/internal/mover/content"
	"holdfast/internal/mover/examine"
	"holdfast/internal/objstore"
	"holdfast/internal/objstore/open"
	"holdfast/internal/repository"
)

// place is an operational repository with two points.
type place struct {
	ref    holdfast.RepositoryRef
	dir    string
	opener *mover.Opener
	args   holdfast.ExamineArgs
}

func newPlace(t *testing.T) *place {
	t.Helper()
	data := t.TempDir()
	p := &place{dir: filepath.Join(data, "operational", "here")}
	p.ref = holdfast.RepositoryRef{URL: "file://" + p.dir, KeyID: "operational-here", Quick: true}
	p.args = holdfast.ExamineArgs{Repository: p.ref, Points: []string{"1", "2", "3"}}
	p.opener = &mover.Opener{KeyDir: filepath.Join(data, "keys"), CacheDir: filepath.Join(data, "cache"), Owner: repository.Owner{ID: data, Instance: rand.Text()},
		OpenStore: func(ctx context.Context, url string, create bool) (objstore.Store, error) {
			if create {
				return open.Create(ctx, url)
			}
			return open.Open(ctx, url)
		}}
	t.Cleanup(func() { _ = p.opener.Close() })
	r, _, err := p.opener.Operational(t.Context(), p.ref)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{"1", "2"} {
		w, err := r.Begin(t.Context(), repository.PointSpec{ID: id, Series: id, Created: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		content := disktest.New(2 << 20)
		disktest.Fill(content.Bytes, uint64(i+1))
		if _, err := w.Disk(t.Context(), repository.DiskSpec{Name: "vda"}, content); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(t.Context(), repository.Manifest{Time: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// unreadable are the points of which a health says so.
func unreadable(h holdfast.Health, err error) string {
	var ids []string
	for _, id := range []string{"1", "2", "3"} {
		if h.Unreadable[id] != "" {
			ids = append(ids, id)
		}
	}
	if err != nil {
		ids = append(ids, err.Error())
	}
	return strings.Join(ids, " ")
}

// TestLook: what is not there is told, also when all of it is away, and not any more
// once it is back.
func TestLook(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	m := examine.Mover{Opener: p.opener}
	look := func(want string) {
		t.Helper()
		if got := unreadable(m.Look(t.Context(), p.args)); got != want {
			t.Errorf("unreadable %q, want %q", got, want)
		}
	}
	look("3")
	if err := os.Rename(p.dir, p.dir+".away"); err != nil {
		t.Fatal(err)
	}
	look("1 2 3")
	if _, err := os.Stat(p.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("looking has made it: %v", err)
	}
	if err := os.Rename(p.dir+".away", p.dir); err != nil {
		t.Fatal(err)
	}
	look("3")
	key := filepath.Join(p.opener.KeyDir, "operational-here.key")
	if err := errors.Join(os.Rename(key, key+".away"), p.opener.Close()); err != nil {
		t.Fatal(err)
	}
	look("1 2 3")
}

// TestExamine: a byte that was flipped where nobody looked is found.
func TestExamine(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	m := examine.Mover{Opener: p.opener}
	if got := unreadable(m.Examine(t.Context(), p.args)); got != "3" {
		t.Errorf("unreadable %q", got)
	}
	packs, err := filepath.Glob(filepath.Join(p.dir, "packs", "*", "*"))
	if err != nil || len(packs) < 4 {
		t.Fatalf("packs %v, %v", packs, err)
	}
	largest, whole := "", []byte(nil)
	for _, path := range packs {
		if b, err := os.ReadFile(path); err == nil && len(b) > len(whole) {
			largest, whole = path, b
		}
	}
	harmed := bytes.Clone(whole)
	harmed[len(harmed)/2] ^= 1
	if err := os.WriteFile(largest, harmed, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := unreadable(m.Look(t.Context(), p.args)); got != "3" {
		t.Errorf("a look: unreadable %q", got)
	}
	if got := unreadable(m.Examine(t.Context(), p.args)); len(got) != len("1 3") {
		t.Errorf("one of the two is hurt: unreadable %q", got)
	}
	if err := os.WriteFile(largest, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := unreadable(m.Examine(t.Context(), p.args)); got != "3" {
		t.Errorf("put right: unreadable %q", got)
	}
}

// TestAsides: what was set aside is listed with its size, and nothing else is.
func TestAsides(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if _, err := p.opener.SetAside(p.ref, errors.New("a test")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(p.dir+"2.damaged-1", 0o700); err != nil { // another site's
		t.Fatal(err)
	}
	all, err := examine.Mover{}.Asides(t.Context(), p.ref)
	if err != nil || len(all) != 1 || all[0].Path != p.dir+".damaged-1" || all[0].Bytes < 1<<20 {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestGone: who reads a disk of a point whose repository is away is told what to do.
func TestGone(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if err := errors.Join(p.opener.Close(), os.RemoveAll(p.dir)); err != nil {
		t.Fatal(err)
	}
	_, err := content.Mover{Repositories: p.opener.Repository}.OpenDisk(t.Context(), p.ref, "1", "vda")
	var said *holdfast.Error
	if !errors.As(err, &said) || said.Kind != holdfast.Damaged || !strings.Contains(said.Hint, "Put its directory back") {
		t.Errorf("%v", err)
	}
}
