package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast"
	"holdfast/internal/authz"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/policy"
	"holdfast/internal/resource"
)

// CleanUp marks the scheduled points of every item with the expiry that its
// policy gives them now, and starts, for each vault that has points which may
// go, a job that deletes them (ACT-04). Items whose soft delete is over are
// deleted, too. What has trouble leaves the others alone.
func (s *Service) CleanUp(ctx context.Context) error {
	ctx = authz.WithCaller(ctx, authz.Caller{Name: "clean-up"})
	vaults, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]Vault, error) {
		return resource.List(tx, catalog.Query{Type: resource.TypeVault}, decodeVault)
	})
	for _, v := range vaults {
		if cleanErr := s.cleanVault(ctx, v); cleanErr != nil {
			err = errors.Join(err, fmt.Errorf("clean-up of vault %s: %w", v.Name, cleanErr))
		}
	}
	return errors.Join(err, s.cleanLeftovers(ctx))
}

func (s *Service) cleanVault(ctx context.Context, v Vault) (failed error) {
	items, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]Item, error) {
		return resource.List(tx, catalog.Query{Type: resource.TypeItem, Parent: v.ID}, decodeItem)
	})
	if err != nil {
		return err
	}
	var gone goners
	for _, i := range items {
		// One transaction for each item: others write meanwhile.
		of, err := resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (goners, error) { return s.cleanItem(ctx, tx, v, i.ID) })
		gone.points, gone.instant = append(gone.points, of.points...), append(gone.instant, of.instant...)
		if err != nil && holdfast.KindOf(err) != holdfast.Conflict && holdfast.KindOf(err) != holdfast.NotFound {
			failed = errors.Join(failed, err)
		}
	}
	if len(gone.points)+len(gone.instant) > 0 && s.Delete != nil {
		_, err = resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) { return s.prune(ctx, tx, v, gone) })
		if err != nil && holdfast.KindOf(err) == holdfast.Conflict {
			err = nil // the last one still runs
		}
		failed = errors.Join(failed, err)
	}
	_, err = resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) { return nil, s.extendDaily(ctx, tx, v) })
	return errors.Join(failed, err)
}

// goners are points that may go.
type goners struct {
	points  []string            // by name: from wherever they are
	instant []holdfast.PointRef // from the instant tier
}

// cleanItem says which points of an item may go now.
func (s *Service) cleanItem(ctx context.Context, tx *catalog.Tx, v Vault, id string) (out goners, err error) {
	i, err := findItem(tx, id)
	if err != nil {
		return out, err
	}
	b, err := believed(tx)
	if err != nil || b.Time.IsZero() {
		return out, err // nobody has looked at the clock yet
	}
	if !i.DeleteAfter.IsZero() {
		return out, s.purge(ctx, tx, v, i, b.Time)
	}
	schedules := map[string]scheduled{}
	points, err := remark(tx, schedules, v, i)
	if err != nil || len(points) == 0 {
		return out, err
	}
	p, err := scheduleOf(tx, schedules, i)
	if err != nil {
		return out, err
	}
	out.instant = append(outdated(points, p.Instant(), b.Time), leftOf(i, points)...)
	inVault := slices.DeleteFunc(slices.Clone(points), func(p Point) bool { return p.Waiting })
	_, gone := policy.CleanUp(asMade(inVault), b.Time)
	for _, m := range gone {
		out.points = append(out.points, m.Name)
		if n := slices.IndexFunc(points, func(p Point) bool { return p.Name == m.Name }); points[n].InInstantTier() && !slices.Contains(out.instant, points[n].ref()) {
			out.instant = append(out.instant, points[n].ref())
		}
	}
	return out, nil
}

// prune starts the job that deletes points of a vault. Nobody asked for it: it
// waits for restores, one of which may read a point that it would delete
// (docs/design/locking.md), and a lock keeps it, which is recorded once a day
// (ACT-03).
func (s *Service) prune(ctx context.Context, tx *catalog.Tx, v Vault, gone goners) (job.Job, error) {
	running, err := job.List(tx, job.Filter{Scope: v.ID, Operation: "Restore", State: job.InProgress, Limit: 1})
	if err != nil || len(running) > 0 {
		return job.Job{}, err
	}
	spec := job.Spec{Operation: "DeleteRecoveryPoints", Scope: v.ID, Subject: v.ID, Entity: v.Name, Principal: resource.Caller(ctx), Exclusive: "prune:" + v.ID}
	if len(gone.points) == 0 {
		spec.Operation = "DeleteInstantPoints" // the vault has them
	}
	l, locked, err := resource.LockOn(tx, v.ID, true)
	if err != nil {
		return job.Job{}, err
	}
	if !locked {
		at, err := hosts(tx)
		if err != nil {
			return job.Job{}, err
		}
		return job.Enqueue(s.Jobs, tx, kindPrune, spec, holdfast.DeletePointsArgs{Repository: v.Repository, PointIDs: gone.points, Instant: gone.instant, Hosts: at, Rate: collectRate(tx, v)})
	}
	if len(gone.points) == 0 {
		return job.Job{}, nil // the lock keeps the instant tier, too, and there is nothing that its user misses
	}
	last, err := job.List(tx, job.Filter{Scope: v.ID, Subject: v.ID, Operation: spec.Operation, State: job.Failed, From: tx.Now().Add(-23 * time.Hour), Limit: 1})
	if err != nil || len(last) > 0 && last[0].Failure.Target == l.ID {
		return job.Job{}, err
	}
	kept := holdfast.Errorf(holdfast.Unsupported, l.ID, "%d expired recovery points are kept: the lock %s (%s) keeps them from being deleted.", len(gone.points), l.ID, l.Level).
		WithHint("Remove the lock; the next clean-up deletes them.")
	return job.Job{}, s.recordFailed(tx, spec, kept)
}

// remark writes the expiries of an item's scheduled points as its policy has
// them now, and gives all of its points, oldest first. Without a policy
// (protection is stopped) nothing is marked anew, and no point is given. In an
// immutable vault no expiry moves forward.
func remark(tx *catalog.Tx, schedules map[string]scheduled, v Vault, i Item) ([]Point, error) {
	if i.Held != Active || i.Policy == "" || !i.DeleteAfter.IsZero() {
		return nil, nil
	}
	p, err := scheduleOf(tx, schedules, i)
	if err != nil {
		return nil, err
	}
	points, err := pointsOf(tx, i.ID)
	if err != nil {
		return nil, err
	}
	marks := p.Remark(asMade(points))
	for n, m := range marks {
		if m.Expires.Equal(points[n].Expires) || v.Immutable() && sooner(m.Expires, points[n].Expires) {
			continue
		}
		points[n].Expires = m.Expires
		if err := putPoint(tx, points[n]); err != nil {
			return nil, err
		}
	}
	return points, nil
}

// pruneDone forgets the points that are gone.
func (s *Service) pruneDone(tx *catalog.Tx, jobID string, a holdfast.DeletePointsArgs, r holdfast.DeletePointsResult, runErr error) error {
	if runErr != nil {
		return nil // the next clean-up tries again
	}
	j, err := job.Get(tx, jobID)
	if err != nil {
		return err
	}
	items, err := resource.List(tx, catalog.Query{Type: resource.TypeItem, Parent: j.Subject}, decodeItem)
	if err != nil {
		return err
	}
	// What is withheld is tried again by the next clean-up, as a point that is listed
	// still or as what is left of one.
	gone := slices.DeleteFunc(slices.Clone(a.Instant), func(p holdfast.PointRef) bool { return slices.Contains(r.Withheld, p) })
	r.Withheld = slices.DeleteFunc(r.Withheld, func(p holdfast.PointRef) bool { return !slices.Contains(a.PointIDs, p.PointID) })
	if err := leaveRest(tx, jobID, r); err != nil {
		return err
	}
	for _, i := range items {
		for _, name := range a.PointIDs {
			if _, err := tx.Delete(strings.ToLower(resource.PointID(i.ID, name))); err != nil {
				return err
			}
		}
		if err := forgetInstant(tx, i, gone); err != nil {
			return err
		}
	}
	return nil
}
