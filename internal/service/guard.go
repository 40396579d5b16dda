package service

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/authz"
	"holdfast/internal/catalog"
	"holdfast/internal/resource"
)

// TypeGuard is the resource type of a resource guard, TypeProxy that of a
// vault's link to one.
const (
	TypeGuard = "Microsoft.DataProtection/resourceGuards"
	TypeProxy = resource.TypeVault + "/backupResourceGuardProxies"
)

// Guard makes operations that weaken the protection of vaults need a second
// person: who asks for one needs a role on the guard, which somebody else gave.
//
// A role on the guard counts only if it was assigned on the guard itself; what
// is inherited from its group or subscription lets nobody change the guard, use
// it, or give others a role on it (authz.Guarded). The principal that makes a
// guard becomes its Owner.
type Guard struct {
	resource.Stamp
	Name     string            `json:"name"`
	Location string            `json:"location"`
	Tags     map[string]string `json:"tags,omitempty"`
	// Excluded are critical operations (Critical.Action) that need no second person.
	Excluded []string `json:"excluded,omitempty"`
}

// Critical is an operation that weakens protection.
type Critical struct {
	Request   string // its name below a guard
	Action    string // of the vault
	Mandatory bool   // cannot be excluded
}

// The critical operations. Names and actions are those of Azure's guards for
// Recovery Services vaults.
var (
	disableSecurity = Critical{"disableSoftDeleteRequests", resource.TypeVault + "/backupconfig/write", true}
	removeGuard     = Critical{"deleteResourceGuardProxyRequests", TypeProxy + "/delete", true}
	deleteItem      = Critical{"deleteProtectedItemRequests", resource.TypeItem + "/delete", false}
	weakenItem      = Critical{"updateProtectedItemRequests", resource.TypeItem + "/write", false}
	weakenPolicy    = Critical{"updateProtectionPolicyRequests", resource.TypePolicy + "/write", false}
)

// Criticals lists the critical operations.
func Criticals() []Critical {
	return []Critical{disableSecurity, removeGuard, deleteItem, weakenItem, weakenPolicy}
}

// Proxy is a vault's link to a guard.
type Proxy struct {
	resource.Stamp
	Name  string `json:"name"`
	Guard string `json:"guard"` // ARM id
	// Operations are those that the guard guards now.
	Operations []Critical `json:"-"`
}

func guardID(sub, group, name string) string { return resource.InGroup(sub, group, TypeGuard, name) }

// PutGuard makes a guard or changes one.
func (s *Service) PutGuard(ctx context.Context, sub, group string, g Guard) (out Guard, created bool, err error) {
	if err := resource.CheckName("resource guard", g.Name); err != nil {
		return g, false, err
	}
	for _, x := range g.Excluded {
		i := slices.IndexFunc(Criticals(), func(c Critical) bool { return resource.SameName(c.Action, x) })
		if i < 0 || Criticals()[i].Mandatory {
			return g, false, holdfast.Errorf(holdfast.Invalid, "properties.vaultCriticalOperationExclusionList", "properties.vaultCriticalOperationExclusionList has %q, which is no operation that can be left out.", x)
		}
	}
	out, err = resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (Guard, error) {
		if _, err := resource.FindGroup(tx, sub, group); err != nil {
			return g, err
		}
		id := guardID(sub, group, g.Name)
		_, err := tx.Get(id)
		if created = err != nil; created && holdfast.KindOf(err) != holdfast.NotFound {
			return g, err
		}
		if created {
			owner := authz.Assignment{ID: authz.AssignmentID(id, uuid.NewString()), Scope: id, RoleID: authz.Owner, PrincipalID: authz.CallerOf(ctx).ID}
			if err := authz.Assign(tx, owner); err != nil {
				return g, err
			}
		}
		r, err := catalog.Write(tx, catalog.Resource{ID: id, Type: TypeGuard, Parent: resource.GroupID(sub, group)}, g)
		g.Stamp = resource.StampOf(r)
		return g, err
	})
	return out, created, err
}

// Guard returns one guard.
func (s *Service) Guard(ctx context.Context, sub, group, name string) (Guard, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Guard, error) { return findGuard(tx, guardID(sub, group, name)) })
}

// HasGuard says whether there is a guard of an id.
func (s *Service) HasGuard(ctx context.Context, id string) (bool, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (bool, error) {
		_, err := findGuard(tx, id)
		return err == nil, resource.NotThere(err)
	})
}

// Guards lists the guards of a resource group, or of a subscription for "".
func (s *Service) Guards(ctx context.Context, sub, group string) ([]Guard, error) {
	under := resource.SubscriptionID(sub)
	if group != "" {
		under = resource.GroupID(sub, group)
	}
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]Guard, error) {
		return resource.List(tx, catalog.Query{Type: TypeGuard, Under: under}, decodeGuard)
	})
}

// DeleteGuard removes a guard that guards no vault, and says whether it was there.
func (s *Service) DeleteGuard(ctx context.Context, sub, group, name string) (bool, error) {
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (bool, error) {
		g, err := findGuard(tx, guardID(sub, group, name))
		if err != nil {
			return false, resource.NotThere(err)
		}
		all, err := resource.List(tx, catalog.Query{Type: TypeProxy}, decodeProxy)
		if err != nil {
			return false, err
		}
		for _, p := range all {
			if resource.SameName(p.Guard, g.ID) {
				return false, holdfast.Errorf(holdfast.Conflict, g.ID, "The resource guard %q guards %s.", g.Name, p.ID).WithHint("Remove it from the vault first.")
			}
		}
		given, err := authz.Assignments(tx, catalog.Query{Under: g.ID})
		if err != nil {
			return false, err
		}
		for _, a := range given {
			if _, err := tx.Delete(a.ID); err != nil {
				return false, err
			}
		}
		return tx.Delete(g.ID)
	})
}

func findGuard(tx *catalog.Tx, id string) (Guard, error) {
	r, err := tx.Get(id)
	if err != nil || !resource.SameName(r.Type, TypeGuard) {
		if err == nil || holdfast.KindOf(err) == holdfast.NotFound {
			err = holdfast.Errorf(holdfast.NotFound, id, "The resource guard %q was not found.", resource.LastName(id))
		}
		return Guard{}, err
	}
	return decodeGuard(r)
}

func decodeGuard(r catalog.Resource) (Guard, error) {
	g, err := catalog.Decode[Guard](r)
	g.Stamp = resource.StampOf(r)
	return g, err
}

func decodeProxy(r catalog.Resource) (Proxy, error) {
	p, err := catalog.Decode[Proxy](r)
	p.Stamp = resource.StampOf(r)
	return p, err
}

// PutProxy puts a vault under a guard. One that is under another already leaves
// that first, which the other guards.
func (s *Service) PutProxy(ctx context.Context, vault, name, guard string) (Proxy, error) {
	if err := resource.CheckName("resource guard proxy", name); err != nil {
		return Proxy{}, err
	}
	if _, err := resource.ParseAs("properties.resourceGuardResourceId", guard, TypeGuard); err != nil {
		return Proxy{}, err
	}
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (Proxy, error) {
		v, err := findVault(tx, vault)
		if err != nil {
			return Proxy{}, err
		}
		g, err := findGuard(tx, guard)
		if err != nil {
			return Proxy{}, holdfast.Errorf(holdfast.Invalid, "properties.resourceGuardResourceId", "The resource guard %q was not found.", guard)
		}
		all, err := proxies(tx, v.ID)
		if err != nil {
			return Proxy{}, err
		}
		for _, p := range all {
			if !resource.SameName(p.Name, name) {
				return p, holdfast.Errorf(holdfast.Conflict, name, "The vault %q is under a resource guard already, as %q.", v.Name, p.Name)
			}
			if !resource.SameName(p.Guard, g.ID) {
				if err := permitted(ctx, tx, v, removeGuard); err != nil {
					return p, err
				}
			}
		}
		id := v.ID + "/backupResourceGuardProxies/" + name
		if _, err := catalog.Write(tx, catalog.Resource{ID: id, Type: TypeProxy, Parent: v.ID}, Proxy{Name: name, Guard: g.ID}); err != nil {
			return Proxy{}, err
		}
		return findProxy(tx, v.ID, name)
	})
}

// Proxies lists the guards of a vault: one or none.
func (s *Service) Proxies(ctx context.Context, vault string) ([]Proxy, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]Proxy, error) {
		if _, err := findVault(tx, vault); err != nil {
			return nil, err
		}
		return proxies(tx, vault)
	})
}

// Proxy returns one.
func (s *Service) Proxy(ctx context.Context, vault, name string) (Proxy, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Proxy, error) { return findProxy(tx, vault, name) })
}

// DeleteProxy takes a vault from under its guard, and says whether it was.
func (s *Service) DeleteProxy(ctx context.Context, vault, name string) (bool, error) {
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (bool, error) {
		v, err := findVault(tx, vault)
		if err != nil {
			return false, err
		}
		p, err := findProxy(tx, v.ID, name)
		if err != nil {
			return false, resource.NotThere(err)
		}
		if err := permitted(ctx, tx, v, removeGuard); err != nil {
			return false, err
		}
		return tx.Delete(p.ID)
	})
}

// Unlock says whether the caller may delete what a vault's guard guards now, and
// until when that is looked at again.
func (s *Service) Unlock(ctx context.Context, vault, proxy string) (time.Time, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (time.Time, error) {
		v, err := findVault(tx, vault)
		if err != nil {
			return time.Time{}, err
		}
		if _, err := findProxy(tx, v.ID, proxy); err != nil {
			return time.Time{}, err
		}
		return tx.Now().Add(10 * time.Minute), permitted(ctx, tx, v, deleteItem)
	})
}

func proxies(tx *catalog.Tx, vault string) ([]Proxy, error) {
	all, err := resource.List(tx, catalog.Query{Type: TypeProxy, Parent: vault}, decodeProxy)
	for n := range all {
		g, err := findGuard(tx, all[n].Guard)
		if err != nil && resource.NotThere(err) != nil {
			return nil, err
		}
		for _, c := range Criticals() {
			if g.guards(c) {
				all[n].Operations = append(all[n].Operations, c)
			}
		}
	}
	return all, err
}

func findProxy(tx *catalog.Tx, vault, name string) (Proxy, error) {
	all, err := proxies(tx, vault)
	for _, p := range all {
		if resource.SameName(p.Name, name) {
			return p, nil
		}
	}
	if err == nil {
		err = holdfast.Errorf(holdfast.NotFound, name, "The vault has no resource guard proxy %q.", name)
	}
	return Proxy{}, err
}

// guards says whether an operation needs a second person.
func (g Guard) guards(c Critical) bool {
	return c.Mandatory || !slices.ContainsFunc(g.Excluded, func(x string) bool { return strings.EqualFold(x, c.Action) })
}

// permitted refuses a critical operation on a vault under a guard, unless
// somebody else than the caller gave the caller a role on the guard that allows
// it. What the server does by itself is no weakening.
func permitted(ctx context.Context, tx *catalog.Tx, v Vault, c Critical) error {
	all, err := proxies(tx, v.ID)
	if err != nil {
		return err
	}
	who := authz.CallerOf(ctx)
	for _, p := range all {
		if !slices.Contains(p.Operations, c) {
			continue
		}
		allowed, err := authz.Given(tx, who.ID, p.Guard, TypeGuard+"/"+c.Request+"/action")
		if err != nil {
			return err
		}
		if !allowed {
			return holdfast.Errorf(holdfast.Forbidden, p.Guard, "The vault %q is under the resource guard %s: %s needs a second person.", v.Name, p.Guard, c.Action).
				WithHint("Ask an owner of the guard for the role Backup MUA Operator on it.")
		}
	}
	return nil
}
