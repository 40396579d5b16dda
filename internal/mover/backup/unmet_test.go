package backup_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast"
	"holdfast/internal/mover/deletion"
	"holdfast/internal/mover/examine"
)

// TestRestorePointOnUnmetDamage: a restore point that is made while the operational
// repository has damage which nobody has met can be read all the same, and the one
// before says that it can't, or can again.
func TestRestorePointOnUnmetDamage(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.vault = l.site // there is no other tier to fall back to
	moments := []byte{1}
	l.write(1)
	_, err := l.restorePoint(l.args().RestorePoint(), &told{})
	must(t, err)
	for name, harm := range map[string]func(path string, b []byte) error{
		"flipped": func(path string, b []byte) error { b[len(b)/2] ^= 1; return os.WriteFile(path, b, 0o600) },
		"cut":     func(path string, b []byte) error { return os.Truncate(path, int64(len(b)/2)) },
		"deleted": func(path string, _ []byte) error { return os.Remove(path) },
	} {
		must(t, filepath.WalkDir(filepath.Join(l.dir, "operational", "packs"), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return harm(path, b)
		}))
		l.serve()
		next := byte(len(moments) + 1)
		l.write(next)
		moments = append(moments, next)
		a, p := l.args().RestorePoint(), &told{}
		_, err := l.restorePoint(a, p)
		must(t, err)
		if !p.full() && !strings.Contains(strings.Join(p.warnings, " "), "damaged") {
			t.Errorf("%s: %v, %q", name, p.properties, p.warnings)
		}
		l.serve()
		l.restored(a.PointID, false, moments...)
	}
	h, err := examine.Mover{Opener: l.opener}.Examine(t.Context(), holdfast.ExamineArgs{Repository: l.site, Points: []string{"001", "004"}})
	must(t, err)
	if h.Unreadable["001"] == "" || h.Unreadable["004"] != "" {
		t.Errorf("then: %+v; the first was of moments that nobody has any more", h)
	}
}

// TestCheckpointGoesWithItsPoint: a machine keeps our checkpoint as long as a point
// carries it and no longer; what a host that is away keeps is said, and goes later.
func TestCheckpointGoesWithItsPoint(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.vault = l.site
	for range 2 {
		_, err := l.restorePoint(l.args().RestorePoint(), &told{})
		must(t, err)
	}
	want := func(n int, when string) {
		t.Helper()
		if have := l.checkpoints(); len(have) != n {
			t.Errorf("%s: checkpoints %v, want %d", when, have, n)
		}
	}
	want(1, "two points")
	l.remove(holdfast.DeletePointsArgs{PointIDs: []string{"001"}})
	want(1, "the older one is gone")
	at := l.siteRef()
	at.URI = "test:///no/such/host"
	m := deletion.Mover{Repositories: l.opener.Repository, Drop: l.maker.Drop}
	p := &told{}
	res, err := m.Run(t.Context(), holdfast.DeletePointsArgs{Repository: l.site, PointIDs: []string{"002"}, Hosts: []holdfast.SiteRef{at}}, p)
	must(t, err)
	if len(res.Orphans) != 1 || len(p.warnings) != 1 {
		t.Errorf("the host is away: %+v, %q", res, p.warnings)
	}
	want(1, "the host is away")
	l.wantIn(l.site, "the host is away")
	_, err = m.Run(t.Context(), holdfast.DeletePointsArgs{Orphans: res.Orphans, Hosts: []holdfast.SiteRef{l.siteRef()}}, &told{})
	must(t, err)
	want(0, "the host is back")

	_, err = l.restorePoint(l.args().RestorePoint(), &told{})
	must(t, err)
	want(1, "another point")
	l.remove(holdfast.DeletePointsArgs{PointIDs: []string{"003"}})
	want(0, "the last is gone")
}
