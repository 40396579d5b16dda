// Package authz says who may do what. A role is a set of actions, an
// assignment gives a principal a role at a scope, and Allowed decides; roles
// and the decision are pure. The names, ids and actions are Azure's.
//
// It does not say who somebody is (authn does), nor does it know locks.
package authz

import (
	"context"
	"fmt"
	"strings"

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
}

// Allowed says whether one of the assignments allows an action on a resource.
// NotActions of one role do not take away what another one gives.
func Allowed(roles func(id string) (Role, bool), assignments []Assignment, action, resource string) bool {
	for _, a := range assignments {
		if !arm.Within(resource, a.Scope) {
			continue
		}
		if role, ok := roles(a.RoleID); ok && role.Allows(action) {
			return true
		}
	}
	return false
}

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
	return assignments(tx, catalog.Query{Type: AssignmentType, Parent: holder(principalID)})
}

func assignments(tx *catalog.Tx, q catalog.Query) ([]Assignment, error) {
	rows, err := tx.List(q)
	if err != nil {
		return nil, err
	}
	list := make([]Assignment, len(rows))
	for i, r := range rows {
		if list[i], err = catalog.Decode[Assignment](r); err != nil {
			return nil, fmt.Errorf("assignment %s: %w", r.ID, err)
		}
		list[i].ID = r.ID
	}
	return list, nil
}
