package server

import (
	"holdfast/internal/api/backup"
	"holdfast/internal/service"
)

// alertRoutes show what people were told.
var alertRoutes = []route{get(vaultPath+"/backupAlerts", vaultType+"/backupAlerts/read", (*Server).alerts)}

func (s *Server) alerts(r *request) (answer, error) {
	size, err := r.pageSize(pageSize)
	if err != nil {
		return answer{}, err
	}
	all, err := s.Service.Alerts(r.Context(), r.vaultID(), r.URL.Query().Get("$skipToken"), size+1)
	if err != nil {
		return answer{}, err
	}
	return paged(r, all, size, func(a service.Alert) string { return a.Alert.ID }, func(a service.Alert) any { return backup.Alert(a) })
}
