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

	"golang.org/x/sync/errgroup"

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
	if a.Find {
		if res.Points, res.Unread, err = find(ctx, r); err != nil {
			return res, mover.Explain(err, a.Repository.URL)
		}
	}
	if a.HoldDays > 0 {
		err := r.SetRetention(ctx, time.Duration(a.HoldDays)*24*time.Hour)
		if err != nil && !errors.Is(err, repository.ErrNoRetention) {
			return res, mover.Explain(err, a.Repository.URL)
		}
		res.CanHold = err == nil
	}
	return res, nil
}

// readers is how many points are read at once.
const readers = 16

// find reads what the points of a repository say of themselves. Points that are
// of no VM are passed over, damaged ones named; one that a newer version has
// written is an error.
func find(ctx context.Context, r *repository.Repository) (found []holdfast.FoundPoint, unread []string, err error) {
	points, err := r.Points(ctx, "")
	if err != nil {
		return nil, nil, err
	}
	all, damaged := make([]holdfast.FoundPoint, len(points)), make([]bool, len(points))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for i, p := range points {
		group.Go(func() (err error) {
			all[i], err = read(ctx, r, p)
			if errors.Is(err, repository.ErrDamaged) || err != nil && holdfast.KindOf(err) == holdfast.Damaged {
				damaged[i], err = true, nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	for i, p := range points {
		switch {
		case damaged[i]:
			unread = append(unread, p.ID)
		case all[i].Series != "":
			found = append(found, all[i])
		}
	}
	return found, unread, nil
}

// read is what one point says of itself; nothing if it is of no VM, as one that
// the repository's own tools have made.
func read(ctx context.Context, r *repository.Repository, p repository.Point) (holdfast.FoundPoint, error) {
	p, err := r.Point(ctx, p.ID)
	if err != nil || len(p.Attributes) == 0 {
		return holdfast.FoundPoint{}, err
	}
	man, err := mover.ReadManifest(p)
	return holdfast.FoundPoint{Series: p.Series, VM: man.VM.VMRef, Backup: man.Result(p.ID)}, err
}

// Stored is how much a repository keeps in its store, by its ledger and index.
func (m Mover) Stored(ctx context.Context, ref holdfast.RepositoryRef) (int64, error) {
	r, err := m.Opener.Repository(ctx, ref)
	if err != nil {
		return 0, mover.Explain(err, ref.URL)
	}
	info, err := r.Info(ctx)
	return info.Stored, mover.Explain(err, ref.URL)
}

// Usable says whether the server has the key of a repository.
func (m Mover) Usable(ref holdfast.RepositoryRef) error {
	return mover.Explain(m.Opener.HasKey(ref), ref.URL)
}

// TryKey says whether a key service seals and opens with a key.
func (m Mover) TryKey(ctx context.Context, url string) error {
	return mover.Explain(mover.TryKey(ctx, url), url)
}
