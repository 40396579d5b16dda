package service

import (
	"context"
	"strings"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
)

// Group is a resource group.
type Group struct {
	Stamp
	Name     string            `json:"name"`
	Location string            `json:"location"`
	Tags     map[string]string `json:"tags,omitempty"`
}

// PutGroup makes a resource group or replaces its tags; created says which. The
// location of an existing group does not change.
func (s *Service) PutGroup(ctx context.Context, sub, name string, g Group) (out Group, created bool, err error) {
	if err := checkName("resource group", name); err != nil {
		return out, false, err
	}
	if g.Location == "" {
		return out, false, holdfast.Errorf(holdfast.Invalid, "location", "A resource group needs a location.")
	}
	g.Name, g.Location = name, Location(g.Location)
	out, err = write(ctx, s, func(tx *catalog.Tx) (Group, error) {
		if _, err := findSubscription(tx, sub); err != nil {
			return g, err
		}
		old, err := findGroup(tx, sub, name)
		created = err != nil
		switch {
		case err != nil && holdfast.KindOf(err) != holdfast.NotFound:
			return g, err
		case err == nil && old.Location != g.Location:
			return g, holdfast.Errorf(holdfast.Conflict, "location", "The resource group %q is in %s; its location cannot change to %s.", name, old.Location, g.Location)
		case err == nil:
			g.Name = old.Name
		}
		return putGroup(tx, sub, g)
	})
	return out, created, err
}

// TagGroup replaces the tags of a resource group that is there; nil leaves them.
func (s *Service) TagGroup(ctx context.Context, sub, name string, tags map[string]string) (Group, error) {
	return write(ctx, s, func(tx *catalog.Tx) (Group, error) {
		g, err := findGroup(tx, sub, name)
		if err != nil || tags == nil {
			return g, err
		}
		g.Tags = tags
		return putGroup(tx, sub, g)
	})
}

func putGroup(tx *catalog.Tx, sub string, g Group) (Group, error) {
	r, err := catalog.Write(tx, catalog.Resource{ID: groupID(sub, g.Name), Type: TypeGroup, Parent: subscriptionID(sub)}, g)
	g.Stamp = stamp(r)
	return g, err
}

// Group returns one resource group.
func (s *Service) Group(ctx context.Context, sub, name string) (Group, error) {
	return read(ctx, s, func(tx *catalog.Tx) (Group, error) { return findGroup(tx, sub, name) })
}

// Groups lists the resource groups of a subscription.
func (s *Service) Groups(ctx context.Context, sub string) ([]Group, error) {
	return read(ctx, s, func(tx *catalog.Tx) ([]Group, error) {
		return list(tx, catalog.Query{Type: TypeGroup, Parent: subscriptionID(sub)}, decodeGroup)
	})
}

// DeleteGroup removes a resource group with all that is in it. It is refused
// whole when something in it may not go: a vault that protects something, a
// restore point that is being made, or the machines of a site, which are
// libvirt's. What restore points hold is deleted by jobs of their own. may says whether the caller may delete
// a resource of the group. The job that it returns is already done.
func (s *Service) DeleteGroup(ctx context.Context, sub, name string, may func(action, id string) bool) (Job, error) {
	if err := s.setsUnused(ctx, sub, name); err != nil {
		return Job{}, err
	}
	return write(ctx, s, func(tx *catalog.Tx) (Job, error) {
		g, err := findGroup(tx, sub, name)
		if err != nil {
			return Job{}, err
		}
		if err := groupHasNoSite(tx, sub, name); err != nil {
			return Job{}, err
		}
		if err := nothingDeploys(tx, g); err != nil {
			return Job{}, err
		}
		if n, err := tx.Count(catalog.Query{Type: TypeGuard, Parent: g.ID}); err != nil || n > 0 {
			if err == nil {
				err = holdfast.Errorf(holdfast.Conflict, name, "The resource group %q holds a resource guard, which is not deleted with it.", name)
			}
			return Job{}, err
		}
		vaults, err := list(tx, catalog.Query{Type: TypeVault, Parent: g.ID}, decodeVault)
		if err != nil {
			return Job{}, err
		}
		for _, v := range vaults {
			if !may(TypeVault+"/delete", v.ID) {
				return Job{}, holdfast.Errorf(holdfast.Forbidden, v.ID, "The resource group %q holds %s, which the caller may not delete.", name, v.ID)
			}
			if err := deleteVault(tx, v); err != nil {
				return Job{}, err
			}
		}
		if err := s.deleteCollections(ctx, tx, g, may); err != nil {
			return Job{}, err
		}
		if err := s.deleteSets(tx, g, may); err != nil {
			return Job{}, err
		}
		if err := tx.DeleteUnder(g.ID); err != nil {
			return Job{}, err
		}
		if _, err := tx.Delete(g.ID); err != nil {
			return Job{}, err
		}
		return job.Record(tx, job.Spec{Operation: "DeleteGroup", Scope: g.ID, Subject: g.ID, Entity: g.Name, Principal: caller(ctx)})
	})
}

// groupHasNoSite refuses to take away the group where a site's machines appear.
func groupHasNoSite(tx *catalog.Tx, sub, name string) error {
	sites, err := sitesIn(tx, sub)
	if err != nil {
		return err
	}
	for _, site := range sites {
		if sameName(site.Group, name) {
			return holdfast.Errorf(holdfast.Conflict, name, "The resource group %q holds the machines of the site %q, which are not deleted with it.", name, site.Name).
				WithHint("Delete the site first; its machines stay as they are.")
		}
	}
	return nil
}

func findGroup(tx *catalog.Tx, sub, name string) (Group, error) {
	r, err := tx.Get(groupID(sub, name))
	if err != nil {
		if holdfast.KindOf(err) == holdfast.NotFound {
			err = holdfast.Errorf(holdfast.NotFound, name, "The resource group %q was not found.", name)
		}
		return Group{}, err
	}
	return decodeGroup(r)
}

func decodeGroup(r catalog.Resource) (Group, error) {
	g, err := catalog.Decode[Group](r)
	g.Stamp = stamp(r)
	return g, err
}

func sameName(a, b string) bool { return strings.EqualFold(a, b) }
