package server

import (
	"holdfast/internal/api/backup"
)

const policyType = vaultType + "/backupPolicies"

// policyRoutes are what can be done with policies besides keeping them.
var policyRoutes = []route{
	post(policyPath+"/{name}/preview", policyType+"/preview/action", (*Server).previewPolicy),
}

func (s *Server) previewPolicy(r *request) (answer, error) {
	in, err := decoded(r, backup.DecodePreview)
	if err != nil {
		return answer{}, err
	}
	p, err := s.Service.PreviewPolicy(r.Context(), r.vaultID(), r.name(), in)
	if err != nil {
		return answer{}, err
	}
	return ok(backup.Preview(p))
}
