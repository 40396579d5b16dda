package service

import (
	"context"
	"fmt"
	"strings"

	"holdfast"
	"holdfast/internal/arm"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

// Moving asks for resources of a group to be brought into another one.
type Moving struct {
	Subscription, Group string
	Resources           []string // ARM ids
	Target              string   // ARM id of the other group
	// May says whether the caller may do an action on a resource, or what forbids it.
	May func(action, resource string) error
}

// maxMoved is how many resources one request moves, as in Azure.
const maxMoved = 800

// MoveResources brings vaults, with all that is in them, into another group. It
// moves all of them or none. The job that it returns is already done.
//
// What a site has (machines, disks, networks, pools) is in the group of its site
// and moves with that only; a machine with recovery points does not move at all,
// since they would lose their source (RPL-04).
func (s *Service) MoveResources(ctx context.Context, m Moving) (job.Job, error) {
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) {
		target, vaults, err := m.check(tx)
		if err != nil {
			return job.Job{}, err
		}
		for _, v := range vaults {
			if err := moveVault(tx, v, m.vaultIn(target, v)); err != nil {
				return job.Job{}, err
			}
		}
		g := resource.GroupID(m.Subscription, m.Group)
		return job.Record(tx, job.Spec{Operation: "MoveResources", Scope: g, Subject: g, Entity: target.Name, Principal: resource.Caller(ctx)})
	})
}

// CheckMove says whether MoveResources would do it; nil is yes.
func (s *Service) CheckMove(ctx context.Context, m Moving) error {
	_, err := resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) { _, _, err := m.check(tx); return nil, err })
	return err
}

func (m Moving) vaultIn(target resource.Group, v Vault) string {
	return resource.InGroup(m.Subscription, target.Name, resource.TypeVault, v.Name)
}

func (m Moving) check(tx *catalog.Tx) (target resource.Group, vaults []Vault, err error) {
	if _, err := resource.FindGroup(tx, m.Subscription, m.Group); err != nil {
		return target, nil, err
	}
	if target, err = m.checkTarget(tx); err != nil {
		return target, nil, err
	}
	if len(m.Resources) == 0 || len(m.Resources) > maxMoved {
		return target, nil, holdfast.Errorf(holdfast.Invalid, "resources", "resources has %d ids; 1 to %d can be moved at once.", len(m.Resources), maxMoved)
	}
	seen := map[string]bool{}
	for n, id := range m.Resources {
		member := fmt.Sprintf("resources[%d]", n)
		parsed, err := arm.ParseID(id)
		switch {
		case err != nil:
			return target, nil, holdfast.Errorf(holdfast.Invalid, member, "%s is %q, which is not a resource id: %v.", member, id, err)
		case !arm.Within(parsed.String(), resource.GroupID(m.Subscription, m.Group)) || parsed.Provider == "":
			return target, nil, holdfast.Errorf(holdfast.Invalid, member, "%s is %q, which is not in the resource group %q.", member, id, m.Group)
		case seen[strings.ToLower(parsed.String())]:
			return target, nil, holdfast.Errorf(holdfast.Invalid, member, "%s is %q, which is named twice.", member, id)
		}
		seen[strings.ToLower(parsed.String())] = true
		if !parsed.Is(resource.TypeVault) {
			return target, nil, notMovable(tx, parsed)
		}
		v, err := m.checkVault(tx, parsed, target)
		if err != nil {
			return target, nil, err
		}
		vaults = append(vaults, v)
	}
	return target, vaults, nil
}

// checkTarget finds the group to move to.
func (m Moving) checkTarget(tx *catalog.Tx) (resource.Group, error) {
	const member = "targetResourceGroup"
	id, err := resource.ParseAs(member, m.Target, resource.TypeGroup)
	if err != nil {
		return resource.Group{}, err
	}
	if !resource.SameName(id.Subscription, m.Subscription) {
		return resource.Group{}, holdfast.Errorf(holdfast.Unsupported, member, "The resource group %s is in another subscription; a vault stays in that of the machines it protects.", m.Target)
	}
	g, err := resource.FindGroup(tx, m.Subscription, id.Group)
	if err == nil && resource.SameName(g.Name, m.Group) {
		err = holdfast.Errorf(holdfast.Invalid, member, "The resources are in the resource group %q already.", g.Name)
	}
	if err == nil {
		err = m.May("Microsoft.Resources/subscriptions/resourceGroups/write", g.ID)
	}
	return g, err
}

// checkVault sees that a vault may be moved. Its old and its new place ask for
// the same right: nobody gains one by moving it to where he has more.
func (m Moving) checkVault(tx *catalog.Tx, id arm.ID, target resource.Group) (Vault, error) {
	v, err := findVault(tx, id.String())
	if err != nil {
		return v, err
	}
	to := m.vaultIn(target, v)
	for _, c := range []struct{ action, on string }{{resource.TypeVault + "/write", v.ID}, {resource.TypeVault + "/delete", v.ID}, {resource.TypeVault + "/write", to}} {
		if err := m.May(c.action, c.on); err != nil {
			return v, err
		}
	}
	if _, err := tx.Get(to); err == nil {
		return v, holdfast.Errorf(holdfast.Conflict, v.ID, "The resource group %q has a vault %q already.", target.Name, v.Name)
	}
	for _, state := range []job.State{job.InProgress, job.Cancelling} {
		running, err := job.List(tx, job.Filter{Scope: v.ID, State: state, Limit: 1})
		if err != nil {
			return v, err
		}
		if len(running) > 0 {
			return v, holdfast.Errorf(holdfast.Conflict, v.ID, "The vault %q has a running job: %s of %s.", v.Name, running[0].Operation, running[0].Entity).WithHint("Wait for it to end, then try again.")
		}
	}
	return v, nil
}

// notMovable says why a resource stays where it is.
func notMovable(tx *catalog.Tx, id arm.ID) error {
	if id.Is(resource.TypeVM) {
		held, err := protectedOf(tx, func(i Item) bool { return strings.EqualFold(i.Source, id.String()) })
		if err == nil && held == "" {
			held, err = restorePointsOf(tx, func(vm arm.ID) bool { return strings.EqualFold(vm.String(), id.String()) })
		}
		if err != nil {
			return err
		}
		if held != "" {
			return holdfast.Errorf(holdfast.Unsupported, id.String(), "The virtual machine %q cannot move: its recovery points would lose their source: %s.", id.Name(), held).
				WithHint("Delete its points first, with its protection if it has one, or leave it where it is.")
		}
	}
	if id.Is(resource.TypeCollection) {
		return holdfast.Errorf(holdfast.Unsupported, id.String(), "The restore point collection %q cannot move: its points belong to it and to their machine (RPL-04).", id.Name()).
			WithHint("Make a collection in the other group for the points to come, and delete this one when it is not needed any more.")
	}
	if id.Is(resource.TypeVM) || id.Is(resource.TypeDisk) || id.Is(resource.TypeNIC) || id.Is(resource.TypeNetwork) || id.Is(resource.TypePool) {
		return holdfast.Errorf(holdfast.Unsupported, id.String(), "%s %q is in the resource group of its site and cannot move on its own.", id.Type(), id.Name()).
			WithHint("Give the site another resource group; everything it has goes with it.")
	}
	return holdfast.Errorf(holdfast.Unsupported, id.String(), "A %s cannot be moved.", id.Type())
}
