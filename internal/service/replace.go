package service

import (
	"context"
	"fmt"
	"strings"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
)

// checkReplace is RST-03: whose disks can be replaced, and by what. Everything
// but the disks is the VM's own and stays.
func (s *Service) checkReplace(ctx context.Context, args *holdfast.RestoreArgs, spec *job.Spec, r restoring, in RestoreRequest) error {
	if in.TargetVM != "" && !strings.EqualFold(in.TargetVM, r.item.Source) {
		return holdfast.Errorf(holdfast.Invalid, "properties.targetVirtualMachineId", "OriginalLocation replaces the disks of the VM that the point is of, %s.", r.item.Source).
			WithHint("Leave targetVirtualMachineId out, or make a new VM (AlternateLocation).")
	}
	for _, stays := range []struct{ member, value, is string }{
		{"properties.virtualNetworkId", in.Network, "its NICs stay as they are"},
		{"properties.subnetId", in.Subnet, "its NICs stay as they are"},
		{"properties.holdfast.directory", in.Directory, "its new disks go to a pool of the site, such as that of its own"},
	} {
		if stays.value != "" {
			return holdfast.Errorf(holdfast.Invalid, stays.member, "The disks of a VM are replaced: %s.", stays.is).WithHint("Leave the member out.")
		}
	}
	vm, err := s.machineOf(ctx, r.item)
	if k := holdfast.KindOf(err); err != nil && (k == holdfast.NotFound || k == holdfast.Conflict) {
		return holdfast.Errorf(holdfast.Unsupported, "properties.recoveryType", "The VM %q that the point is of is not there any more, so that its disks cannot be replaced.", r.item.VM).
			WithHint("Restore the point as a new VM (AlternateLocation).").WithCause(err)
	}
	if err != nil {
		return err
	}
	if err := replaceable(vm, in.LUNs); err != nil {
		return err
	}
	if k, ok := encrypted(r.point.Result.Disks); ok {
		return holdfast.Errorf(holdfast.Unsupported, vm.ID, "The disk %s is encrypted in the point; such disks replace none (RST-03).", k).
			WithHint("Restore the point as a new VM (AlternateLocation).")
	}
	args.VM, args.Start, args.KeepPaused = vm.VMRef, vm.State != "shutoff", in.Start == nil
	if in.Start != nil {
		args.Start = *in.Start
	}
	if in.NamePrefix == "" { // one VM may go back to one point more than once
		args.NamePrefix += "-" + args.RestoreID[:8]
	}
	for _, k := range vm.Disks {
		if k.LUN < 0 && in.Format == "" && (k.Format == "raw" || k.Format == "qcow2") {
			args.Format = k.Format
		}
		if k.LUN < 0 && in.Pool == "" {
			args.Pool = k.Pool
		}
	}
	spec.Exclusive = "machine:" + vm.ID // what else is done to the machine waits
	return nil
}

// encrypted names a disk of a point that comes back encrypted, if there is one.
func encrypted(disks []holdfast.DiskResult) (target string, ok bool) {
	for _, d := range disks {
		if d.Secret != "" {
			return d.Target, true
		}
	}
	return "", false
}

// replaceable refuses a VM whose disks a replacing restore does not take.
func replaceable(vm VM, luns []int) error {
	const instead = "Restore the disks (RestoreDisks) and make a VM of them, or restore the point as a new VM (AlternateLocation)."
	switch {
	case vm.Transient:
		return holdfast.Errorf(holdfast.Unsupported, vm.ID, "The VM %q is transient: libvirt would forget it when it goes off.", vm.Name).WithHint("Define it first (`virsh define`).")
	case vm.Saved:
		return holdfast.Errorf(holdfast.Conflict, vm.ID, "The VM %q is off with its memory saved; on other disks that memory would destroy them.", vm.Name).
			WithHint("Start it and shut it down, or drop the memory: `virsh managedsave-remove`.")
	case vm.generalized():
		return holdfast.Errorf(holdfast.Unsupported, vm.ID, "The VM %q is generalized: it is no machine any more that could go back.", vm.Name).WithHint(instead)
	}
	for _, k := range vm.Disks {
		what := ""
		switch {
		case k.Temporary || luns != nil && !chosenLUN(luns, k.LUN):
		case k.Pool == "":
			what = "is in no storage pool of the site, so that it is unmanaged"
		case k.Encrypted || vm.KeptOfDisk(k.Target)["encryptionSettings"] != nil:
			what = "is encrypted"
		case k.Shared:
			what = "is shared between machines"
		}
		if what != "" {
			return holdfast.Errorf(holdfast.Unsupported, vm.ID, "The disk %s of the VM %q %s; such disks are not replaced (RST-03).", k.Target, vm.Name, what).WithHint(instead)
		}
	}
	return nil
}

// chosenLUN says whether a restore of some disks takes one; the OS disk alone is
// an empty list.
func chosenLUN(luns []int, lun int) bool {
	for _, l := range luns {
		if l == lun {
			return true
		}
	}
	return len(luns) == 0 && lun < 0
}

// saveFirst starts the backup that a replacing restore waits for, whose point the
// policy keeps. A point that is fresh enough for who asks spares it.
func (s *Service) saveFirst(ctx context.Context, tx *catalog.Tx, args *holdfast.RestoreArgs, i Item, vm VM, enough time.Duration) error {
	if enough > 0 && !i.LastPoint.IsZero() && tx.Now().Sub(i.LastPoint) <= enough {
		return nil
	}
	const hint = "Mend that, or say with properties.holdfast.snapshotWithin how old a point may be that is good enough; the disks that are replaced are kept in any case."
	if i.Held != Active {
		return holdfast.Errorf(holdfast.Unsupported, i.VM, "The protection of %q is stopped: %s. It cannot be backed up before its disks are replaced.", i.VM, i.Held).WithHint(hint)
	}
	err := s.supported(tx, vm, i.Exclusion, holdfast.GuestFact{})
	if err == nil {
		err = s.hasRoom(tx, i)
	}
	if err != nil {
		return holdfast.Errorf(holdfast.KindOf(err), i.VM, "The VM cannot be backed up before its disks are replaced: %v", err).WithHint(hint).WithCause(err)
	}
	j, err := s.enqueueBackup(ctx, tx, i, vm, time.Time{})
	args.After = j.ID
	return err
}

// awaiting is the work of restores: one that has to wait for a backup does.
type awaiting struct {
	job.Work[holdfast.RestoreArgs, holdfast.RestoreResult]
	jobs *job.Runner
}

// Run waits and restores.
func (w awaiting) Run(ctx context.Context, a holdfast.RestoreArgs, p holdfast.Progress) (holdfast.RestoreResult, error) {
	if a.After != "" {
		p.Task("Back up the VM")
		p.Cancellable(true)
		p.Property("Backup job", a.After)
		j, err := w.jobs.Wait(ctx, a.After)
		if err != nil {
			return holdfast.RestoreResult{}, err
		}
		if j.State != job.Completed && j.State != job.CompletedWithWarnings {
			why := fmt.Sprintf("it ended as %s", j.State)
			if j.Failure != nil {
				why = j.Failure.Message
			}
			return holdfast.RestoreResult{}, holdfast.Errorf(holdfast.Conflict, a.VM.Name, "The VM could not be backed up before its disks are replaced, and nothing was changed: %s", why).
				WithHint("Mend that, or say with properties.holdfast.snapshotWithin how old a point may be that is good enough; the disks that are replaced are kept in any case.")
		}
	}
	return w.Work.Run(ctx, a, p)
}
