package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/beevik/etree"

	"holdfast"
	"holdfast/internal/disk/image"
	"holdfast/internal/hypervisor"
	"holdfast/internal/mover"
	"holdfast/internal/repository"
)

// join makes one disk of a VM that runs on the point whole. Its steps are told from
// what there is, so that whoever comes after a crash goes on:
//
//	the VM, or its definition, has the | and |
//	-----------------------------------+-----+------------------------------------
//	overlay   the file is not there          it is written, as in any restore
//	overlay   it runs                        QEMU mirrors the overlay into the file,
//	                                         which is then the VM's disk (pivot)
//	overlay   it is off                      qemu-img commits the overlay to the
//	                                         file, which is then put into the definition
//	file                                     the overlay is deleted: done
//
// Joining can be repeated from any point: it writes what the overlay has, no more,
// and leaves the overlay as it is. Which of the two is the newer is never in doubt.
// Of a VM that runs, the processors stand still, for some milliseconds, from before
// QEMU takes the file for the overlay until libvirt's definition says so. One that is
// off cannot be started on the overlay from before the commit until then: its locks
// are held.
type join struct {
	*run
	vm       holdfast.VMRef
	disk     mover.ManifestDisk
	progress func(done, total int64)
	begun    bool // a mirror
}

// pivotPatience bounds how long a VM's processors stand still if libvirt hangs.
const pivotPatience = time.Minute

func (j *join) target() string  { return j.disk.Fact.Target }
func (j *join) overlay() string { return j.run.overlay(j.target()) }
func (j *join) final() string   { return j.staging.final(j.name(j.target())) }

// seen is where the disk is now.
type seen struct {
	now   string           // the image that it runs on; "" when it runs on none
	next  string           // the one of the VM's next start; "" when it has none
	disk  *hypervisor.Disk // as it runs; nil when it doesn't
	saved bool             // the VM's memory is saved
}

func (s seen) uses(path string) bool { return s.now == path || s.next == path }

// step brings the disk one step on.
func (j *join) step(ctx context.Context) (done bool, err error) {
	s, err := j.see(ctx)
	if err != nil {
		return false, err
	}
	for _, path := range []string{s.now, s.next} {
		if path != "" && path != j.overlay() && path != j.final() {
			return false, fmt.Errorf("disk %s is on %s, which this restore has not made; with its snapshots merged (virsh blockcommit) it goes on", j.target(), path)
		}
	}
	if s.uses(j.final()) && !s.uses(j.overlay()) {
		return true, j.end()
	}
	_, err = os.Lstat(j.overlay())
	if errors.Is(err, fs.ErrNotExist) && !s.uses(j.overlay()) {
		return true, nil // the VM and its files were deleted
	}
	if published, err := j.staging.published(); err != nil || !slices.Contains(published, j.final()) {
		return false, errors.Join(err, j.write(ctx))
	}
	switch {
	case s.now == j.overlay() && s.next == j.final():
		return false, j.place(ctx, j.overlay(), image.Qcow2) // it was started too late for the commit
	case s.now == j.overlay():
		return false, j.mirror(ctx, s)
	case s.now == j.final():
		return false, j.placeFinal(ctx)
	case s.saved:
		return false, fmt.Errorf("the VM %s is off with its memory saved, which knows disk %s as it was: when it runs, it goes on", j.vm.Name, j.target())
	}
	return false, j.joinOff(ctx)
}

// see looks where the disk is.
func (j *join) see(ctx context.Context) (s seen, err error) {
	d, err := j.host.Domain(ctx, j.vm.UUID)
	if errors.Is(err, hypervisor.ErrNoDomain) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	xml, err := j.host.DomainXML(ctx, j.vm.UUID)
	if err != nil {
		return s, err
	}
	_, devices, err := readDomain(xml, "the VM")
	if err != nil {
		return s, err
	}
	for _, k := range hardDisks(devices) {
		if k.target == j.target() {
			s.next = k.path
		}
	}
	if at := slices.IndexFunc(d.Disks, func(k hypervisor.Disk) bool { return k.Target == j.target() }); at >= 0 && d.State.Active() {
		s.disk, s.now = &d.Disks[at], d.Disks[at].Path
	}
	s.saved = d.Saved
	return s, nil
}

// write writes the disk's file.
func (j *join) write(ctx context.Context) error {
	if _, err := os.Lstat(j.staging.path(j.name(j.target()))); err == nil {
		return j.staging.publish(j.name(j.target())) // a dead run had all but published it
	}
	_, err := j.run.disk(ctx, j.disk, j.progress)
	if errors.Is(err, repository.ErrDamaged) {
		return fmt.Errorf("disk %s has no whole copy in the point: %w; the restore waits for one, and ends when the VM is deleted with its disks", j.target(), err)
	}
	return err
}

// mirror has QEMU copy the overlay of a VM that runs into the file, and take the
// file for it.
func (j *join) mirror(ctx context.Context, s seen) error {
	switch m := s.disk.Mirror; {
	case m != nil && m.Path != j.final():
		return fmt.Errorf("disk %s is being copied to %s by somebody else", j.target(), m.Path)
	case m != nil && m.Ready:
		return j.pivot(ctx)
	case m != nil:
		return nil // it goes on
	case j.begun:
		j.begun = false
		return fmt.Errorf("QEMU broke off copying what the VM wrote on disk %s to %s: see that there is room", j.target(), j.final())
	}
	if s.disk.Size > j.disk.Fact.Size { // it was grown meanwhile
		if err := qemuImg(ctx, "resize", "-q", "-f", j.args.Format, j.final(), strconv.FormatInt(s.disk.Size, 10)); err != nil {
			return err
		}
	}
	err := j.host.Mirror(ctx, j.vm.UUID, j.target(), j.final(), j.args.Format)
	j.begun = err == nil
	return err
}

// pivot makes the file the disk of the VM that runs.
func (j *join) pivot(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pivotPatience)
	defer cancel()
	j.power.Lock()
	defer j.power.Unlock()
	d, err := j.host.Domain(ctx, j.vm.UUID)
	if err != nil {
		return err
	}
	if d.State == hypervisor.Running {
		if err := writeFile(j.staging.path(halted), nil); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		defer func() { err = errors.Join(err, j.letGo(ctx, j.vm.UUID)) }()
		if err := j.host.Suspend(ctx, j.vm.UUID); err != nil {
			return err
		}
	}
	if err := j.host.Pivot(ctx, j.vm.UUID, j.target()); err != nil {
		return err
	}
	return j.placeFinal(ctx)
}

// placeFinal puts the file into the definition, if the overlay is there yet.
func (j *join) placeFinal(ctx context.Context) error {
	s, err := j.see(ctx)
	if err != nil || s.next != j.overlay() {
		return err
	}
	return j.place(ctx, j.final(), j.args.Format)
}

// place puts an image into the definition.
func (j *join) place(ctx context.Context, path, format string) error {
	return j.redefine(ctx, j.vm.UUID, func(e *etree.Element, target string) {
		if target != j.target() {
			return
		}
		placeDisk(e, path, format)
		if path == j.overlay() {
			placeBase(e, j.socket(), target)
		}
	})
}

// joinOff joins the disk of a VM that is off, or deletes the overlay of one that is
// gone, while nobody can open the overlay. A VM that was being started meanwhile
// meets the lock, or has yet to open its disks: then it keeps the overlay.
func (j *join) joinOff(ctx context.Context) error {
	release, err := image.Lock(j.overlay())
	if err != nil {
		return err
	}
	defer release()
	if err := j.commit(ctx); err != nil {
		return err
	}
	if err := j.placeFinal(ctx); err != nil {
		return err
	}
	s, err := j.see(ctx)
	switch {
	case err != nil:
		return err
	case s.now == j.overlay():
		return j.place(ctx, j.overlay(), image.Qcow2)
	case s.next == "":
		return j.end()
	}
	return nil
}

// commit writes what the overlay, whose locks are held, has into the file. Its own
// word on what it is based on is not asked, and it is left as it is (-d).
func (j *join) commit(ctx context.Context) error {
	type node map[string]any
	file := func(path, locking string) node {
		return node{"driver": "file", "filename": path, "locking": locking}
	}
	name, err := json.Marshal(node{"driver": image.Qcow2, "file": file(j.overlay(), "off"),
		"backing": node{"driver": j.args.Format, "file": file(j.final(), "auto")}})
	if err != nil {
		return err
	}
	if err := qemuImg(ctx, "commit", "-q", "-d", "json:"+string(name)); err != nil {
		return err
	}
	return syncFile(j.final())
}

// end makes the file durable and deletes the overlay.
func (j *join) end() error {
	if err := errors.Join(syncFile(j.final()), syncDir(j.staging.dir)); err != nil {
		return err
	}
	if err := os.Remove(j.overlay()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func qemuImg(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "qemu-img", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("qemu-img %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
