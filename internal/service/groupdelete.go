package service

import (
	"context"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

// DeleteGroup removes a resource group with all that is in it. It is refused
// whole when something in it may not go: a vault that protects something, a
// restore point that is being made, or the machines of a site, which are
// libvirt's. What restore points hold is deleted by jobs of their own. may says whether the caller may delete
// a resource of the group. The job that it returns is already done.
func (s *Service) DeleteGroup(ctx context.Context, sub, name string, may func(action, id string) bool) (job.Job, error) {
	if err := s.setsUnused(ctx, sub, name); err != nil {
		return job.Job{}, err
	}
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) {
		g, err := resource.FindGroup(tx, sub, name)
		if err != nil {
			return job.Job{}, err
		}
		if err := groupHasNoSite(tx, sub, name); err != nil {
			return job.Job{}, err
		}
		if err := nothingDeploys(tx, g); err != nil {
			return job.Job{}, err
		}
		if n, err := tx.Count(catalog.Query{Type: TypeGuard, Parent: g.ID}); err != nil || n > 0 {
			if err == nil {
				err = holdfast.Errorf(holdfast.Conflict, name, "The resource group %q holds a resource guard, which is not deleted with it.", name)
			}
			return job.Job{}, err
		}
		vaults, err := resource.List(tx, catalog.Query{Type: resource.TypeVault, Parent: g.ID}, decodeVault)
		if err != nil {
			return job.Job{}, err
		}
		for _, v := range vaults {
			if !may(resource.TypeVault+"/delete", v.ID) {
				return job.Job{}, holdfast.Errorf(holdfast.Forbidden, v.ID, "The resource group %q holds %s, which the caller may not delete.", name, v.ID)
			}
			if err := deleteVault(tx, v); err != nil {
				return job.Job{}, err
			}
		}
		if err := s.deleteCollections(ctx, tx, g, may); err != nil {
			return job.Job{}, err
		}
		if err := s.deleteSets(tx, g, may); err != nil {
			return job.Job{}, err
		}
		if err := tx.DeleteUnder(g.ID); err != nil {
			return job.Job{}, err
		}
		if _, err := tx.Delete(g.ID); err != nil {
			return job.Job{}, err
		}
		return job.Record(tx, job.Spec{Operation: "DeleteGroup", Scope: g.ID, Subject: g.ID, Entity: g.Name, Principal: resource.Caller(ctx)})
	})
}

// groupHasNoSite refuses to take away the group where a site's machines appear.
func groupHasNoSite(tx *catalog.Tx, sub, name string) error {
	sites, err := sitesIn(tx, sub)
	if err != nil {
		return err
	}
	for _, site := range sites {
		if resource.SameName(site.Group, name) {
			return holdfast.Errorf(holdfast.Conflict, name, "The resource group %q holds the machines of the site %q, which are not deleted with it.", name, site.Name).
				WithHint("Delete the site first; its machines stay as they are.")
		}
	}
	return nil
}
