package service

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/arm"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
	"holdfast/internal/support"
)

// Collection is a restore point collection: the restore points of one VM, or the
// copies of those of a collection at another site.
type Collection struct {
	resource.Stamp
	Name     string            `json:"name"`
	Location string            `json:"location"` // of the site that has the points
	Tags     map[string]string `json:"tags,omitempty"`
	GUID     string            `json:"guid"`
	// Source is the ARM id of the VM, or of the collection whose points are copied.
	Source         string `json:"source"`
	SourceLocation string `json:"sourceLocation"`
	VM             string `json:"vm"`   // ARM id of the machine
	UUID           string `json:"uuid"` // of the machine
	// Deleting says that the job which deletes it was started.
	Deleting bool `json:"deleting,omitempty"`
}

// copies says whether the collection has copies of another one's points.
func (c Collection) copies() bool { return !strings.EqualFold(c.Source, c.VM) }

// CollectionInput is what a client wants of a collection.
type CollectionInput struct {
	Location string
	Tags     map[string]string // nil leaves them
	Source   string            // ARM id of a VM or of another collection
	Version  string            // api-version
}

// PutCollection makes a collection or changes the tags of one that is there;
// created says which.
func (s *Service) PutCollection(ctx context.Context, sub, group, name string, in CollectionInput) (out Collection, created bool, err error) {
	if err := resource.CheckName("restore point collection", name); err != nil {
		return out, false, err
	}
	if err := resource.CheckTags(in.Tags); err != nil {
		return out, false, err
	}
	if err := support.PointVersion(in.Version, holdfast.ApplicationConsistent); err != nil {
		return out, false, err
	}
	id := resource.InGroup(sub, group, resource.TypeCollection, name)
	old, err := s.Collection(ctx, id)
	switch {
	case err == nil:
		out, err = s.retag(ctx, old, in)
		return out, false, err
	case holdfast.KindOf(err) != holdfast.NotFound:
		return out, false, err
	}
	c, err := s.sourceOf(ctx, sub, in)
	if err != nil {
		return out, false, err
	}
	c.ID, c.Name, c.Location, c.Tags, c.GUID = id, name, resource.Location(in.Location), in.Tags, uuid.NewString()
	out, err = resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (Collection, error) {
		if _, err := tx.Get(id); err == nil {
			return c, holdfast.Errorf(holdfast.Conflict, id, "The restore point collection %q was made by somebody else meanwhile.", name)
		}
		g, err := resource.FindGroup(tx, sub, group)
		if err != nil {
			return c, err
		}
		c.ID = resource.InGroup(sub, g.Name, resource.TypeCollection, name)
		return putCollection(tx, c)
	})
	return out, true, err
}

// retag changes the tags of a collection; the rest of it does not change.
func (s *Service) retag(ctx context.Context, old Collection, in CollectionInput) (Collection, error) {
	if in.Location != "" && resource.Location(in.Location) != old.Location {
		return old, holdfast.Errorf(holdfast.Conflict, "location", "The restore point collection %q is in %s; its location cannot change to %s.", old.Name, old.Location, in.Location)
	}
	if in.Source != "" && !strings.EqualFold(strings.TrimSuffix(in.Source, "/"), old.Source) {
		return old, holdfast.Errorf(holdfast.Conflict, "properties.source.id", "The restore point collection %q is of %s, which cannot change.", old.Name, old.Source).WithHint("Make another collection.")
	}
	return s.TagCollection(ctx, old.ID, in.Tags)
}

// sourceOf finds what a new collection is of.
func (s *Service) sourceOf(ctx context.Context, sub string, in CollectionInput) (c Collection, err error) {
	const member = "properties.source.id"
	id, err := arm.ParseID(in.Source)
	if err != nil {
		return c, holdfast.Errorf(holdfast.Invalid, member, "%s is %q, which is not a resource id: %v.", member, in.Source, err)
	}
	if err := support.PointSource(id.Type(), id.String()); err != nil {
		return c, err
	}
	if !resource.SameName(id.Subscription, sub) {
		return c, holdfast.Errorf(holdfast.Unsupported, member, "%s is in another subscription.", member)
	}
	site, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Site, error) { return siteAt(tx, sub, "location", in.Location) })
	if err != nil {
		return c, err
	}
	switch {
	case id.Is(resource.TypeVM):
		vm, err := s.VM(ctx, sub, id.Group, id.Name())
		if err != nil {
			return c, err
		}
		if !resource.SameName(vm.Location, site.Name) {
			return c, holdfast.Errorf(holdfast.Unsupported, "location", "The virtual machine %q is in %s; its restore points are made there and not in %s (RPL-05).", vm.Name, vm.Location, site.Name).
				WithHint("Make them there, and copy them to a collection in " + site.Name + " whose source is that collection.")
		}
		return Collection{Source: vm.ID, SourceLocation: resource.Location(vm.Location), VM: vm.ID, UUID: vm.UUID}, nil
	case id.Is(resource.TypeCollection):
		from, err := s.Collection(ctx, id.String())
		if err != nil {
			return c, err
		}
		if from.Location == resource.Location(site.Name) {
			return c, holdfast.Errorf(holdfast.Unsupported, "location", "The restore point collection %q is in %s; copies are made in another location (RPL-05).", from.Name, from.Location)
		}
		return Collection{Source: from.ID, SourceLocation: from.Location, VM: from.VM, UUID: from.UUID}, nil
	}
	return c, holdfast.Errorf(holdfast.Invalid, member, "%s is %q; it is the id of a virtual machine, or of a restore point collection in another location.", member, in.Source)
}

// TagCollection replaces the tags of a collection; nil leaves them.
func (s *Service) TagCollection(ctx context.Context, id string, tags map[string]string) (Collection, error) {
	if err := resource.CheckTags(tags); err != nil {
		return Collection{}, err
	}
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (Collection, error) {
		c, err := findCollection(tx, id)
		if err != nil || tags == nil {
			return c, err
		}
		c.Tags = tags
		return putCollection(tx, c)
	})
}

// Collection returns one collection.
func (s *Service) Collection(ctx context.Context, id string) (Collection, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Collection, error) { return findCollection(tx, id) })
}

// Collections lists the collections of a subscription, or of one group.
func (s *Service) Collections(ctx context.Context, sub, group string) ([]Collection, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]Collection, error) {
		if group == "" {
			return resource.List(tx, catalog.Query{Type: resource.TypeCollection, Under: resource.SubscriptionID(sub)}, decodeCollection)
		}
		g, err := resource.FindGroup(tx, sub, group)
		if err != nil {
			return nil, err
		}
		return resource.List(tx, catalog.Query{Type: resource.TypeCollection, Parent: g.ID}, decodeCollection)
	})
}

// DeleteCollection starts the job that deletes a collection with its points.
func (s *Service) DeleteCollection(ctx context.Context, id string) (job.Job, error) {
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) {
		c, err := findCollection(tx, id)
		if err != nil {
			return job.Job{}, err
		}
		return s.deleteCollection(ctx, tx, c)
	})
}

func (s *Service) deleteCollection(ctx context.Context, tx *catalog.Tx, c Collection) (job.Job, error) {
	points, err := restorePointsIn(tx, c.ID)
	if err != nil {
		return job.Job{}, err
	}
	for _, p := range points {
		if p.State == PointCreating {
			return job.Job{}, holdfast.Errorf(holdfast.Conflict, p.ID, "The restore point %q of the collection %q is being made.", p.Name, c.Name).WithHint("Wait until it is there, then try again.")
		}
	}
	if err := unread(tx, c); err != nil {
		return job.Job{}, err
	}
	spec := job.Spec{Operation: "DeleteRestorePointCollection", Scope: c.ID, Subject: c.ID, Entity: c.Name, Principal: resource.Caller(ctx), Exclusive: "restorepoints:" + c.ID}
	if len(points) == 0 {
		if _, err := tx.Delete(c.ID); err != nil {
			return job.Job{}, err
		}
		spec.Exclusive = ""
		return job.Record(tx, spec)
	}
	c.Deleting = true
	if _, err := putCollection(tx, c); err != nil {
		return job.Job{}, err
	}
	return s.deletePoints(tx, spec, c, points)
}

// unread refuses to delete while something is made of a point of a collection.
func unread(tx *catalog.Tx, c Collection) error {
	running, err := job.List(tx, job.Filter{Scope: c.ID, Operation: "Restore", Running: true, Limit: 1})
	if err == nil && len(running) > 0 {
		err = holdfast.Errorf(holdfast.Conflict, c.ID, "A restore from a point of the collection %q is running: %s.", c.Name, running[0].ID).WithHint("Wait for it to end, then try again.")
	}
	return err
}

// deleteCollections starts the jobs that delete what the collections of a group
// hold; the collections go with the group.
func (s *Service) deleteCollections(ctx context.Context, tx *catalog.Tx, g resource.Group, may func(action, id string) bool) error {
	all, err := resource.List(tx, catalog.Query{Type: resource.TypeCollection, Parent: g.ID}, decodeCollection)
	if err != nil {
		return err
	}
	for _, c := range all {
		if !may(resource.TypeCollection+"/delete", c.ID) {
			return holdfast.Errorf(holdfast.Forbidden, c.ID, "The resource group %q holds %s, which the caller may not delete.", g.Name, c.ID)
		}
		if c.Deleting { // its job goes on
			continue
		}
		if _, err := s.deleteCollection(ctx, tx, c); err != nil {
			return err
		}
	}
	return nil
}

// noCollections refuses to forget a site that still has restore points.
func noCollections(tx *catalog.Tx, sub string, site Site) error {
	all, err := resource.List(tx, catalog.Query{Type: resource.TypeCollection, Under: resource.SubscriptionID(sub)}, decodeCollection)
	for _, c := range all {
		if err == nil && c.Location == resource.Location(site.Name) {
			err = holdfast.Errorf(holdfast.Conflict, site.Name, "The site %q still has the restore point collection %q.", site.Name, c.Name).WithHint("Delete the collection first.")
		}
	}
	return err
}

func putCollection(tx *catalog.Tx, c Collection) (Collection, error) {
	id := resource.IDOf(c.ID)
	r, err := catalog.Write(tx, catalog.Resource{ID: c.ID, Type: resource.TypeCollection, Parent: resource.GroupID(id.Subscription, id.Group)}, c)
	c.Stamp = resource.StampOf(r)
	return c, err
}

func findCollection(tx *catalog.Tx, id string) (Collection, error) {
	r, err := tx.Get(id)
	if err != nil {
		if holdfast.KindOf(err) == holdfast.NotFound {
			err = holdfast.Errorf(holdfast.NotFound, id, "The restore point collection %q was not found.", resource.LastName(id))
		}
		return Collection{}, err
	}
	return decodeCollection(r)
}

func decodeCollection(r catalog.Resource) (Collection, error) {
	c, err := catalog.Decode[Collection](r)
	c.Stamp = resource.StampOf(r)
	return c, err
}

// restorePointsOf names the collections of the machines that a condition picks,
// with how many restore points each has; "" is none.
func restorePointsOf(tx *catalog.Tx, pick func(vm arm.ID) bool) (string, error) {
	all, err := resource.List(tx, catalog.Query{Type: resource.TypeCollection}, decodeCollection)
	if err != nil {
		return "", err
	}
	var named []string
	for _, c := range all {
		if !pick(resource.IDOf(c.VM)) {
			continue
		}
		points, err := restorePointsIn(tx, c.ID)
		if err != nil {
			return "", err
		}
		if len(points) == 0 {
			continue
		}
		if named = append(named, fmt.Sprintf("%s (%d restore points in %s)", resource.LastName(c.VM), len(points), c.ID)); len(named) == 10 {
			named = append(named, "and more")
			break
		}
	}
	return strings.Join(named, ", "), nil
}
