package backup

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/disk/disktest"
	"holdfast/internal/keyring"
	"holdfast/internal/matrix"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
)

// TestElsewhere: points that wait in other operational repositories are copied. What
// cannot be read, since its key is not given, waits on, what is lost is said, and
// neither keeps the newest point out of the vault.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RPT-27")
	made := func(ids ...string) *repository.Repository {
		r, err := repository.Init(t.Context(), mem.New(mem.Options{}), keyring.WeakPassphrase("x"), repository.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		for _, id := range ids {
			w, err := r.Begin(t.Context(), repository.PointSpec{ID: id, Series: "vm", Created: time.Unix(1, 0)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Disk(t.Context(), repository.DiskSpec{Name: "vda"}, disktest.New(1<<20)); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Commit(t.Context(), repository.Manifest{Time: time.Unix(1, 0)}); err != nil {
				t.Fatal(err)
			}
		}
		return r
	}
	set, vault := made("1"), made()
	mine, taken := holdfast.RepositoryRef{URL: "mem://mine"}, holdfast.RepositoryRef{URL: "mem://taken"}
	p := &warned{}
	tr := &transfer{from: made("4"), to: vault, progress: p, log: slog.New(slog.DiscardHandler),
		args: holdfast.BackupArgs{PointID: "4", Series: "item", Elsewhere: []holdfast.PointRef{{Repository: mine, PointID: "1"}, {Repository: mine, PointID: "2"}, {Repository: taken, PointID: "3"}}},
		repositories: func(_ context.Context, ref holdfast.RepositoryRef) (*repository.Repository, error) {
			if ref == taken {
				return nil, holdfast.Errorf(holdfast.WrongKey, "key", "The key hashivault://mine is not given.")
			}
			return set, nil
		}}
	if err := tr.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(tr.res.Copied, []string{"1"}) || !slices.Equal(tr.res.Lost, []string{"2"}) {
		t.Errorf("copied %v, lost %v", tr.res.Copied, tr.res.Lost)
	}
	if len(p.warnings) != 2 || !strings.Contains(p.warnings[0], "2 was not in the vault yet") || !strings.Contains(p.warnings[1], "hashivault://mine") {
		t.Errorf("said: %q", p.warnings)
	}
	points, err := vault.Points(t.Context(), "item")
	if err != nil || len(points) != 2 {
		t.Errorf("the vault has %v, %v", points, err)
	}
}
