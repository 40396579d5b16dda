package service

import (
	"context"
	"fmt"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

// kindDelete is the job that deletes the points of an item.
const kindDelete = "delete"

// Unregister takes a container out of a vault. One with an item in it, be it
// soft-deleted, stays; without an item there is none.
func (s *Service) Unregister(ctx context.Context, vault, container string) error {
	_, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) {
		if _, err := findVault(tx, vault); err != nil {
			return nil, err
		}
		items, err := resource.List(tx, catalog.Query{Type: resource.TypeItem, Parent: vault}, decodeItem)
		for _, i := range items {
			if err == nil && resource.SameName("IaasVMContainer;"+resource.ItemName(i.Group, i.VM), container) {
				err = holdfast.Errorf(holdfast.Conflict, container, "The container %q still has the protected item %q.", container, i.VM).
					WithHint("Delete its data first; with soft delete it goes when its days are over.")
			}
		}
		return nil, err
	})
	return err
}

// DeleteItem ends the protection of an item and gives up its points. With soft
// delete on, as it is in a new vault, nothing goes yet: the item is marked, and
// Undelete brings it back. With soft delete off a job deletes the points from
// the repository, and the item goes when they are gone.
func (s *Service) DeleteItem(ctx context.Context, id string) (job.Job, error) {
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) {
		i, err := findItem(tx, id)
		if err != nil {
			return job.Job{}, err
		}
		v, err := findVault(tx, i.Vault)
		if err != nil {
			return job.Job{}, err
		}
		if err := job.Idle(tx, backupOf(i.ID), i.VM); err != nil {
			return job.Job{}, err
		}
		if !i.DeleteAfter.IsZero() { // also when soft delete was turned off since
			return job.Job{}, holdfast.Errorf(holdfast.Conflict, i.VM, "The item %q is deleted already; its data is kept until %s.", i.VM, i.DeleteAfter.Format(time.RFC3339))
		}
		if err := mayDelete(tx, v, i); err != nil {
			return job.Job{}, err
		}
		if err := permitted(ctx, tx, v, deleteItem); err != nil {
			return job.Job{}, err
		}
		if v.Setting("securitySettings", "softDeleteSettings", "softDeleteState") == "Disabled" {
			return s.deleteNow(ctx, tx, v, i)
		}
		i.Held, i.Policy, i.DeleteAfter = Stopped, "", tx.Now().AddDate(0, 0, v.SoftDeleteDays())
		if err := putItem(tx, i); err != nil {
			return job.Job{}, err
		}
		if err := s.tellDeleted(tx, v, i, holdfast.Alert{
			Message: fmt.Sprintf("%s deleted the recovery points of %s. They are kept until %s.", nameOr(resource.Caller(ctx), "Somebody"), i.VM, i.DeleteAfter.Format(time.RFC3339)),
			Hint:    "If that was not meant: holdfast protect undelete " + i.VM}); err != nil {
			return job.Job{}, err
		}
		return job.Record(tx, i.spec(ctx, "DeleteBackupData"))
	})
}

// Undelete brings a soft-deleted item back; its protection stays stopped.
func (s *Service) undelete(ctx context.Context, tx *catalog.Tx, i Item) (job.Job, error) {
	if i.DeleteAfter.IsZero() {
		return job.Job{}, holdfast.Errorf(holdfast.Unsupported, "properties.isRehydrate", "The item %q is not soft-deleted; there is nothing to undelete.", i.VM)
	}
	i.DeleteAfter = time.Time{}
	if err := putItem(tx, i); err != nil {
		return job.Job{}, err
	}
	if err := s.Alerts.Resolve(tx, deletionOf(i)); err != nil {
		return job.Job{}, err
	}
	return job.Record(tx, i.spec(ctx, "Undelete"))
}

// purge deletes a soft-deleted item for good once its time is over, unless a
// lock or the vault's immutability keeps it.
func (s *Service) purge(ctx context.Context, tx *catalog.Tx, v Vault, i Item, now time.Time) error {
	if i.DeleteAfter.After(now) || s.Delete == nil {
		return nil
	}
	if _, locked, err := resource.LockOn(tx, i.ID, true); err != nil || locked {
		return err
	}
	if mayDelete(tx, v, i) != nil {
		return nil // when the last of its points has expired
	}
	_, err := s.deleteNow(ctx, tx, v, i)
	return err
}

// notRestored refuses while a restore of an item runs: a VM may run on its point.
func notRestored(tx *catalog.Tx, i Item) error {
	running, err := job.List(tx, job.Filter{Subject: i.ID, Operation: "Restore", Running: true, Limit: 1})
	if err != nil || len(running) == 0 {
		return err
	}
	return holdfast.Errorf(holdfast.Conflict, i.VM, "A restore of %q is running: %s.", i.VM, running[0].ID).WithHint("Wait for it to end, then try again.")
}

// deleteNow starts the job that deletes an item's points.
func (s *Service) deleteNow(ctx context.Context, tx *catalog.Tx, v Vault, i Item) (job.Job, error) {
	if err := notRestored(tx, i); err != nil {
		return job.Job{}, err
	}
	if s.Delete == nil {
		return job.Job{}, holdfast.Errorf(holdfast.Unsupported, i.VM, "This server cannot delete points from a repository.").
			WithHint("Turn the vault's soft delete on; then the item is only marked.")
	}
	points, err := resource.List(tx, catalog.Query{Type: resource.TypePoint, Parent: i.ID}, decodePoint)
	if err != nil {
		return job.Job{}, err
	}
	args := holdfast.DeletePointsArgs{Repository: v.Repository, Rate: collectRate(tx, v)}
	for _, p := range points {
		args.PointIDs = append(args.PointIDs, p.Result.PointID)
		if p.InInstantTier() {
			args.Instant = append(args.Instant, p.ref())
		}
	}
	args.Instant = append(args.Instant, i.Left...)
	if args.Hosts, err = hosts(tx); err != nil {
		return job.Job{}, err
	}
	i.Held, i.Policy = Stopped, ""
	if err := putItem(tx, i); err != nil {
		return job.Job{}, err
	}
	spec := i.spec(ctx, "DeleteBackupData")
	spec.Exclusive = backupOf(i.ID)
	return job.Enqueue(s.Jobs, tx, kindDelete, spec, args)
}

// deleteDone forgets an item whose points are gone.
func (s *Service) deleteDone(tx *catalog.Tx, jobID string, _ holdfast.DeletePointsArgs, r holdfast.DeletePointsResult, runErr error) error {
	if runErr != nil {
		return nil // the item stays, stopped, with the points that are left
	}
	j, err := job.Get(tx, jobID)
	if err != nil {
		return err
	}
	i, err := findItem(tx, j.Subject)
	if err != nil {
		return err
	}
	if err := leaveRest(tx, jobID, r); err != nil {
		return err
	}
	if err := tx.DeleteUnder(i.ID); err != nil {
		return err
	}
	for _, id := range []string{claim(i.Source), i.ID} {
		if gone, err := tx.Delete(id); err != nil || !gone {
			return fmt.Errorf("forget %s: gone %v: %w", id, gone, err)
		}
	}
	return nil
}

// nameOr is a name, or a word for one that is not known.
func nameOr(name, word string) string {
	if name == "" {
		return word
	}
	return name
}
