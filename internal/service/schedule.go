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
)

// RunDue starts a backup of every item whose policy says that one is due. An
// item and the run it was served are marked in the transaction that makes the
// job, so that a run is never lost nor doubled; one run makes up for all that
// were missed while the server was away. An item whose backup is still running
// waits for the next call.
func (s *Service) RunDue(ctx context.Context) error {
	due, failed := read(ctx, s, s.due)
	for _, d := range due {
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

// dueRun is an item that is to be backed up now.
type dueRun struct {
	item   Item
	policy string
	at     time.Time // when the schedule had it
	broken error     // its policy cannot be read
}

func (s *Service) due(tx *catalog.Tx) ([]dueRun, error) {
	now := s.Clock()
	schedules := map[string]scheduled{}
	items, err := list(tx, catalog.Query{Type: TypeItem}, decodeItem)
	if err != nil {
		return nil, err
	}
	var due []dueRun
	for _, i := range items {
		if i.Held != Active || i.Policy == "" || !i.DeleteAfter.IsZero() {
			continue
		}
		p, err := scheduleOf(tx, schedules, i)
		if err != nil { // the others go on
			due = append(due, dueRun{item: i, broken: err})
			continue
		}
		// A schedule that was changed counts from its change (ACT-04).
		since := i.Scheduled
		if p.changed.After(since) {
			since = p.changed
		}
		if at, ok := p.Missed(since, now); ok {
			due = append(due, dueRun{item: i, policy: i.Policy, at: at})
		}
	}
	return due, nil
}

// scheduled is a policy and when it was last changed.
type scheduled struct {
	policy.Policy
	changed time.Time
}

// scheduleOf is the policy of an item; those of others that were read are in known.
func scheduleOf(tx *catalog.Tx, known map[string]scheduled, i Item) (scheduled, error) {
	id := policyID(i.Vault, i.Policy)
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
	known[id] = scheduled{parsed, row.Updated}
	return known[id], nil
}

// runScheduled serves one run: with a backup job or, when the machine can't be
// found, with a job that says so.
func (s *Service) runScheduled(ctx context.Context, d dueRun) error {
	ctx = authz.WithCaller(ctx, authz.Caller{Name: "policy " + d.policy})
	vm, vmErr := s.machineOf(ctx, d.item)
	_, err := write(ctx, s, func(tx *catalog.Tx) (any, error) {
		i, err := findItem(tx, d.item.ID)
		if err != nil {
			return nil, err
		}
		if i.Held != Active || i.Policy != d.policy || i.Scheduled != d.item.Scheduled {
			return nil, nil // changed meanwhile: the next call decides anew
		}
		if job.Idle(tx, backupOf(i), i.VM) != nil {
			return nil, nil // the running one has to end first
		}
		i.Scheduled = d.at
		if vmErr != nil {
			i.LastBackupTime, i.LastBackupStatus = tx.Now(), "Failed"
			if err := job.RecordFailed(tx, i.spec(ctx, "Backup"), vmErr); err != nil {
				return nil, err
			}
			return nil, putItem(tx, i)
		}
		if err := putItem(tx, i); err != nil {
			return nil, err
		}
		_, err = s.enqueueBackup(ctx, tx, i, vm, time.Time{})
		return nil, err
	})
	return err
}

// enqueueBackup makes the job of one backup. A point whose expires is zero is
// kept as the policy says.
func (s *Service) enqueueBackup(ctx context.Context, tx *catalog.Tx, i Item, vm VM, expires time.Time) (Job, error) {
	v, err := findVault(tx, i.Vault)
	if err != nil {
		return Job{}, err
	}
	site, err := siteAt(tx, v.sub(), "location", v.Location)
	if err != nil {
		return Job{}, err
	}
	spec := i.spec(ctx, "Backup")
	spec.Exclusive = backupOf(i)
	return job.Enqueue(s.Jobs, tx, kindBackup, spec, holdfast.BackupArgs{
		Site: site.Ref(), VM: vm.VMRef, Repository: v.Repository, Series: i.Series, PointID: newPointID(tx.Now()),
		Want: holdfast.FileSystemConsistent, ExcludeLUNs: i.Exclusion.Excluded(vm.Disks), Expires: expires,
		ReadRate: site.ReadRate,
	})
}
