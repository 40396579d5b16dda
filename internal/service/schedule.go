package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast"
	"holdfast/internal/authz"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/policy"
	"holdfast/internal/resource"
	"holdfast/internal/support"
)

// RunDue starts a backup of every item whose policy says that one is due. An
// item and the run it was served are marked in the transaction that makes the
// job, so that a run is never lost nor doubled; one run makes up for all that
// were missed while the server was away. An item whose backup is still running
// waits for the next call, and so does one whose site has enough to do.
func (s *Service) RunDue(ctx context.Context) error {
	p, failed := resource.Read(ctx, s.Catalog, s.plan)
	s.waiting.Store(p.waiting > 0)
	if len(p.back) > 0 {
		failed = errors.Join(failed, s.forgetRuns(ctx, p.back))
	}
	for _, d := range p.due {
		err := d.broken
		if err == nil {
			err = s.runScheduled(ctx, d)
		}
		if err != nil && ctx.Err() == nil {
			failed = errors.Join(failed, fmt.Errorf("scheduled backup of %s: %w", d.item.VM, err))
		}
	}
	return failed
}

// plan is what the schedules want now.
type plan struct {
	due     []dueRun
	waiting int    // due runs whose sites have enough to do
	back    []Item // whose last run is of a clock that was put back since
}

// dueRun is an item that is to be backed up now.
type dueRun struct {
	item   Item
	policy string
	at     time.Time // when the schedule had it
	broken error     // its policy cannot be read
}

// Wake tells when a site has room again for runs that wait.
func (s *Service) Wake() <-chan struct{} { return s.wake }

// roomAgain is called in the transaction that ends a backup.
func (s *Service) roomAgain(tx *catalog.Tx) {
	if !s.waiting.Load() {
		return
	}
	tx.AfterCommit(func() {
		select {
		case s.wake <- struct{}{}:
		default: // it is told already
		}
	})
}

func (s *Service) plan(tx *catalog.Tx) (p plan, err error) {
	now := s.Clock()
	schedules := map[string]scheduled{}
	items, err := resource.List(tx, catalog.Query{Type: resource.TypeItem}, decodeItem)
	if err != nil {
		return p, err
	}
	rooms, err := roomsOf(tx, items)
	if err != nil {
		return p, err
	}
	spread := spreadOf(len(items))
	for _, i := range items {
		if i.Held != Active || i.Policy == "" || !i.DeleteAfter.IsZero() {
			continue
		}
		c, err := scheduleOf(tx, schedules, i)
		if err != nil { // the others go on
			p.due = append(p.due, dueRun{item: i, broken: err})
			continue
		}
		at, ok := c.at(now).dueAt(i.Scheduled, now, jitter(i.ID, spread))
		switch {
		case ahead(i.Scheduled, now):
			p.back = append(p.back, i)
		case ok:
			p.due = append(p.due, dueRun{item: i, policy: i.Policy, at: at})
		}
	}
	p.due, p.waiting = rooms.choose(p.due)
	return p, nil
}

// forgetRuns lets items count from now on whose last run was in a future that
// turned out not to be: nothing would be due before it came.
func (s *Service) forgetRuns(ctx context.Context, items []Item) error {
	_, err := resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) {
		for _, old := range items {
			i, err := findItem(tx, old.ID)
			if err != nil || !i.Scheduled.Equal(old.Scheduled) {
				continue // gone or changed meanwhile
			}
			i.Scheduled = tx.Now()
			if err := putItem(tx, i); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
	return err
}

// scheduled is a policy and when it was last changed.
type scheduled struct {
	policy.Policy
	changed time.Time
}

// runs are the last two runs of a schedule up to a moment.
type runs struct{ latest, before, changed time.Time }

func (c scheduled) at(now time.Time) runs {
	latest := c.Latest(now)
	return runs{latest, c.Latest(latest.Add(-1)), c.changed}
}

// dueAt is the run that is to be served now to an item that was served one
// before, and whether there is one. It begins so much after its time; there are
// hours between two runs, so that nothing but the last has not begun.
func (r runs) dueAt(served, now time.Time, jitter time.Duration) (time.Time, bool) {
	// A schedule that was changed counts from its change (ACT-04).
	if r.changed.After(served) && !ahead(r.changed, now) {
		served = r.changed
	}
	run := r.latest
	if run.Add(jitter).After(now) {
		run = r.before
	}
	return run, run.After(served)
}

// scheduleOf is the policy of an item; those of others that were read are in known.
func scheduleOf(tx *catalog.Tx, known map[string]scheduled, i Item) (scheduled, error) {
	id := resource.PolicyID(i.Vault, i.Policy)
	if p, ok := known[id]; ok {
		return p, nil
	}
	row, err := findPolicy(tx, i.Vault, i.Policy)
	if err != nil {
		return scheduled{}, fmt.Errorf("policy of %s: %w", i.VM, err)
	}
	parsed, err := policy.Parse(row.Properties)
	if err != nil {
		return scheduled{}, fmt.Errorf("policy %s: %w", id, err)
	}
	known[id] = scheduled{Policy: parsed, changed: row.Updated}
	return known[id], nil
}

// runScheduled serves one run: with a backup job or, when the machine can't be
// found, with a job that says so.
func (s *Service) runScheduled(ctx context.Context, d dueRun) error {
	ctx = authz.WithCaller(ctx, authz.Caller{Name: "policy " + d.policy})
	vm, vmErr := s.machineOf(ctx, d.item)
	_, err := resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) {
		i, err := findItem(tx, d.item.ID)
		if err != nil {
			return nil, err
		}
		if i.Held != Active || i.Policy != d.policy || i.Scheduled != d.item.Scheduled {
			return nil, nil // changed meanwhile: the next call decides anew
		}
		if err := s.tellMissed(tx, i, d.at); err != nil {
			return nil, err
		}
		if job.Idle(tx, backupOf(i.ID), i.VM) != nil || job.Idle(tx, creationOf(i.Source), i.VM) != nil {
			return nil, nil // the running one has to end first
		}
		i.Scheduled = d.at
		s.countRun(tx, RunDue)
		if tx.Now().Sub(d.at) > late {
			s.countRun(tx, RunMissed)
		}
		refused := vmErr
		if refused == nil {
			refused = s.supported(tx, vm, i.Exclusion, holdfast.GuestFact{})
		}
		if refused == nil {
			refused = s.hasRoom(tx, i)
		}
		if refused != nil {
			i.LastBackupTime, i.LastBackupStatus = tx.Now(), "Failed"
			if err := s.recordFailed(tx, i.spec(ctx, "Backup"), refused); err != nil {
				return nil, err
			}
			return nil, putItem(tx, i)
		}
		if err := putItem(tx, i); err != nil {
			return nil, err
		}
		s.countRun(tx, RunStarted)
		_, err = s.enqueueBackup(ctx, tx, i, vm, time.Time{})
		return nil, err
	})
	return err
}

// enqueueBackup makes the job of one backup. A point whose expires is zero is
// kept as the policy says.
func (s *Service) enqueueBackup(ctx context.Context, tx *catalog.Tx, i Item, vm VM, expires time.Time) (job.Job, error) {
	v, err := findVault(tx, i.Vault)
	if err != nil {
		return job.Job{}, err
	}
	at, _, err := s.operationalFor(tx, vm)
	if err != nil {
		return job.Job{}, err
	}
	waiting, elsewhere, err := waitingOf(tx, i, at)
	if err != nil {
		return job.Job{}, err
	}
	excluded := i.Exclusion.Excluded(vm.Disks)
	left, notes := support.LeftOut(support.VM{VMFact: vm.VMFact, Accelerator: vm.site.WriteAccelerator, Exclude: excluded})
	spec := i.spec(ctx, "Backup")
	spec.Exclusive = backupOf(i.ID)
	return job.Enqueue(s.Jobs, tx, kindBackup, spec, holdfast.BackupArgs{
		Site: vm.site.Ref(), VM: vm.VMRef, Repository: v.Repository, Operational: at, Waiting: waiting, Elsewhere: elsewhere, Series: i.Series, PointID: newPointID(tx.Now()),
		Want: wanted(tx, i), ExcludeLUNs: append(excluded, left...), Notes: notes, Expires: expires,
		ReadRate: vm.site.ReadRate,
	})
}

// wanted is the consistency that the item's policy prefers. A policy that cannot
// be read prefers nothing: a backup that somebody asked for is worth more.
func wanted(tx *catalog.Tx, i Item) holdfast.Consistency {
	if p, err := scheduleOf(tx, map[string]scheduled{}, i); err == nil && p.Consistency == policy.OnlyCrash {
		return holdfast.CrashConsistent
	}
	return holdfast.FileSystemConsistent
}
