package server

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"holdfast"
	"holdfast/internal/api/backup"
)

// exportMost is how many jobs one export has at most, the newest ones.
const exportMost = 100_000

// export is which jobs to export: the operation's id is made of it, so that
// nothing is kept for it.
type export struct {
	Filter string    `json:"f"`
	Until  time.Time `json:"t"` // jobs that began later are not in it
}

func (e export) id() string { return base64.RawURLEncoding.EncodeToString(holdfast.Marshal(e)) }

// export is the one that the path names.
func (r *request) export() (e export, err error) {
	unknown := holdfast.Errorf(holdfast.NotFound, r.captures["export"], "The export %q was not found.", r.captures["export"])
	b, err := base64.RawURLEncoding.DecodeString(r.captures["export"])
	if err != nil || json.Unmarshal(b, &e) != nil || e.Until.IsZero() {
		return e, unknown
	}
	return e, nil
}

// exportJobs starts an export, which is ended at once: the answer's Location
// says where its result is.
func (s *Server) exportJobs(r *request) (answer, error) {
	if _, _, err := r.jobFilter(); err != nil {
		return answer{}, err
	}
	if _, err := s.Service.Vault(r.Context(), r.sub(), r.group(), r.captures["vault"]); err != nil {
		return answer{}, err
	}
	e := export{r.URL.Query().Get("$filter"), s.Clock().UTC()}
	a := status(http.StatusAccepted, nil)
	a.header = http.Header{"Location": {r.link(r.vaultID() + "/backupJobs/operationResults/" + e.id())}, "Retry-After": {retryAfter}}
	return a, nil
}

// exported says where the jobs can be fetched. There is no storage account: the
// URL is the server's own and wants the caller's token, not a key in it.
func (s *Server) exported(r *request) (answer, error) {
	e, err := r.export()
	if err != nil {
		return answer{}, err
	}
	return ok(backup.ExportResult(r.link(r.vaultID() + "/backupJobs/exports/" + e.id())))
}

// exportedJobs are the jobs themselves, with all that is known of each.
func (s *Server) exportedJobs(r *request) (answer, error) {
	e, err := r.export()
	if err != nil {
		return answer{}, err
	}
	r.URL.RawQuery = url.Values{"$filter": {e.Filter}}.Encode()
	filter, none, err := r.jobFilter()
	if err != nil {
		return answer{}, err
	}
	if filter.To.IsZero() || filter.To.After(e.Until) {
		filter.To = e.Until
	}
	filter.Limit = exportMost
	jobs, err := s.Service.VaultJobs(r.Context(), r.vaultID(), filter)
	if err != nil {
		return answer{}, err
	}
	all := []any{}
	for _, j := range jobs {
		if !none {
			all = append(all, backup.Job(r.vaultID(), j, s.Clock(), true))
		}
	}
	return ok(all)
}
