package embedded_test

import (
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/authz"
	"holdfast/internal/embedded"
	"holdfast/internal/matrix"
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
	for _, want := range []string{`holdfast_items{state="Protected",vault="lab/safe"} 1`, `holdfast_vault_points{vault="lab/safe"} 1`, `holdfast_jobs_total{operation="Backup",result="Completed"} 1`,
		`holdfast_item_failing{resource_group="lab",vault="lab/safe",vm="web"} 0`, `holdfast_item_last_success_timestamp_seconds{resource_group="lab",vault="lab/safe",vm="web"} 1`, `holdfast_http_requests_total{code="202",method="POST",route="/subscriptions/{sub}/`, "process_resident_memory_bytes", "holdfast_alerts_undelivered 0", `holdfast_limits_info{limits="azure"} 1`, "holdfast_item_points_limit 9999", `holdfast_site_backups{site="site1"} 0`, `holdfast_site_backups_limit{site="site1"} 4`} {
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

// TestBytesInAStore: a vault in an object store says how large it is by its own
// books, once an hour.
func TestBytesInAStore(t *testing.T) {
	t.Parallel()
	w, ticks := newWorld(), make(chan time.Time)
	w.ticks, w.metrics, w.asked = ticks, "127.0.0.1:0", make(chan struct{}, 9)
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	if code, out, _ := s.send(t, "PUT", strings.Replace(s.vaultPath(), "/safe", "/far", 1)+"?api-version=2023-04-01", `{"location":"site1","properties":{"holdfast":{"repositoryUrl":"s3://bucket/far"}}}`); code/100 != 2 {
		t.Fatalf("vault: %d %v", code, out)
	}
	ticks <- time.Now()
	<-w.asked
	for range 3 { // it is known, and not asked for again; a tick is taken when the one before was dealt with
		ticks <- time.Now()
	}
	resp, err := http.Get("http://" + s.MetricsAddress() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text := readAll(t, resp.Body)
	if !strings.Contains(text, `holdfast_vault_bytes{vault="lab/far"} 12345`) || strings.Contains(text, `name="lab/far"`) || len(w.asked) != 0 {
		t.Errorf("asked %d times more; %s", len(w.asked), text)
	}
}

// TestMetricsListener: Prometheus reads them on this machine without signing in,
// and nowhere else.
func TestMetricsListener(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "SEC-02")
	w, ticks, passed := newWorld(), make(chan time.Time), atomic.Int64{}
	w.ticks, w.clock = ticks, func() time.Time { return time.Now().UTC().Add(time.Duration(passed.Load())) }
	w.metrics = "127.0.0.1:0"
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	passed.Store(int64(25 * time.Hour))
	ticks <- time.Now()
	<-w.begun
	ticks <- time.Now() // taken when the first has been dealt with
	resp, err := http.Get("http://" + s.MetricsAddress() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text := readAll(t, resp.Body)
	for _, want := range []string{"holdfast_scheduled_backups_due_total 1", "holdfast_scheduled_backups_started_total 1", `holdfast_catalog_transaction_duration_seconds_count{kind="write"}`} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s:\n%s", want, text)
		}
	}
	if resp, err := http.Get("http://" + s.MetricsAddress() + "/subscriptions"); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("another path: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	for _, open := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "nonsense", "example.org:0"} {
		_, err := embedded.Start(t.Context(), embedded.Config{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Metrics: open, Log: slog.New(slog.DiscardHandler), Inventory: w, Provisioner: w, Backup: w.backup(), Restore: w.restore(), Machines: w, Machine: w.machine()})
		if err == nil || !strings.Contains(err.Error(), "metrics: ") {
			t.Errorf("%s: %v", open, err)
		}
	}
}
