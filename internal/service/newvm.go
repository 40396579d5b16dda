package service

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/limits"
	"holdfast/internal/resource"
)

// NewVM is a VM that is to be made of disks that are there, as the template of
// restored disks asks for it (RST-02).
type NewVM struct {
	Location string
	// Point is the ARM id of the recovery point that the VM's firmware and devices
	// come from.
	Point    string
	Size     string // such as 2 vCPU, 1 GiB; "" as it was
	Disks    []WantedDisk
	Networks []string // ARM ids of the NICs' subnets, in order; "" leaves one where it was. nil leaves all
	Tags     map[string]string
	Kept     map[string]any
	Start    bool
}

// CreateVM starts the job that makes a VM.
func (s *Service) CreateVM(ctx context.Context, sub, group, name string, in NewVM) (job.Job, error) {
	if in.Point == "" {
		return job.Job{}, holdfast.Errorf(holdfast.Unsupported, "properties.holdfast.recoveryPointId", "Holdfast makes no VM but from a recovery point.").
			WithHint("Restore its disks and deploy their template, restore the point as a new VM, or define the VM with libvirt's tools; it then appears here.")
	}
	at := strings.LastIndex(strings.ToLower(in.Point), "/recoverypoints/")
	if at < 0 || resource.LastName(in.Point) == "" {
		return job.Job{}, holdfast.Errorf(holdfast.Invalid, "properties.holdfast.recoveryPointId", "properties.holdfast.recoveryPointId is %q, which is no recovery point's id.", in.Point)
	}
	r, err := s.restoreOf(ctx, in.Point[:at], resource.LastName(in.Point))
	if err != nil {
		return job.Job{}, err
	}
	args := holdfast.RestoreArgs{
		Site: r.site.Ref(), Repository: r.vault.Repository, PointID: r.point.Result.PointID, RestoreID: uuid.NewString(), Mode: holdfast.CreateVM,
		VMName: name, NamePrefix: name, Format: "qcow2", Start: in.Start, Tags: in.Tags, Kept: withoutSpot(resource.Merge(nil, in.Kept)),
	}
	id := resource.InGroup(sub, r.site.Group, resource.TypeVM, name)
	for _, check := range []func() error{
		func() error { return resource.CheckName("VM", name) },
		func() error { return resource.CheckTags(in.Tags) },
		func() error { return r.here(group, in.Location) },
		func() error { return s.nameFree(ctx, args.Site, "properties", name) },
		func() error { return s.checkSize(&args, in.Size) },
		func() error { return s.checkAttach(ctx, &args, r, in) },
		func() error { return s.checkNICs(ctx, &args, r.site, in.Networks) },
	} {
		if err := check(); err != nil {
			return job.Job{}, err
		}
	}
	spec := job.Spec{Operation: "CreateVM", Scope: id, Subject: id, Entity: name, Principal: resource.Caller(ctx), Exclusive: "restore:" + id}
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) {
		if _, err := findPoint(tx, r.item.ID, r.point.Name); err != nil { // still there
			return job.Job{}, err
		}
		return job.Enqueue(s.Jobs, tx, KindRestore, spec, args)
	})
}

// withoutSpot is what is kept of a VM that was backed up as a spot VM: it comes
// back as a regular one (CMP-12).
func withoutSpot(kept map[string]any) map[string]any {
	properties, _ := kept["properties"].(map[string]any)
	if p, _ := properties["priority"].(string); p != "Spot" && p != "Low" {
		return kept
	}
	return resource.Merge(kept, map[string]any{"properties": map[string]any{"priority": nil, "evictionPolicy": nil, "billingProfile": nil}})
}

// here refuses a VM that is to be somewhere else than its point's site.
func (r restoring) here(group, location string) error {
	if !resource.SameName(group, r.site.Group) {
		return holdfast.Errorf(holdfast.Invalid, "resourceGroup", "The VMs of the site %q are in the resource group %q, not in %q.", r.site.Name, r.site.Group, group)
	}
	if location != "" && resource.Location(location) != resource.Location(r.site.Name) {
		return holdfast.Errorf(holdfast.Unsupported, "location", "The point is of the site %q; no VM is made of it in %q.", r.site.Name, location).WithHint("Deploy with the location of the site.")
	}
	return nil
}

// nameFree refuses the name of a VM that is there (MGT-02).
func (s *Service) nameFree(ctx context.Context, site holdfast.SiteRef, member, name string) error {
	_, err := s.Inventory.VM(ctx, site, name)
	switch {
	case err == nil:
		return holdfast.Errorf(holdfast.Conflict, member, "A VM named %q is there already.", name).
			WithHint("Choose another name, or replace the disks of the VM that the point is of (OriginalLocation).")
	case holdfast.KindOf(err) != holdfast.NotFound:
		return err
	}
	return nil
}

// sizeForm is how the size of a VM is said, here and by the VMs that are there.
var sizeForm = regexp.MustCompile(`^(\d{1,4}) vCPU, (\d{1,9}(?:\.\d)?) (MiB|GiB)$`)

// checkSize reads the size of a new VM (CMP-01).
func (s *Service) checkSize(args *holdfast.RestoreArgs, size string) error {
	if size == "" {
		return nil
	}
	const member = "properties.hardwareProfile.vmSize"
	m := sizeForm.FindStringSubmatch(size)
	if m == nil {
		return holdfast.Errorf(holdfast.Invalid, member, "%s is %q; a size is said as in 2 vCPU, 4 GiB.", member, size)
	}
	args.VCPUs, _ = strconv.Atoi(m[1])
	memory, _ := strconv.ParseFloat(m[2], 64)
	args.Memory = int64(memory * float64(map[string]int64{"MiB": 1 << 20, "GiB": 1 << 30}[m[3]]))
	if args.VCPUs < 1 || args.Memory < 1<<20 || (args.VCPUs < 2 || args.Memory < 1<<30) && !s.Limits.Lifts("CMP-01") {
		return holdfast.Errorf(holdfast.Unsupported, member, "A VM has at least 2 vCPUs and 1 GiB of memory (CMP-01); %s is %q.", member, size).WithHint(limits.Hint)
	}
	return nil
}

// checkAttach finds the disks of a new VM. One of them is the OS disk, and all
// are of one class, as restored disks are (MGT-04).
func (s *Service) checkAttach(ctx context.Context, args *holdfast.RestoreArgs, r restoring, in NewVM) error {
	kept, class := map[string]any{}, ""
	for i, w := range in.Disks {
		member := fmt.Sprintf("properties.storageProfile.dataDisks[%d]", i-1)
		lun := -1
		if i == 0 {
			member = "properties.storageProfile.osDisk"
		} else if w.LUN != nil {
			lun = *w.LUN
		}
		if !strings.EqualFold(w.Create, "Attach") {
			return holdfast.Errorf(holdfast.Unsupported, member+".createOption", "%s.createOption is %q; a VM is made of disks that are there.", member, w.Create).
				WithHint("Make the disk first (PUT on Microsoft.Compute/disks), and attach it (createOption Attach).")
		}
		if i > 0 && (lun < 0 || lun > holdfast.MaxLUN || slices.ContainsFunc(args.Attach, func(k holdfast.DiskFact) bool { return k.LUN == lun })) {
			return holdfast.Errorf(holdfast.Invalid, member+".lun", "%s.lun is missing, not 0 to %d, or there twice.", member, holdfast.MaxLUN)
		}
		d, err := s.freeDisk(ctx, r.site, member, w)
		if holdfast.KindOf(err) == holdfast.NotFound {
			d, err = s.restoredDisk(ctx, r, w.ID, err)
		}
		if err != nil {
			return err
		}
		if slices.ContainsFunc(args.Attach, func(k holdfast.DiskFact) bool { return k.Path == d.Path }) {
			return holdfast.Errorf(holdfast.Invalid, member+".managedDisk.id", "The disk %q is there twice.", d.Name)
		}
		args.Attach = append(args.Attach, holdfast.DiskFact{LUN: lun, Path: d.Path, Pool: d.Pool, Format: d.Format, Size: d.Size})
		if w.Kept != nil {
			kept[strconv.Itoa(lun)] = w.Kept
		}
		if err := s.oneClass(member, &class, classOf(r.site, d, w)); err != nil {
			return err
		}
	}
	if len(args.Attach) == 0 {
		return holdfast.Errorf(holdfast.Invalid, "properties.storageProfile.osDisk", "properties.storageProfile.osDisk is missing.")
	}
	if len(kept) > 0 {
		args.Kept = resource.Merge(args.Kept, map[string]any{ofDisks: kept})
	}
	args.Directory = path.Dir(args.Attach[0].Path)
	return nil
}

// restoredDisk is the file that a restore of the item has made outside of the
// pools, if it has made the disk of that id; else the error is notFound. No other
// file of the host becomes a disk because a client names it.
func (s *Service) restoredDisk(ctx context.Context, r restoring, id string, notFound error) (Disk, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Disk, error) {
		jobs, err := job.List(tx, job.Filter{Subject: r.item.ID, Operation: "Restore"})
		if err != nil {
			return Disk{}, err
		}
		for _, j := range jobs {
			made, err := Restored(j)
			if err != nil {
				return Disk{}, err
			}
			for _, d := range made.Disks {
				if made.VM == nil && d.Path != "" && strings.EqualFold(DiskID(r.site, "", d.Path), id) {
					return Disk{ID: id, Name: holdfast.DiskName("", d.Path), VolumeFact: holdfast.VolumeFact{Path: d.Path, Format: d.Format, Size: d.Size}}, nil
				}
			}
		}
		return Disk{}, notFound
	})
}

// classOf is the class that a disk is to have: its own, or that of its pool.
func classOf(site Site, d Disk, w WantedDisk) string {
	managed, _ := w.Kept["managedDisk"].(map[string]any)
	if own, _ := managed["storageAccountType"].(string); own != "" {
		return own
	}
	return site.PoolClasses[d.Pool]
}

// oneClass refuses disks of which some are premium and some are standard.
func (s *Service) oneClass(member string, all *string, class string) error {
	kind := func(c string) bool { return strings.HasPrefix(c, "Premium") }
	if *all != "" && class != "" && kind(*all) != kind(class) && !s.Limits.Lifts("MGT-04") {
		return holdfast.Errorf(holdfast.Unsupported, member+".managedDisk.storageAccountType", "Restored disks are all premium or all standard; here are %s and %s (MGT-04).", *all, class).WithHint("Give them one class. " + limits.Hint)
	}
	if *all == "" {
		*all = class
	}
	return nil
}

// checkNICs finds the networks of a new VM's NICs.
func (s *Service) checkNICs(ctx context.Context, args *holdfast.RestoreArgs, site Site, subnets []string) error {
	if subnets == nil {
		return nil
	}
	have, err := s.Inventory.Discover(ctx, args.Site)
	if err != nil {
		return err
	}
	args.Networks = []string{}
	for i, subnet := range subnets {
		member := fmt.Sprintf("properties.networkProfile.networkInterfaceConfigurations[%d]", i)
		if subnet == "" {
			args.Networks = append(args.Networks, "")
			continue
		}
		network, err := resource.ParseAs(member+".subnet.id", subnet, resource.TypeNetwork+"/subnets")
		if err != nil {
			return err
		}
		name := path.Base(path.Dir(path.Dir(network.String())))
		k := slices.IndexFunc(have.Networks, func(n string) bool { return resource.SameName(n, name) })
		if k < 0 {
			return holdfast.Errorf(holdfast.NotFound, member, "The site %q has no network %q.", site.Name, name)
		}
		args.Networks = append(args.Networks, have.Networks[k])
	}
	return nil
}
