package embedded_test

import (
	"net/http"
	"strings"
	"testing"

	"holdfast/internal/authz"
)

// TestMetrics: who has the right reads how things are.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := vaultOfOne(t)
	if code, kind := s.as(t, s.member(t, authz.BackupReader, s.vaultPath()), "GET", "/metrics", ""); code != 403 {
		t.Errorf("without the right: %d %s", code, kind)
	}
	bearer := s.member(t, authz.Reader, "/subscriptions/"+s.sub)
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.env["HOLDFAST_ENDPOINT"]+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	resp, err := s.hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text := readAll(t, resp.Body)
	for _, want := range []string{`holdfast_items{state="Protected",vault="safe"} 1`, `holdfast_recovery_points{vault="safe"} 1`, `holdfast_jobs_total{operation="Backup",state="Completed"} 1`,
		`holdfast_item_failing{vault="safe",vm="web"} 0`, `holdfast_item_last_point_timestamp_seconds{vault="safe",vm="web"} 1`, `holdfast_requests_total{action="`, "process_resident_memory_bytes", "holdfast_alerts_undelivered 0"} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s:\n%s", want, text)
		}
	}
	if resp.Header.Get("Content-Type")[:10] != "text/plain" {
		t.Errorf("content type %s", resp.Header.Get("Content-Type"))
	}
	if resp, err := s.hc.Get(s.env["HOLDFAST_ENDPOINT"] + "/metrics"); err != nil || resp.StatusCode != 401 {
		t.Errorf("without a token: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
}
