package server

import (
	"net/http"
	"strings"

	"holdfast/internal/api/backup"
	"holdfast/internal/authz"
	"holdfast/internal/service"
)

const (
	guardsIn  = "/providers/Microsoft.DataProtection/resourceGuards"
	guardPath = groupPath + guardsIn + "/{name}"
	guardType = "Microsoft.DataProtection/resourceGuards"
	proxyPath = vaultPath + "/backupResourceGuardProxies"
	proxyType = vaultType + "/backupResourceGuardProxies"
)

// Resource guards, and the vaults under them.
var guardRoutes = append(requestRoutes(), []route{
	get(subPath+guardsIn, guardType+"/read", (*Server).guards),
	get(groupPath+guardsIn, guardType+"/read", (*Server).guards),
	get(guardPath, guardType+"/read", (*Server).guard),
	put(guardPath, guardType+"/write", (*Server).putGuard),
	remove(guardPath, guardType+"/delete", (*Server).deleteGuard),

	get(proxyPath, proxyType+"/read", (*Server).guardProxies),
	get(proxyPath+"/{name}", proxyType+"/read", (*Server).guardProxy),
	put(proxyPath+"/{name}", proxyType+"/write", (*Server).putGuardProxy),
	remove(proxyPath+"/{name}", proxyType+"/delete", (*Server).deleteGuardProxy),
	post(proxyPath+"/{name}/unlockDelete", proxyType+"/unlockDelete/action", (*Server).unlockDelete),
}...)

// requestRoutes show the requests of a guard, one for each critical operation:
// clients read them to see whether they may use the guard.
func requestRoutes() (routes []route) {
	for _, c := range service.Criticals() {
		action := guardType + "/" + c.Request + "/read"
		one := func(s *Server, r *request) (map[string]any, error) {
			g, err := s.Service.Guard(r.Context(), r.sub(), r.group(), r.name())
			return backup.GuardRequest(g, c), err
		}
		routes = append(routes,
			get(guardPath+"/"+c.Request, action, func(s *Server, r *request) (answer, error) {
				w, err := one(s, r)
				if err != nil {
					return answer{}, err
				}
				return listed([]any{w})
			}),
			get(guardPath+"/"+c.Request+"/default", action, func(s *Server, r *request) (answer, error) {
				w, err := one(s, r)
				if err != nil {
					return answer{}, err
				}
				return ok(w)
			}))
	}
	return routes
}

// granted narrows the caller's grants where a resource guard is changed or used:
// there only those count that were given on the guard itself. A guard that is
// not there yet is made with the rights on its group.
func (r *request) granted() ([]authz.Grant, error) {
	guard := authz.GuardOf(r.resource())
	if guard == "" || strings.HasSuffix(strings.ToLower(r.action), "/read") {
		return r.grants, nil
	}
	there, err := r.server.Service.HasGuard(r.Context(), guard)
	if err != nil || !there {
		return r.grants, err
	}
	return authz.OnGuard(r.grants, guard), nil
}

func (s *Server) guards(r *request) (answer, error) {
	all, err := s.Service.Guards(r.Context(), r.sub(), r.group())
	return listOf(all, err, backup.Guard)
}

func (s *Server) guard(r *request) (answer, error) {
	g, err := s.Service.Guard(r.Context(), r.sub(), r.group(), r.name())
	if err != nil {
		return answer{}, err
	}
	return ok(backup.Guard(g))
}

func (s *Server) putGuard(r *request) (answer, error) {
	g, err := decoded(r, backup.DecodeGuard)
	if err != nil {
		return answer{}, err
	}
	g.Name = r.name()
	out, created, err := s.Service.PutGuard(r.Context(), r.sub(), r.group(), g)
	if err != nil {
		return answer{}, err
	}
	return made(created, backup.Guard(out), nil)
}

func (s *Server) deleteGuard(r *request) (answer, error) {
	return removed(s.Service.DeleteGuard(r.Context(), r.sub(), r.group(), r.name()))
}

// removed is the answer to a deletion: 200, or 204 when there was nothing.
func removed(there bool, err error) (answer, error) {
	if err != nil || !there {
		a, none := noContent()
		if err == nil {
			err = none
		}
		return a, err
	}
	return status(http.StatusOK, nil), nil
}

func (s *Server) guardProxies(r *request) (answer, error) {
	all, err := s.Service.Proxies(r.Context(), r.vaultID())
	return listOf(all, err, backup.Proxy)
}

func (s *Server) guardProxy(r *request) (answer, error) {
	p, err := s.Service.Proxy(r.Context(), r.vaultID(), r.name())
	if err != nil {
		return answer{}, err
	}
	return ok(backup.Proxy(p))
}

// putGuardProxy puts a vault under a guard, which whoever does it has to see.
func (s *Server) putGuardProxy(r *request) (answer, error) {
	guard, err := decoded(r, backup.DecodeProxy)
	if err != nil {
		return answer{}, err
	}
	if !r.may(guardType+"/read", guard) {
		return answer{}, r.forbidden(guardType+"/read", guard)
	}
	p, err := s.Service.PutProxy(r.Context(), r.vaultID(), r.name(), guard)
	if err != nil {
		return answer{}, err
	}
	return ok(backup.Proxy(p))
}

func (s *Server) deleteGuardProxy(r *request) (answer, error) {
	return removed(s.Service.DeleteProxy(r.Context(), r.vaultID(), r.name()))
}

func (s *Server) unlockDelete(r *request) (answer, error) {
	until, err := s.Service.Unlock(r.Context(), r.vaultID(), r.name())
	if err != nil {
		return answer{}, err
	}
	return ok(backup.Unlocked(until))
}
