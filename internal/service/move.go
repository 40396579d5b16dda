package service

import (
	"context"
	"fmt"
	"strings"

	"holdfast"
	"holdfast/internal/arm"
	"holdfast/internal/authz"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
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
func (s *Service) MoveResources(ctx context.Context, m Moving) (Job, error) {
	return write(ctx, s, func(tx *catalog.Tx) (Job, error) {
		target, vaults, err := m.check(tx)
		if err != nil {
			return Job{}, err
		}
		for _, v := range vaults {
			if err := moveVault(tx, v, m.vaultIn(target, v)); err != nil {
				return Job{}, err
			}
		}
		g := groupID(m.Subscription, m.Group)
		return job.Record(tx, job.Spec{Operation: "MoveResources", Scope: g, Subject: g, Entity: target.Name, Principal: caller(ctx)})
	})
}

// CheckMove says whether MoveResources would do it; nil is yes.
func (s *Service) CheckMove(ctx context.Context, m Moving) error {
	_, err := read(ctx, s, func(tx *catalog.Tx) (any, error) { _, _, err := m.check(tx); return nil, err })
	return err
}

func (m Moving) vaultIn(target Group, v Vault) string {
	return inGroup(m.Subscription, target.Name, TypeVault, v.Name)
}

func (m Moving) check(tx *catalog.Tx) (target Group, vaults []Vault, err error) {
	if _, err := findGroup(tx, m.Subscription, m.Group); err != nil {
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
		case !arm.Within(parsed.String(), groupID(m.Subscription, m.Group)) || parsed.Provider == "":
			return target, nil, holdfast.Errorf(holdfast.Invalid, member, "%s is %q, which is not in the resource group %q.", member, id, m.Group)
		case seen[strings.ToLower(parsed.String())]:
			return target, nil, holdfast.Errorf(holdfast.Invalid, member, "%s is %q, which is named twice.", member, id)
		}
		seen[strings.ToLower(parsed.String())] = true
		if !parsed.Is(TypeVault) {
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
func (m Moving) checkTarget(tx *catalog.Tx) (Group, error) {
	const member = "targetResourceGroup"
	id, err := parseAs(member, m.Target, TypeGroup)
	if err != nil {
		return Group{}, err
	}
	if !sameName(id.Subscription, m.Subscription) {
		return Group{}, holdfast.Errorf(holdfast.Unsupported, member, "The resource group %s is in another subscription; a vault stays in that of the machines it protects.", m.Target)
	}
	g, err := findGroup(tx, m.Subscription, id.Group)
	if err == nil && sameName(g.Name, m.Group) {
		err = holdfast.Errorf(holdfast.Invalid, member, "The resources are in the resource group %q already.", g.Name)
	}
	if err == nil {
		err = m.May("Microsoft.Resources/subscriptions/resourceGroups/write", g.ID)
	}
	return g, err
}

// checkVault sees that a vault may be moved. Its old and its new place ask for
// the same right: nobody gains one by moving it to where he has more.
func (m Moving) checkVault(tx *catalog.Tx, id arm.ID, target Group) (Vault, error) {
	v, err := findVault(tx, id.String())
	if err != nil {
		return v, err
	}
	to := m.vaultIn(target, v)
	for _, c := range []struct{ action, on string }{{TypeVault + "/write", v.ID}, {TypeVault + "/delete", v.ID}, {TypeVault + "/write", to}} {
		if err := m.May(c.action, c.on); err != nil {
			return v, err
		}
	}
	if _, err := tx.Get(to); err == nil {
		return v, holdfast.Errorf(holdfast.Conflict, v.ID, "The resource group %q has a vault %q already.", target.Name, v.Name)
	}
	for _, state := range []JobState{job.InProgress, job.Cancelling} {
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

// moveVault gives a vault, with all that is in it, its new id. Who was given a
// role at the vault itself has it no more: in Azure such an assignment is left
// behind, too.
func moveVault(tx *catalog.Tx, v Vault, to string) error {
	given, err := authz.Assignments(tx, catalog.Query{Under: v.ID})
	if err != nil {
		return err
	}
	for _, a := range given {
		if _, err := tx.Delete(a.ID); err != nil {
			return err
		}
	}
	if err := tx.Move(v.ID, to); err != nil {
		return err
	}
	v.ID = to
	_, err = putVault(tx, v)
	return err
}

// notMovable says why a resource stays where it is.
func notMovable(tx *catalog.Tx, id arm.ID) error {
	if id.Is(TypeVM) {
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
	if id.Is(TypeCollection) {
		return holdfast.Errorf(holdfast.Unsupported, id.String(), "The restore point collection %q cannot move: its points belong to it and to their machine (RPL-04).", id.Name()).
			WithHint("Make a collection in the other group for the points to come, and delete this one when it is not needed any more.")
	}
	if id.Is(TypeVM) || id.Is(TypeDisk) || id.Is(TypeNIC) || id.Is(TypeNetwork) || id.Is(TypePool) {
		return holdfast.Errorf(holdfast.Unsupported, id.String(), "%s %q is in the resource group of its site and cannot move on its own.", id.Type(), id.Name()).
			WithHint("Give the site another resource group; everything it has goes with it.")
	}
	return holdfast.Errorf(holdfast.Unsupported, id.String(), "A %s cannot be moved.", id.Type())
}

// protectedOf names the items that a condition picks with how many points each
// has, such as "web (3 points)"; "" is none.
func protectedOf(tx *catalog.Tx, pick func(Item) bool) (string, error) {
	items, err := list(tx, catalog.Query{Type: TypeItem}, decodeItem)
	if err != nil {
		return "", err
	}
	var named []string
	for _, i := range items {
		if !pick(i) {
			continue
		}
		n, err := tx.Count(catalog.Query{Type: TypePoint, Parent: i.ID})
		if err != nil {
			return "", err
		}
		if named = append(named, fmt.Sprintf("%s (%d points)", i.VM, n)); len(named) == 10 {
			named = append(named, "and more")
			break
		}
	}
	return strings.Join(named, ", "), nil
}

// restorePointsOf names the collections of the machines that a condition picks,
// with how many restore points each has; "" is none.
func restorePointsOf(tx *catalog.Tx, pick func(vm arm.ID) bool) (string, error) {
	all, err := list(tx, catalog.Query{Type: TypeCollection}, decodeCollection)
	if err != nil {
		return "", err
	}
	var named []string
	for _, c := range all {
		if !pick(idOf(c.VM)) {
			continue
		}
		points, err := restorePointsIn(tx, c.ID)
		if err != nil {
			return "", err
		}
		if len(points) == 0 {
			continue
		}
		if named = append(named, fmt.Sprintf("%s (%d restore points in %s)", lastName(c.VM), len(points), c.ID)); len(named) == 10 {
			named = append(named, "and more")
			break
		}
	}
	return strings.Join(named, ", "), nil
}

// stays refuses to give a site another group while machines in it are protected:
// that would move them (RPL-04).
func (old Site) stays(tx *catalog.Tx, group string) error {
	if sameName(old.Group, group) {
		return nil
	}
	here := func(vm arm.ID) bool {
		return sameName(vm.Subscription, old.Subscription) && sameName(vm.Group, old.Group)
	}
	held, err := protectedOf(tx, func(i Item) bool { return here(idOf(i.Source)) })
	if err == nil && held == "" {
		held, err = restorePointsOf(tx, here)
	}
	if err == nil && held != "" {
		err = holdfast.Errorf(holdfast.Unsupported, "properties.resourceGroup", "The machines of the site %q cannot move to the resource group %q: recovery points would lose their source: %s.", old.Name, group, held).
			WithHint("Delete those points first, with the machines' protection if they have one, or keep the resource group.")
	}
	return err
}
