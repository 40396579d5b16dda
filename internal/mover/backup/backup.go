// Package backup makes one point of one VM: a snapshot on the host, copied
// into the vault's repository.
//
// It promises: the point is committed only when every disk is whole in the
// repository; a run that is repeated after a crash ends what the dead one left
// on the host, and finishes with the committed point if there was one; on any
// failure the guest is thawed and running, its disks are as they were, and the
// next backup is right. A disk whose change tracking cannot be trusted is read
// in full, alone, and the job says why.
//
// It does not promise incremental reading of raw disks or of a VM that was
// never backed up while running.
package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"holdfast"
	"holdfast/internal/clock"
	"holdfast/internal/hypervisor"
	"holdfast/internal/mover"
	"holdfast/internal/objstore"
	"holdfast/internal/repository"
	"holdfast/internal/snapshot"
)

// The sub-tasks of a backup job, as Azure calls them.
const (
	taskSnapshot = "Take Snapshot"
	taskTransfer = "Transfer data to vault"
	// taskCommit ends with the point: what was read is stored, and proved to be.
	taskCommit = "Commit recovery point"
)

// releasePatience bounds how long the host may take to end a snapshot.
const releasePatience = 2 * time.Minute

// Mover makes points. All but Watchdog are required.
type Mover struct {
	Hosts        mover.Hosts
	Repositories mover.Repositories
	// Watchdog is the command of the thaw watchdog; empty is this program's own.
	Watchdog []string
	Clock    clock.Clock
	Log      *slog.Logger
}

// Undo gives the host back what an earlier run had taken: the guest is thawed
// and runs, libvirt's job and our scratch are gone. It needs no repository for
// that; done says that the repository has the point.
func (m Mover) Undo(ctx context.Context, a holdfast.BackupArgs) (done bool, err error) {
	host, err := m.Hosts(ctx, a.Site)
	if err != nil {
		return false, mover.Explain(err, "site "+a.Site.Name)
	}
	defer host.Close()
	if err := snapshot.End(ctx, host, a.VM.UUID, a.Site.ScratchDir); err != nil {
		return false, mover.Explain(err, "VM "+a.VM.Name)
	}
	repo, err := m.Repositories(ctx, a.Repository)
	if err != nil {
		return false, nil // Run says it, if it comes to that
	}
	_, err = repo.Point(ctx, a.PointID)
	return err == nil, nil
}

// Forget does nothing: a point is whole, or not there.
func (Mover) Forget(context.Context, holdfast.BackupArgs) error { return nil }

// Run makes the point that a asks for, or answers with it when an earlier run
// had committed it.
func (m Mover) Run(ctx context.Context, a holdfast.BackupArgs, progress holdfast.Progress) (holdfast.BackupResult, error) {
	progress.Task(taskSnapshot)
	progress.Cancellable(true)
	repo, err := m.Repositories(ctx, a.Repository)
	if err != nil {
		return holdfast.BackupResult{}, mover.Explain(err, "the vault's repository")
	}
	host, err := m.Hosts(ctx, a.Site)
	if err != nil {
		return holdfast.BackupResult{}, mover.Explain(err, "site "+a.Site.Name)
	}
	defer host.Close()
	r := &run{Mover: m, args: a, progress: progress, repo: repo, host: host}
	man, err := r.committed(ctx)
	if errors.Is(err, repository.ErrNoPoint) {
		man, err = r.backup(ctx)
	}
	return result(a.PointID, man), mover.Explain(err, "VM "+a.VM.Name)
}

// run is one attempt.
type run struct {
	Mover
	args     holdfast.BackupArgs
	progress holdfast.Progress
	repo     *repository.Repository
	host     hypervisor.Host
	before   *repository.Point // the series' newest point; nil for the first
	last     *mover.Manifest   // of that point
}

// committed looks at what the repository has of the VM: the newest point, which
// the next one builds on, and the point asked for, if an earlier run had
// committed it (else repository.ErrNoPoint).
func (r *run) committed(ctx context.Context) (mover.Manifest, error) {
	before, last, ok, err := mover.Latest(ctx, r.repo, r.args.Series)
	if err != nil {
		return mover.Manifest{}, err
	}
	if ok {
		r.before, r.last = &before, &last
	}
	if err := snapshot.KeepOnly(ctx, r.host, r.args.VM.UUID, checkpointName(last)); err != nil {
		return mover.Manifest{}, err
	}
	done, err := r.repo.Point(ctx, r.args.PointID)
	if err != nil {
		return mover.Manifest{}, err
	}
	return mover.ReadManifest(done)
}

func (r *run) backup(ctx context.Context) (mover.Manifest, error) {
	if err := os.MkdirAll(r.args.Site.ScratchDir, 0o711); err != nil { // QEMU passes through it
		return mover.Manifest{}, fmt.Errorf("the scratch directory: %w", err)
	}
	w, err := r.repo.Begin(ctx, repository.PointSpec{ID: r.args.PointID, Series: r.args.Series, Created: r.Clock()})
	if err != nil {
		return mover.Manifest{}, err
	}
	defer w.Abort() // does nothing after Commit
	snap, err := r.snapshot(ctx)
	if err != nil {
		return mover.Manifest{}, err
	}
	committed := false
	defer func() {
		// The host is given back what it lent whatever became of ctx.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releasePatience)
		defer cancel()
		if err := snap.Release(ctx, committed); err != nil {
			r.progress.Warn(fmt.Sprintf("The snapshot was not ended cleanly on the host (%v); the next backup ends it.", err))
		}
	}()
	man := r.manifest(ctx, snap)
	r.tellScripts(snap.Scripts)
	r.progress.Task(taskTransfer)
	r.progress.Cancellable(false)
	said := r.ask(ctx, snap.Domain)
	err = errors.Join(r.transfer(ctx, w, snap, &man), snap.Check(ctx))
	man.Warnings = append(man.Warnings, <-said...)
	if err == nil {
		r.progress.Task(taskCommit)
		_, err = w.Commit(ctx, repository.Manifest{Time: man.Time, Attributes: holdfast.Marshal(man)})
	}
	if err != nil {
		r.makeRoom(ctx, w, err)
		return man, err
	}
	committed = true
	r.tell(man)
	return man, nil
}

// makeRoom gives a vault that a backup has filled its space back: what the
// failed one had stored would else stay until a later collection.
func (r *run) makeRoom(ctx context.Context, w *repository.Writer, err error) {
	if !errors.Is(err, objstore.ErrFull) {
		return
	}
	w.Abort()
	if _, err := r.repo.Collect(ctx, repository.CollectOptions{}); err != nil {
		r.Log.Warn("freeing what a failed backup had stored", "vm", r.args.VM.Name, "err", err)
	}
}

// snapshot freezes, marks and thaws.
func (r *run) snapshot(ctx context.Context) (*snapshot.Snapshot, error) {
	d, err := r.host.Domain(ctx, r.args.VM.UUID)
	if err != nil {
		return nil, err
	}
	req := snapshot.Request{
		Host: r.host, URI: r.args.Site.URI, UUID: r.args.VM.UUID,
		ScratchDir: r.args.Site.ScratchDir, ScratchCap: r.args.Site.ScratchLimit,
		Want:     wanted[r.args.Want],
		Exclude:  excluded(mover.DiskFacts(d), r.args.ExcludeLUNs),
		Watchdog: r.Watchdog,
		Log:      r.Log,
	}
	if r.last != nil {
		req.Last = r.last.Checkpoint
	}
	return snapshot.Take(ctx, req)
}

// wanted and proved translate between the nouns of the two wings.
var wanted = map[holdfast.Consistency]snapshot.Consistency{
	holdfast.ApplicationConsistent: snapshot.Application,
	holdfast.FileSystemConsistent:  snapshot.FileSystem,
	holdfast.CrashConsistent:       snapshot.Crash,
	"":                             snapshot.FileSystem,
}

var proved = map[snapshot.Consistency]holdfast.Consistency{
	snapshot.Application: holdfast.ApplicationConsistent,
	snapshot.FileSystem:  holdfast.FileSystemConsistent,
	snapshot.Crash:       holdfast.CrashConsistent,
}

func excluded(disks []holdfast.DiskFact, luns []int) (targets []string) {
	for _, d := range disks {
		if d.Temporary || slices.Contains(luns, d.LUN) {
			targets = append(targets, d.Target)
		}
	}
	return targets
}

// manifest says of the point all that is known before its bytes are read.
func (r *run) manifest(ctx context.Context, s *snapshot.Snapshot) mover.Manifest {
	man := mover.Manifest{
		Version:     mover.ManifestVersion,
		VM:          mover.Facts(ctx, r.host, s.Domain, true),
		Time:        s.Time.UTC(),
		Consistency: proved[s.Consistency],
		Reason:      s.Reason,
		FrozenFor:   s.FrozenFor,
		DomainXML:   s.DomainXML,
		NVRAM:       s.NVRAM,
		TPM:         s.TPM,
		Checkpoint:  s.Checkpoint,
		Warnings:    s.Warnings,
	}
	if r.args.Want == holdfast.ApplicationConsistent && man.Consistency != r.args.Want ||
		r.args.Want == holdfast.FileSystemConsistent && man.Consistency == holdfast.CrashConsistent {
		man.Warnings = append(man.Warnings, fmt.Sprintf("The point is %s, though %s was asked for.", man.Consistency, r.args.Want))
	}
	return man
}

// result is what the job answers, derived from the manifest so that a repeated
// run answers the same.
func result(id string, man mover.Manifest) holdfast.BackupResult {
	res := holdfast.BackupResult{
		PointID: id, Time: man.Time, Consistency: man.Consistency, Reason: man.Reason, FrozenFor: man.FrozenFor,
		VMSize: fmt.Sprintf("%d vCPU, %d MiB", man.VM.VCPUs, man.VM.MemoryBytes>>20),
		OSType: man.VM.OSType, Warnings: man.Warnings, Kept: man.VM.Kept,
	}
	for _, d := range man.Disks {
		res.Disks = append(res.Disks, d.Cost)
	}
	return res
}

func checkpointName(m mover.Manifest) string {
	if m.Checkpoint == nil {
		return ""
	}
	return m.Checkpoint.Name
}
