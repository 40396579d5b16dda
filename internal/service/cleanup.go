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
)

// kindPrune is the job that deletes expired points of a vault.
const kindPrune = "prune"

// CleanUp marks the scheduled points of every item with the expiry that its
// policy gives them now, and starts, for each vault that has points which may
// go, a job that deletes them (ACT-04).
func (s *Service) CleanUp(ctx context.Context) error {
	vaults, err := read(ctx, s, func(tx *catalog.Tx) ([]Vault, error) {
		return list(tx, catalog.Query{Type: TypeVault}, decodeVault)
	})
	for _, v := range vaults {
		if cleanErr := s.cleanVault(ctx, v); cleanErr != nil && holdfast.KindOf(cleanErr) != holdfast.Conflict {
			err = errors.Join(err, fmt.Errorf("clean-up of vault %s: %w", v.Name, cleanErr))
		}
	}
	return err
}

func (s *Service) cleanVault(ctx context.Context, v Vault) error {
	ctx = authz.WithCaller(ctx, authz.Caller{Name: "clean-up"})
	items, err := read(ctx, s, func(tx *catalog.Tx) ([]Item, error) {
		return list(tx, catalog.Query{Type: TypeItem, Parent: v.ID}, decodeItem)
	})
	if err != nil {
		return err
	}
	args := holdfast.DeletePointsArgs{Repository: v.Repository}
	for _, i := range items {
		// One transaction for each item: others write meanwhile.
		points, err := write(ctx, s, func(tx *catalog.Tx) ([]Point, error) {
			i, err := findItem(tx, i.ID)
			if err != nil {
				return nil, err
			}
			return remark(tx, map[string]scheduled{}, i)
		})
		if err != nil {
			return err
		}
		args.PointIDs = append(args.PointIDs, mayGo(points, s.Clock())...)
	}
	if len(args.PointIDs) == 0 || s.Delete == nil {
		return nil
	}
	_, err = write(ctx, s, func(tx *catalog.Tx) (Job, error) {
		// Nobody asked for this deletion: it waits for restores, one of which may
		// read a point that it would delete (docs/design/locking.md).
		running, err := job.List(tx, job.Filter{Scope: v.ID, Operation: "Restore", State: job.InProgress, Limit: 1})
		if err != nil || len(running) > 0 {
			return Job{}, err
		}
		spec := job.Spec{Operation: "DeleteRecoveryPoints", Scope: v.ID, Subject: v.ID, Entity: v.Name, Principal: caller(ctx), Exclusive: "prune:" + v.ID}
		return job.Enqueue(s.Jobs, tx, kindPrune, spec, args)
	})
	return err
}

// remark writes the expiries of an item's scheduled points as its policy has
// them now, and gives all of its points, oldest first. Without a policy
// (protection is stopped) nothing is marked anew, and no point is given.
func remark(tx *catalog.Tx, schedules map[string]scheduled, i Item) ([]Point, error) {
	if i.Held != Active || i.Policy == "" || !i.DeleteAfter.IsZero() {
		return nil, nil
	}
	p, err := scheduleOf(tx, schedules, i)
	if err != nil {
		return nil, err
	}
	points, err := list(tx, catalog.Query{Type: TypePoint, Parent: i.ID, Newest: true}, decodePoint)
	if err != nil {
		return nil, err
	}
	slices.Reverse(points)
	var times []time.Time
	for _, point := range points {
		if point.Scheduled {
			times = append(times, point.Result.Time)
		}
	}
	ends := p.Expiries(times)
	for n := range points {
		if !points[n].Scheduled {
			continue
		}
		end := ends[0]
		ends = ends[1:]
		if end.Equal(points[n].Expires) {
			continue
		}
		points[n].Expires = end.UTC()
		if err := putPoint(tx, points[n]); err != nil {
			return nil, err
		}
	}
	return points, nil
}

// mayGo names the points, given oldest first, that may be deleted now: those
// that have expired before the newest point was made. So nothing goes by the
// clock alone: while backups fail, what is there is kept.
func mayGo(points []Point, now time.Time) (names []string) {
	if len(points) == 0 {
		return nil
	}
	newest := points[len(points)-1].Result.Time
	for _, p := range points[:len(points)-1] {
		if !p.Expires.IsZero() && !p.Expires.After(now) && !p.Expires.After(newest) {
			names = append(names, p.Name)
		}
	}
	return names
}

// pruneDone forgets the points that are gone.
func (s *Service) pruneDone(tx *catalog.Tx, jobID string, a holdfast.DeletePointsArgs, _ holdfast.DeletePointsResult, runErr error) error {
	if runErr != nil {
		return nil // the next clean-up tries again
	}
	j, err := job.Get(tx, jobID)
	if err != nil {
		return err
	}
	items, err := list(tx, catalog.Query{Type: TypeItem, Parent: j.Subject}, decodeItem)
	if err != nil {
		return err
	}
	for _, i := range items {
		for _, name := range a.PointIDs {
			if _, err := tx.Delete(strings.ToLower(PointID(i.ID, name))); err != nil {
				return err
			}
		}
	}
	return nil
}
