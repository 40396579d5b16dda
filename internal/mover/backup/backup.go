// Package backup backs one VM up, in two phases: a point in the operational
// repository of its site (mover/capture), and a copy of that point in the vault's
// repository.
//
// It promises: the point can be restored from the end of the first phase on,
// whatever becomes of the second; a run that is repeated after a crash goes on
// where the dead one stopped, without another snapshot once there is the point;
// points whose copy an earlier backup failed to make are copied, too; the
// promises of mover/capture.
//
// It does not promise that a point which the operational repository has lost
// before it was copied is in the vault: the job says which.
package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/dustin/go-humanize"

	"holdfast"
	"holdfast/internal/mover"
	"holdfast/internal/mover/capture"
	"holdfast/internal/objstore"
	"holdfast/internal/repository"
)

// The sub-tasks of a backup job after the snapshot: the second phase, as Azure
// calls it, and what comes when it meets damage.
const (
	taskTransfer = "Transfer data to vault"
	taskVerify   = "Verify operational repository"
)

// Mover backs up. All members are required.
type Mover struct {
	Capture      *capture.Maker
	Repositories mover.Repositories
	Log          *slog.Logger
}

// Undo gives the host back what an earlier run had taken (capture.Maker.Undo).
// done says that the vault has the point; it fails with holdfast.ErrUnsure when the
// vault, which may have it, cannot be asked.
func (m Mover) Undo(ctx context.Context, a holdfast.BackupArgs) (done bool, err error) {
	if err := m.Capture.Undo(ctx, a.RestorePoint()); err != nil {
		return false, err
	}
	vault, err := m.Repositories(ctx, a.Repository)
	if err == nil {
		_, err = vault.Point(ctx, a.PointID)
	}
	if err == nil || errors.Is(err, repository.ErrNoPoint) || !m.captured(ctx, a) {
		return err == nil, nil
	}
	return false, holdfast.Errorf(holdfast.Unreachable, a.Repository.URL, "The vault does not answer, so that nobody can say whether it has the point.").
		WithHint("The point is in the instant tier; the next backup asks the vault again, and copies the point if it is not there.").
		WithCause(fmt.Errorf("%w: %w", holdfast.ErrUnsure, err))
}

// captured says whether the first phase may have been done: without it there is no
// copy.
func (m Mover) captured(ctx context.Context, a holdfast.BackupArgs) bool {
	r, err := m.Capture.Opener.Existing(ctx, a.Operational)
	if err == nil {
		_, err = r.Point(ctx, a.PointID)
	}
	return !errors.Is(err, repository.ErrNoPoint) && !mover.Absent(err)
}

// Forget does nothing: a point is whole, or not there.
func (Mover) Forget(context.Context, holdfast.BackupArgs) error { return nil }

// Run makes the point that a asks for and copies it, or answers with it when an
// earlier run had done so.
func (m Mover) Run(ctx context.Context, a holdfast.BackupArgs, progress holdfast.Progress) (holdfast.BackupResult, error) {
	if a.Operational == (holdfast.RepositoryRef{}) {
		return holdfast.BackupResult{}, holdfast.Errorf(holdfast.Conflict, a.VM.Name, "The backup was begun by an older Holdfast, which had no operational repository.").
			WithHint("Start it again.")
	}
	for _, note := range a.Notes {
		progress.Warn(note)
	}
	if man, ok := m.inVault(ctx, a); ok {
		progress.Task(capture.Task)
		progress.Task(taskTransfer)
		return man.Result(a.PointID), nil
	}
	res, err := m.backup(ctx, a, progress)
	var hurt *unreadableError
	if errors.As(err, &hurt) {
		progress.Warn(fmt.Sprintf("The point could not be read back from the operational repository, and another snapshot was taken: %v.", hurt.error))
		res, err = m.backup(ctx, a, progress)
	}
	return res, mover.Explain(err, "the vault's repository")
}

// backup does both phases.
func (m Mover) backup(ctx context.Context, a holdfast.BackupArgs, progress holdfast.Progress) (holdfast.BackupResult, error) {
	p, err := m.Capture.Take(ctx, a.RestorePoint(), progress)
	if err != nil {
		return holdfast.BackupResult{}, err
	}
	t := &transfer{args: a, progress: progress, from: p.Repository, repositories: m.Repositories, log: m.Log, res: p.Manifest.Result(a.PointID)}
	if err := progress.Reached(t.res); err != nil {
		m.Log.Warn("the point is there, and is shown when its backup ends", "vm", a.VM.Name, "point", a.PointID, "err", err)
	}
	progress.Task(taskTransfer)
	progress.Cancellable(false)
	if t.to, err = m.Repositories(ctx, a.Repository); err != nil {
		return t.res, err
	}
	t.sayFirst(ctx, p)
	err = t.run(ctx)
	if errors.Is(err, repository.ErrDamaged) {
		err = t.reject(ctx, err)
	}
	return t.res, err
}

// unreadableError says that the point was rejected.
type unreadableError struct{ error }

func (e *unreadableError) Unwrap() error { return e.error }

// reject deletes the point from the operational repository if that has damage
// which hurts it: what was stored before is looked for again and stored anew by the
// next snapshot, once the damage is known. Else it gives the error back.
func (t *transfer) reject(ctx context.Context, why error) error {
	t.progress.Task(taskVerify)
	stats, err := t.from.Verify(ctx, repository.VerifyOptions{Progress: t.progress.Bytes})
	if !errors.Is(err, repository.ErrDamaged) {
		return errors.Join(why, err)
	}
	for _, d := range stats.Damage {
		if slices.ContainsFunc(d.Points, func(h repository.Hurt) bool { return h.Point == t.args.PointID }) {
			if err := t.from.DeletePoint(ctx, t.args.PointID); err != nil {
				return errors.Join(why, err)
			}
			return &unreadableError{why}
		}
	}
	return why
}

// inVault is the manifest of the point if it is in the vault.
func (m Mover) inVault(ctx context.Context, a holdfast.BackupArgs) (man mover.Manifest, ok bool) {
	vault, err := m.Repositories(ctx, a.Repository)
	if err != nil {
		return man, false // the first phase needs no vault
	}
	p, err := vault.Point(ctx, a.PointID)
	if err == nil {
		man, err = mover.ReadManifest(p)
	}
	return man, err == nil
}

// transfer is one run of the second phase.
type transfer struct {
	args     holdfast.BackupArgs
	progress holdfast.Progress
	from, to *repository.Repository
	// repositories opens those of points that wait elsewhere.
	repositories mover.Repositories
	log          *slog.Logger
	res          holdfast.BackupResult
}

// sayFirst tells why all was read when the vault knew the VM and the operational
// repository didn't: it is new, as after an upgrade, or was lost.
func (t *transfer) sayFirst(ctx context.Context, p capture.Point) {
	if !p.First {
		return
	}
	if points, err := t.to.Points(ctx, t.args.Series); err == nil && len(points) > 0 {
		t.progress.Property("Read in full", "the operational repository had no point of the VM to go on from; the vault keeps what it has")
	}
}

// run copies the points that wait, then the new one.
func (t *transfer) run(ctx context.Context) error {
	for _, ref := range t.args.Elsewhere {
		if err := t.copyFrom(ctx, ref); err != nil {
			return err
		}
	}
	for _, id := range t.args.Waiting {
		_, err := t.copy(ctx, t.from, id)
		switch {
		case err == nil:
			t.res.Copied = append(t.res.Copied, id)
		case errors.Is(err, repository.ErrNoPoint):
			t.res.Lost = append(t.res.Lost, id)
			t.progress.Warn(fmt.Sprintf("The point %s was not in the vault yet, and the operational repository has lost it.", id))
		case errors.Is(err, repository.ErrDamaged):
			t.progress.Warn(fmt.Sprintf("The point %s is not in the vault yet, and the operational repository cannot read all of it: %v.", id, err))
		default:
			return err
		}
	}
	p, err := t.copy(ctx, t.from, t.args.PointID)
	if err != nil {
		return err
	}
	var fresh, stored int64
	for _, d := range p.Disks {
		fresh, stored = fresh+d.Stats.New, stored+d.Stats.Stored
	}
	t.progress.Property("Vault", fmt.Sprintf("new %s, stored %s", humanize.IBytes(uint64(fresh)), humanize.IBytes(uint64(stored))))
	return nil
}

// copyFrom copies a point that waits in another operational repository. What cannot
// be read there now, since its key is not given or for damage, waits on: it is not to
// keep the newest point out of the vault.
func (t *transfer) copyFrom(ctx context.Context, ref holdfast.PointRef) error {
	from, err := t.repositories(ctx, ref.Repository)
	if err == nil {
		_, err = t.copy(ctx, from, ref.PointID)
	}
	switch {
	case err == nil:
		t.res.Copied = append(t.res.Copied, ref.PointID)
	case errors.Is(err, repository.ErrNoPoint), mover.Absent(err) && from == nil:
		t.res.Lost = append(t.res.Lost, ref.PointID)
		t.progress.Warn(fmt.Sprintf("The point %s was not in the vault yet, and the operational repository has lost it.", ref.PointID))
	case from == nil, errors.Is(err, repository.ErrDamaged):
		t.progress.Warn(fmt.Sprintf("The point %s is not in the vault yet, and cannot be read now: %v.", ref.PointID, err))
	default:
		return err
	}
	return nil
}

// copy copies one point, if the vault hasn't got it.
func (t *transfer) copy(ctx context.Context, from *repository.Repository, id string) (repository.Point, error) {
	if p, err := t.to.Point(ctx, id); !errors.Is(err, repository.ErrNoPoint) {
		return p, err
	}
	p, err := repository.Copy(ctx, from, t.to, id, repository.CopyOptions{Series: t.args.Series, Progress: t.progress.Bytes})
	if errors.Is(err, objstore.ErrFull) {
		t.makeRoom(ctx)
	}
	return p, err
}

// makeRoom gives a vault that a copy has filled its space back: what the failed
// one had stored would else stay until a later collection.
func (t *transfer) makeRoom(ctx context.Context) {
	if _, err := t.to.Collect(ctx, repository.CollectOptions{}); err != nil {
		t.log.Warn("freeing what a failed backup had stored", "vm", t.args.VM.Name, "err", err)
	}
}
