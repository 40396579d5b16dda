package backup_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast"
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
