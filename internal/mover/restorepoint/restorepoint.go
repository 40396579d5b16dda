// Package restorepoint makes a restore point of one VM: a point in the
// operational repository of its site, and nothing else. A copy of a point of
// another site is one, too: it is sealed again for this site, of what has changed
// since the last point that both have.
//
// Its promises are those of mover/capture; a copy asks no host for anything. It
// does not decide whether the VM may have another point: whoever asks has done so.
package restorepoint

import (
	"context"
	"errors"

	"holdfast"
	"holdfast/internal/mover"
	"holdfast/internal/mover/capture"
	"holdfast/internal/repository"
)

// taskCopy is the sub-task of a copy.
const taskCopy = "Copy restore point"

// Mover makes restore points.
type Mover struct {
	Capture *capture.Maker
	// Repositories opens what copies are made from.
	Repositories mover.Repositories
}

// Undo gives the host back what an earlier run had taken. A point that it had
// committed is found by Run.
func (m Mover) Undo(ctx context.Context, a holdfast.RestorePointArgs) (bool, error) {
	if a.Source != nil { // no host was asked for anything
		return false, nil
	}
	return false, m.Capture.Undo(ctx, a)
}

// Forget does nothing: a point is whole, or not there.
func (Mover) Forget(context.Context, holdfast.RestorePointArgs) error { return nil }

// Run makes the point that a asks for, or answers with it when an earlier run
// had committed it.
func (m Mover) Run(ctx context.Context, a holdfast.RestorePointArgs, progress holdfast.Progress) (holdfast.RestorePointResult, error) {
	if a.Source != nil {
		man, err := m.copy(ctx, a, progress)
		if err != nil {
			return holdfast.RestorePointResult{}, mover.Explain(err, "restore point "+a.Source.PointID)
		}
		return result(a, man), nil
	}
	p, err := m.Capture.Take(ctx, a, progress)
	if err != nil {
		return holdfast.RestorePointResult{}, err
	}
	return result(a, p.Manifest), nil
}

func result(a holdfast.RestorePointArgs, man mover.Manifest) holdfast.RestorePointResult {
	return holdfast.RestorePointResult{
		PointID: a.PointID, Time: man.Time, Consistency: man.Consistency, Reason: man.Reason, FrozenFor: man.FrozenFor,
		VM: man.VM, Disks: man.Costs(), Warnings: man.Warnings,
	}
}

// copies is the series of a VM's copied points. They are no part of the chain of
// the VM, which may live at this site, too.
func copies(vm holdfast.VMRef) string { return "copy-" + vm.UUID }

// copy copies the source point, or finds that an earlier run has done it. It may
// be cancelled until it is committed.
func (m Mover) copy(ctx context.Context, a holdfast.RestorePointArgs, progress holdfast.Progress) (man mover.Manifest, err error) {
	progress.Task(taskCopy)
	progress.Cancellable(true)
	from, err := m.Repositories(ctx, a.Source.Repository)
	if err != nil {
		return man, err
	}
	to, note, err := m.Capture.Opener.Operational(ctx, a.Operational)
	if err != nil {
		return man, err
	}
	if note != "" {
		progress.Warn(note)
	}
	p, err := repository.Copy(ctx, from, to, a.Source.PointID, repository.CopyOptions{Series: copies(a.VM), Progress: progress.Bytes})
	if errors.Is(err, repository.ErrPointExists) {
		p, err = to.Point(ctx, a.Source.PointID)
	}
	if err != nil {
		return man, err
	}
	if man, err = mover.ReadManifest(p); err != nil {
		return man, err
	}
	for i, d := range man.Disks { // what the copy has cost, not the original
		if copied := p.Disk(d.Fact.Target); copied != nil {
			cost := &man.Disks[i].Cost
			cost.Read, cost.New, cost.Stored = copied.Stats.Read, copied.Stats.New, copied.Stats.Stored
		}
	}
	return man, nil
}
