package service

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

// RetryJob does again what a job of a vault failed to do, in a new job: a backup
// for as long as the first was to be kept, a restore to the same place.
func (s *Service) RetryJob(ctx context.Context, vault, id string) (job.Job, error) {
	old, err := s.VaultJob(ctx, vault, id)
	switch {
	case err != nil:
		return old, err
	case !old.Final():
		return old, holdfast.Errorf(holdfast.Conflict, id, "The job has not ended: %s.", old.State)
	case !old.Retriable():
		return old, holdfast.Errorf(holdfast.Unsupported, id, "A %s job that is %s is not tried again.", old.Operation, old.State).WithHint("Ask for the operation itself.")
	case old.Operation == "Restore":
		return s.restoreAgain(ctx, old)
	}
	var a holdfast.BackupArgs // of a job that could not even begin there are none
	if err := json.Unmarshal(old.Args, &a); err != nil {
		return old, fmt.Errorf("args of job %s: %w", id, err)
	}
	if j, ok, err := s.transferAgain(ctx, old, a); ok || err != nil {
		return j, err
	}
	if !a.Expires.IsZero() {
		return s.BackupNow(ctx, old.Subject, a.Expires)
	}
	return s.backUp(ctx, old.Subject, a.Expires)
}

// restoreAgain repeats a restore whose point is still there.
func (s *Service) restoreAgain(ctx context.Context, old job.Job) (job.Job, error) {
	var a holdfast.RestoreArgs
	if err := json.Unmarshal(old.Args, &a); err != nil || a.PointID == "" {
		return old, holdfast.Errorf(holdfast.Unsupported, old.ID, "The job does not say what it was to restore.").WithCause(err)
	}
	r, err := s.restoreOf(ctx, old.Subject, a.PointID)
	if err != nil {
		return old, err
	}
	spec, enough := r.item.spec(ctx, "Restore"), time.Duration(0)
	if a.After == "" {
		enough = math.MaxInt64
	}
	a.RestoreID = uuid.NewString()
	spec.Exclusive, err = resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (string, error) { return job.Exclusive(tx, old.ID) })
	if err != nil {
		return old, err
	}
	return s.startRestore(ctx, r, spec, a, enough)
}
