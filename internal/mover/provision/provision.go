// Package provision makes the repository of a new vault, or finds the one that
// is there.
//
// It promises that a place that holds anything but a Holdfast repository of
// this key is refused and left as it was. It does not choose places or keys.
package provision

import (
	"context"
	"errors"
	"time"

	"holdfast"
	"holdfast/internal/mover"
	"holdfast/internal/repository"
)

// Mover provisions repositories.
type Mover struct {
	Opener *mover.Opener
}

// Provision makes or finds the repository. An existing repository is attached
// when the key opens it: a fresh server finds all points of a vault again.
func (m Mover) Provision(ctx context.Context, a holdfast.ProvisionArgs) (holdfast.ProvisionResult, error) {
	r, err := m.Opener.Make(ctx, a.Repository)
	if err != nil {
		return holdfast.ProvisionResult{}, mover.Explain(err, a.Repository.URL)
	}
	res := holdfast.ProvisionResult{RepositoryID: r.ID()}
	if a.HoldDays > 0 {
		err := r.SetRetention(ctx, time.Duration(a.HoldDays)*24*time.Hour)
		if err != nil && !errors.Is(err, repository.ErrNoRetention) {
			return res, mover.Explain(err, a.Repository.URL)
		}
		res.CanHold = err == nil
	}
	return res, nil
}

// Usable says whether the server has the key of a repository.
func (m Mover) Usable(ref holdfast.RepositoryRef) error {
	return mover.Explain(m.Opener.HasKey(ref), ref.URL)
}
