package service

import (
	"context"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

// DeleteRestorePoint starts the job that deletes a restore point.
func (s *Service) DeleteRestorePoint(ctx context.Context, id string) (job.Job, error) {
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) {
		p, err := findRestorePoint(tx, id)
		if err != nil {
			return job.Job{}, err
		}
		if p.State == PointCreating {
			return job.Job{}, holdfast.Errorf(holdfast.Conflict, p.ID, "The restore point %q is being made.", p.Name).WithHint("Wait until it is there, then delete it.")
		}
		c, err := findCollection(tx, p.Collection)
		if err != nil {
			return job.Job{}, err
		}
		if err := unread(tx, c); err != nil {
			return job.Job{}, err
		}
		spec := job.Spec{Operation: "DeleteRestorePoint", Scope: c.ID, Subject: p.ID, Entity: p.Name, Principal: resource.Caller(ctx), Exclusive: "restorepoints:" + p.ID}
		return s.deletePoints(tx, spec, c, []RestorePoint{p})
	})
}

// deletePoints starts the job that deletes points of a collection from its site's
// operational repository.
func (s *Service) deletePoints(tx *catalog.Tx, spec job.Spec, c Collection, points []RestorePoint) (job.Job, error) {
	if s.Delete == nil {
		return job.Job{}, holdfast.Errorf(holdfast.Unsupported, spec.Entity, "This server cannot delete points from a repository.")
	}
	site, err := siteAt(tx, resource.IDOf(c.ID).Subscription, "location", c.Location)
	if err != nil {
		return job.Job{}, err
	}
	args := s.deletion(site, points...)
	if args.Hosts, err = hosts(tx); err != nil {
		return job.Job{}, err
	}
	for _, p := range points {
		p.State, p.Failure, p.Lost = PointDeleting, nil, false
		if _, err := putRestorePoint(tx, p); err != nil {
			return job.Job{}, err
		}
	}
	return job.Enqueue(s.Jobs, tx, kindDeleteRestorePoint, spec, args)
}

// deletion is what is to be deleted of points of a site.
func (s *Service) deletion(site Site, points ...RestorePoint) holdfast.DeletePointsArgs {
	args := holdfast.DeletePointsArgs{Repository: s.operational(site), Rate: site.collectRate()}
	for _, p := range points {
		if p.Set == "" {
			args.PointIDs = append(args.PointIDs, p.Result.PointID)
		} else {
			args.Instant = append(args.Instant, holdfast.PointRef{Repository: p.Repository, PointID: p.Result.PointID})
		}
	}
	return args
}

// restorePointGone forgets what a job has deleted: a point, or a collection with
// its points. One whose group went with it is forgotten already.
func (s *Service) restorePointGone(tx *catalog.Tx, jobID string, a holdfast.DeletePointsArgs, r holdfast.DeletePointsResult, runErr error) error {
	j, err := job.Get(tx, jobID)
	if err != nil {
		return err
	}
	points, err := restorePointsIn(tx, j.Subject)
	if err != nil {
		return err
	}
	if runErr == nil {
		if err := leaveRest(tx, jobID, r); err != nil {
			return err
		}
		for _, p := range points {
			if _, err := tx.Delete(p.ID); err != nil {
				return err
			}
		}
		_, err = tx.Delete(j.Subject)
		return err
	}
	if len(points) == 0 {
		return leave(tx, jobID, a)
	}
	for _, p := range points {
		p.State, p.Failure = PointFailed, job.FailureOf(runErr)
		if _, err := putRestorePoint(tx, p); err != nil {
			return err
		}
	}
	return s.undeleted(tx, j.Subject)
}

// undeleted lets a collection be used again whose deletion failed.
func (s *Service) undeleted(tx *catalog.Tx, id string) error {
	c, err := findCollection(tx, id)
	if err != nil || !c.Deleting {
		return resource.NotThere(err)
	}
	c.Deleting = false
	_, err = putCollection(tx, c)
	return err
}

// forgetFailed forgets a point that was not made, and deletes what its job may
// have left of it all the same.
func (s *Service) forgetFailed(tx *catalog.Tx, c Collection, p RestorePoint) error {
	if _, err := tx.Delete(p.ID); err != nil || p.Source != "" || s.Delete == nil {
		return err // a copy that is made again finds what is left
	}
	site, err := siteAt(tx, resource.IDOf(c.ID).Subscription, "location", c.Location)
	if err != nil {
		return err
	}
	spec := job.Spec{Operation: "DeleteRestorePoint", Scope: c.ID, Subject: p.ID + "/left", Entity: p.Name}
	_, err = job.Enqueue(s.Jobs, tx, kindDeleteRestorePoint, spec, s.deletion(site, p))
	return err
}

// typeLeftover is what is kept of points that nobody knows any more, since their
// group or collection is gone, and that could not be deleted.
const typeLeftover = "Holdfast.Compute/leftovers"

// leave keeps what a failed job was to delete, for the next clean-up.
func leave(tx *catalog.Tx, jobID string, a holdfast.DeletePointsArgs) error {
	_, err := catalog.Write(tx, catalog.Resource{ID: "/leftovers/" + jobID, Type: typeLeftover, Parent: "/"}, a)
	return err
}

// leaveRest keeps, for the next clean-up, what could not be deleted since its key is
// not given (nobody can read it meanwhile), and checkpoints on hosts that were away.
func leaveRest(tx *catalog.Tx, jobID string, r holdfast.DeletePointsResult) error {
	if len(r.Withheld)+len(r.Orphans) == 0 {
		return nil
	}
	return leave(tx, jobID, holdfast.DeletePointsArgs{Instant: r.Withheld, Orphans: r.Orphans})
}

// hosts are the sites on which VMs may be.
func hosts(tx *catalog.Tx) (refs []holdfast.SiteRef, err error) {
	sites, err := resource.List(tx, catalog.Query{Type: resource.TypeSite}, decodeSite)
	for _, site := range sites {
		refs = append(refs, site.Ref())
	}
	return refs, err
}

// cleanLeftovers tries again to delete what was left, and forgets accesses whose
// time is over.
func (s *Service) cleanLeftovers(ctx context.Context) error {
	if s.Delete == nil {
		return nil
	}
	_, err := resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) {
		if err := forgetAccesses(tx, "", func(a Access) bool { return !a.Expires.After(tx.Now()) }); err != nil {
			return nil, err
		}
		rows, err := tx.List(catalog.Query{Type: typeLeftover})
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			a, err := catalog.Decode[holdfast.DeletePointsArgs](r)
			if err != nil {
				return nil, err
			}
			if a.Hosts, err = hosts(tx); err != nil {
				return nil, err
			}
			if _, err := tx.Delete(r.ID); err != nil { // the job leaves it again if it fails
				return nil, err
			}
			spec := job.Spec{Operation: "DeleteRestorePoint", Scope: r.ID, Subject: r.ID, Entity: "what was left of restore points", Principal: resource.Caller(ctx)}
			if _, err := job.Enqueue(s.Jobs, tx, kindDeleteRestorePoint, spec, a); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
	return err
}
