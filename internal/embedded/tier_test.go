package embedded_test

import (
	"net/http"
	"strings"
	"testing"

	"holdfast"
)

// TestTransferFails: when the vault cannot be reached the point is there all the
// same, in the instant tier; the job is tried again with that point, and a restore
// is told where it may read.
func TestTransferFails(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	w.cut = holdfast.Errorf(holdfast.Unreachable, "/vaults/safe", "The vault's storage does not answer.")
	failed := s.job(t, s.backupNow(t))
	if *failed.Status != "Failed" || len(failed.ExtendedInfo.TasksList) != 2 || *failed.ExtendedInfo.TasksList[0].Status != "Completed" || *failed.ExtendedInfo.TasksList[1].Status != "Failed" {
		t.Errorf("job: %+v, tasks %+v", failed, failed.ExtendedInfo.TasksList)
	}
	if tiers := s.tiers(t); tiers != "InstantRP" {
		t.Fatalf("tiers %q", tiers)
	}
	point := *s.points(t)[0].Name
	w.cut = nil
	code, out, header := s.send(t, http.MethodPost, s.vaultPath()+"/backupJobs/"+*failed.ActivityID+"/retry?api-version=2025-02-01", "")
	if code != http.StatusAccepted {
		t.Fatalf("retry: %d %v", code, out)
	}
	if j := s.job(t, &http.Response{Header: header}); *j.Status != "Completed" {
		t.Errorf("retried: %+v", j)
	}
	if points := s.points(t); len(points) != 1 || *points[0].Name != point || s.tiers(t) != "InstantRP HardenedRP" {
		t.Errorf("after the retry: %d points, %q", len(points), s.tiers(t))
	}
	restore := s.vaultPath() + "/backupFabrics/Azure/protectionContainers/" + container + "/protectedItems/" + item + "/recoveryPoints/" + point + "/restore?api-version=2025-02-01"
	if code, out, _ := s.send(t, http.MethodPost, restore, `{"properties":{"objectType":"IaasVMRestoreRequest","recoveryType":"RestoreDisks","holdfast":{"directory":"/restored"}}}`); code != http.StatusAccepted {
		t.Fatalf("restore: %d %v", code, out)
	}
	for what := range w.begun {
		if strings.HasPrefix(what, "restore") {
			break
		}
	}
	a := w.restores[0]
	if !strings.HasSuffix(a.Instant.URL, "/operational/"+strings.ToLower(site)) || a.Instant == a.Repository || a.PointID != point {
		t.Errorf("restore: %+v", a)
	}
}
