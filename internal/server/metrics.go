package server

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"holdfast/internal/service"
)

// Metrics counts what happens while the server runs, for Prometheus. What is the
// case now (items, running jobs) is asked of the catalog when they are read.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	jobs     *prometheus.CounterVec
	took     *prometheus.HistogramVec
}

// NewMetrics makes the counters at zero.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdfast_requests_total", Help: "Requests answered, by action and HTTP status."}, []string{"action", "status"}),
		jobs:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdfast_jobs_total", Help: "Jobs that have ended since the server started, by operation and final state."}, []string{"operation", "state"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "holdfast_job_seconds", Help: "How long jobs took that ended well.",
			Buckets: []float64{1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600}}, []string{"operation"}),
	}
	m.registry.MustRegister(m.requests, m.jobs, m.took, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Ended counts a job that has ended.
func (m *Metrics) Ended(j service.Job) {
	m.jobs.WithLabelValues(j.Operation, string(j.State)).Inc()
	if j.Failure == nil && !j.Ended.IsZero() {
		m.took.WithLabelValues(j.Operation).Observe(j.Ended.Sub(j.Created).Seconds())
	}
}

func (m *Metrics) request(action string, status int) {
	m.requests.WithLabelValues(action, strconv.Itoa(status)).Inc()
}

// metricRoutes are for who has the right to read them: Prometheus signs in with
// oauth2 as any other client (scrape_config, oauth2).
var metricRoutes = []route{{method: http.MethodGet, pattern: "/metrics", action: "Holdfast.Server/metrics/read", handler: (*Server).metrics, anyVersion: true}}

func (s *Server) metrics(r *request) (answer, error) {
	now, err := s.Service.Stats(r.Context())
	if err != nil {
		return answer{}, err
	}
	live := prometheus.NewRegistry()
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
		live.MustRegister(g)
		return g
	}
	items := gauge("holdfast_items", "Protected items, by vault and state.", "vault", "state")
	points := gauge("holdfast_recovery_points", "Recovery points, by vault.", "vault")
	last := gauge("holdfast_item_last_point_timestamp_seconds", "When the newest recovery point of an item was made.", "vault", "vm")
	failing := gauge("holdfast_item_failing", "1 if the last backup of an item failed.", "vault", "vm")
	running := gauge("holdfast_jobs_running", "Jobs that run now, by operation.", "operation")
	waiting := gauge("holdfast_alerts_undelivered", "Alerts that nobody has got yet.")
	for _, i := range now.Items {
		items.WithLabelValues(i.Vault, i.State).Inc()
		if !i.LastPoint.IsZero() {
			last.WithLabelValues(i.Vault, i.VM).Set(float64(i.LastPoint.Unix()))
		}
		failing.WithLabelValues(i.Vault, i.VM).Set(map[bool]float64{true: 1}[i.Failing])
	}
	for vault, n := range now.Points {
		points.WithLabelValues(vault).Set(float64(n))
	}
	for operation, n := range now.Running {
		running.WithLabelValues(operation).Set(float64(n))
	}
	waiting.WithLabelValues().Set(float64(now.Undelivered))
	families, err := prometheus.Gatherers{s.Metrics.registry, live}.Gather()
	if err != nil {
		return answer{}, err
	}
	var out bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&out, f); err != nil {
			return answer{}, err
		}
	}
	a := status(http.StatusOK, text(out.Bytes()))
	a.header = http.Header{"Content-Type": {string(expfmt.NewFormat(expfmt.TypeTextPlain))}}
	return a, nil
}
