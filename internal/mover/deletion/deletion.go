// Package deletion deletes points from the repositories of a vault and of sites,
// and frees what only they needed.
//
// It promises that points which are already gone are no failure, so that a job
// can be run again; that nothing that another point needs is freed; and that
// what a lock of the store still holds, or what is deleted while another
// collection runs, stays until a later collection. It does
// not decide which points may go: whoever asks has done so.
package deletion

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"holdfast"
	"holdfast/internal/mover"
	"holdfast/internal/repository"
)

// The sub-tasks of a deletion.
const (
	taskDelete  = "Delete recovery points"
	taskCollect = "Free storage"
	taskFreed   = "Storage freed" // a property
)

// Mover deletes points.
type Mover struct {
	Repositories mover.Repositories
}

// Undo does nothing: what a run that died left, the next collection takes up.
func (Mover) Undo(context.Context, holdfast.DeletePointsArgs) (bool, error) { return false, nil }

// Forget does nothing: nothing is kept for Undo.
func (Mover) Forget(context.Context, holdfast.DeletePointsArgs) error { return nil }

// Run deletes the points that are there.
func (m Mover) Run(ctx context.Context, a holdfast.DeletePointsArgs, progress holdfast.Progress) (holdfast.DeletePointsResult, error) {
	res, err := m.run(ctx, a, progress)
	return res, mover.Explain(err, "the vault's repository")
}

func (m Mover) run(ctx context.Context, a holdfast.DeletePointsArgs, progress holdfast.Progress) (res holdfast.DeletePointsResult, err error) {
	progress.Task(taskDelete)
	progress.Cancellable(false)
	at := map[holdfast.RepositoryRef][]string{}
	if len(a.PointIDs) > 0 || len(a.Instant) == 0 {
		at[a.Repository] = a.PointIDs
	}
	for _, p := range a.Instant {
		at[p.Repository] = append(at[p.Repository], p.PointID)
	}
	var all []*repository.Repository
	for ref, ids := range at {
		repo, err := m.Repositories(ctx, ref)
		if ref.Quick && !ref.Given && mover.Absent(err) {
			continue // an operational repository that is lost has no points
		}
		if ref != a.Repository && ref.Revocable && holdfast.KindOf(err) == holdfast.WrongKey {
			progress.Warn(fmt.Sprintf("%d points are unreadable and stay where they are until their key is given again: %v", len(ids), err))
			for _, id := range ids {
				res.Withheld = append(res.Withheld, holdfast.PointRef{Repository: ref, PointID: id})
			}
			continue
		}
		if err != nil {
			return res, err
		}
		n, err := deleteThere(ctx, repo, ids)
		if err != nil {
			return res, err
		}
		if ref == a.Repository {
			res.Deleted = n
		}
		all = append(all, repo)
	}
	progress.Task(taskCollect)
	for _, repo := range all {
		stats, err := repo.Collect(ctx, repository.CollectOptions{Rate: a.Rate, Progress: func(_ string, done, total int64) { progress.Bytes(done, total) }})
		res.Freed += stats.Freed
		if errors.Is(err, repository.ErrBusy) {
			progress.Property(taskFreed, "The points are gone. Another collection runs; what only they needed is freed by the next one.")
			err = nil
		}
		if err != nil {
			return res, err
		}
	}
	return res, nil
}

// deleteThere deletes those of the points that are there, and says how many were.
func deleteThere(ctx context.Context, repo *repository.Repository, ids []string) (int, error) {
	points, err := repo.Points(ctx, "")
	if err != nil {
		return 0, err
	}
	var there []string
	for _, p := range points {
		if slices.Contains(ids, p.ID) {
			there = append(there, p.ID)
		}
	}
	if len(there) == 0 {
		return 0, nil
	}
	return len(there), repo.DeletePoints(ctx, there...)
}
