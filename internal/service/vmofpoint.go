package service

import (
	"context"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

// WholeVM asks for a machine with all of its disks, made of a restore point.
type WholeVM struct {
	Location string // of the point; "" is not checked
	Point    string // ARM id of the restore point
	Pool     string // ARM id of the storage account: the pool for its disks
	Network  string // ARM id; "" keeps the point's
	Start    *bool  // boot it; nil does
}

// VMOfPoint starts the job that makes a machine of a restore point, with all of
// the disks in it.
func (s *Service) VMOfPoint(ctx context.Context, sub, group, name string, in WholeVM) (job.Job, error) {
	id, err := resource.ParseAs("properties.holdfast.restorePoint.id", in.Point, resource.TypeRestorePoint)
	if err != nil {
		return job.Job{}, err
	}
	p, err := s.RestorePointAt(ctx, id.String())
	if err != nil {
		return job.Job{}, err
	}
	if err := p.ready(); err != nil {
		return job.Job{}, err
	}
	if in.Location != "" && resource.Location(in.Location) != p.Location {
		return job.Job{}, holdfast.Errorf(holdfast.Unsupported, "location", "The restore point is in %s; its machine comes back there.", p.Location).
			WithHint("Copy the restore point to a collection in " + in.Location + " first.")
	}
	site, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Site, error) { return siteAt(tx, sub, "location", p.Location) })
	if err != nil {
		return job.Job{}, err
	}
	args := holdfast.RestoreArgs{Site: site.Ref(), Repository: s.at(site, p), PointID: p.Result.PointID, RestoreID: uuid.NewString(), Mode: holdfast.CreateVM, LeaveSets: p.Source != ""}
	spec := job.Spec{Operation: "Restore", Scope: p.Collection, Subject: resource.InGroup(sub, group, resource.TypeVM, name), Entity: name, Principal: resource.Caller(ctx)}
	r := restoring{item: Item{VM: name}, point: Point{Name: p.Name}, site: site}
	ask := RestoreRequest{Mode: string(holdfast.CreateVM), TargetVM: resource.InGroup(sub, group, resource.TypeVM, name), Pool: in.Pool, Network: in.Network, Start: in.Start}
	for _, check := range []func() error{
		func() error { return checkForm(&args, r) },
		func() error { return s.checkTarget(ctx, &args, &spec, r, ask) },
		func() error { return s.checkParts(ctx, &args, r, ask) },
	} {
		if err := check(); err != nil {
			return job.Job{}, err
		}
	}
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) {
		now, err := findRestorePoint(tx, p.ID)
		if err == nil {
			err = now.ready()
		}
		if err != nil {
			return job.Job{}, err
		}
		return job.Enqueue(s.Jobs, tx, KindRestore, spec, args)
	})
}
