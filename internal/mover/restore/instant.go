package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/beevik/etree"

	"holdfast"
	"holdfast/internal/hypervisor"
	"holdfast/internal/mover"
	"holdfast/internal/repository"
)

// An instant restore boots the VM before its disks are there. Each disk is an empty
// overlay at first, based on the point's disk, which this process serves by NBD
// (serve.go): the VM writes into the overlay and reads from the point what it has
// not written. Meanwhile the disk's file is made as in any restore, and what the
// VM wrote is then brought into it (join.go).
//
//	overlays -> define -> start -> for each disk: write its file, join the overlay to it
//
// Nothing of that is written down but the definition and the files: a disk whose
// overlay is used is to be joined. Where this process dies or the store fails,
// QEMU's reads fail and it pauses the VM (rerror_policy=stop); whoever serves again
// lets the VM go on, and QEMU repeats the reads. What the guest wrote is in the
// overlay all the while, which nothing but QEMU writes to.

// taskFill is the sub-task of an instant restore in which the VM runs already.
const taskFill = "Fill disks"

const (
	fillLook = 500 * time.Millisecond
	// fillPause is the longest pause after a failure for which the VM may wait, and
	// joinPause after one of the filling.
	fillPause = 10 * time.Second
	joinPause = time.Minute
)

// Files in the staging directory.
const (
	// booted says that the VM was started: from then on its power is its user's matter.
	booted = "booted"
	// halted says that its processors were stopped for a pivot.
	halted = "halted"
)

// look is how often is looked at what the VM does.
func (r *run) look() time.Duration { return cmp.Or(r.mover.Look, fillLook) }

// overlay is the image of what a VM writes while its disk is not whole. QEMU has to
// pass through the staging directory to it.
func (r *run) overlay(target string) string {
	return r.staging.path(r.args.NamePrefix + "-" + target + ".overlay")
}

// overlays makes the images of a VM that runs on the point.
func (r *run) overlays(ctx context.Context, disks []mover.ManifestDisk) (results []holdfast.DiskResult, err error) {
	if err := os.Chmod(r.staging.private, 0o711); err != nil { //nolint:gosec // what is in it is its owner's alone
		return nil, err
	}
	for _, d := range disks {
		path := r.overlay(d.Fact.Target)
		// -u: the base is not opened, as its size is known.
		cmd := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw",
			"-b", "nbd+unix:///"+d.Fact.Target+"?socket="+r.socket(), path, strconv.FormatInt(d.Fact.Size, 10))
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("make the image %s: %w: %s", path, err, strings.TrimSpace(string(out)))
		}
		if err := errors.Join(os.Chmod(path, 0o600), syncFile(path)); err != nil {
			return nil, err
		}
		final := r.staging.final(r.name(d.Fact.Target))
		results = append(results, holdfast.DiskResult{LUN: d.Fact.LUN, Target: d.Fact.Target, Size: d.Fact.Size, Path: final, Format: r.args.Format})
		r.progress.Property("Disk "+d.Fact.Target, final+"; filled while the VM runs")
	}
	return results, syncDir(r.staging.private)
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// wasBooted says whether an earlier run has started the VM.
func (r *run) wasBooted() bool {
	_, err := os.Lstat(r.staging.path(booted))
	return err == nil
}

// goOn takes an instant restore up again whose VM is there, or was deleted after it
// was started. It does not give up while the repository is away: the VM waits for
// it.
func (r *run) goOn(ctx context.Context, m Mover, vm holdfast.VMRef) error {
	r.progress.Task(taskFill)
	r.progress.Cancellable(false)
	var stop func()
	for wait := r.look(); ; wait = min(2*wait, fillPause) {
		err := r.openPoint(ctx, m)
		if err == nil {
			stop, err = r.serve(ctx)
		}
		if err == nil {
			break
		}
		if errors.Is(err, repository.ErrNoPoint) {
			return err
		}
		r.progress.Property("Waiting", fmt.Sprintf("the disks cannot be served: %v", err))
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
	defer stop()
	if !r.wasBooted() {
		if err := r.start(ctx, &vm); err != nil {
			r.progress.Warn(fmt.Sprintf("The VM %s is there, and could not be started: %v.", vm.Name, err))
		}
	}
	return r.complete(ctx, vm)
}

// complete makes the disks of the VM whole, one after the other, while the VM runs
// or is off. It ends when they stand alone and are durable.
func (r *run) complete(ctx context.Context, vm holdfast.VMRef) error {
	r.progress.Task(taskFill)
	if err := writeFile(r.staging.path(booted), nil); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	watched, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); r.keepGoing(watched, vm.UUID) }()
	defer func() { stop(); <-ended; r.showFiles(ctx) }()

	var before, total int64
	for _, d := range r.manifest.Disks {
		total += d.Fact.Size
	}
	for _, d := range r.manifest.Disks {
		j := join{run: r, vm: vm, disk: d, progress: func(done, _ int64) { r.progress.Bytes(before+done, total) }}
		if err := r.persist(ctx, j.step); err != nil {
			return err
		}
		before += d.Fact.Size
		r.progress.Bytes(before, total)
		r.progress.Property("Disk "+d.Fact.Target, j.final())
	}
	return r.persist(ctx, func(ctx context.Context) (bool, error) {
		err := r.standAlone(ctx, vm)
		_, err2 := r.wake(ctx, vm.UUID) // it may have stopped a moment ago
		return true, errors.Join(err, err2)
	})
}

// persist takes step after step until the work is done. It does not give up: it
// says what it waits for, and tries again.
func (r *run) persist(ctx context.Context, step func(context.Context) (done bool, err error)) error {
	waiting := ""
	for wait := r.look(); ; {
		done, err := step(ctx)
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		switch {
		case err != nil:
			wait = min(2*wait, joinPause)
			if waiting != err.Error() {
				waiting = err.Error()
				r.progress.Property("Waiting", waiting)
			}
		case waiting != "":
			wait, waiting = r.look(), ""
			r.progress.Property("Waiting", "over")
		}
		if done && err == nil {
			return nil
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// pause waits for a while or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// keepGoing wakes the VM whenever it stands still, until ctx ends.
func (r *run) keepGoing(ctx context.Context, uuid string) {
	for wait := r.look(); pause(ctx, wait) == nil; {
		stuck, err := r.wake(ctx, uuid)
		if wait = min(2*wait, fillPause); !stuck && err == nil {
			wait = r.look()
		}
	}
}

// wake lets the VM go on if it stands still because it could not read or write its
// disks, which it then tries again, or because this restore or a dead run of it
// stopped it.
func (r *run) wake(ctx context.Context, uuid string) (stuck bool, err error) {
	r.power.Lock()
	defer r.power.Unlock()
	d, err := r.host.Domain(ctx, uuid)
	if errors.Is(err, hypervisor.ErrNoDomain) {
		return false, nil
	}
	if stuck = err == nil && d.State == hypervisor.Paused && d.StateReason == hypervisor.PausedIOError; stuck {
		err = r.host.Resume(ctx, uuid)
	}
	return stuck, errors.Join(err, r.letGo(ctx, uuid))
}

// letGo lets a VM run whose processors were stopped for a pivot.
func (r *run) letGo(ctx context.Context, uuid string) error {
	if _, err := os.Lstat(r.staging.path(halted)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	d, err := r.host.Domain(ctx, uuid)
	if err == nil && d.State == hypervisor.Paused {
		err = r.host.Resume(ctx, uuid)
	}
	if err != nil && !errors.Is(err, hypervisor.ErrNoDomain) {
		return err
	}
	return os.Remove(r.staging.path(halted))
}

// standAlone gives the disks of a definition back what the original's were to do
// on errors.
func (r *run) standAlone(ctx context.Context, vm holdfast.VMRef) error {
	_, devices, err := readDomain(r.manifest.DomainXML, "the point")
	if err != nil {
		return err
	}
	was := map[string]*etree.Element{}
	for _, d := range hardDisks(devices) {
		was[d.target] = d.element.SelectElement("driver")
	}
	err = r.redefine(ctx, vm.UUID, func(e *etree.Element, target string) {
		removeAll(e, "backingStore") // libvirt writes an empty one
		drv := e.SelectElement("driver")
		for _, name := range []string{errorPolicy, readErrorPolicy} {
			drv.RemoveAttr(name)
			if was[target] == nil {
				continue
			}
			if a := was[target].SelectAttr(name); a != nil {
				drv.CreateAttr(name, a.Value)
			}
		}
	})
	if errors.Is(err, hypervisor.ErrNoDomain) {
		r.progress.Warn(fmt.Sprintf("The VM %s was deleted while its disks were filled; they are whole.", vm.Name))
		return nil
	}
	return err
}

// redefine changes the disks of the restore in the VM's definition, if it has one.
func (r *run) redefine(ctx context.Context, uuid string, change func(disk *etree.Element, target string)) error {
	d, err := r.host.Domain(ctx, uuid)
	if err != nil || !d.Persistent {
		return err
	}
	xml, err := r.host.DomainXML(ctx, uuid)
	if err != nil {
		return err
	}
	doc, devices, err := readDomain(xml, "the VM")
	if err != nil {
		return err
	}
	restored := func(target string) bool {
		return slices.ContainsFunc(r.manifest.Disks, func(d mover.ManifestDisk) bool { return d.Fact.Target == target })
	}
	for _, k := range hardDisks(devices) {
		if k.element.SelectElement("driver") != nil && restored(k.target) {
			change(k.element, k.target)
		}
	}
	out, err := doc.WriteToString()
	if err != nil {
		return err
	}
	return r.host.Redefine(ctx, uuid, out)
}

// What QEMU does when a disk cannot be written or read
// (https://libvirt.org/formatdomain.html, disk driver).
const (
	errorPolicy     = "error_policy"
	readErrorPolicy = "rerror_policy"
)

// placeBase bases a disk on the export of its name at a socket, and has the VM wait
// where it cannot be read.
func placeBase(d *etree.Element, socket, export string) {
	drv := d.SelectElement("driver")
	drv.CreateAttr(errorPolicy, "stop")
	drv.CreateAttr(readErrorPolicy, "stop")
	b := etree.NewElement("backingStore")
	b.CreateAttr("type", "network")
	b.CreateElement("format").CreateAttr("type", "raw")
	s := b.CreateElement("source")
	s.CreateAttr("protocol", "nbd")
	s.CreateAttr("name", export)
	h := s.CreateElement("host")
	h.CreateAttr("transport", "unix")
	h.CreateAttr("socket", socket)
	b.CreateElement("backingStore")
	d.InsertChildAt(d.SelectElement("target").Index(), b)
}
