// Package deletion deletes points from the repositories of a vault and of sites,
// and frees what only they needed: storage, and the checkpoints of their VMs.
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
	// Drop removes checkpoints from a VM of a site (capture.Maker.Drop); nil: they
	// stay until the VM's next point.
	Drop func(ctx context.Context, site holdfast.SiteRef, o holdfast.Orphan) (there bool, err error)
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
	if len(a.PointIDs) > 0 || len(a.Instant)+len(a.Orphans) == 0 {
		at[a.Repository] = a.PointIDs
	}
	for _, p := range a.Instant {
		at[p.Repository] = append(at[p.Repository], p.PointID)
	}
	d := deleting{m, a, progress, &res}
	d.drop(ctx, a.Orphans)
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
		n, err := d.there(ctx, ref, repo, ids)
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

// deleting is one run.
type deleting struct {
	Mover
	args     holdfast.DeletePointsArgs
	progress holdfast.Progress
	res      *holdfast.DeletePointsResult
}

// there deletes those of the points that are there, and says how many were. Their
// checkpoints go first: a run that dies in between finds the points again.
func (d deleting) there(ctx context.Context, ref holdfast.RepositoryRef, repo *repository.Repository, ids []string) (int, error) {
	points, err := repo.Points(ctx, "")
	if err != nil {
		return 0, err
	}
	var gone []string
	var names []checkpoint
	for _, p := range points {
		if !slices.Contains(ids, p.ID) {
			continue
		}
		gone = append(gone, p.ID)
		if ref.Quick && d.Drop != nil {
			names = append(names, checkpointOf(ctx, repo, p)...)
		}
	}
	if len(gone) == 0 {
		return 0, nil
	}
	if len(names) > 0 {
		orphans, err := orphaned(ctx, repo, points, gone, names)
		if err != nil {
			return 0, err
		}
		d.drop(ctx, orphans)
	}
	return len(gone), repo.DeletePoints(ctx, gone...)
}

// checkpoint is that of one point.
type checkpoint struct {
	vm   holdfast.VMRef
	name string
}

// checkpointOf is the checkpoint that a point of a VM's chain carries, if it does. One
// that cannot be read says of none.
func checkpointOf(ctx context.Context, repo *repository.Repository, p repository.Point) []checkpoint {
	p, err := repo.Point(ctx, p.ID)
	if err != nil {
		return nil
	}
	man, err := mover.ReadManifest(p)
	if err != nil || man.Checkpoint == nil || p.Series != man.VM.UUID { // a copy has that of another site
		return nil
	}
	return []checkpoint{{man.VM.VMRef, man.Checkpoint.Name}}
}

// orphaned are those checkpoints of points that go which no point that stays carries.
func orphaned(ctx context.Context, repo *repository.Repository, points []repository.Point, gone []string, names []checkpoint) (all []holdfast.Orphan, err error) {
	for _, p := range points {
		if slices.Contains(gone, p.ID) || !slices.ContainsFunc(names, func(c checkpoint) bool { return c.vm.UUID == p.Series }) {
			continue
		}
		for _, kept := range checkpointOf(ctx, repo, p) {
			names = slices.DeleteFunc(names, func(c checkpoint) bool { return c.name == kept.name })
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	for _, c := range names {
		n := slices.IndexFunc(all, func(o holdfast.Orphan) bool { return o.VM.UUID == c.vm.UUID })
		if n < 0 {
			n, all = len(all), append(all, holdfast.Orphan{VM: c.vm})
		}
		all[n].Checkpoints = append(all[n].Checkpoints, c.name)
	}
	return all, nil
}

// drop removes checkpoints wherever their VMs are. What it cannot remove is left for
// a later job.
func (d deleting) drop(ctx context.Context, orphans []holdfast.Orphan) {
	for _, o := range orphans {
		if failed := d.dropOne(ctx, o); failed != nil {
			d.progress.Warn(fmt.Sprintf("The checkpoint of the deleted point may still be on %s: %v. The clean-up tries again.", o.VM.Name, failed))
			d.res.Orphans = append(d.res.Orphans, o)
		}
	}
}

// dropOne removes checkpoints from a VM where it is: on the first site that has it.
func (d deleting) dropOne(ctx context.Context, o holdfast.Orphan) (failed error) {
	if d.Drop == nil {
		return nil
	}
	for _, site := range d.args.Hosts {
		there, err := d.Drop(ctx, site, o)
		if there {
			return err
		}
		failed = errors.Join(failed, err)
	}
	return failed
}
