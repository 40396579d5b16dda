// Package capture makes one point of one VM in the operational repository of its
// site: a snapshot on the host, read by what has changed since the VM's newest
// point there. It is what a restore point and the first phase of a backup have in
// common (docs/design/operational.md).
//
// It promises: the point is committed only when every disk is whole in the
// repository; a run that is repeated after a crash ends what the dead one left
// on the host, and finishes with the committed point if there was one; on any
// failure the guest is thawed and running, its disks are as they were, and the
// next point is right. A disk whose change tracking cannot be trusted is read in
// full, alone, and the job says why. Two captures of one VM go one after the
// other.
//
// It does not promise incremental reading of raw disks or of a VM that was
// never captured while running.
package capture

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

// Task is the sub-task that ends with the point, as Azure calls it.
const Task = "Take Snapshot"

// releasePatience bounds how long the host may take to end a snapshot.
const releasePatience = 2 * time.Minute

// Maker makes points. All but Watchdog are required. One is shared by all that
// capture the VMs of a host.
type Maker struct {
	Hosts  mover.Hosts
	Opener *mover.Opener
	// Watchdog is the command of the thaw watchdog; empty is this program's own.
	Watchdog []string
	Clock    clock.Clock
	Log      *slog.Logger

	turns turns
}

// Point is a committed point.
type Point struct {
	Repository *repository.Repository // that holds it
	Manifest   mover.Manifest
	// First says that the repository had no point of the VM before.
	First bool
}

// Undo gives the host back what an earlier run had taken: the guest is thawed
// and runs, libvirt's job and our scratch are gone. It needs no repository for
// that. While another capture of the VM runs there is nothing to give back: that
// one has done so.
func (m *Maker) Undo(ctx context.Context, a holdfast.RestorePointArgs) error {
	leave, free := m.turns.try(a.VM.UUID)
	if !free {
		return nil
	}
	defer leave()
	host, err := m.Hosts(ctx, a.Site)
	if err != nil {
		return mover.Explain(err, "site "+a.Site.Name)
	}
	defer host.Close()
	return mover.Explain(snapshot.End(ctx, host, a.VM.UUID, a.Site.ScratchDir), "VM "+a.VM.Name)
}

// Drop removes from a VM the checkpoints, and their bitmaps, of points that go; none
// of a point that stays. there says that the site has the VM.
func (m *Maker) Drop(ctx context.Context, site holdfast.SiteRef, o holdfast.Orphan) (there bool, err error) {
	leave, err := m.turns.take(ctx, o.VM.UUID)
	if err != nil {
		return false, mover.Explain(err, "VM "+o.VM.Name)
	}
	defer leave()
	host, err := m.Hosts(ctx, site)
	if err != nil {
		return false, mover.Explain(err, "site "+site.Name)
	}
	defer host.Close()
	have, err := host.Checkpoints(ctx, o.VM.UUID)
	if errors.Is(err, hypervisor.ErrNoDomain) {
		return false, nil
	}
	if err != nil {
		return false, mover.Explain(err, "VM "+o.VM.Name)
	}
	keep, gone := "", false
	for _, name := range have {
		if slices.Contains(o.Checkpoints, name) {
			gone = true
		} else if keep == "" {
			keep = name
		}
	}
	if !gone {
		return true, nil
	}
	return true, mover.Explain(snapshot.KeepOnly(ctx, host, o.VM.UUID, keep), "VM "+o.VM.Name)
}

// Take makes the point that a asks for, or answers with it when an earlier run
// had committed it. It can be cancelled until all is read.
func (m *Maker) Take(ctx context.Context, a holdfast.RestorePointArgs, progress holdfast.Progress) (Point, error) {
	progress.Task(Task)
	progress.Cancellable(true)
	leave, err := m.turns.take(ctx, a.VM.UUID)
	if err != nil {
		return Point{}, mover.Explain(err, "VM "+a.VM.Name)
	}
	defer leave()
	r := &run{Maker: m, args: a, progress: progress}
	if err := r.open(ctx); err != nil {
		return Point{}, explain(err, a)
	}
	man, err := r.done(ctx)
	fresh := errors.Is(err, repository.ErrNoPoint)
	if fresh {
		man, err = r.make(ctx)
	}
	if err != nil {
		return Point{}, explain(err, a)
	}
	progress.Cancellable(false)
	r.tell(man)
	return Point{Repository: r.repo, Manifest: man, First: fresh && r.before == nil}, nil
}

// open opens the operational repository.
func (r *run) open(ctx context.Context) error {
	repo, note, err := r.Opener.Operational(ctx, r.args.Operational)
	if note != "" {
		r.warn(note)
	}
	r.repo = repo
	return err
}

// make makes the point. Damage of what is there does not keep it from being made:
// first without the points before it, then in a new repository.
func (r *run) make(ctx context.Context) (mover.Manifest, error) {
	man, err := r.onHost(ctx)
	if damaged(err) {
		r.alone = true
		r.warn(fmt.Sprintf("The operational repository is damaged, so all disks are read in full: %v.", err))
		man, err = r.onHost(ctx)
	}
	if damaged(err) {
		note, asideErr := r.Opener.SetAside(r.args.Operational, err)
		if asideErr != nil {
			return man, asideErr
		}
		r.warn(note)
		if err := r.open(ctx); err != nil {
			return man, err
		}
		man, err = r.onHost(ctx)
	}
	return man, err
}

func damaged(err error) bool {
	return errors.Is(err, repository.ErrDamaged) || holdfast.KindOf(err) == holdfast.Damaged
}

// explain is mover.Explain, for who has to know which of two repositories is full.
func explain(err error, a holdfast.RestorePointArgs) error {
	if errors.Is(err, objstore.ErrFull) {
		return holdfast.Errorf(holdfast.Full, a.Operational.URL, "The operational repository of the site %q, at %s, is full: %v.", a.Site.Name, a.Operational.URL, err).
			WithHint(fmt.Sprintf("Snapshots go there first, whatever room the vault has. Free space on its file system, delete restore points, keep instant recovery points for fewer days (instantRpRetentionRangeInDays of the policies), or give it a larger place (holdfast site register %s --operational-dir DIR). Nothing of the points that exist is lost.", a.Site.Name)).WithCause(err)
	}
	return mover.Explain(err, "VM "+a.VM.Name)
}

// run is one attempt.
type run struct {
	*Maker
	args     holdfast.RestorePointArgs
	progress holdfast.Progress
	repo     *repository.Repository
	host     hypervisor.Host
	alone    bool              // no point before it is to be looked at
	before   *repository.Point // the VM's newest point; nil for the first
	last     *mover.Manifest   // of that point
	warnings []string          // of the point that is being made
}

// warn tells of what becomes part of the point, too.
func (r *run) warn(text string) {
	r.warnings = append(r.warnings, text)
	r.progress.Warn(text)
}

// done is the point asked for, if an earlier run had committed it, else
// repository.ErrNoPoint.
func (r *run) done(ctx context.Context) (mover.Manifest, error) {
	p, err := r.repo.Point(ctx, r.args.PointID)
	if err != nil {
		return mover.Manifest{}, err
	}
	return mover.ReadManifest(p)
}

func (r *run) onHost(ctx context.Context) (man mover.Manifest, err error) {
	if r.host, err = r.Hosts(ctx, r.args.Site); err != nil {
		return man, mover.Explain(err, "site "+r.args.Site.Name)
	}
	defer r.host.Close()
	if err := os.MkdirAll(r.args.Site.ScratchDir, 0o711); err != nil { // QEMU passes through it
		return man, fmt.Errorf("the scratch directory: %w", err)
	}
	// The series is ours from here on: nobody else's snapshot needs a checkpoint.
	w, err := r.repo.Begin(ctx, repository.PointSpec{ID: r.args.PointID, Series: r.args.VM.UUID, Created: r.Clock()})
	if err != nil {
		return man, err
	}
	defer w.Abort() // does nothing after Commit
	if err := r.look(ctx); err != nil {
		return man, err
	}
	return r.capture(ctx, w)
}

// look finds the VM's newest point, which the next one builds on, and leaves the
// host no checkpoint but that point's.
func (r *run) look(ctx context.Context) error {
	r.before, r.last = nil, nil
	if !r.alone {
		before, last, ok, err := mover.Latest(ctx, r.repo, r.args.VM.UUID)
		if err != nil {
			return err
		}
		if ok {
			r.before, r.last = &before, &last
		}
	}
	return snapshot.KeepOnly(ctx, r.host, r.args.VM.UUID, checkpointName(r.last))
}

// capture takes the snapshot and copies it into the repository.
func (r *run) capture(ctx context.Context, w *repository.Writer) (mover.Manifest, error) {
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
	said := r.ask(ctx, snap.Domain)
	err = errors.Join(r.transfer(ctx, w, snap, &man), snap.Check(ctx))
	man.Warnings = append(man.Warnings, <-said...)
	if err == nil {
		r.progress.Cancellable(false) // the point is there, or it isn't: no cancellation comes between
		_, err = w.Commit(context.WithoutCancel(ctx), repository.Manifest{Time: man.Time, Attributes: holdfast.Marshal(man)})
	}
	if err != nil {
		r.makeRoom(ctx, w, err)
		return man, err
	}
	committed = true
	return man, nil
}

// makeRoom gives a repository that a capture has filled its space back: what the
// failed one had stored would else stay until a later collection.
func (r *run) makeRoom(ctx context.Context, w *repository.Writer, err error) {
	if !errors.Is(err, objstore.ErrFull) {
		return
	}
	w.Abort()
	if _, err := r.repo.Collect(ctx, repository.CollectOptions{}); err != nil {
		r.Log.Warn("freeing what a failed capture had stored", "vm", r.args.VM.Name, "err", err)
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

// excluded are the targets of the disks that are left out: those that were named,
// temporary ones, and NVMe devices of the host, which no snapshot reaches
// (matrix STO-13, STO-14, RPT-11, RPT-24).
func excluded(disks []holdfast.DiskFact, luns []int) (targets []string) {
	for _, d := range disks {
		if d.Temporary || d.NVMe || slices.Contains(luns, d.LUN) {
			targets = append(targets, d.Target)
		}
	}
	return targets
}

// manifest says of the point all that is known before its bytes are read.
func (r *run) manifest(ctx context.Context, s *snapshot.Snapshot) mover.Manifest {
	man := mover.Manifest{
		Version:     1,
		VM:          mover.Facts(ctx, r.host, s.Domain, true),
		Time:        s.Time.UTC(),
		Consistency: proved[s.Consistency],
		Reason:      s.Reason,
		FrozenFor:   s.FrozenFor,
		DomainXML:   s.DomainXML,
		NVRAM:       s.NVRAM,
		TPM:         s.TPM,
		Checkpoint:  s.Checkpoint,
		Warnings:    append(r.warnings, s.Warnings...),
	}
	if len(s.Secrets) > 0 {
		man.Version, man.Secrets = mover.ManifestVersion, s.Secrets
	}
	for _, d := range s.Disks {
		for i := range man.VM.Disks {
			if man.VM.Disks[i].Target == d.Target {
				man.VM.Disks[i].Secret = d.Secret
			}
		}
	}
	if r.args.Want == holdfast.ApplicationConsistent && man.Consistency != r.args.Want ||
		r.args.Want == holdfast.FileSystemConsistent && man.Consistency == holdfast.CrashConsistent {
		man.Warnings = append(man.Warnings, fmt.Sprintf("The point is %s, though %s was asked for.", man.Consistency, r.args.Want))
	}
	return man
}

func checkpointName(m *mover.Manifest) string {
	if m == nil || m.Checkpoint == nil {
		return ""
	}
	return m.Checkpoint.Name
}
