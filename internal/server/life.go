package server

import (
	"holdfast/internal/api/backup"
)

// expirePoint sets until when a point is kept.
func (s *Server) expirePoint(r *request) (answer, error) {
	expires, err := decoded(r, backup.DecodeExpiry)
	if err != nil {
		return answer{}, err
	}
	p, err := s.Service.ExpirePoint(r.Context(), r.itemID(), r.captures["point"], expires)
	if err != nil {
		return answer{}, err
	}
	return ok(backup.Point(p))
}

// unregister takes a machine out of a vault that keeps nothing of it: its
// container is there as long as its item is, and goes with it.
func (s *Server) unregister(r *request) (answer, error) {
	if err := s.Service.Unregister(r.Context(), r.vaultID(), r.captures["container"]); err != nil {
		return answer{}, err
	}
	return noContent()
}
