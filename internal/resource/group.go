package resource

import (
	"context"

	"holdfast"
	"holdfast/internal/catalog"
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
	if err := CheckName("resource group", name); err != nil {
		return out, false, err
	}
	if g.Location == "" {
		return out, false, holdfast.Errorf(holdfast.Invalid, "location", "A resource group needs a location.")
	}
	g.Name, g.Location = name, Location(g.Location)
	out, err = Write(ctx, s.Catalog, func(tx *catalog.Tx) (Group, error) {
		if _, err := FindSubscription(tx, sub); err != nil {
			return g, err
		}
		old, err := FindGroup(tx, sub, name)
		created = err != nil
		switch {
		case err != nil && holdfast.KindOf(err) != holdfast.NotFound:
			return g, err
		case err == nil && old.Location != g.Location:
			return g, holdfast.Errorf(holdfast.Conflict, "location", "The resource group %q is in %s; its location cannot change to %s.", name, old.Location, g.Location)
		case err == nil:
			g.Name = old.Name
		}
		return PutGroup(tx, sub, g)
	})
	return out, created, err
}

// TagGroup replaces the tags of a resource group that is there; nil leaves them.
func (s *Service) TagGroup(ctx context.Context, sub, name string, tags map[string]string) (Group, error) {
	return Write(ctx, s.Catalog, func(tx *catalog.Tx) (Group, error) {
		g, err := FindGroup(tx, sub, name)
		if err != nil || tags == nil {
			return g, err
		}
		g.Tags = tags
		return PutGroup(tx, sub, g)
	})
}

// PutGroup writes a group as it is to be.
func PutGroup(tx *catalog.Tx, sub string, g Group) (Group, error) {
	r, err := catalog.Write(tx, catalog.Resource{ID: GroupID(sub, g.Name), Type: TypeGroup, Parent: SubscriptionID(sub)}, g)
	g.Stamp = StampOf(r)
	return g, err
}

// Group returns one resource group.
func (s *Service) Group(ctx context.Context, sub, name string) (Group, error) {
	return Read(ctx, s.Catalog, func(tx *catalog.Tx) (Group, error) { return FindGroup(tx, sub, name) })
}

// Groups lists the resource groups of a subscription.
func (s *Service) Groups(ctx context.Context, sub string) ([]Group, error) {
	return Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]Group, error) {
		return List(tx, catalog.Query{Type: TypeGroup, Parent: SubscriptionID(sub)}, decodeGroup)
	})
}

// FindGroup returns a group, or holdfast.NotFound.
func FindGroup(tx *catalog.Tx, sub, name string) (Group, error) {
	r, err := tx.Get(GroupID(sub, name))
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
	g.Stamp = StampOf(r)
	return g, err
}
