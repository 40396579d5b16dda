package backup

import (
	"context"
	"slices"
	"testing"

	"holdfast"
	"holdfast/internal/hypervisor"
	"holdfast/internal/mover"
	"holdfast/internal/mover/capture"
	"holdfast/internal/objstore"
	"holdfast/internal/repository"
)

// warned is a progress of which the warnings count.
type warned struct {
	holdfast.Progress
	warnings []string
}

func (w *warned) Warn(text string)   { w.warnings = append(w.warnings, text) }
func (*warned) Task(string)          {}
func (*warned) Cancellable(bool)     {}
func (*warned) Reached(any) error    { return nil }
func (*warned) Property(_, _ string) {}
func (*warned) Bytes(_, _ int64)     {}

// What a backup leaves out by itself its job says.
func TestNotesAreSaid(t *testing.T) {
	t.Parallel()
	away := func(context.Context, holdfast.RepositoryRef) (*repository.Repository, error) {
		return nil, repository.ErrNotRepository
	}
	none := func(context.Context, string, bool) (objstore.Store, error) { return nil, objstore.ErrNotExist }
	m := Mover{Repositories: away, Capture: &capture.Maker{Opener: &mover.Opener{KeyDir: t.TempDir(), CacheDir: t.TempDir(), OpenStore: none},
		Hosts: func(context.Context, holdfast.SiteRef) (hypervisor.Host, error) {
			return nil, hypervisor.ErrUnreachable
		}}}
	p := &warned{}
	a := holdfast.BackupArgs{Operational: holdfast.RepositoryRef{URL: "file:///nowhere"}, Notes: []string{"one", "two"}}
	if _, err := m.Run(t.Context(), a, p); err == nil {
		t.Error("a backup into nothing went well")
	}
	if !slices.Equal(p.warnings, a.Notes) {
		t.Errorf("said %q, want %q", p.warnings, a.Notes)
	}
}
