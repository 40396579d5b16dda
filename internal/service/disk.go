package service

import (
	"context"
	"slices"
	"strings"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

const (
	gib       = 1 << 30
	maxDiskGB = 65536 // of Azure's largest disk (ultra, 64 TiB)
)

// Disk is a disk image of a site: a managed disk when a pool holds it, else an
// unmanaged one that a machine uses.
type Disk struct {
	ID       string // ARM id
	Name     string // ARM name, see diskName
	Location string
	Group    string
	Owner    string // ARM id of the machine that it is attached to; "" is none
	// Encryption says what the disk encryption set that it names encrypts with; "" when
	// it names none, or none that is there.
	Encryption SetKind
	holdfast.VolumeFact
}

// DiskID is the ARM id of the image at a path of a site.
func DiskID(site Site, pool, file string) string {
	return resource.InGroup(site.Subscription, site.Group, resource.TypeDisk, holdfast.DiskName(pool, file))
}

// Disks lists the disks of a subscription's sites, or of one group.
func (s *Service) Disks(ctx context.Context, sub, group string) (all []Disk, err error) {
	sites, err := s.sitesOf(ctx, sub, group)
	if err != nil {
		return nil, err
	}
	for _, site := range sites {
		of, err := s.disksOf(ctx, site)
		if err != nil {
			return nil, err
		}
		all = append(all, of...)
	}
	return all, nil
}

func (s *Service) disksOf(ctx context.Context, site Site) ([]Disk, error) {
	found, err := s.Machines.Disks(ctx, site.Ref())
	all := make([]Disk, len(found))
	kinds := map[string]SetKind{}
	for i, v := range found {
		all[i] = Disk{ID: DiskID(site, v.Pool, v.Path), Name: holdfast.DiskName(v.Pool, v.Path), Location: site.Name, Group: site.Group, VolumeFact: v}
		if v.EncryptionSet != "" {
			all[i].Encryption = s.kindOf(ctx, kinds, v.EncryptionSet)
		}
		if v.VM.Name != "" {
			all[i].Owner = resource.InGroup(site.Subscription, site.Group, resource.TypeVM, v.VM.Name)
		}
	}
	return all, err
}

// Disk returns one disk by its group and ARM name.
func (s *Service) Disk(ctx context.Context, sub, group, name string) (Disk, error) {
	all, err := s.Disks(ctx, sub, group)
	if err != nil {
		return Disk{}, err
	}
	return pickDisk(all, name)
}

func pickDisk(all []Disk, name string) (Disk, error) {
	i := slices.IndexFunc(all, func(d Disk) bool { return resource.SameName(d.Name, name) })
	if i < 0 {
		return Disk{}, holdfast.Errorf(holdfast.NotFound, name, "The disk %q was not found.", name)
	}
	return all[i], nil
}

// unshared refuses to touch an image that others are based on.
func (d Disk) unshared(all []Disk) error {
	for _, o := range all {
		if o.Backing == d.Path && o.Path != d.Path {
			return holdfast.Errorf(holdfast.Conflict, d.ID, "The disk %q is the backing image of %q.", d.Name, o.Name)
		}
	}
	return nil
}

// DiskRequest is what a client wants of a disk.
type DiskRequest struct {
	Location string
	SizeGB   int64             // 0 leaves it as it is
	Create   string            // createOption of a new disk: Empty, Copy, Import or Restore
	Source   string            // ARM id of the disk (Copy) or recovery point (Restore) that it is made of
	SourceAt string            // Import: the URI of an image in a pool, file:///…
	LUN      int               // Restore: which disk of the point; -1 is the OS disk
	Format   string            // qcow2 or raw; "" is qcow2
	Tags     map[string]string // refused: libvirt's volumes keep none
	// EncryptionSet is the ARM id of the disk encryption set that the disk is to name:
	// "" for none, nil leaves it as it is.
	EncryptionSet *string
}

// PutDisk makes a disk, or grows the one that is there. One with content is made
// by a job, which is nil for others.
func (s *Service) PutDisk(ctx context.Context, sub, group, name string, in DiskRequest) (d Disk, j *job.Job, err error) {
	if len(in.Tags) > 0 {
		return d, nil, holdfast.Errorf(holdfast.Unsupported, "tags", "A disk keeps no tags: a libvirt volume has no place for them.")
	}
	d, err = s.Disk(ctx, sub, group, name)
	if err == nil {
		d, err = s.ChangeDisk(ctx, sub, group, name, in)
		return d, nil, err
	}
	if holdfast.KindOf(err) != holdfast.NotFound {
		return d, nil, err
	}
	site, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Site, error) { return siteAt(tx, sub, "location", in.Location) })
	if err != nil {
		return d, nil, err
	}
	v, err := in.check(site, group, name)
	if err != nil {
		return d, nil, err
	}
	if !strings.EqualFold(in.Create, "Empty") {
		d = Disk{ID: resource.InGroup(sub, site.Group, resource.TypeDisk, name), Name: name, Location: site.Name, Group: site.Group, VolumeFact: v}
		made, err := s.fillDisk(ctx, site, d, in)
		return d, &made, err
	}
	if err := s.Machines.CreateDisk(ctx, site.Ref(), v); err != nil {
		return d, nil, err
	}
	d, err = s.Disk(ctx, sub, group, name)
	return d, nil, err
}

// check refuses what cannot be made, and says what is to be.
func (in DiskRequest) check(site Site, group, name string) (v holdfast.VolumeFact, err error) {
	if !resource.SameName(site.Group, group) {
		return v, holdfast.Errorf(holdfast.Invalid, "resourceGroup", "The disks of the site %q are in the resource group %q.", site.Name, site.Group)
	}
	if !slices.ContainsFunc(createOptions, func(o string) bool { return strings.EqualFold(o, in.Create) }) {
		return v, holdfast.Errorf(holdfast.Unsupported, "properties.creationData.createOption", "createOption is %q; it is one of %s.", in.Create, strings.Join(createOptions, ", "))
	}
	v = holdfast.VolumeFact{Name: name, Pool: holdfast.DefaultPool, Format: in.Format, Size: in.SizeGB * gib}
	if pool, file, ok := strings.Cut(name, "~"); ok {
		v.Pool, v.Name = pool, file
	}
	if err := resource.CheckName("disk", v.Name); err != nil {
		return v, err
	}
	if in.EncryptionSet != nil && *in.EncryptionSet != "" {
		return v, unattached(name)
	}
	if least := empty(in.Create); in.SizeGB < least || in.SizeGB > maxDiskGB {
		return v, holdfast.Errorf(holdfast.Invalid, "properties.diskSizeGB", "properties.diskSizeGB is %d; a disk has 1 to %d GiB.", in.SizeGB, maxDiskGB)
	}
	switch v.Format {
	case "":
		v.Format = "qcow2"
	case "qcow2", "raw":
	default:
		return v, holdfast.Errorf(holdfast.Invalid, "properties.holdfast.format", "properties.holdfast.format is %q; a disk is raw or qcow2.", v.Format)
	}
	return v, nil
}

// unattached is why a disk that no machine has names no disk encryption set.
func unattached(name string) error {
	return holdfast.Errorf(holdfast.Unsupported, "properties.encryption", "The disk %q is attached to no virtual machine: a disk encryption set says under which key the points of a machine are sealed, and is kept with the machine.", name).
		WithHint("Attach the disk, then name the set: az disk update --disk-encryption-set.")
}

// ChangeDisk makes a disk larger and has it name another disk encryption set.
func (s *Service) ChangeDisk(ctx context.Context, sub, group, name string, in DiskRequest) (Disk, error) {
	d, err := s.GrowDisk(ctx, sub, group, name, in.SizeGB)
	if err != nil || in.EncryptionSet == nil || strings.EqualFold(*in.EncryptionSet, d.EncryptionSet) {
		return d, err
	}
	if d.Owner == "" {
		return d, unattached(d.Name)
	}
	var set any // null removes
	if *in.EncryptionSet != "" {
		set = map[string]any{"id": *in.EncryptionSet}
	}
	kept := map[string]any{"managedDisk": map[string]any{"diskEncryptionSet": set}}
	vm, site, err := s.machine(ctx, sub, group, d.VM.Name)
	if err != nil {
		return d, err
	}
	change := VMUpdate{KeptOfOSDisk: kept}
	for _, k := range vm.Disks {
		if k.Target == d.Target && k.LUN >= 0 {
			change = VMUpdate{Disks: []WantedDisk{{ID: d.ID, Kept: kept}}}
		}
	}
	if err := s.namesSets(ctx, vm, change); err != nil {
		return d, err
	}
	if _, err := s.keep(ctx, site, vm, change); err != nil {
		return d, err
	}
	return s.Disk(ctx, sub, group, name)
}

// GrowDisk makes a disk larger; 0 and its own size leave it as it is.
func (s *Service) GrowDisk(ctx context.Context, sub, group, name string, sizeGB int64) (Disk, error) {
	d, site, all, err := s.diskAt(ctx, sub, group, name)
	if err != nil {
		return d, err
	}
	has := (d.Size + gib - 1) / gib // as it is shown
	switch {
	case sizeGB == 0 || sizeGB == has:
		return d, nil
	case sizeGB < has:
		return d, holdfast.Errorf(holdfast.Unsupported, "properties.diskSizeGB", "The disk %q has %d GiB; a disk is not made smaller.", d.Name, has)
	case sizeGB > maxDiskGB:
		return d, holdfast.Errorf(holdfast.Invalid, "properties.diskSizeGB", "properties.diskSizeGB is %d; a disk has %d GiB at most.", sizeGB, maxDiskGB)
	case d.Pool == "" && !d.Running:
		return d, holdfast.Errorf(holdfast.Unsupported, d.ID, "The disk %q is in no storage pool; it grows only while its VM runs.", d.Name)
	}
	if err := d.unshared(all); err != nil {
		return d, err
	}
	if err := s.quiet(ctx, d); err != nil {
		return d, err
	}
	if err := s.Machines.GrowDisk(ctx, site.Ref(), d.VolumeFact, sizeGB*gib); err != nil {
		return d, err
	}
	return s.Disk(ctx, sub, group, name)
}

// DeleteDisk deletes a disk and its bytes. One that is attached, or that others
// are based on, is refused.
func (s *Service) DeleteDisk(ctx context.Context, sub, group, name string) error {
	d, site, all, err := s.diskAt(ctx, sub, group, name)
	switch {
	case err != nil:
		return err
	case d.Owner != "":
		return holdfast.Errorf(holdfast.Unsupported, d.ID, "Disk %s is attached to VM %s.", d.Name, d.Owner).WithHint("Detach it first.")
	case d.Pool == "":
		return holdfast.Errorf(holdfast.Unsupported, d.ID, "The disk %q is in no storage pool; it is not Holdfast's to delete.", d.Name)
	}
	if err := d.unshared(all); err != nil {
		return err
	}
	return s.Machines.DeleteDisk(ctx, site.Ref(), d.VolumeFact)
}

// diskAt finds a disk, its site and the site's other disks.
func (s *Service) diskAt(ctx context.Context, sub, group, name string) (d Disk, site Site, all []Disk, err error) {
	if d, err = s.Disk(ctx, sub, group, name); err != nil {
		return d, site, nil, err
	}
	site, err = resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Site, error) { return findSite(tx, sub, d.Location) })
	if err != nil {
		return d, site, nil, err
	}
	all, err = s.disksOf(ctx, site)
	return d, site, all, err
}

// quiet refuses while the machine of a disk is backed up.
func (s *Service) quiet(ctx context.Context, d Disk) error {
	if d.Owner == "" {
		return nil
	}
	_, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) { return nil, notCaptured(tx, d.Owner, d.VM.Name) })
	return err
}
