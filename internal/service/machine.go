package service

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

// kindMachine is the job that works on a machine.
const kindMachine = "machine"

// Machines changes what a site has, where that is quick. Longer work on a
// machine is a job (Deps.Machine).
type Machines interface {
	// SetTags replaces the tags of a machine.
	SetTags(ctx context.Context, site holdfast.SiteRef, vm holdfast.VMRef, tags map[string]string) error
	// SetKept replaces the members of a machine that libvirt has no word for.
	SetKept(ctx context.Context, site holdfast.SiteRef, vm holdfast.VMRef, kept map[string]any) error
	// Disks lists the disk images of the site, by path.
	Disks(ctx context.Context, site holdfast.SiteRef) ([]holdfast.VolumeFact, error)
	// CreateDisk makes an empty disk of v's Name, Pool, Format and Size.
	CreateDisk(ctx context.Context, site holdfast.SiteRef, v holdfast.VolumeFact) error
	// GrowDisk makes a disk larger, under a running machine too.
	GrowDisk(ctx context.Context, site holdfast.SiteRef, v holdfast.VolumeFact, size int64) error
	// DeleteDisk deletes a disk of a pool and its bytes.
	DeleteDisk(ctx context.Context, site holdfast.SiteRef, v holdfast.VolumeFact) error
}

// ActOnVM starts the job that powers a machine on or off, restarts it, or
// deletes it. force takes the power away without asking the guest.
func (s *Service) ActOnVM(ctx context.Context, sub, group, name string, action holdfast.MachineAction, force bool) (job.Job, error) {
	vm, site, err := s.machine(ctx, sub, group, name)
	if err != nil {
		return job.Job{}, err
	}
	off := vm.State == "shutoff"
	switch {
	case vm.generalized() && action == holdfast.MachineStart:
		return job.Job{}, holdfast.Errorf(holdfast.Unsupported, vm.ID, "The virtual machine %q is generalized; it is not started again.", vm.Name)
	case vm.Transient && action != holdfast.MachineStart:
		return job.Job{}, holdfast.Errorf(holdfast.Unsupported, vm.ID, "The virtual machine %q is transient: libvirt would forget it when it goes off.", vm.Name).
			WithHint("Define it first (`virsh define`).")
	case action == holdfast.MachineRestart && off:
		return job.Job{}, holdfast.Errorf(holdfast.Unsupported, vm.ID, "The virtual machine %q is off; it can be started but not restarted.", vm.Name)
	}
	return s.machineJob(ctx, vm, holdfast.MachineArgs{Site: site.Ref(), VM: vm.VMRef, Action: action, Force: force})
}

// Generalize marks a machine that is off as one of which others are made, as in
// Azure: it is not started any more, and no point goes back into it (RST-03).
func (s *Service) Generalize(ctx context.Context, sub, group, name string) error {
	vm, site, err := s.machine(ctx, sub, group, name)
	if err != nil {
		return err
	}
	if vm.State != "shutoff" {
		return holdfast.Errorf(holdfast.Unsupported, vm.ID, "The virtual machine %q is %s; one that is generalized has to be off.", vm.Name, vm.State).WithHint("Power it off first.")
	}
	_, err = s.keep(ctx, site, vm, VMUpdate{Kept: map[string]any{"properties": map[string]any{generalized: true}}})
	return err
}

// generalized is the kept property of such a machine.
const generalized = "generalized"

func (vm VM) generalized() bool { return vm.keptProperty(generalized) == true }

// machineJob starts a job on a machine. One runs at a time, and none that takes
// the machine or a disk away while the machine is backed up.
func (s *Service) machineJob(ctx context.Context, vm VM, a holdfast.MachineArgs) (job.Job, error) {
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) {
		if a.Action == holdfast.MachineDelete || a.Action == holdfast.MachineDisks || a.Action == holdfast.MachineConvert {
			if err := notCaptured(tx, vm.ID, vm.Name); err != nil {
				return job.Job{}, err
			}
		}
		return job.Enqueue(s.Jobs, tx, kindMachine, job.Spec{
			Operation: string(a.Action), Scope: vm.ID, Subject: vm.ID, Entity: vm.Name, Principal: resource.Caller(ctx), Exclusive: "machine:" + vm.ID,
		}, a)
	})
}

// machineDone has nothing to apply: machines are not stored.
func machineDone(*catalog.Tx, string, holdfast.MachineArgs, holdfast.MachineResult, error) error {
	return nil
}

// machine finds a VM and its site.
func (s *Service) machine(ctx context.Context, sub, group, name string) (VM, Site, error) {
	vm, err := s.VM(ctx, sub, group, name)
	if err != nil {
		return vm, Site{}, err
	}
	site, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Site, error) { return findSite(tx, sub, vm.Location) })
	return vm, site, err
}

// VMUpdate is what a client wants of a machine that is there. nil leaves as it is.
type VMUpdate struct {
	Tags  map[string]string
	Size  string // must be what it is; "" is not checked
	Disks []WantedDisk
	// Kept are members that libvirt has no word for, KeptOfOSDisk those of the
	// OS disk: JSON merge patches of what the machine has.
	Kept, KeptOfOSDisk map[string]any
}

// WantedDisk is one data disk that a machine is to have.
type WantedDisk struct {
	ID     string // of the disk; "" when Name says it
	Name   string // libvirt's target of a disk that is attached
	LUN    *int
	Detach bool
	Create string // createOption
	Kept   map[string]any
}

// UpdateVM changes a machine's tags at once and its data disks in a job; the
// job is nil when the disks stay as they are.
func (s *Service) UpdateVM(ctx context.Context, sub, group, name string, in VMUpdate) (VM, *job.Job, error) {
	vm, site, err := s.machine(ctx, sub, group, name)
	if err != nil {
		return vm, nil, err
	}
	if err := resource.CheckTags(in.Tags); err != nil {
		return vm, nil, err
	}
	if err := s.namesSets(ctx, vm, in); err != nil {
		return vm, nil, err
	}
	attach, detach, err := s.diskChange(ctx, site, vm, in.Disks)
	if err != nil {
		return vm, nil, err
	}
	if in.Tags != nil && !maps.Equal(in.Tags, vm.Tags) {
		if err := s.Machines.SetTags(ctx, site.Ref(), vm.VMRef, in.Tags); err != nil {
			return vm, nil, err
		}
		vm.Tags = in.Tags
	}
	if vm.Kept, err = s.keep(ctx, site, vm, in); err != nil {
		return vm, nil, err
	}
	if len(attach)+len(detach) == 0 {
		return vm, nil, nil
	}
	j, err := s.machineJob(ctx, vm, holdfast.MachineArgs{Site: site.Ref(), VM: vm.VMRef, Action: holdfast.MachineDisks, Attach: attach, Detach: detach})
	return vm, &j, err
}

// diskChange is what brings a machine to the data disks that are wanted.
func (s *Service) diskChange(ctx context.Context, site Site, vm VM, wanted []WantedDisk) (attach []holdfast.DiskFact, detach []string, err error) {
	if wanted == nil {
		return nil, nil, nil
	}
	keep := map[string]bool{}
	for i, w := range wanted {
		member := fmt.Sprintf("properties.storageProfile.dataDisks[%d]", i)
		if have, ok := vm.attached(site, w); ok {
			if w.LUN != nil && *w.LUN != have.LUN {
				return nil, nil, holdfast.Errorf(holdfast.Unsupported, member+".lun", "The disk %q has LUN %d, which it keeps while it is attached.", have.Target, have.LUN).
					WithHint("Detach it and attach it with the other LUN.")
			}
			keep[have.Target] = !w.Detach
			continue
		}
		k, err := s.freeDisk(ctx, site, member, w)
		if err != nil {
			return nil, nil, err
		}
		lun, err := vm.lunFor(member, w.LUN, attach)
		if err != nil {
			return nil, nil, err
		}
		attach = append(attach, holdfast.DiskFact{LUN: lun, Path: k.Path, Format: k.Format, Bus: vm.busForNew()})
	}
	for _, k := range vm.Disks {
		if k.LUN >= 0 && !keep[k.Target] {
			detach = append(detach, k.Target)
		}
	}
	if len(attach) > 0 && len(detach) > 0 {
		return nil, nil, holdfast.Errorf(holdfast.Unsupported, "properties.storageProfile.dataDisks", "Disks are attached or detached in one request, not both.")
	}
	return attach, detach, nil
}

// attached is the data disk of a machine that an entry means.
func (vm VM) attached(site Site, w WantedDisk) (holdfast.DiskFact, bool) {
	i := slices.IndexFunc(vm.Disks, func(k holdfast.DiskFact) bool {
		if w.ID == "" {
			return k.LUN >= 0 && k.Target == w.Name
		}
		return k.LUN >= 0 && strings.EqualFold(DiskID(site, k.Pool, k.Path), w.ID)
	})
	if i < 0 {
		return holdfast.DiskFact{}, false
	}
	return vm.Disks[i], true
}

// lunFor is the LUN of a disk that is to be attached: the one that is asked for,
// or the lowest that is free.
func (vm VM) lunFor(member string, want *int, attach []holdfast.DiskFact) (int, error) {
	taken := map[int]string{}
	for _, k := range append(slices.Clone(vm.Disks), attach...) {
		taken[k.LUN] = cmp.Or(k.Target, k.Path)
	}
	if want == nil {
		lun := 0
		for taken[lun] != "" {
			lun++
		}
		return lun, nil
	}
	switch by := taken[*want]; {
	case *want < 0 || *want > holdfast.MaxLUN:
		return 0, holdfast.Errorf(holdfast.Invalid, member+".lun", "%s.lun is %d; it is 0 to %d.", member, *want, holdfast.MaxLUN)
	case by != "":
		return 0, holdfast.Errorf(holdfast.Conflict, member+".lun", "%s.lun is %d, which the disk %q of %q has.", member, *want, by, vm.Name)
	}
	return *want, nil
}

// busForNew is the bus that a new disk goes to: the OS disk's where disks can be
// plugged in, else virtio.
func (vm VM) busForNew() string {
	for _, k := range vm.Disks {
		if k.LUN < 0 && k.Bus == "scsi" {
			return k.Bus
		}
	}
	return "virtio"
}

// freeDisk finds a disk that is to be attached.
func (s *Service) freeDisk(ctx context.Context, site Site, member string, w WantedDisk) (Disk, error) {
	if w.ID == "" {
		return Disk{}, holdfast.Errorf(holdfast.Invalid, member+".managedDisk.id", "%s names no disk that is there; a disk is made first (PUT on Microsoft.Compute/disks) and attached by its id.", member)
	}
	id, err := resource.ParseAs(member+".managedDisk.id", w.ID, resource.TypeDisk)
	if err != nil {
		return Disk{}, err
	}
	all, err := s.disksOf(ctx, site)
	if err != nil {
		return Disk{}, err
	}
	k, err := pickDisk(all, id.Name())
	switch {
	case err != nil:
		return k, err
	case k.VM.UUID != "":
		return k, holdfast.Errorf(holdfast.Conflict, member+".managedDisk.id", "The disk %q is attached to the virtual machine %q.", k.Name, k.VM.Name)
	}
	return k, k.unshared(all)
}
