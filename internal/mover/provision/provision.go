// Package provision makes the repository of a new vault, or finds the one that
// is there.
//
// It promises that a place that holds anything but a Holdfast repository of
// this key is refused and left as it was. It does not choose places or keys.
package provision

import (
	"context"
	"errors"

	"holdfast"
	"holdfast/internal/keyring"
	"holdfast/internal/mover"
	"holdfast/internal/objstore"
	"holdfast/internal/repository"
)

// Mover provisions repositories.
type Mover struct {
	// Store opens the place that a URL names, making a directory if need be.
	Store func(ctx context.Context, url string) (objstore.Store, error)
	// Key gives the key of that name, making a new random one if there is none.
	Key func(id string) (keyring.Key, error)
}

// Provision makes or finds the repository. An existing repository is attached
// when the key opens it: a fresh server finds all points of a vault again.
func (m Mover) Provision(ctx context.Context, a holdfast.ProvisionArgs) (holdfast.ProvisionResult, error) {
	id, err := m.provision(ctx, a.Repository)
	return holdfast.ProvisionResult{RepositoryID: id}, mover.Explain(err, a.Repository.URL)
}

func (m Mover) provision(ctx context.Context, ref holdfast.RepositoryRef) (string, error) {
	store, err := m.Store(ctx, ref.URL)
	if err != nil {
		return "", err
	}
	key, err := m.Key(ref.KeyID)
	if err != nil {
		return "", err
	}
	r, err := repository.Init(ctx, store, key, repository.Options{})
	if errors.Is(err, repository.ErrExists) {
		r, err = repository.Open(ctx, store, key, repository.Options{})
	}
	if err != nil {
		return "", err
	}
	return r.ID(), nil
}
