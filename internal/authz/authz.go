// Package authz says who may do what. A role is a set of actions, an
// assignment gives a principal a role at a scope, and Allowed decides; roles
// and the decision are pure. The names, ids and actions are Azure's.
//
// It does not say who somebody is (authn does), nor does it know locks.
package authz

import (
	"context"
	"strings"

	"holdfast"
	"holdfast/internal/arm"
	"holdfast/internal/catalog"
)

// Caller is who makes a request.
type Caller struct {
	ID       string // object id of the principal; assignments name it
	ClientID string // what it signs in with
	Name     string
}

type callerKey struct{}

// WithCaller returns a context that carries the caller.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf is the caller that a context carries; empty for the server itself.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// Role is a set of actions: those that a pattern of Actions matches and none of
// NotActions does. * in a pattern is any run of characters.
type Role struct {
	ID          string   `json:"id"` // GUID
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Actions     []string `json:"actions"`
	NotActions  []string `json:"notActions"`
	// Scopes are where a custom role may be assigned; empty for a built-in one.
	Scopes []string `json:"scopes,omitempty"`
}

// Allows says whether the role holds an action.
func (r Role) Allows(action string) bool {
	return matchesAny(r.Actions, action) && !matchesAny(r.NotActions, action)
}

// Assignment gives a principal a role at a scope and everything below it.
type Assignment struct {
	ID          string `json:"-"` // ARM id
	Scope       string `json:"scope"`
	RoleID      string `json:"roleId"` // GUID
	PrincipalID string `json:"principalId"`
	// By is who gave it, an object id; "" is the server itself.
	By string `json:"by,omitempty"`
}

// Grant is a role that a principal has at a scope: an assignment with its role.
type Grant struct {
	Scope string
	Role  Role
}

// Allowed says whether one of the grants allows an action on a resource.
// NotActions of one role do not take away what another one gives.
func Allowed(grants []Grant, action, resource string) bool {
	for _, g := range grants {
		if within(resource, g.Scope) && g.Role.Allows(action) {
			return true
		}
	}
	return false
}

// within is arm.Within with "/" as the scope that holds everything.
func within(resource, scope string) bool { return scope == "/" || arm.Within(resource, scope) }

func matchesAny(patterns []string, action string) bool {
	for _, p := range patterns {
		if match(strings.ToLower(p), strings.ToLower(action)) {
			return true
		}
	}
	return false
}

// match says whether s is p with every * replaced by some text.
func match(p, s string) bool {
	parts := strings.Split(p, "*")
	if len(parts) == 1 {
		return p == s
	}
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return strings.HasSuffix(s, parts[len(parts)-1])
}

// AssignmentType is the resource type that assignments are kept as.
const AssignmentType = "Microsoft.Authorization/roleAssignments"

// AssignmentID is the ARM id of an assignment.
func AssignmentID(scope, guid string) string {
	return strings.TrimSuffix(scope, "/") + "/providers/" + AssignmentType + "/" + guid
}

// holder is what assignments are listed under.
func holder(principalID string) string { return "/principals/" + principalID }

// Assign keeps an assignment.
func Assign(tx *catalog.Tx, a Assignment) error {
	_, err := catalog.Write(tx, catalog.Resource{ID: a.ID, Type: AssignmentType, Parent: holder(a.PrincipalID)}, a)
	return err
}

// AssignmentsOf lists what a principal was given, at every scope.
func AssignmentsOf(tx *catalog.Tx, principalID string) ([]Assignment, error) {
	return Assignments(tx, catalog.Query{Parent: holder(principalID)})
}

// Assignments lists the assignments that a query picks.
func Assignments(tx *catalog.Tx, q catalog.Query) ([]Assignment, error) {
	q.Type = AssignmentType
	rows, err := tx.List(q)
	if err != nil {
		return nil, err
	}
	list := make([]Assignment, len(rows))
	for i, r := range rows {
		if list[i], err = catalog.Decode[Assignment](r); err != nil {
			return nil, err
		}
		list[i].ID = r.ID
	}
	return list, nil
}

// RoleType is the resource type that custom roles are kept as.
const RoleType = "Microsoft.Authorization/roleDefinitions"

// GrantsOf lists what a principal may, with built-in and custom roles. An
// assignment of a role that is gone grants nothing.
func GrantsOf(tx *catalog.Tx, principalID string) ([]Grant, error) {
	all, err := AssignmentsOf(tx, principalID)
	if err != nil {
		return nil, err
	}
	var grants []Grant
	for _, a := range all {
		role, err := FindRole(tx, a.RoleID)
		if err == nil {
			grants = append(grants, Grant{a.Scope, role})
		} else if holdfast.KindOf(err) != holdfast.NotFound {
			return nil, err
		}
	}
	return grants, nil
}

// roleID is where a custom role is kept.
func roleID(guid string) string { return "/roleDefinitions/" + guid }

// FindRole returns a built-in or custom role, or holdfast.NotFound.
func FindRole(tx *catalog.Tx, guid string) (Role, error) {
	if r, ok := Find(guid); ok {
		return r, nil
	}
	r, _, err := catalog.Read[Role](tx, roleID(guid))
	if holdfast.KindOf(err) == holdfast.NotFound && err != nil {
		err = holdfast.Errorf(holdfast.NotFound, guid, "The role definition %q was not found.", guid)
	}
	return r, err
}

// Roles lists the built-in roles and the custom ones.
func Roles(tx *catalog.Tx) ([]Role, error) {
	rows, err := tx.List(catalog.Query{Type: RoleType})
	if err != nil {
		return nil, err
	}
	list := append([]Role(nil), builtin...)
	for _, row := range rows {
		r, err := catalog.Decode[Role](row)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// PutRole makes or replaces a custom role.
func PutRole(tx *catalog.Tx, r Role) error {
	_, err := catalog.Write(tx, catalog.Resource{ID: roleID(r.ID), Type: RoleType, Parent: "/"}, r)
	return err
}

// DeleteRole removes a custom role.
func DeleteRole(tx *catalog.Tx, guid string) error {
	_, err := tx.Delete(roleID(guid))
	return err
}
