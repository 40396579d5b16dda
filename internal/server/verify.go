package server

import (
	"encoding/json"

	"holdfast"
)

// console answers with what the console showed at the end of a verification: a
// PNG, in JSON as []byte is.
func (s *Server) console(r *request) (answer, error) {
	j, err := s.Service.VaultJob(r.Context(), r.vaultID(), r.captures["job"])
	if err != nil {
		return answer{}, err
	}
	var seen holdfast.VerifyResult
	if j.Operation != "Verify" || json.Unmarshal(j.Result, &seen) != nil || len(seen.Screen) == 0 {
		return answer{}, holdfast.Errorf(holdfast.NotFound, j.ID, "The job %s has no picture of a console.", j.ID).
			WithHint("A verification that has ended has one, if its VM has a screen (a video device).")
	}
	return ok(struct {
		MIMEType string `json:"mimeType"`
		Data     []byte `json:"data"`
	}{"image/png", seen.Screen})
}
