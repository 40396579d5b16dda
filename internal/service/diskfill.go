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
	"holdfast/internal/resource"
)

// KindRestore is the job that makes disks and machines out of points and of other
// disks.
const KindRestore = "restore"

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

// Origin is the id, in its plain form, of what a new disk is to be made of: a
// disk (Copy, Import), a recovery point or a disk restore point (Restore); "" for
// an empty one. Whether
// the caller may have it is to be decided by this id and no other.
func (s *Service) Origin(ctx context.Context, sub string, in DiskRequest) (string, error) {
	const member = "properties.creationData.sourceResourceId"
	switch strings.ToLower(in.Create) {
	case "copy":
		id, err := resource.ParseAs(member, in.Source, resource.TypeDisk)
		return id.String(), err
	case "restore":
		id, err := arm.ParseID(in.Source)
		if err != nil || !id.Is(resource.TypeDiskRestorePoint) && !strings.HasSuffix(strings.ToLower(id.Type()), "/protecteditems/recoverypoints") {
			return "", holdfast.Errorf(holdfast.Invalid, member, "%s is %q; with createOption Restore it is the id of a recovery point or of a disk restore point.", member, in.Source)
		}
		return id.String(), nil
	case "import":
		return s.importOf(ctx, sub, in)
	}
	return "", nil
}

// importOf is the disk that is the image at a file:///… URI.
func (s *Service) importOf(ctx context.Context, sub string, in DiskRequest) (string, error) {
	const member = "properties.creationData.sourceUri"
	u, err := url.Parse(in.SourceAt)
	if err != nil || u.Scheme != "file" || u.Host != "" && u.Host != "localhost" {
		return "", holdfast.Errorf(holdfast.Invalid, member, "%s is %q; it is the file:///… of an image in a storage pool of the site.", member, in.SourceAt)
	}
	site, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Site, error) { return siteAt(tx, sub, "location", in.Location) })
	if err != nil {
		return "", err
	}
	all, err := s.disksOf(ctx, site)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(all, func(o Disk) bool { return o.Path == u.Path && o.Pool != "" })
	if i < 0 {
		return "", holdfast.Errorf(holdfast.NotFound, member, "No storage pool of the site holds a raw or qcow2 image %s.", u.Path)
	}
	return all[i].ID, nil
}

// fillDisk starts the job that makes a disk with content: a copy of another disk
// or of an image in a pool, or a disk of a recovery point. in.Source is its
// Origin.
func (s *Service) fillDisk(ctx context.Context, site Site, d Disk, in DiskRequest) (job.Job, error) {
	switch {
	case resource.IDOf(in.Source).Is(resource.TypeDiskRestorePoint):
		return s.diskOfRestorePoint(ctx, site, d, in)
	case strings.EqualFold(in.Create, "Restore"):
		return s.FromPoint(ctx, site, d, in)
	}
	all, err := s.disksOf(ctx, site)
	if err != nil {
		return job.Job{}, err
	}
	i := slices.IndexFunc(all, func(o Disk) bool { return strings.EqualFold(o.ID, in.Source) })
	if i < 0 {
		return job.Job{}, holdfast.Errorf(holdfast.NotFound, "properties.creationData.sourceResourceId", "The disk %q was not found at the new disk's location.", in.Source)
	}
	from := all[i]
	if err := from.copyable(); err != nil {
		return job.Job{}, err
	}
	if in.SizeGB != 0 && in.SizeGB*gib < from.Size {
		return job.Job{}, holdfast.Errorf(holdfast.Invalid, "properties.diskSizeGB", "properties.diskSizeGB is %d; the disk %q has %d bytes.", in.SizeGB, from.Name, from.Size)
	}
	args := holdfast.RestoreArgs{Site: site.Ref(), RestoreID: uuid.NewString(), Mode: holdfast.CopyDisk, Pool: d.Pool, FileName: d.VolumeFact.Name, Format: d.Format,
		Image: holdfast.DiskFact{Path: from.Path, Format: from.Format}, ImageSize: in.SizeGB * gib}
	spec := job.Spec{Operation: "CopyDisk", Scope: d.ID, Subject: d.ID, Entity: d.Name, Principal: resource.Caller(ctx), Exclusive: "restore:" + d.ID}
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) { return job.Enqueue(s.Jobs, tx, KindRestore, spec, args) })
}

// copyable refuses an image that is written to, or that is based on another: who
// may read it might else read any file of the host.
func (d Disk) copyable() error {
	if d.Running {
		return holdfast.Errorf(holdfast.Conflict, d.ID, "The disk %q is in use by the running virtual machine %q.", d.Name, d.VM.Name).
			WithHint("Power it off, or back it up and make the disk of a recovery point.")
	}
	if d.Backing != "" {
		return holdfast.Errorf(holdfast.Unsupported, d.ID, "The disk %q is based on %s; only a whole image is copied.", d.Name, d.Backing).
			WithHint("Back its VM up and make the disk of a recovery point.")
	}
	return nil
}

// sameSize refuses to give a disk of a point another size.
func (in DiskRequest) sameSize() error {
	if in.SizeGB == 0 {
		return nil
	}
	return holdfast.Errorf(holdfast.Unsupported, "properties.diskSizeGB", "A disk of a recovery point comes back with the size that it had.").
		WithHint("Leave diskSizeGB out, and make the disk larger when it is there.")
}

// diskOfRestorePoint makes a disk of one in a restore point.
func (s *Service) diskOfRestorePoint(ctx context.Context, site Site, d Disk, in DiskRequest) (job.Job, error) {
	if err := in.sameSize(); err != nil {
		return job.Job{}, err
	}
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) {
		from, err := findDiskPoint(tx, in.Source)
		if err != nil {
			return job.Job{}, err
		}
		if err := from.Point.ready(); err != nil {
			return job.Job{}, err
		}
		if from.Point.Location != resource.Location(site.Name) {
			return job.Job{}, holdfast.Errorf(holdfast.Unsupported, "location", "The restore point is in %s; its disks come back there.", from.Point.Location).
				WithHint("Copy the restore point to a collection in " + site.Name + " first.")
		}
		args := holdfast.RestoreArgs{Site: site.Ref(), Repository: s.at(site, from.Point), PointID: from.Point.Result.PointID, RestoreID: uuid.NewString(),
			Mode: holdfast.RestoreDisks, LUNs: []int{from.Disk.LUN}, Pool: d.Pool, FileName: d.VolumeFact.Name, Format: d.Format}
		spec := job.Spec{Operation: "Restore", Scope: from.Point.Collection, Subject: from.Point.ID, Entity: from.Point.Result.VM.Name, Principal: resource.Caller(ctx), Exclusive: "restore:" + d.ID}
		return job.Enqueue(s.Jobs, tx, KindRestore, spec, args)
	})
}
