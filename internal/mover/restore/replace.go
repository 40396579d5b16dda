package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"holdfast"
	"holdfast/internal/hypervisor"
	"holdfast/internal/mover"
)

// Replacing the disks of an existing VM (matrix RST-03) goes in steps, of which
// one alone changes the VM: libvirt's define, which is atomic.
//
//	restore beside   new files next to the VM's disks; the VM may run meanwhile
//	stop             noted before, so that whoever takes it back starts it again
//	keep             the definition as it is becomes a file
//	define           the VM has the new disks
//	start            or, when it can't, the kept definition comes back
//
// Whatever dies in between, the VM is bootable: before the define with its own
// disks, which nothing ever writes to, and after it with the new ones, which were
// whole and durable before. Undo tells the two apart by the mark in the definition.

// stopped is the file in the staging directory that says that the VM ran, or, when
// it holds the word paused, that somebody had paused it.
const (
	stopped = "stopped"
	paused  = "paused"
)

// original is the name of the file that keeps the VM's definition from before:
// `virsh define` of it gives the VM its former disks back.
func (r *run) original() string { return r.args.NamePrefix + "-original.xml" }

// replace is a run of a restore that replaces disks.
func (r *run) replace(ctx context.Context, m Mover) (res holdfast.RestoreResult, err error) {
	done, err := r.swapped(ctx)
	if err == nil && !done {
		err = r.prepare(ctx, m, &res)
	}
	if err == nil {
		err = r.settle(ctx, m, &res)
	}
	if err != nil {
		if left := r.giveBack(context.WithoutCancel(ctx)); left != nil {
			r.progress.Warn(fmt.Sprintf("Not all could be taken back: %v.", left))
		}
	}
	// The pool shows the new files; that it doesn't is no failure.
	_ = r.host.RefreshPool(context.WithoutCancel(ctx), r.args.Pool)
	return res, err
}

// swapped says whether the VM has the disks of this restore.
func (r *run) swapped(ctx context.Context) (bool, error) {
	xml, err := r.host.DomainXML(ctx, r.args.VM.UUID)
	return err == nil && mover.RestoreOf(xml) == r.args.RestoreID, err
}

// prepare does everything up to the define.
func (r *run) prepare(ctx context.Context, m Mover, res *holdfast.RestoreResult) error {
	if err := r.openPoint(ctx, m); err != nil {
		return err
	}
	disks, err := r.chosen()
	if err == nil {
		err = r.keysFit(disks)
	}
	if err != nil {
		return err
	}
	d, err := r.replaceable(ctx)
	if err != nil {
		return err
	}
	r.replaced = map[string]string{}
	for _, k := range d.Disks {
		if k.Format == r.args.Format && k.Kind == "file" {
			r.replaced[k.Target] = k.Path
		}
	}
	if err := r.staging.begin(append(r.names(disks), r.original())); err != nil {
		return err
	}
	if res.Disks, err = r.disks(ctx, disks); err != nil {
		return err
	}
	if name := r.nvramName(); name != "" {
		if err := r.writeNVRAM(name); err != nil {
			return err
		}
	}
	r.progress.Task(taskReplace)
	r.progress.Cancellable(false)
	if err := r.stop(ctx, m); err != nil {
		return err
	}
	return r.define(ctx, res)
}

// replaceable is the VM, if its disks can be replaced by the point's.
func (r *run) replaceable(ctx context.Context) (hypervisor.Domain, error) {
	d, err := r.host.Domain(ctx, r.args.VM.UUID)
	switch {
	case err != nil:
		return d, err
	case !d.Persistent:
		return d, holdfast.Errorf(holdfast.Unsupported, d.Name, "The VM %q is transient: libvirt would forget it when it goes off.", d.Name).WithHint("Define it first (`virsh define`).")
	case d.Saved:
		return d, holdfast.Errorf(holdfast.Conflict, d.Name, "The VM %q is off with its memory saved; on other disks that memory would destroy them.", d.Name).
			WithHint("Start it and shut it down, or drop the memory: `virsh managedsave-remove`.")
	case d.UEFI != r.manifest.VM.UEFI:
		return d, holdfast.Errorf(holdfast.Unsupported, d.Name, "The firmware of the VM %q is another one now (UEFI or BIOS) than at the time of the point.", d.Name).
			WithHint("Restore the point as a new VM.")
	}
	return d, nil
}

// stop powers the VM off. That it ran is noted first.
func (r *run) stop(ctx context.Context, m Mover) error {
	d, err := r.replaceable(ctx)
	if err != nil || !d.State.Active() {
		return err
	}
	was := ""
	if d.State == hypervisor.Paused && d.StateReason == hypervisor.PausedUser {
		was = paused
	}
	if err := writeFile(r.staging.path(stopped), []byte(was)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := syncDir(r.staging.private); err != nil {
		return err
	}
	return mover.Stop(ctx, r.host, d.UUID, m.Grace, r.progress.Warn)
}

// define keeps the VM's definition in a file and gives the VM the new disks.
func (r *run) define(ctx context.Context, res *holdfast.RestoreResult) error {
	d, err := r.replaceable(ctx)
	if err != nil {
		return err
	}
	now, err := r.host.DomainXML(ctx, d.UUID)
	if err != nil {
		return err
	}
	if err := writeFile(r.staging.path(r.original()), []byte(now)); err != nil {
		return err
	}
	if err := r.staging.publish(r.original()); err != nil {
		return err
	}
	s := r.swap(d, res)
	xml, notes, err := swapDisks(now, r.manifest.DomainXML, s)
	if err != nil {
		return err
	}
	res.FollowUps = append(res.FollowUps, notes...)
	return r.host.Redefine(ctx, d.UUID, xml)
}

// swap says which disks the VM is to have. Those that the point's VM had and the
// point holds not (left out of the backup, or temporary) stay, and so do those
// that were not asked for.
func (r *run) swap(d hypervisor.Domain, res *holdfast.RestoreResult) swap {
	s := swap{RestoreID: r.args.RestoreID, PointID: r.point.ID, Disks: map[string]string{}, Formats: map[string]string{}, Keep: map[string]bool{}}
	for _, k := range res.Disks {
		s.Disks[k.Target], s.Formats[k.Target] = k.Path, k.Format
	}
	if r.args.LUNs != nil {
		for _, k := range d.Disks {
			s.Keep[k.Target] = true
		}
	}
	for _, f := range r.manifest.VM.Disks {
		s.Keep[f.Target] = true
	}
	if name := r.nvramName(); name != "" {
		s.NVRAM = r.staging.final(name)
	}
	s.LUNs = lunsAfter(r.manifest.VM.Disks, mover.DiskFacts(d), s)
	return s
}

// settle says what was kept, and starts a VM that has its new disks. Somebody may
// have started it on the old ones just before it got the others.
func (r *run) settle(ctx context.Context, m Mover, res *holdfast.RestoreResult) error {
	r.progress.Task(taskReplace)
	r.progress.Cancellable(false)
	res.VM = &r.args.VM
	was, is, err := r.beforeAndAfter(ctx)
	if err != nil {
		return err
	}
	for _, path := range was {
		if !slices.Contains(is, path) {
			res.Retained = append(res.Retained, path)
		}
	}
	r.progress.Property("Retained disks", strings.Join(res.Retained, ", "))
	r.progress.Property("Former definition", r.staging.final(r.original()))
	if len(res.FollowUps) > 0 {
		r.progress.Property("Follow up", strings.Join(res.FollowUps, " "))
	}
	d, err := r.host.Domain(ctx, r.args.VM.UUID)
	if err != nil {
		return err
	}
	old := func(k hypervisor.Disk) bool { return slices.Contains(res.Retained, k.Path) }
	if d.State.Active() && slices.ContainsFunc(d.Disks, old) {
		if err := mover.Stop(ctx, r.host, d.UUID, m.Grace, r.progress.Warn); err != nil {
			return err
		}
	}
	if r.args.Start && r.args.KeepPaused && r.wasPaused() {
		return r.host.StartPaused(ctx, d.UUID)
	}
	return r.start(ctx, res.VM)
}

// wasPaused says that somebody had paused the VM before this restore stopped it.
func (r *run) wasPaused() bool {
	b, err := os.ReadFile(r.staging.path(stopped))
	return err == nil && string(b) == paused
}

// beforeAndAfter are the paths of the disks in the kept definition and in the
// one that the VM has.
func (r *run) beforeAndAfter(ctx context.Context) (was, is []string, err error) {
	kept, err := os.ReadFile(r.staging.final(r.original()))
	if err != nil {
		return nil, nil, err
	}
	xml, err := r.host.DomainXML(ctx, r.args.VM.UUID)
	if err != nil {
		return nil, nil, err
	}
	if was, err = disksOf(string(kept)); err != nil {
		return nil, nil, err
	}
	is, err = disksOf(xml)
	return was, is, err
}

// giveBack brings the VM back to how it was before: its definition, its power,
// and no files of the restore. Where it cannot tell how the VM is, and where the
// VM runs on the new disks, it leaves all as it is.
func (r *run) giveBack(ctx context.Context) error {
	done, err := r.swapped(ctx)
	if errors.Is(err, hypervisor.ErrNoDomain) { // somebody deleted it meanwhile
		return r.staging.remove()
	}
	if err != nil {
		return err
	}
	if done {
		d, err := r.host.Domain(ctx, r.args.VM.UUID)
		if err != nil {
			return err
		}
		mine := func(k hypervisor.Disk) bool { return k.Path == r.staging.final(r.name(k.Target)) }
		if d.State.Active() && slices.ContainsFunc(d.Disks, mine) {
			return fmt.Errorf("%s runs on the restored disks", d.Name)
		}
		kept, err := os.ReadFile(r.staging.final(r.original()))
		if err != nil {
			return err
		}
		if err := r.host.Redefine(ctx, r.args.VM.UUID, string(kept)); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(r.staging.path(stopped)); err == nil {
		start := r.host.Start
		if r.wasPaused() {
			start = r.host.StartPaused
		}
		if err := start(ctx, r.args.VM.UUID); err != nil {
			return err
		}
	}
	return r.staging.remove()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
