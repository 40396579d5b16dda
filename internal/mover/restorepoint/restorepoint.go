// Package restorepoint makes a restore point of one VM: a point in the
// operational repository of its site, and nothing else.
//
// Its promises are those of mover/capture. It does not decide whether the VM may
// have another point: whoever asks has done so.
package restorepoint

import (
	"context"

	"holdfast"
	"holdfast/internal/mover/capture"
)

// Mover makes restore points.
type Mover struct {
	Capture *capture.Maker
}

// Undo gives the host back what an earlier run had taken. A point that it had
// committed is found by Run.
func (m Mover) Undo(ctx context.Context, a holdfast.RestorePointArgs) (bool, error) {
	return false, m.Capture.Undo(ctx, a)
}

// Forget does nothing: a point is whole, or not there.
func (Mover) Forget(context.Context, holdfast.RestorePointArgs) error { return nil }

// Run makes the point that a asks for, or answers with it when an earlier run
// had committed it.
func (m Mover) Run(ctx context.Context, a holdfast.RestorePointArgs, progress holdfast.Progress) (holdfast.RestorePointResult, error) {
	p, err := m.Capture.Take(ctx, a, progress)
	if err != nil {
		return holdfast.RestorePointResult{}, err
	}
	man := p.Manifest
	return holdfast.RestorePointResult{
		PointID: a.PointID, Time: man.Time, Consistency: man.Consistency, Reason: man.Reason, FrozenFor: man.FrozenFor,
		VM: man.VM, Disks: man.Costs(), Warnings: man.Warnings,
	}, nil
}
