package snapshot

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"holdfast/internal/guest"
	"holdfast/internal/hypervisor"
)

// prefix starts the name of every checkpoint and working directory of ours.
// It is stored in users' disk images: it never changes.
const prefix = "holdfast-"

// defaultDeadline bounds the time that a guest stands still. Windows thaws by
// itself after 10 s.
const defaultDeadline = 10 * time.Second

// Take freezes, snapshots and thaws. Errors: hypervisor.ErrNoDomain,
// ErrUnreachable, ErrBusy (another backup job runs; the message says whose),
// ErrUnsupportedFormat, ErrScratchFull. After an error nothing is left and the
// guest runs as before.
func Take(ctx context.Context, r Request) (*Snapshot, error) {
	if r.Log == nil {
		r.Log = slog.New(slog.DiscardHandler)
	}
	if r.FreezeDeadline == 0 {
		r.FreezeDeadline = defaultDeadline
	}
	if r.Want == "" {
		r.Want = FileSystem
	}
	d, err := r.Host.Domain(ctx, r.UUID)
	if err != nil {
		return nil, err
	}
	t := &taken{r: r, domain: d, snap: &Snapshot{Domain: d, Consistency: Crash}}
	t.snap.take = t
	if err := t.prepare(ctx); err != nil {
		return nil, errors.Join(err, t.abandon(ctx))
	}
	run := t.online
	if !d.State.Active() {
		run = t.offline
	}
	if err := run(ctx); err != nil {
		return nil, errors.Join(err, t.abandon(ctx))
	}
	t.firmware()
	return t.snap, nil
}

// taken is what a snapshot holds while it is open.
type taken struct {
	r      Request
	domain hypervisor.Domain
	snap   *Snapshot
	plan   []planned
	omit   []string // targets that are left out
	dir    *workdir
	name   string // of the new checkpoint; "" makes none
	dog    *watchdog

	began    bool             // our backup job may be running
	stamps   map[string]stamp // of the images of a domain that is off, by path
	life     context.Context
	end      context.CancelCauseFunc
	watching sync.WaitGroup
	closers  []func() error

	once       sync.Once
	releaseErr error
}

// prepare does all that can be done before anything happens to the guest.
func (t *taken) prepare(ctx context.Context) error {
	var err error
	if t.snap.DomainXML, err = t.r.Host.DomainXML(ctx, t.r.UUID); err != nil {
		return err
	}
	job, err := t.r.Host.BackupJob(ctx, t.r.UUID)
	if err != nil {
		return err
	}
	if job != nil {
		return busy(t.r.ScratchDir, job)
	}
	if err := t.choose(); err != nil {
		return err
	}
	if err := t.unlock(ctx); err != nil {
		return err
	}
	if t.dir, err = makeWorkdir(t.r.ScratchDir, t.domain); err != nil {
		return err
	}
	// The snapshot outlives the call that took it.
	t.life, t.end = context.WithCancelCause(context.WithoutCancel(ctx))
	return nil
}

// busy says whose job it is that runs.
func busy(scratchDir string, job *hypervisor.BackupJob) error {
	if ours(scratchDir, job) {
		return fmt.Errorf("%w: a backup of Holdfast (%s)", hypervisor.ErrBusy, job.Socket)
	}
	return fmt.Errorf("%w: a backup that Holdfast did not start", hypervisor.ErrBusy)
}

// choose picks the disks: every hard disk that is not excluded.
func (t *taken) choose() error {
	for _, d := range t.domain.Disks {
		if d.Device != "disk" && d.Device != "lun" || slices.Contains(t.r.Exclude, d.Target) {
			t.omit = append(t.omit, d.Target)
			continue
		}
		if d.Format != "raw" && d.Format != "qcow2" {
			return &FormatError{Target: d.Target, Path: d.Path, Format: d.Format}
		}
		t.plan = append(t.plan, planned{disk: d})
	}
	if len(t.plan) == 0 {
		return errors.New("the virtual machine has no disk to back up")
	}
	return nil
}

// newName makes the name of a checkpoint or directory of ours.
func newName() string {
	b := make([]byte, 8)
	rand.Read(b) // never fails
	return prefix + hex.EncodeToString(b)
}

// online takes the snapshot of a domain whose QEMU runs.
func (t *taken) online(ctx context.Context) error {
	if err := t.ready(ctx); err != nil {
		return err
	}
	if err := t.instant(ctx); err != nil {
		return err
	}
	t.watching.Go(t.watchScratch)
	if err := t.checkpoint(ctx); err != nil {
		return err
	}
	return t.openOnline()
}

// ready decides on the disks and makes their scratch files, while the watchdog
// starts. Without one the guest is not frozen.
func (t *taken) ready(ctx context.Context) error {
	var starting sync.WaitGroup
	var dogErr error
	starting.Go(func() { t.dog, dogErr = startWatchdog(ctx, t.r, t.dir.path) })
	err := t.decide(ctx)
	if err == nil {
		err = t.scratchKey(ctx)
	}
	if slices.ContainsFunc(t.plan, func(p planned) bool { return p.track }) {
		t.name = newName()
	}
	for i := range t.plan {
		if err == nil {
			err = t.dir.scratch(ctx, &t.plan[i])
		}
	}
	starting.Wait()
	if dogErr != nil {
		t.warn("the watchdog does not start, so that nothing would end this backup if the server died: %v", dogErr)
	}
	return err
}

// checkpoint remembers what the next incremental needs.
func (t *taken) checkpoint(ctx context.Context) error {
	if t.name == "" {
		return nil
	}
	doc, err := t.r.Host.CheckpointXML(ctx, t.r.UUID, t.name)
	if err != nil {
		return err
	}
	c := &Checkpoint{Name: t.name, XML: doc}
	for _, p := range t.plan {
		if p.track {
			c.Disks = append(c.Disks, CheckpointDisk{Target: p.disk.Target, ChangeID: changeID(p.disk), Size: p.disk.Size})
		}
	}
	t.snap.Checkpoint = c
	return nil
}

// instant is the one moment: frozen when it can be, all disks at once. A bitmap
// that breaks between its validation and the moment costs another try without it.
func (t *taken) instant(ctx context.Context) error {
	f := t.freezer(ctx)
	if f == nil {
		return t.instants(ctx, nil)
	}
	defer f.close()
	if err := f.before(ctx); err != nil {
		return err
	}
	return errors.Join(t.instants(ctx, f), f.after(ctx))
}

func (t *taken) instants(ctx context.Context, f *freezer) error {
	for range len(t.plan) + 1 {
		err := t.tryInstant(ctx, f)
		var broken *hypervisor.BitmapError
		if !errors.As(err, &broken) {
			return err
		}
		t.demote(broken.Target, "its bitmap broke: "+broken.Error())
	}
	return fmt.Errorf("%w: libvirt refuses every try", hypervisor.ErrBitmap)
}

func (t *taken) tryInstant(ctx context.Context, f *freezer) error {
	if f != nil {
		f.freeze(ctx)
	}
	t.snap.Time = time.Now().UTC()
	t.began = true
	err := t.r.Host.BeginBackup(ctx, t.r.UUID, t.backup())
	if f != nil {
		t.snap.Consistency, t.snap.Reason, t.snap.FrozenFor = f.thaw(ctx)
		if f.stuck != nil {
			return errors.Join(err, f.stuck)
		}
	}
	return err
}

// backup describes the job to libvirt.
func (t *taken) backup() hypervisor.Backup {
	b := hypervisor.Backup{Socket: t.dir.socket, Checkpoint: t.name, Omit: t.omit}
	for _, p := range t.plan {
		d := hypervisor.BackupDisk{Target: p.disk.Target, Scratch: p.scratch, Bitmap: p.track}
		if p.key != nil {
			d.ScratchSecret = t.dir.secretUUID()
		}
		if p.incremental {
			d.Since = t.r.Last.Name
		}
		b.Disks = append(b.Disks, d)
	}
	return b
}

// releaseTimeout bounds the end of a snapshot; the caller's context may be over.
const releaseTimeout = time.Minute

// abandon takes back what a failed Take has done.
func (t *taken) abandon(ctx context.Context) error { return t.release(ctx, false) }

func (t *taken) release(ctx context.Context, keep bool) error {
	t.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		t.releaseErr = t.close(ctx, keep)
	})
	return t.releaseErr
}

// close ends everything, in the order in which it can be ended; an error does
// not stop the rest.
func (t *taken) close(ctx context.Context, keep bool) error {
	var errs []error
	if t.end != nil {
		t.end(errReleased)
	}
	t.watching.Wait()
	for _, c := range slices.Backward(t.closers) {
		errs = append(errs, c())
	}
	if t.began {
		errs = append(errs, t.r.Host.EndBackup(ctx, t.r.UUID))
	}
	if t.dir != nil {
		errs = append(errs, t.dir.remove())
	}
	if t.dog != nil {
		t.dog.ended()
	}
	if t.began {
		errs = append(errs, t.settleCheckpoints(ctx, keep))
	}
	return errors.Join(errs...)
}

var errReleased = errors.New("the snapshot was released")

// settleCheckpoints leaves exactly the checkpoint that the last committed point
// needs: the new one when it was kept, else what was there before.
func (t *taken) settleCheckpoints(ctx context.Context, keep bool) error {
	if !keep {
		if t.name == "" {
			return nil
		}
		err := t.r.Host.DeleteCheckpoint(ctx, t.r.UUID, t.name)
		if errors.Is(err, hypervisor.ErrNoCheckpoint) || errors.Is(err, hypervisor.ErrNoDomain) {
			return nil
		}
		return err
	}
	return dropCheckpoints(ctx, t.r.Host, t.r.UUID, t.name)
}

// agent gives the guest's agent.
func (t *taken) agent() guest.Agent { return guest.Of(t.r.Host, t.r.UUID) }
