package server

import (
	"net/http"
	"regexp"
	"strings"

	"holdfast"
	"holdfast/internal/api/authorization"
	"holdfast/internal/api/resources"
	"holdfast/internal/authz"
	"holdfast/internal/identity"
)

const (
	authPath = "/{scope...}/providers/Microsoft.Authorization"
	authType = "Microsoft.Authorization"
	spPath   = "/v1.0/servicePrincipals"
	spType   = "Holdfast.Identity/servicePrincipals"
)

// Roles, assignments and locks at any scope, and the principals, as Microsoft
// Graph has them. A principal belongs to no scope: who may change them is Owner
// of a subscription.
var authorizationRoutes = []route{
	get(authPath+"/roleDefinitions", authType+"/roleDefinitions/read", (*Server).roles),
	get(authPath+"/roleDefinitions/{name}", authType+"/roleDefinitions/read", (*Server).role),
	put(authPath+"/roleDefinitions/{name}", authType+"/roleDefinitions/write", (*Server).putRole),
	remove(authPath+"/roleDefinitions/{name}", authType+"/roleDefinitions/delete", (*Server).deleteRole),
	get("/providers/Microsoft.Authorization/roleDefinitions", signedIn, (*Server).roles),
	get("/providers/Microsoft.Authorization/roleDefinitions/{name}", signedIn, (*Server).role),

	get(authPath+"/roleAssignments", authType+"/roleAssignments/read", (*Server).assignments),
	get(authPath+"/roleAssignments/{name}", authType+"/roleAssignments/read", (*Server).assignment),
	put(authPath+"/roleAssignments/{name}", authType+"/roleAssignments/write", (*Server).assign),
	remove(authPath+"/roleAssignments/{name}", authType+"/roleAssignments/delete", (*Server).unassign),

	get(authPath+"/locks", authType+"/locks/read", (*Server).locks),
	get(authPath+"/locks/{name}", authType+"/locks/read", (*Server).lock),
	put(authPath+"/locks/{name}", authType+"/locks/write", (*Server).putLock),
	remove(authPath+"/locks/{name}", authType+"/locks/delete", (*Server).deleteLock),

	offARM(get(spPath, signedIn, (*Server).principals)),
	offARM(post(spPath, spType+"/write", (*Server).createPrincipal)),
	offARM(get(spPath+"/{name}", signedIn, (*Server).principal)),
	offARM(remove(spPath+"/{name}", spType+"/delete", (*Server).deletePrincipal)),
	offARM(post(spPath+"/{name}/addPassword", spType+"/rotate/action", (*Server).rotatePrincipal)),
	offARM(post("/v1.0/directoryObjects/getByIds", signedIn, (*Server).principalsByID)),
}

// offARM marks an operation that has no api-version and no scope.
func offARM(r route) route { r.anyVersion = true; return r }

// roleName is the one $filter on role definitions.
var roleName = regexp.MustCompile(`(?i)^roleName eq '([^']*)'$`)

func (s *Server) roles(r *request) (answer, error) {
	all, err := s.Service.Identity.Roles(r.Context())
	if err != nil {
		return answer{}, err
	}
	want := roleName.FindStringSubmatch(r.URL.Query().Get("$filter"))
	out := []resources.Resource{}
	for _, role := range all {
		if want == nil || strings.EqualFold(want[1], role.Name) {
			out = append(out, authorization.Role(r.sub(), role))
		}
	}
	return listed(out)
}

func (s *Server) role(r *request) (answer, error) {
	role, err := s.Service.Identity.Role(r.Context(), r.name())
	if err != nil {
		return answer{}, err
	}
	return ok(authorization.Role(r.sub(), role))
}

func (s *Server) putRole(r *request) (answer, error) {
	in, err := decoded(r, authorization.DecodeRole)
	if err != nil {
		return answer{}, err
	}
	in.ID = strings.ToLower(r.name())
	role, err := s.Service.Identity.PutRole(r.Context(), in)
	return made(true, authorization.Role(r.sub(), role), err)
}

func (s *Server) deleteRole(r *request) (answer, error) {
	role, err := s.Service.Identity.Role(r.Context(), r.name())
	if holdfast.KindOf(err) == holdfast.NotFound && err != nil {
		return noContent()
	}
	if err != nil {
		return answer{}, err
	}
	if err := s.Service.Identity.DeleteRole(r.Context(), r.name()); err != nil {
		return answer{}, err
	}
	return ok(authorization.Role(r.sub(), role))
}

// assignments lists those at the scope and above, and without atScope() those below.
func (s *Server) assignments(r *request) (answer, error) {
	filter := r.URL.Query().Get("$filter")
	all, err := s.Service.Identity.Assignments(r.Context(), r.scope(), !strings.Contains(strings.ToLower(filter), "atscope()"))
	if err != nil {
		return answer{}, err
	}
	who := principalFilter.FindStringSubmatch(filter)
	out := []resources.Resource{}
	for _, a := range all {
		if who == nil || strings.EqualFold(who[1], a.PrincipalID) {
			out = append(out, authorization.Assignment(r.sub(), a))
		}
	}
	return listed(out)
}

// principalFilter is how clients ask for the assignments of one principal.
var principalFilter = regexp.MustCompile(`(?i)(?:principalId eq |assignedTo\()'([^']*)'`)

func (s *Server) assignment(r *request) (answer, error) {
	all, err := s.Service.Identity.Assignments(r.Context(), r.scope(), false)
	if err != nil {
		return answer{}, err
	}
	for _, a := range all {
		if strings.EqualFold(a.ID, r.resource()) {
			return ok(authorization.Assignment(r.sub(), a))
		}
	}
	return answer{}, holdfast.Errorf(holdfast.NotFound, r.name(), "The role assignment %q was not found.", r.name())
}

func (s *Server) assign(r *request) (answer, error) {
	in, err := decoded(r, authorization.DecodeAssignment)
	if err != nil {
		return answer{}, err
	}
	in.Scope = r.scope()
	in.ID = authz.AssignmentID(in.Scope, r.name())
	a, _, err := s.Service.Identity.Assign(r.Context(), in)
	return made(true, authorization.Assignment(r.sub(), a), err) // 201 always: older clients take nothing else
}

func (s *Server) unassign(r *request) (answer, error) {
	a, err := s.Service.Identity.Unassign(r.Context(), r.resource())
	if holdfast.KindOf(err) == holdfast.NotFound && err != nil {
		return noContent()
	}
	if err != nil {
		return answer{}, err
	}
	return ok(authorization.Assignment(r.sub(), a))
}

func (s *Server) locks(r *request) (answer, error) {
	all, err := s.Service.Resources.Locks(r.Context(), r.scope())
	return listOf(all, err, authorization.Lock)
}

func (s *Server) lock(r *request) (answer, error) {
	l, err := s.Service.Resources.Lock(r.Context(), r.scope(), r.name())
	if err != nil {
		return answer{}, err
	}
	return ok(authorization.Lock(l))
}

func (s *Server) putLock(r *request) (answer, error) {
	in, err := decoded(r, authorization.DecodeLock)
	if err != nil {
		return answer{}, err
	}
	in.Scope, in.Name = r.scope(), r.name()
	l, created, err := s.Service.Resources.PutLock(r.Context(), in)
	return made(created, authorization.Lock(l), err)
}

func (s *Server) deleteLock(r *request) (answer, error) {
	gone, err := s.Service.Resources.DeleteLock(r.Context(), r.scope(), r.name())
	if err != nil {
		return answer{}, err
	}
	if !gone {
		return noContent()
	}
	return status(http.StatusOK, nil), nil
}

// named is the value that a Graph filter compares with.
var named = regexp.MustCompile(`'([^']*)'`)

// principals lists the principals; a filter names one by its client id or name.
func (s *Server) principals(r *request) (answer, error) {
	all, err := s.Service.Identity.Principals(r.Context())
	if err != nil {
		return answer{}, err
	}
	want := named.FindStringSubmatch(r.URL.Query().Get("$filter"))
	out := []map[string]any{}
	for _, p := range all {
		if want == nil || strings.EqualFold(want[1], p.ClientID) || strings.EqualFold(want[1], p.Name) || strings.EqualFold(want[1], p.ID) {
			out = append(out, authorization.Principal(p, ""))
		}
	}
	return listed(out)
}

func (s *Server) principal(r *request) (answer, error) {
	p, err := s.Service.Identity.Principal(r.Context(), r.name())
	if err != nil {
		return answer{}, err
	}
	return ok(authorization.Principal(p, ""))
}

func (s *Server) createPrincipal(r *request) (answer, error) {
	in, err := decoded(r, authorization.DecodePrincipal)
	if err != nil {
		return answer{}, err
	}
	p, secret, err := s.Service.Identity.CreatePrincipal(r.Context(), in.DisplayName, in.Subject)
	return made(true, authorization.Principal(p, secret), err)
}

func (s *Server) rotatePrincipal(r *request) (answer, error) {
	p, err := s.Service.Identity.Principal(r.Context(), r.name())
	if err != nil {
		return answer{}, err
	}
	secret, err := s.Service.Identity.RotateSecret(r.Context(), r.name())
	if err != nil {
		return answer{}, err
	}
	return ok(authorization.Principal(p, secret))
}

func (s *Server) deletePrincipal(r *request) (answer, error) {
	if err := s.Service.Identity.DeletePrincipal(r.Context(), r.name()); err != nil {
		return answer{}, err
	}
	return noContent()
}

func (s *Server) principalsByID(r *request) (answer, error) {
	ids, err := decoded(r, authorization.DecodeIDs)
	if err != nil {
		return answer{}, err
	}
	all, err := s.Service.Identity.Principals(r.Context())
	if err != nil {
		return answer{}, err
	}
	out := []map[string]any{}
	for _, p := range all {
		for _, id := range ids {
			if strings.EqualFold(id, p.ID) {
				out = append(out, authorization.Principal(identity.Principal(p), ""))
			}
		}
	}
	return listed(out)
}
