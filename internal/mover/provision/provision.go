// Package provision makes the repository of a new vault, or finds the one that
// is there.
//
// It promises that a place that holds anything but a Holdfast repository of
// this key is refused and left as it was. It does not choose places or keys.
package provision

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"holdfast"
	"holdfast/internal/mover"
	"holdfast/internal/objstore"
	"holdfast/internal/repository"
)

// Mover provisions repositories.
type Mover struct {
	Opener *mover.Opener
}

// Provision makes or finds the repository. An existing repository is attached
// when the key opens it: a fresh server finds all points of a vault again.
func (m Mover) Provision(ctx context.Context, a holdfast.ProvisionArgs) (holdfast.ProvisionResult, error) {
	r, err := m.provision(ctx, a.Repository)
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

func (m Mover) provision(ctx context.Context, ref holdfast.RepositoryRef) (r *repository.Repository, err error) {
	key, undo, err := m.Opener.Key(ref.KeyID)
	if err != nil {
		return nil, err
	}
	tried := false // once a repository may have been made, its key must stay
	defer func() {
		if err != nil && !tried {
			undo()
		}
	}()
	r, err = m.Opener.Repository(ctx, ref)
	if !errors.Is(err, repository.ErrNotRepository) && !errors.Is(err, objstore.ErrNotExist) && !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	store, err := m.Opener.OpenStore(ctx, ref.URL, true)
	if err != nil {
		return nil, err
	}
	for found, err := range store.List(ctx, "", "") {
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(found.Name, "keys/") {
			continue // of a repository whose making was broken off
		}
		return nil, holdfast.Errorf(holdfast.Conflict, ref.URL, "%s holds something else (%s) and no Holdfast repository.", ref.URL, found.Name).
			WithHint("Give an empty place, or one that holds a repository of this key.")
	}
	tried = true
	made, err := repository.Init(ctx, store, key, m.Opener.Options(ref))
	if err != nil {
		return nil, err
	}
	if err := made.Close(); err != nil {
		return nil, err
	}
	return m.Opener.Repository(ctx, ref)
}
