package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/authz"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

const (
	kindVerify = "verify"

	// Verify is the mode of a restore that only looks whether the VM comes up.
	Verify = "Verify"

	// usualPatience is how long a guest may take to answer, and a check to end,
	// when nobody says; maxPatience is the most that one may ask for.
	usualPatience = 10 * time.Minute
	maxPatience   = 2 * time.Hour
	maxCheck      = 32 // words of a check
)

// verify starts the job that boots a point in isolation. A site does one at a
// time, so that its host keeps its strength for its machines.
func (s *Service) verify(ctx context.Context, r restoring, in RestoreRequest) (job.Job, error) {
	if s.Verify == nil {
		return job.Job{}, holdfast.Errorf(holdfast.Unsupported, "properties.recoveryType", "This server verifies no points.").WithHint("Restore the point as a new VM on a network of its own, and look at that.")
	}
	if in.Patience < 0 || in.Patience > maxPatience || len(in.Check) > maxCheck {
		return job.Job{}, holdfast.Errorf(holdfast.Invalid, "properties.holdfast", "patience is up to %s, and a check has up to %d words.", maxPatience, maxCheck)
	}
	if in.TargetVM != "" || in.Pool != "" || in.Directory != "" || in.Network != "" || in.LUNs != nil {
		return job.Job{}, holdfast.Errorf(holdfast.Invalid, "properties", "A verification has no target: nothing of it stays.").
			WithHint("Leave out the VM, the storage account, the network and the LUNs.")
	}
	if k, ok := encrypted(r.point.Result.Disks); ok {
		return job.Job{}, holdfast.Errorf(holdfast.Unsupported, "properties.recoveryType", "The disk %s is encrypted; a VM that ran straight from the point would write what it has in the clear.", k).
			WithHint("Restore the point as a new VM, and look at that.")
	}
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) { return s.startVerify(ctx, tx, r, in) })
}

func (s *Service) startVerify(ctx context.Context, tx *catalog.Tx, r restoring, in RestoreRequest) (job.Job, error) {
	id := uuid.NewString()
	spec := r.item.spec(ctx, "Verify")
	spec.Exclusive = "verify:" + r.site.ID
	var instant holdfast.RepositoryRef
	if r.point.Waiting { // else the vault's copy is proved, which lasts
		instant = r.point.Instant
	}
	return job.Enqueue(s.Jobs, tx, kindVerify, spec, holdfast.VerifyArgs{
		Restore: holdfast.RestoreArgs{
			Site: r.site.Ref(), Repository: r.vault.Repository, Instant: instant, PointID: r.point.Result.PointID, RestoreID: id,
			Mode: holdfast.CreateVM, Directory: filepath.Join(r.site.ScratchDir, "verify-"+id), Format: "qcow2", NamePrefix: "verify",
			VMName: "holdfast-verify-" + id[:8], Isolated: true, Start: true,
		},
		Check: in.Check, Patience: cmp.Or(in.Patience, usualPatience),
	})
}

// verifyDone writes what was seen on the point, if it is still there. An alert
// tells of a point that is not proved, until one of the item is.
func (s *Service) verifyDone(tx *catalog.Tx, jobID string, a holdfast.VerifyArgs, r holdfast.VerifyResult, runErr error) error {
	if runErr != nil {
		return nil // nothing was seen
	}
	j, err := job.Get(tx, jobID)
	if err != nil {
		return err
	}
	p, err := findPoint(tx, j.Subject, a.Restore.PointID)
	if holdfast.KindOf(err) == holdfast.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	p.Verified = &Verified{Time: r.Time, Failure: r.Failure, Answered: r.Answered, Job: jobID}
	if err := putPoint(tx, p); err != nil {
		return err
	}
	about := "unproved:" + p.Item
	if r.Failure == "" {
		return s.Alerts.Resolve(tx, about)
	}
	_, err = s.Alerts.Raise(tx, holdfast.Alert{Kind: holdfast.AlertUnproved, About: about, Resource: p.Item, Entity: j.Entity, Job: jobID,
		Message: fmt.Sprintf("The point %s of %s is not proved. %s", p.Name, j.Entity, r.Failure),
		Hint:    "The job has what the console showed. Restore the point by hand to look closer, and verify an older one."})
	return err
}

// VerifyDue starts a verification of the newest point of each item whose policy
// wants every point verified, and whose newest was not looked at. A site that has
// one running makes the others wait for the next call; of points that came
// meanwhile the newest is taken.
func (s *Service) VerifyDue(ctx context.Context) error {
	if s.Verify == nil {
		return nil
	}
	ctx = authz.WithCaller(ctx, authz.Caller{Name: "schedule"})
	items, failed := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (due []Item, err error) {
		items, err := resource.List(tx, catalog.Query{Type: resource.TypeItem}, decodeItem)
		schedules := map[string]scheduled{}
		for _, i := range items {
			if i.Held != Active || i.Policy == "" || !i.DeleteAfter.IsZero() || !i.LastPoint.After(i.LooksAfter) {
				continue
			}
			if c, err := scheduleOf(tx, schedules, i); err == nil && c.Holdfast.VerifyPoints {
				due = append(due, i)
			}
		}
		return due, err
	})
	for _, i := range items {
		err := s.verifyNewest(ctx, i)
		if err != nil && holdfast.KindOf(err) != holdfast.Conflict && ctx.Err() == nil {
			failed = errors.Join(failed, fmt.Errorf("verification of %s: %w", i.VM, err))
		}
	}
	return failed
}

// verifyNewest starts the verification of an item's newest point and marks the
// item in the same transaction, so that each point is looked at once.
func (s *Service) verifyNewest(ctx context.Context, i Item) error {
	points, err := s.Points(ctx, i.ID, PointFilter{Limit: 1})
	if err != nil || len(points) == 0 || points[0].Waiting { // for its copy
		return err
	}
	if _, ok := encrypted(points[0].Result.Disks); ok {
		return nil // what would be refused to who asks
	}
	r, err := s.restoreOf(ctx, i.ID, points[0].Name)
	if err != nil {
		return err
	}
	_, err = resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) {
		now, err := findItem(tx, i.ID)
		if err != nil {
			return job.Job{}, err
		}
		now.LooksAfter = now.LastPoint
		if err := putItem(tx, now); err != nil {
			return job.Job{}, err
		}
		return s.startVerify(ctx, tx, r, RestoreRequest{})
	})
	return err
}
