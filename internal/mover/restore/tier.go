package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"holdfast"
	"holdfast/internal/mover"
	"holdfast/internal/repository"
)

// The tiers that a point is read from, as the job tells them.
const (
	tierInstant = "snapshot (instant tier)"
	tierVault   = "vault"
)

// openPoint finds the point and its manifest: in the operational repository, if
// it may be there, else in the vault.
func (r *run) openPoint(ctx context.Context, m Mover) error {
	r.mover = m
	var instant error
	if r.args.Instant != (holdfast.RepositoryRef{}) && r.args.Instant != r.args.Repository {
		instant = r.openIn(ctx, r.args.Instant)
		if instant == nil {
			r.vaultToo = true
			r.progress.Property("Read from", tierInstant)
			return nil
		}
		if ctx.Err() != nil {
			return instant
		}
	}
	err := r.openIn(ctx, r.args.Repository)
	if errors.Is(err, repository.ErrNoPoint) && instant != nil {
		return instant // it should have been there
	}
	if err != nil {
		return err
	}
	if instant != nil && !errors.Is(instant, repository.ErrNoPoint) {
		r.progress.Warn(fmt.Sprintf("The point could not be read from the instant tier, and is read from the vault: %v.", instant))
	}
	r.progress.Property("Read from", tierVault)
	return nil
}

func (r *run) openIn(ctx context.Context, ref holdfast.RepositoryRef) error {
	repo, err := r.mover.Repositories(ctx, ref)
	if err != nil {
		return mover.Gone(ref, err)
	}
	p, err := repo.Point(ctx, r.args.PointID)
	if err != nil {
		return err
	}
	man, err := mover.ReadManifest(p)
	if err == nil {
		r.repo, r.point, r.manifest = repo, p, man
	}
	return err
}

// fromVault goes on from the vault after a disk could not be read from the
// instant tier, and says whether that is possible: the point has to be there, and
// what failed must not be the writing.
func (r *run) fromVault(ctx context.Context, target string, err error) bool {
	if !r.vaultToo || ctx.Err() != nil || errors.Is(err, syscall.ENOSPC) || r.openIn(ctx, r.args.Repository) != nil {
		return false
	}
	r.vaultToo = false
	_ = os.Remove(r.staging.path(r.name(target))) // what was written of it
	r.progress.Property("Read from", tierInstant+", then "+tierVault)
	r.progress.Warn(fmt.Sprintf("Disk %s could not be read from the instant tier, and is read from the vault: %v.", target, err))
	return true
}
