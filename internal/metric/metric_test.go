package metric

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"holdfast"
	"holdfast/internal/job"
	"holdfast/internal/service"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func sample(stats service.Stats, failed error) *Metrics {
	return New(Config{Clock: func() time.Time { return now }, Stats: func(context.Context) (service.Stats, error) { return stats, failed },
		Places: func() []Place {
			return []Place{{service.Place{Kind: "vault", Label: "lab/safe"}, 10, 100, 60}, {service.Place{Kind: "scratch", Label: "here"}, 5, 50, -1}}
		}})
}

// exercised uses every metric once.
func exercised() *Metrics {
	m := sample(service.Stats{Points: map[string]int{"lab/safe": 7}, Running: map[string]int{"Backup": 1}, Undelivered: 2, Limits: "extended", MaxPoints: 9999, Sites: []service.SiteStats{{Site: "here", Running: 1, Max: 4}}, Items: []service.ItemStats{
		{Vault: "lab/safe", Group: "lab", VM: "web", State: "Protected", LastPoint: now.Add(-time.Hour)}, {Vault: "lab/safe", Group: "lab", VM: "new", State: "IRPending", Failing: true}}}, nil)
	m.Request(http.MethodGet, "/openapi.json", 200, time.Second)
	m.Transaction("read", time.Millisecond)
	for _, what := range []string{service.RunDue, service.RunStarted, service.RunMissed} {
		m.Run(what)
	}
	result := holdfast.Marshal(holdfast.BackupResult{Disks: []holdfast.DiskResult{{Read: 30, Stored: 10}, {Read: 3, Stored: 1}}})
	m.Job(job.Job{Spec: job.Spec{Operation: "Backup"}, State: job.Completed, Created: now, Ended: now.Add(time.Minute), Result: result})
	m.Job(job.Job{Spec: job.Spec{Operation: "Backup"}, State: job.Failed, Failure: &job.Failure{}, Created: now, Ended: now.Add(time.Minute)})
	return m
}

// TestNames are as Prometheus wants them.
func TestNames(t *testing.T) {
	t.Parallel()
	problems, err := testutil.GatherAndLint(exercised().registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestScrape reads them as Prometheus does.
func TestScrape(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(exercised().Handler())
	defer s.Close()
	resp, err := http.Get(s.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", resp.Status, err)
	}
	for _, want := range []string{
		`holdfast_jobs_total{operation="Backup",result="Completed"} 1`, `holdfast_jobs_total{operation="Backup",result="Failed"} 1`, `holdfast_job_duration_seconds_sum{operation="Backup"} 60`,
		`holdfast_backup_read_bytes_total 33`, `holdfast_backup_stored_bytes_total 11`, `holdfast_items{state="Protected",vault="lab/safe"} 1`,
		`holdfast_item_newest_point_age_seconds{resource_group="lab",vault="lab/safe",vm="web"} 3600`, fmt.Sprintf(`holdfast_item_last_success_timestamp_seconds{resource_group="lab",vault="lab/safe",vm="web"} %v`, float64(now.Add(-time.Hour).Unix())),
		`holdfast_item_failing{resource_group="lab",vault="lab/safe",vm="new"} 1`, `holdfast_vault_points{vault="lab/safe"} 7`, `holdfast_vault_bytes{vault="lab/safe"} 60`,
		`holdfast_storage_free_bytes{kind="scratch",name="here"} 5`, `holdfast_storage_size_bytes{kind="vault",name="lab/safe"} 100`, `holdfast_scheduled_backups_due_total 1`,
		`holdfast_scheduled_backups_started_total 1`, `holdfast_scheduled_backups_missed_total 1`, `holdfast_http_requests_total{code="200",method="GET",route="/openapi.json"} 1`,
		`holdfast_catalog_transaction_duration_seconds_count{kind="read"} 1`, `holdfast_jobs_running{operation="Backup"} 1`, `holdfast_alerts_undelivered 2`, `holdfast_limits_info{limits="extended"} 1`, `holdfast_item_points_limit 9999`,
		`holdfast_site_backups{site="here"} 1`, `holdfast_site_backups_limit{site="here"} 4`, `process_resident_memory_bytes`} {
		if !strings.Contains(string(body), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if strings.Contains(string(body), `holdfast_item_newest_point_age_seconds{resource_group="lab",vault="lab/safe",vm="new"}`) {
		t.Error("an item without a point has an age")
	}
}

// TestCardinality: the series of items are bounded, and the stalest are shown.
func TestCardinality(t *testing.T) {
	t.Parallel()
	var stats service.Stats
	for n := range MaxItems + 5 {
		stats.Items = append(stats.Items, service.ItemStats{Vault: "v", Group: "g", VM: fmt.Sprintf("vm%d", n), State: "Protected", LastPoint: now.Add(-time.Duration(n) * time.Second)})
	}
	var out bytes.Buffer
	if err := sample(stats, nil).Write(&out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if n := strings.Count(text, "\nholdfast_item_failing{"); n != MaxItems || !strings.Contains(text, "holdfast_items_omitted 5\n") || strings.Contains(text, `vm="vm0"`) || !strings.Contains(text, fmt.Sprintf(`vm="vm%d"`, MaxItems+4)) {
		t.Errorf("%d series of items", n)
	}
}

func TestCatalogIsAway(t *testing.T) {
	t.Parallel()
	if err := sample(service.Stats{}, errors.New("the catalog is away")).Write(io.Discard); err == nil || !strings.Contains(err.Error(), "away") {
		t.Errorf("%v", err)
	}
}
