package service

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/arm"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
	"holdfast/internal/support"
)

func (s *Service) registerRestore() {
	job.Register(s.Jobs, KindRestore, awaiting{s.Deps.Restore, s.Jobs}, s.restoreDone)
	if s.Deps.Verify != nil {
		job.Register(s.Jobs, kindVerify, s.Deps.Verify, s.verifyDone)
	}
}

// RestoreRequest asks for disks or a VM from a point.
type RestoreRequest struct {
	Mode     string // RestoreDisks, AlternateLocation (create a VM) or OriginalLocation (replace disks)
	Region   string // "" is the vault's
	Source   string // ARM id of the VM that the point is of; "" is not checked
	TargetVM string // ARM id of the VM to make
	TargetRG string // ARM id of the group for restored disks
	Network  string // ARM id; "" keeps the point's
	Subnet   string // ARM id; its network is Network
	Pool     string // ARM id of the storage account: the pool for the disks
	LUNs     []int  // nil is all; empty is the OS disk only
	Zones    []string
	// Managed puts disks into the pool even where TargetRG is "".
	Managed bool

	// Holdfast's own members.
	Directory  string // absolute, instead of Pool
	Format     string // raw or qcow2; "" is qcow2
	NamePrefix string // "" is made from the VM's name and the point
	Start      *bool  // boot the new VM; nil does. One whose disks are replaced: nil is as it was
	// Instant boots the new VM at once and fills its disks while it runs, at most
	// FillRate bytes a second (0 is no limit).
	Instant  bool
	FillRate int64
	// SnapshotWithin is how old a point may be that spares the backup before disks
	// are replaced; 0 spares none.
	SnapshotWithin time.Duration
	// Of a verification: a program with its arguments that has to end with 0 in the
	// guest, and how long the guest may take to answer, 0 for the usual time.
	Check    []string
	Patience time.Duration
}

// Restore starts a restore from a point. Everything that can be seen to fail is
// refused here, before a byte is written.
func (s *Service) Restore(ctx context.Context, item, point string, in RestoreRequest) (job.Job, error) {
	r, err := s.restoreOf(ctx, item, point)
	if err != nil {
		return job.Job{}, err
	}
	if in.Mode == Verify {
		return s.verify(ctx, r, in)
	}
	args := holdfast.RestoreArgs{
		Site: r.site.Ref(), Repository: r.vault.Repository, Instant: r.point.Instant, PointID: r.point.Result.PointID, RestoreID: uuid.NewString(),
		Mode: holdfast.RestoreMode(in.Mode), Directory: in.Directory, Format: in.Format, NamePrefix: in.NamePrefix,
	}
	if args.Mode == holdfast.RestoreDisks {
		args.Point = r.point.ID
	}
	if args.Mode == holdfast.CreateVM {
		args.NICs = r.item.NICs
	}
	spec := r.item.spec(ctx, "Restore")
	for _, check := range []func() error{
		func() error { return r.checkPlace(in) },
		func() error { return s.checkZones(r, in) },
		func() error { return checkForm(&args, r) },
		func() error { return s.checkTarget(ctx, &args, &spec, r, in) },
		func() error { return s.checkParts(ctx, &args, r, in) },
		func() error { return checkLUNs(&args, r, in) },
	} {
		if err := check(); err != nil {
			return job.Job{}, r.zoneOut(err)
		}
	}
	return s.startRestore(ctx, r, spec, args, in.SnapshotWithin)
}

// startRestore makes the job, and first that of the backup that it waits for.
func (s *Service) startRestore(ctx context.Context, r restoring, spec job.Spec, args holdfast.RestoreArgs, enough time.Duration) (job.Job, error) {
	var vm VM
	if args.Mode == holdfast.ReplaceDisks {
		var err error
		if vm, err = s.machineOf(ctx, r.item); err != nil {
			return job.Job{}, err
		}
	}
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) {
		i, err := findItem(tx, r.item.ID)
		if err != nil {
			return job.Job{}, err
		}
		if _, err := findPoint(tx, i.ID, r.point.Name); err != nil { // still there
			return job.Job{}, err
		}
		if args.Mode == holdfast.ReplaceDisks {
			if err := s.saveFirst(ctx, tx, &args, i, vm, enough); err != nil {
				return job.Job{}, err
			}
		}
		return job.Enqueue(s.Jobs, tx, KindRestore, spec, args)
	})
}

// restoring is what a restore works on.
type restoring struct {
	item  Item
	point Point
	vault Vault
	site  Site
}

func (s *Service) restoreOf(ctx context.Context, item, point string) (restoring, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (r restoring, err error) {
		if r.item, err = findItem(tx, item); err != nil {
			return r, err
		}
		if r.point, err = findPoint(tx, item, point); err != nil {
			return r, err
		}
		if r.vault, err = findVault(tx, r.item.Vault); err != nil {
			return r, err
		}
		r.site, err = siteAt(tx, r.vault.sub(), "location", r.vault.Location)
		return r, err
	})
}

// checkPlace refuses a request that is about another VM or region (MGT-01).
func (r restoring) checkPlace(in RestoreRequest) error {
	if in.Region != "" && resource.Location(in.Region) != r.vault.Location {
		return holdfast.Errorf(holdfast.Unsupported, "properties.region", "The point is in %s; it cannot be restored to %s (MGT-01).", r.vault.Location, in.Region).
			WithHint("Restore it with region " + r.vault.Location + ". To another region a point goes by cross-region restore alone (RST-04), from a vault that is copied there.")
	}
	if in.Source != "" && !strings.EqualFold(in.Source, r.item.Source) {
		return holdfast.Errorf(holdfast.Invalid, "properties.sourceResourceId", "properties.sourceResourceId is %q, but the point is of %s.", in.Source, r.item.Source)
	}
	for _, target := range []struct{ member, id string }{
		{"properties.targetVirtualMachineId", in.TargetVM}, {"properties.targetResourceGroupId", in.TargetRG},
		{"properties.virtualNetworkId", in.Network}, {"properties.subnetId", in.Subnet}, {"properties.storageAccountId", in.Pool},
	} {
		if target.id == "" {
			continue
		}
		id, err := arm.ParseID(target.id)
		if err != nil {
			return holdfast.Errorf(holdfast.Invalid, target.member, "%s is %q, which is not a resource id: %v.", target.member, target.id, err)
		}
		if !strings.EqualFold(id.Subscription, r.vault.sub()) {
			return holdfast.Errorf(holdfast.Unsupported, target.member, "%s is in another subscription than the vault (MGT-01).", target.member).
				WithHint("Name one of the subscription " + r.vault.sub() + ".")
		}
	}
	return nil
}

// checkForm checks how the disks are to be written.
func checkForm(args *holdfast.RestoreArgs, r restoring) error {
	switch args.Format {
	case "":
		args.Format = "qcow2"
	case "raw", "qcow2":
	default:
		return holdfast.Errorf(holdfast.Invalid, "properties.holdfast.format", "properties.holdfast.format is %q; a disk is written as raw or qcow2.", args.Format)
	}
	if args.NamePrefix == "" {
		args.NamePrefix = r.item.VM + "-" + r.point.Name
	}
	if !arm.IsName(args.NamePrefix) {
		return holdfast.Errorf(holdfast.Invalid, "properties.holdfast.namePrefix", "properties.holdfast.namePrefix is %q; it must be %s.", args.NamePrefix, arm.NameRule)
	}
	if d := args.Directory; d != "" && (!path.IsAbs(d) || path.Clean(d) != d) {
		return holdfast.Errorf(holdfast.Invalid, "properties.holdfast.directory", "properties.holdfast.directory is %q; it must be a plain absolute path on the site's host.", d)
	}
	return nil
}

// checkTarget checks what is to be made: disks only, or a VM whose name is free.
func (s *Service) checkTarget(ctx context.Context, args *holdfast.RestoreArgs, spec *job.Spec, r restoring, in RestoreRequest) error {
	if in.Instant && args.Mode != holdfast.CreateVM {
		return holdfast.Errorf(holdfast.Invalid, "properties.holdfast.instant", "Only a new VM (AlternateLocation) is restored instantly.")
	}
	switch args.Mode {
	case holdfast.RestoreDisks:
		if in.TargetVM != "" {
			return holdfast.Errorf(holdfast.Invalid, "properties.targetVirtualMachineId", "RestoreDisks makes no VM; AlternateLocation does.")
		}
		spec.Exclusive = "restore:" + r.site.ID + ":" + args.Directory + in.Pool + ":" + args.NamePrefix
		return nil
	case holdfast.CreateVM:
	case holdfast.ReplaceDisks:
		return s.checkReplace(ctx, args, spec, r, in)
	default:
		return holdfast.Errorf(holdfast.Invalid, "properties.recoveryType", "properties.recoveryType is %q; it is RestoreDisks, AlternateLocation, OriginalLocation or Verify.", in.Mode)
	}
	target, err := resource.ParseAs("properties.targetVirtualMachineId", in.TargetVM, resource.TypeVM)
	if err != nil {
		return err
	}
	if args.BootFirst = in.Instant; in.Instant {
		if args.FillRate = in.FillRate; in.Start != nil && !*in.Start {
			return holdfast.Errorf(holdfast.Invalid, "properties.holdfast.instant", "An instant restore boots the VM; properties.holdfast.start is false.")
		}
		if k, ok := encrypted(r.point.Result.Disks); ok {
			return holdfast.Errorf(holdfast.Unsupported, "properties.holdfast.instant", "The disk %s is encrypted; a VM that ran straight from the point would write what it has in the clear.", k).
				WithHint("Restore the VM without instant: it boots when its disks are encrypted again.")
		}
		if in.FillRate < 0 {
			return holdfast.Errorf(holdfast.Invalid, "properties.holdfast.fillRate", "properties.holdfast.fillRate is %d; it is bytes a second, 0 for no limit.", in.FillRate)
		}
	}
	if err := support.NewVM(r.point.Result.Kept); err != nil {
		return err
	}
	args.VMName, args.Start = target.Name(), in.Start == nil || *in.Start
	if err := resource.CheckName("VM", args.VMName); err != nil {
		return err
	}
	if !resource.SameName(target.Group, r.site.Group) {
		return holdfast.Errorf(holdfast.Invalid, "properties.targetVirtualMachineId", "The VMs of the site %q are in the resource group %q; the target is in %q.", r.site.Name, r.site.Group, target.Group)
	}
	spec.Exclusive = "restore:" + target.String()
	if in.NamePrefix == "" {
		args.NamePrefix = args.VMName
	}
	return s.nameFree(ctx, args.Site, "properties.targetVirtualMachineId", args.VMName)
}

// checkLUNs checks which disks are to come back.
func checkLUNs(args *holdfast.RestoreArgs, r restoring, in RestoreRequest) error {
	if in.LUNs == nil {
		return nil
	}
	const member = "properties.restoreDiskLunList"
	if args.Mode == holdfast.CreateVM {
		return holdfast.Errorf(holdfast.Invalid, member, "Disks are chosen with RestoreDisks and OriginalLocation only; a new VM comes back with all of its disks.")
	}
	for _, lun := range in.LUNs {
		if !slices.ContainsFunc(r.point.Result.Disks, func(d holdfast.DiskResult) bool { return d.LUN == lun }) {
			return holdfast.Errorf(holdfast.Invalid, member, "The point has no disk with LUN %d.", lun)
		}
	}
	args.LUNs = in.LUNs
	if len(args.LUNs) == 0 {
		args.LUNs = []int{-1}
	}
	return nil
}

// restoreDone has nothing to apply: what came back is in the job.
func (s *Service) restoreDone(*catalog.Tx, string, holdfast.RestoreArgs, holdfast.RestoreResult, error) error {
	return nil
}

// Restored is what a restore job brought back; nothing while it has not.
func Restored(j job.Job) (r holdfast.RestoreResult, err error) {
	if j.Kind != KindRestore || !j.Final() {
		return r, nil
	}
	if err := json.Unmarshal(j.Result, &r); err != nil {
		return r, fmt.Errorf("result of job %s: %w", j.ID, err)
	}
	return r, nil
}
