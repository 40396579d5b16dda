package server

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// inside refuses what is below a vault to who comes from outside of its networks
// (NET-13). The vault itself can be read and changed from everywhere by who has
// the right: a rule that shuts its owner out could else not be taken back.
func (s *Server) inside(r *request) error { return r.insideOf(r.path) }

// insideOf is inside for any resource.
func (r *request) insideOf(path []string) error {
	vault, ok := belowVault(path)
	if !ok {
		return nil
	}
	from, _ := netip.ParseAddrPort(r.RemoteAddr) // what is no address is outside
	admitted, err := r.server.Service.Admits(r.Context(), vault, from.Addr())
	if err != nil || admitted {
		return err
	}
	return httpError{http.StatusForbidden, "ForbiddenByFirewall", fmt.Sprintf("The address %s is in none of the networks from which the vault %s may be used (networkAcls).", from.Addr(), vault)}
}

// belowVault is the id of the vault that a resource is in.
func belowVault(path []string) (string, bool) {
	own := len(strings.Split(strings.Trim(vaultPath, "/"), "/"))
	if len(path) <= own || !strings.EqualFold(path[own-2], "vaults") || !strings.EqualFold(path[own-3], "Microsoft.RecoveryServices") {
		return "", false
	}
	return "/" + strings.Join(path[:own], "/"), true
}
