// Package metric counts what the server does and measures what it has, for
// Prometheus (prometheus.io/docs/practices/naming). Counters begin at zero with
// the process; what there is now is asked of the catalog when it is read.
//
// It promises a bounded number of series: labels are words of the program, names
// of vaults, and of at most MaxItems items.
package metric

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"

	"holdfast"
	"holdfast/internal/clock"
	"holdfast/internal/job"
	"holdfast/internal/service"
)

const (
	// MaxItems is of how many items there are series of their own; of more, those
	// with the oldest points.
	MaxItems = 10_000
	// askTime is how long a reader waits for the catalog.
	askTime = 10 * time.Second
)

// Config is what Metrics asks.
type Config struct {
	Clock clock.Clock
	// Stats says what there is now.
	Stats func(ctx context.Context) (service.Stats, error)
	// Places says how much room there was when it was last looked at.
	Places func() []Place
}

// Place is a directory and its room, bytes.
type Place struct {
	service.Place
	Free, Size int64
	Used       int64 // by the vault in it; -1 is not known
}

// Metrics is told what happens. It is safe for concurrent use.
type Metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	answering *prometheus.HistogramVec
	jobs      *prometheus.CounterVec
	working   *prometheus.HistogramVec
	read      prometheus.Counter
	stored    prometheus.Counter
	runs      map[string]prometheus.Counter
	catalog   *prometheus.HistogramVec
}

// New makes the counters at zero.
func New(c Config) *Metrics {
	r := prometheus.NewRegistry()
	counter := func(name, help string) prometheus.Counter {
		m := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		r.MustRegister(m)
		return m
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		m := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		r.MustRegister(m)
		return m
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		m := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		r.MustRegister(m)
		return m
	}
	m := &Metrics{
		registry:  r,
		requests:  counters("holdfast_http_requests_total", "Requests answered, by method, route and HTTP status.", "method", "route", "code"),
		answering: histogram("holdfast_http_request_duration_seconds", "How long requests took, by method.", prometheus.DefBuckets, "method"),
		jobs:      counters("holdfast_jobs_total", "Jobs that have ended, by operation and result.", "operation", "result"),
		working:   histogram("holdfast_job_duration_seconds", "How long jobs took that ended well, by operation.", []float64{1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600}, "operation"),
		read:      counter("holdfast_backup_read_bytes_total", "Bytes that backups read from disks."),
		stored:    counter("holdfast_backup_stored_bytes_total", "Bytes that backups added to repositories."),
		runs: map[string]prometheus.Counter{
			service.RunDue:     counter("holdfast_scheduled_backups_due_total", "Scheduled backups whose time had come."),
			service.RunStarted: counter("holdfast_scheduled_backups_started_total", "Scheduled backups that began; the others could not."),
			service.RunMissed:  counter("holdfast_scheduled_backups_missed_total", "Scheduled backups that were more than an hour late."),
		},
		catalog: histogram("holdfast_catalog_transaction_duration_seconds", "How long transactions of the catalog took, the wait for their turn included, by kind.", []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}, "kind"),
	}
	r.MustRegister(&census{c}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Request counts a request that was answered.
func (m *Metrics) Request(method, route string, code int, took time.Duration) {
	m.requests.WithLabelValues(method, route, strconv.Itoa(code)).Inc()
	m.answering.WithLabelValues(method).Observe(took.Seconds())
}

// Job counts a job that has ended.
func (m *Metrics) Job(j job.Job) {
	m.jobs.WithLabelValues(j.Operation, string(j.State)).Inc()
	if j.Failure != nil {
		return
	}
	m.working.WithLabelValues(j.Operation).Observe(j.Ended.Sub(j.Created).Seconds())
	var r holdfast.BackupResult
	if j.Operation != "Backup" || json.Unmarshal(j.Result, &r) != nil {
		return
	}
	for _, d := range r.Disks {
		m.read.Add(float64(max(0, d.Read)))
		m.stored.Add(float64(max(0, d.Stored)))
	}
}

// Run counts what became of a scheduled backup.
func (m *Metrics) Run(what string) { m.runs[what].Inc() }

// Transaction counts a transaction of the catalog, read or write.
func (m *Metrics) Transaction(kind string, took time.Duration) {
	m.catalog.WithLabelValues(kind).Observe(took.Seconds())
}

// Write writes all of them in Prometheus' text format, whose media type is Text.
func (m *Metrics) Write(w io.Writer) error {
	families, err := m.registry.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return err
		}
	}
	return nil
}

// Handler answers GET /metrics, two at a time.
func (m *Metrics) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2, Timeout: 2 * askTime}))
	return mux
}
