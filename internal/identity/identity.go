// Package identity holds the rules of principals, roles and role assignments, and
// keeps the audit log of who did what.
//
// It promises that nobody is locked out by a change (the last Owner of a
// subscription and the caller itself stay), that no owner of a resource guard is
// taken over by who may manage principals, and that a line of the audit log does
// not change.
//
// It does not verify tokens (authn), and does not decide whether a caller may
// (authz, server).
package identity

import (
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/arm"
	"holdfast/internal/authn"
	"holdfast/internal/authz"
	"holdfast/internal/catalog"
	"holdfast/internal/resource"
)

// Service is the rules over one catalog. It is safe for concurrent use.
type Service struct{ Catalog *catalog.Catalog }

// Principal is who may sign in; its secret is not in it.
type Principal = authn.Principal

// SignIn returns the principal of a client id and secret, or authn.ErrClient.
func (s *Service) SignIn(ctx context.Context, clientID, secret string) (Principal, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Principal, error) { return authn.Authenticate(tx, clientID, secret) })
}

// Grants lists what a principal may.
func (s *Service) Grants(ctx context.Context, principalID string) ([]authz.Grant, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]authz.Grant, error) { return authz.GrantsOf(tx, principalID) })
}

// Principals lists all principals.
func (s *Service) Principals(ctx context.Context) ([]Principal, error) {
	return resource.Read(ctx, s.Catalog, authn.Principals)
}

// Principal returns one principal by its client id.
func (s *Service) Principal(ctx context.Context, clientID string) (Principal, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Principal, error) { return authn.FindPrincipal(tx, clientID) })
}

// maxSubject is how long a subject may be (OpenID Connect Core 1.0, 2).
const maxSubject = 255

// CreatePrincipal makes a principal without any right. Its secret is returned
// here and nowhere else. subject, if any, is who it is to the outside issuer.
func (s *Service) CreatePrincipal(ctx context.Context, name, subject string) (p Principal, secret string, err error) {
	if err := resource.CheckName("principal", name); err != nil {
		return p, "", err
	}
	if len(subject) > maxSubject {
		return p, "", holdfast.Errorf(holdfast.Invalid, "subject", "The subject is longer than %d characters.", maxSubject)
	}
	_, err = resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) {
		all, err := authn.Principals(tx)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(o Principal) bool { return resource.SameName(o.Name, name) }) {
			return nil, holdfast.Errorf(holdfast.Conflict, "displayName", "There is a principal named %q already.", name)
		}
		p, secret, err = authn.CreatePrincipal(tx, name, subject)
		return nil, err
	})
	return p, secret, err
}

// RotateSecret gives a principal a new secret; the old one ends at once.
func (s *Service) RotateSecret(ctx context.Context, clientID string) (string, error) {
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (string, error) {
		if err := leaveGuards(ctx, tx, clientID); err != nil {
			return "", err
		}
		return authn.RotateSecret(tx, clientID)
	})
}

// leaveGuards keeps whoever may manage principals from becoming an owner of a
// resource guard by taking over the principal that is one.
func leaveGuards(ctx context.Context, tx *catalog.Tx, clientID string) error {
	p, err := authn.FindPrincipal(tx, clientID)
	if err != nil || strings.EqualFold(authz.CallerOf(ctx).ID, p.ID) {
		return err
	}
	owns, err := authz.Owns(tx, p.ID)
	if err == nil && owns {
		err = holdfast.Errorf(holdfast.Forbidden, clientID, "The principal %q owns a resource guard: nobody else gives it a new secret or removes it.", p.Name)
	}
	return err
}

// DeletePrincipal removes a principal with its assignments. Nobody removes
// himself: the last one would lock everybody out.
func (s *Service) DeletePrincipal(ctx context.Context, clientID string) error {
	if strings.EqualFold(authz.CallerOf(ctx).ClientID, clientID) {
		return holdfast.Errorf(holdfast.Conflict, clientID, "A principal cannot delete itself.")
	}
	_, err := resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) {
		p, err := authn.FindPrincipal(tx, clientID)
		if err == nil {
			err = leaveGuards(ctx, tx, clientID)
		}
		if err != nil {
			return nil, err
		}
		held, err := authz.AssignmentsOf(tx, p.ID)
		if err != nil {
			return nil, err
		}
		for _, a := range held {
			if _, err := tx.Delete(a.ID); err != nil {
				return nil, err
			}
		}
		return nil, authn.DeletePrincipal(tx, clientID)
	})
	return err
}

// Roles lists the role definitions.
func (s *Service) Roles(ctx context.Context) ([]authz.Role, error) {
	return resource.Read(ctx, s.Catalog, authz.Roles)
}

// Role returns one role definition.
func (s *Service) Role(ctx context.Context, guid string) (authz.Role, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (authz.Role, error) { return authz.FindRole(tx, guid) })
}

// PutRole makes or replaces a custom role.
func (s *Service) PutRole(ctx context.Context, r authz.Role) (authz.Role, error) {
	if _, err := uuid.Parse(r.ID); err != nil {
		return r, holdfast.Errorf(holdfast.Invalid, "name", "%q cannot name a role definition: it is a GUID.", r.ID)
	}
	if _, builtin := authz.Find(r.ID); builtin {
		return r, holdfast.Errorf(holdfast.Conflict, "name", "A built-in role does not change.")
	}
	if r.Name == "" || len(r.Actions) == 0 {
		return r, holdfast.Errorf(holdfast.Invalid, "properties", "A role needs properties.roleName and at least one action in properties.permissions.")
	}
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (authz.Role, error) {
		all, err := authz.Roles(tx)
		if err != nil {
			return r, err
		}
		for _, o := range all {
			if strings.EqualFold(o.Name, r.Name) && !strings.EqualFold(o.ID, r.ID) {
				return r, holdfast.Errorf(holdfast.Conflict, "properties.roleName", "There is a role named %q already.", r.Name)
			}
		}
		return r, authz.PutRole(tx, r)
	})
}

// DeleteRole removes a custom role that nobody has.
func (s *Service) DeleteRole(ctx context.Context, guid string) error {
	_, err := resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) {
		if _, builtin := authz.Find(guid); builtin {
			return nil, holdfast.Errorf(holdfast.Conflict, guid, "A built-in role cannot be deleted.")
		}
		held, err := authz.Assignments(tx, catalog.Query{})
		if err != nil {
			return nil, err
		}
		for _, a := range held {
			if strings.EqualFold(a.RoleID, guid) {
				return nil, holdfast.Errorf(holdfast.Conflict, guid, "The role is assigned: %s.", a.ID)
			}
		}
		return nil, authz.DeleteRole(tx, guid)
	})
	return err
}

// Assign gives a principal a role at a scope; created says whether it is new.
func (s *Service) Assign(ctx context.Context, a authz.Assignment) (out authz.Assignment, created bool, err error) {
	if _, err := uuid.Parse(resource.LastName(a.ID)); err != nil {
		return a, false, holdfast.Errorf(holdfast.Invalid, "name", "%q cannot name a role assignment: it is a GUID.", resource.LastName(a.ID))
	}
	a.By = authz.CallerOf(ctx).ID
	out, err = resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (authz.Assignment, error) {
		if _, err := authz.FindRole(tx, a.RoleID); err != nil {
			return a, holdfast.Errorf(holdfast.Invalid, "properties.roleDefinitionId", "The role definition %q was not found.", a.RoleID)
		}
		all, err := authn.Principals(tx)
		if err != nil {
			return a, err
		}
		if !slices.ContainsFunc(all, func(p Principal) bool { return strings.EqualFold(p.ID, a.PrincipalID) }) {
			return a, holdfast.Errorf(holdfast.Invalid, "properties.principalId", "There is no principal with the object id %q.", a.PrincipalID)
		}
		held, err := authz.AssignmentsOf(tx, a.PrincipalID)
		if err != nil {
			return a, err
		}
		created = true
		for _, o := range held {
			same := strings.EqualFold(o.RoleID, a.RoleID) && strings.EqualFold(o.Scope, a.Scope)
			if same && !strings.EqualFold(o.ID, a.ID) {
				return a, holdfast.Errorf(holdfast.Conflict, "properties", "The role assignment already exists: %s.", o.ID)
			}
			created = created && !strings.EqualFold(o.ID, a.ID)
		}
		if _, err := tx.Get(a.ID); err == nil && created {
			return a, holdfast.Errorf(holdfast.Conflict, "properties", "A role assignment cannot be given to another principal; make a new one.")
		}
		return a, authz.Assign(tx, a)
	})
	return out, created, err
}

// Assignments lists the assignments at a scope, above it and, if below, below it.
func (s *Service) Assignments(ctx context.Context, scope string, below bool) ([]authz.Assignment, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]authz.Assignment, error) {
		all, err := authz.Assignments(tx, catalog.Query{})
		return slices.DeleteFunc(all, func(a authz.Assignment) bool {
			return !arm.Within(scope, a.Scope) && !(below && arm.Within(a.Scope, scope))
		}), err
	})
}

// Unassign removes an assignment and returns it.
func (s *Service) Unassign(ctx context.Context, id string) (authz.Assignment, error) {
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (authz.Assignment, error) {
		a, r, err := catalog.Read[authz.Assignment](tx, id)
		if err != nil {
			return a, err
		}
		a.ID = r.ID
		if err := keepOwner(tx, a); err != nil {
			return a, err
		}
		_, err = tx.Delete(id)
		return a, err
	})
}

// keepOwner refuses to remove the last Owner of a subscription: nobody could
// give rights any more.
func keepOwner(tx *catalog.Tx, a authz.Assignment) error {
	if !strings.EqualFold(a.RoleID, authz.Owner) || strings.Count(a.Scope, "/") != 2 {
		return nil
	}
	all, err := authz.Assignments(tx, catalog.Query{Under: a.Scope})
	if err != nil {
		return err
	}
	for _, o := range all {
		if !strings.EqualFold(o.ID, a.ID) && strings.EqualFold(o.RoleID, authz.Owner) && strings.EqualFold(o.Scope, a.Scope) {
			return nil
		}
	}
	return holdfast.Errorf(holdfast.Conflict, a.ID, "This is the last Owner of %s; nobody could give rights any more.", a.Scope)
}
