package authz

import (
	"strings"

	"holdfast/internal/catalog"
)

// guards is where resource guards lie in a resource group, in lower case.
const guards = "/providers/microsoft.dataprotection/resourceguards/"

// GuardOf is the id of the resource guard that a resource is or lies below, and
// "" for all others.
func GuardOf(resource string) string {
	start := strings.Index(strings.ToLower(resource), guards)
	if start < 0 {
		return ""
	}
	end := start + len(guards)
	if n := strings.IndexByte(resource[end:], '/'); n >= 0 {
		return resource[:end+n]
	}
	return resource
}

// OnGuard are the grants that count for what changes or uses a resource guard:
// those given on the guard itself. What a principal has on a group or
// subscription lets it see the guard and no more; a guard would guard nothing if
// whoever administers the vaults could open it.
func OnGuard(grants []Grant, guard string) []Grant {
	var direct []Grant
	for _, g := range grants {
		if strings.EqualFold(g.Scope, guard) {
			direct = append(direct, g)
		}
	}
	return direct
}

// Given says whether somebody else gave a principal a role on a guard that holds
// an action. Only built-in roles count: a custom one can change afterwards.
func Given(tx *catalog.Tx, principalID, guard, action string) (bool, error) {
	all, err := AssignmentsOf(tx, principalID)
	for _, a := range all {
		role, builtin := Find(a.RoleID)
		if builtin && strings.EqualFold(a.Scope, guard) && a.By != "" && !strings.EqualFold(a.By, principalID) && role.Allows(action) {
			return true, nil
		}
	}
	return false, err
}

// Owns says whether a principal is an owner of some guard.
func Owns(tx *catalog.Tx, principalID string) (bool, error) {
	all, err := AssignmentsOf(tx, principalID)
	for _, a := range all {
		role, err := FindRole(tx, a.RoleID)
		if err == nil && GuardOf(a.Scope) != "" && role.Allows("Microsoft.Authorization/roleAssignments/write") {
			return true, nil
		}
	}
	return false, err
}
