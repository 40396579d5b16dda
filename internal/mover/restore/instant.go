package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/beevik/etree"

	"holdfast"
	"holdfast/internal/hypervisor"
	"holdfast/internal/mover"
	"holdfast/internal/repository"
)

// An instant restore boots the VM before its disks are there. Each is an empty
// qcow2 image based on the point's disk, which this process serves by NBD
// (serve.go): the VM writes into the image and reads from the point what it has
// not written. Meanwhile QEMU pulls the rest into the image, and when it has all,
// the image stands alone.
//
//	overlays -> define -> start -> pull, until no disk is based on the socket
//
// Nothing of that is written down but the definition: a disk whose base is the
// socket is to be pulled. Where this process dies or the store fails, QEMU's reads
// fail and it pauses the VM (rerror=stop); its next run serves again and lets the
// VM go on, and QEMU repeats the reads. What the guest wrote is in its own images
// all the while. While a VM is off, its images are filled with qemu-img.

// taskFill is the sub-task of an instant restore in which the VM runs already.
const taskFill = "Fill disks"

const (
	// fillLook is how often the filling is looked at.
	fillLook = 500 * time.Millisecond
	// fillPause is the longest pause after a failure.
	fillPause = 10 * time.Second
)

// booted is the file in the staging directory that says that the VM was started:
// from then on its power is its user's matter.
const booted = "booted"

// overlays makes the images of a VM that runs on the point.
func (r *run) overlays(ctx context.Context, disks []mover.ManifestDisk) (results []holdfast.DiskResult, err error) {
	for _, d := range disks {
		name := r.name(d.Fact.Target)
		// -u: the base is not opened, as its size is known.
		cmd := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw",
			"-b", "nbd+unix:///"+d.Fact.Target+"?socket="+r.socket(), r.staging.path(name), strconv.FormatInt(d.Fact.Size, 10))
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("make the image %s: %w: %s", name, err, strings.TrimSpace(string(out)))
		}
		if err := errors.Join(os.Chmod(r.staging.path(name), 0o600), syncFile(r.staging.path(name))); err != nil {
			return nil, err
		}
		if err := r.staging.publish(name); err != nil {
			return nil, err
		}
		results = append(results, holdfast.DiskResult{LUN: d.Fact.LUN, Target: d.Fact.Target, Size: d.Fact.Size, Path: r.staging.final(name), Format: r.args.Format})
		r.progress.Property("Disk "+d.Fact.Target, r.staging.final(name)+"; filled while the VM runs")
	}
	return results, nil
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// goOn takes an instant restore up again whose VM is there. It does not give up
// while the repository is away: the VM waits for it.
func (r *run) goOn(ctx context.Context, m Mover, vm *holdfast.VMRef) error {
	r.progress.Task(taskFill)
	r.progress.Cancellable(false)
	var stop func()
	for wait := fillLook; ; wait = min(2*wait, fillPause) {
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
	if _, err := os.Lstat(r.staging.path(booted)); err != nil {
		if err := r.start(ctx, vm); err != nil {
			r.progress.Warn(fmt.Sprintf("The VM %s is there, and could not be started: %v.", vm.Name, err))
		}
	}
	return r.fill(ctx, vm)
}

// fill has the images of the VM filled, until they stand alone.
func (r *run) fill(ctx context.Context, vm *holdfast.VMRef) error {
	r.progress.Task(taskFill)
	if err := writeFile(r.staging.path(booted), nil); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	waited := false
	for wait := fillLook; ; {
		d, err := r.host.Domain(ctx, vm.UUID)
		if errors.Is(err, hypervisor.ErrNoDomain) {
			r.progress.Warn(fmt.Sprintf("The VM %s was deleted while its disks were filled.", vm.Name))
			return nil
		}
		if err == nil {
			left := r.based(d)
			if len(left) == 0 {
				err = r.standAlone(ctx, vm)
				if err == nil {
					return nil
				}
			} else {
				err = r.pull(ctx, d, left)
			}
		}
		if wait = fillLook; err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			wait, waited = fillPause, true
			r.progress.Property("Waiting", err.Error())
		} else if waited {
			waited = false
			r.progress.Property("Waiting", "over")
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

// based are the VM's disks that take something from the point yet.
func (r *run) based(d hypervisor.Domain) (left []hypervisor.Disk) {
	for _, k := range d.Disks {
		if k.BackingSocket == r.socket() {
			left = append(left, k)
		}
	}
	return left
}

// pull sees that the first of these disks is being filled, and says how far all
// are. They are filled one after the other: with two streams QEMU 7.2.22 crashed
// twice, seconds after the boot. A VM that stopped because it could
// not read goes on.
func (r *run) pull(ctx context.Context, d hypervisor.Domain, left []hypervisor.Disk) error {
	if !d.State.Active() {
		return r.fillOff(ctx, d, left)
	}
	if d.State == hypervisor.Paused && d.StateReason == hypervisor.PausedIOError {
		if err := r.host.Resume(ctx, d.UUID); err != nil {
			return err
		}
	}
	var all, missing int64
	for _, f := range r.manifest.Disks {
		all += f.Fact.Size
	}
	first := left[0]
	done, total, running, err := r.host.Pulling(ctx, d.UUID, first.Target)
	if err == nil && !running {
		err = r.host.Pull(ctx, d.UUID, first.Target, r.args.FillRate)
	}
	if err != nil {
		return fmt.Errorf("disk %s: %w", first.Target, err)
	}
	for _, k := range left {
		missing += k.Size
	}
	if total > 0 {
		missing -= int64(float64(done) / float64(total) * float64(first.Size))
	}
	r.progress.Bytes(all-missing, all)
	return nil
}

// fillOff fills the images of a VM that was powered off meanwhile. Its owner can
// start it again when each is done; the lock of its image keeps it off till then.
func (r *run) fillOff(ctx context.Context, d hypervisor.Domain, left []hypervisor.Disk) error {
	for _, k := range left {
		cmd := exec.CommandContext(ctx, "qemu-img", "rebase", "-q", "-f", "qcow2", "-b", "", k.Path)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("fill the image of %s: %w: %s", k.Target, err, strings.TrimSpace(string(out)))
		}
		if err := syncFile(k.Path); err != nil {
			return err
		}
		if err := r.redefine(ctx, d.UUID, func(e *etree.Element, target string) {
			if target == k.Target {
				removeAll(e, "backingStore")
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

// standAlone gives the disks of a definition back what the original's were to do
// on errors.
func (r *run) standAlone(ctx context.Context, vm *holdfast.VMRef) error {
	_, devices, err := readDomain(r.manifest.DomainXML, "the point")
	if err != nil {
		return err
	}
	was := map[string]*etree.Element{}
	for _, d := range hardDisks(devices) {
		was[d.target] = d.element.SelectElement("driver")
	}
	return r.redefine(ctx, vm.UUID, func(e *etree.Element, target string) {
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
}

// redefine changes the disks in the VM's definition.
func (r *run) redefine(ctx context.Context, uuid string, change func(disk *etree.Element, target string)) error {
	xml, err := r.host.DomainXML(ctx, uuid)
	if err != nil {
		return err
	}
	doc, devices, err := readDomain(xml, "the VM")
	if err != nil {
		return err
	}
	for _, d := range hardDisks(devices) {
		if d.element.SelectElement("driver") != nil {
			change(d.element, d.target)
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
