package service

import (
	"context"
	"errors"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

// kindBackup is the job that makes a recovery point.
const kindBackup = "backup"

const (
	// onDemandLife is how long an on-demand point is kept when its request does
	// not say, as in Azure.
	onDemandLife = 30 * 24 * time.Hour
	// maxLife is the longest retention (FRQ-02).
	maxLifeYears = 99
)

// BackupNow starts a backup of an item. expires is when its point may go; zero
// is 30 days from now. A second backup of one item at a time is a Conflict.
func (s *Service) BackupNow(ctx context.Context, item string, expires time.Time) (job.Job, error) {
	now := s.Clock()
	if expires.IsZero() {
		expires = now.Add(onDemandLife)
	}
	if err := checkExpiry("properties.recoveryPointExpiryTimeInUTC", expires, now); err != nil {
		return job.Job{}, err
	}
	return s.backUp(ctx, item, expires)
}

// backUp starts a backup of an item; a point whose expires is zero is kept as the
// policy says.
func (s *Service) backUp(ctx context.Context, item string, expires time.Time) (job.Job, error) {
	i, err := s.Item(ctx, item)
	if err != nil {
		return job.Job{}, err
	}
	if i.Held != Active {
		return job.Job{}, holdfast.Errorf(holdfast.Unsupported, i.VM, "The protection of %q is stopped: %s.", i.VM, i.Held).WithHint("Resume it with a policy first.")
	}
	vm, err := s.machineOf(ctx, i)
	if err != nil {
		return job.Job{}, err
	}
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) {
		i, err := findItem(tx, i.ID)
		if err != nil {
			return job.Job{}, err
		}
		if err := s.supported(tx, vm, i.Exclusion, holdfast.GuestFact{}); err != nil {
			return job.Job{}, err
		}
		if err := s.hasRoom(tx, i); err != nil {
			return job.Job{}, err
		}
		if err := job.Idle(tx, creationOf(vm.ID), vm.Name); err != nil {
			return job.Job{}, err
		}
		if !expires.IsZero() { // else it stands for a scheduled one
			if err := s.checkOnDemand(tx, i); err != nil {
				return job.Job{}, err
			}
		}
		return s.enqueueBackup(ctx, tx, i, vm, expires)
	})
}

// hasRoom refuses a backup of an item that has as many points as it may have
// (FRQ-01), and names the lock that keeps the old ones (ACT-03).
func (s *Service) hasRoom(tx *catalog.Tx, i Item) error {
	n, err := tx.Count(catalog.Query{Type: resource.TypePoint, Parent: i.ID})
	if err != nil || n < s.maxPoints {
		return err
	}
	l, locked, err := resource.LockOn(tx, i.ID, true)
	if err != nil {
		return err
	}
	if locked {
		return holdfast.Errorf(holdfast.Unsupported, l.ID, "%q has %d recovery points, as many as it may have, and the lock %s keeps expired ones from being deleted.", i.VM, n, l.ID).
			WithHint("Remove the lock; the next clean-up makes room.")
	}
	return holdfast.Errorf(holdfast.Unsupported, i.VM, "%q has %d recovery points, as many as it may have.", i.VM, n).
		WithHint("Shorten how long points are kept; the next clean-up makes room.")
}

// checkExpiry judges until when a point shall be kept (FRQ-02).
func checkExpiry(member string, expires, now time.Time) error {
	if !expires.After(now) {
		return holdfast.Errorf(holdfast.Invalid, member, "%s is %s, which has passed.", member, expires.Format(time.RFC3339))
	}
	if expires.After(now.AddDate(maxLifeYears, 0, 1)) {
		return holdfast.Errorf(holdfast.Invalid, member, "%s is %s; a point is kept %d years at most.", member, expires.Format(time.RFC3339), maxLifeYears)
	}
	return nil
}

// machineOf finds the VM of an item, and sees that it is still the same machine.
func (s *Service) machineOf(ctx context.Context, i Item) (VM, error) {
	src := resource.IDOf(i.Source)
	vm, err := s.VM(ctx, src.Subscription, src.Group, src.Name())
	if err != nil {
		return vm, err
	}
	if vm.UUID != i.UUID {
		return vm, holdfast.Errorf(holdfast.Conflict, i.VM, "The VM %q is another machine now (UUID %s); the protected one had UUID %s.", i.VM, vm.UUID, i.UUID).
			WithHint("Protect it again to go on with this machine under the same history.")
	}
	return vm, nil
}

// backupDone applies what a backup found, in the transaction that ends its job.
func (s *Service) backupDone(tx *catalog.Tx, jobID string, a holdfast.BackupArgs, r holdfast.BackupResult, runErr error) error {
	j, err := job.Get(tx, jobID)
	if err != nil {
		return err
	}
	i, err := findItem(tx, j.Subject)
	if err != nil {
		return err
	}
	s.roomAgain(tx)
	i.LastBackupTime, i.LastBackupStatus = j.Created, "Failed"
	if runErr == nil {
		i.LastBackupStatus = "Completed"
		if err := errors.Join(arrived(tx, i, r), pointMade(tx, &i, a, r, false)); err != nil {
			return err
		}
	} else if _, err := findPoint(tx, i.ID, a.PointID); err != nil && j.Attempts > 1 {
		i.Left = append(i.Left, holdfast.PointRef{Repository: a.Operational, PointID: a.PointID})
	}
	return putItem(tx, i)
}
