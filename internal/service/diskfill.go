package service

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/arm"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
)

// createOptions are Azure's words for what a new disk holds.
var createOptions = []string{"Empty", "Copy", "Import", "Restore"}

// empty is the least size that a request for a new disk says, GiB: what holds
// something has a size of its own.
func empty(create string) int64 {
	if strings.EqualFold(create, "Empty") {
		return 1
	}
	return 0
}

// fillDisk starts the job that makes a disk with content: a copy of another disk
// or of an image in a pool, or a disk of a recovery point.
func (s *Service) fillDisk(ctx context.Context, site Site, d Disk, in DiskRequest) (Job, error) {
	if strings.EqualFold(in.Create, "Restore") {
		return s.restoreDisk(ctx, site, d, in)
	}
	all, err := s.disksOf(ctx, site)
	if err != nil {
		return Job{}, err
	}
	from, err := in.origin(all)
	if err != nil {
		return Job{}, err
	}
	if err := from.copyable(all); err != nil {
		return Job{}, err
	}
	if in.SizeGB != 0 && in.SizeGB*gib < from.Size {
		return Job{}, holdfast.Errorf(holdfast.Invalid, "properties.diskSizeGB", "properties.diskSizeGB is %d; the disk %q has %d bytes.", in.SizeGB, from.Name, from.Size)
	}
	args := holdfast.RestoreArgs{Site: site.Ref(), RestoreID: uuid.NewString(), Mode: holdfast.CopyDisk, Pool: d.Pool, FileName: d.VolumeFact.Name, Format: d.Format,
		Image: holdfast.DiskFact{Path: from.Path, Format: from.Format}, ImageSize: in.SizeGB * gib}
	spec := job.Spec{Operation: "CopyDisk", Scope: d.ID, Subject: d.ID, Entity: d.Name, Principal: caller(ctx), Exclusive: "restore:" + d.ID}
	return write(ctx, s, func(tx *catalog.Tx) (Job, error) { return job.Enqueue(s.Jobs, tx, kindRestore, spec, args) })
}

// origin is the disk that is to be copied.
func (in DiskRequest) origin(all []Disk) (Disk, error) {
	if strings.EqualFold(in.Create, "Copy") {
		const member = "properties.creationData.sourceResourceId"
		id, err := parseAs(member, in.Source, TypeDisk)
		if err != nil {
			return Disk{}, err
		}
		i := slices.IndexFunc(all, func(o Disk) bool { return strings.EqualFold(o.ID, id.String()) })
		if i < 0 {
			return Disk{}, holdfast.Errorf(holdfast.NotFound, member, "The disk %q was not found at the new disk's location.", in.Source)
		}
		return all[i], nil
	}
	const member = "properties.creationData.sourceUri"
	u, err := url.Parse(in.SourceAt)
	if err != nil || u.Scheme != "file" || u.Host != "" && u.Host != "localhost" {
		return Disk{}, holdfast.Errorf(holdfast.Invalid, member, "%s is %q; it is the file:///… of an image in a storage pool of the site.", member, in.SourceAt)
	}
	i := slices.IndexFunc(all, func(o Disk) bool { return o.Path == u.Path && o.Pool != "" })
	if i < 0 {
		return Disk{}, holdfast.Errorf(holdfast.NotFound, member, "No storage pool of the site holds a raw or qcow2 image %s.", u.Path)
	}
	return all[i], nil
}

// copyable refuses an image that is written to, or that is based on a file which
// is nobody's disk: its owner might otherwise read any file of the host.
func (d Disk) copyable(all []Disk) error {
	if d.Running {
		return holdfast.Errorf(holdfast.Conflict, d.ID, "The disk %q is in use by the running virtual machine %q.", d.Name, d.VM.Name).
			WithHint("Power it off, or back it up and make the disk of a recovery point.")
	}
	if d.Backing != "" && !slices.ContainsFunc(all, func(o Disk) bool { return o.Path == d.Backing && o.Pool != "" && o.Backing == "" }) {
		return holdfast.Errorf(holdfast.Unsupported, d.ID, "The disk %q is based on %s, which is no whole image in a storage pool.", d.Name, d.Backing)
	}
	return nil
}

// restoreDisk makes a disk of one in a recovery point.
func (s *Service) restoreDisk(ctx context.Context, site Site, d Disk, in DiskRequest) (Job, error) {
	const member = "properties.creationData.sourceResourceId"
	id, err := arm.ParseID(in.Source)
	if err != nil || !strings.HasSuffix(strings.ToLower(id.Type()), "/protecteditems/recoverypoints") {
		return Job{}, holdfast.Errorf(holdfast.Invalid, member, "%s is %q; with createOption Restore it is the id of a recovery point.", member, in.Source)
	}
	point := id.Name()
	item := in.Source[:len(in.Source)-len("/recoveryPoints/"+point)]
	r, err := s.restoreOf(ctx, item, point)
	if err != nil {
		return Job{}, err
	}
	if r.site.ID != site.ID {
		return Job{}, holdfast.Errorf(holdfast.Unsupported, "location", "The point is in %s; its disks come back there.", r.site.Name)
	}
	args := holdfast.RestoreArgs{Site: site.Ref(), Repository: r.vault.Repository, PointID: r.point.Result.PointID, RestoreID: uuid.NewString(),
		Mode: holdfast.RestoreDisks, Pool: d.Pool, FileName: d.VolumeFact.Name, Format: d.Format}
	if err := checkLUNs(&args, r, RestoreRequest{LUNs: []int{in.LUN}}); err != nil {
		return Job{}, err
	}
	spec := r.item.spec(ctx, "Restore")
	spec.Exclusive = "restore:" + d.ID
	return write(ctx, s, func(tx *catalog.Tx) (Job, error) {
		if _, err := findPoint(tx, item, point); err != nil { // still there
			return Job{}, err
		}
		return job.Enqueue(s.Jobs, tx, kindRestore, spec, args)
	})
}
