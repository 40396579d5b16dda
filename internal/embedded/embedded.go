// Package embedded joins the rooms of the control wing into the server that one
// machine runs: SQLite catalog, jobs in the same database, TLS from a CA of its
// own. The movers are given to it: it knows no data wing. It holds no rule.
//
// Start brings everything up and Close takes it down; tests run the same two.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"holdfast"
	"holdfast/internal/authn"
	"holdfast/internal/catalog"
	"holdfast/internal/clock"
	"holdfast/internal/job"
	"holdfast/internal/limits"
	"holdfast/internal/metric"
	"holdfast/internal/notify"
	"holdfast/internal/resource"
	"holdfast/internal/server"
	"holdfast/internal/service"
)

// Config is what a server is started with.
type Config struct {
	DataDir string // made if absent
	Listen  string // HOST:PORT; port 0 takes a free one
	Catalog string // postgres:// URL; "" is an SQLite file in DataDir
	// ScratchDir holds what a running backup needs, a directory for each site;
	// QEMU reaches it. "" is DataDir/scratch.
	ScratchDir string
	// TLSCert and TLSKey are PEM files of a certificate that is shown to those
	// who ask for a name in it; the server's own CA vouches for the other names.
	TLSCert, TLSKey string
	Outside         *authn.Outside // an issuer whose tokens are accepted, too; nil is nobody
	Limits          limits.Choice  // "" is azure
	Clock           clock.Clock
	Log             *slog.Logger

	Inventory   service.Inventory
	Provisioner service.Provisioner
	Machines    service.Machines
	Backup      job.Work[holdfast.BackupArgs, holdfast.BackupResult]
	Restore     job.Work[holdfast.RestoreArgs, holdfast.RestoreResult]
	Delete      job.Work[holdfast.DeletePointsArgs, holdfast.DeletePointsResult] // nil: points cannot be deleted
	Machine     job.Work[holdfast.MachineArgs, holdfast.MachineResult]
	Verify      job.Work[holdfast.VerifyArgs, holdfast.VerifyResult] // nil: points are not verified
	// RestorePoint and Contents; nil: there are no restore points, or none is read.
	RestorePoint job.Work[holdfast.RestorePointArgs, holdfast.RestorePointResult]
	Contents     service.Contents
	Examiner     service.Examiner // nil: nobody looks whether restore points can be read
	// Metrics is HOST:PORT of this machine where Prometheus reads without signing
	// in; "" is nowhere.
	Metrics string
	// Channels bring alerts to people; none: they are kept and listed.
	Channels []notify.Channel
	// Ticks are the moments at which the schedules are looked at; nil is each
	// minute.
	Ticks <-chan time.Time
}

// workers is how many jobs of one kind run at once. Scheduled backups are bounded
// by their sites before that.
const workers = 8

// Times that a stop may take.
const (
	drainTime = 10 * time.Second // requests
	stopTime  = 60 * time.Second // jobs: they thaw, release and leave
)

// Server is a running server.
type Server struct {
	cfg     Config
	lock    *os.File
	catalog *catalog.Catalog
	jobs    *job.Runner
	service *service.Service
	sub     resource.Subscription // the first one
	door    *server.Server
	metrics *metric.Metrics
	gauges  gauges
	alerts  *notify.Outbox
	http    *http.Server
	listen  net.Listener
	tls     *authority

	unschedule func() // ends the scheduler and waits for it
	// said is what the scheduler reported when it last did a thing.
	said map[string]map[string]bool

	done chan struct{} // closed when the listener has ended
	err  error         // why, before done is closed
	once sync.Once
}

// Start brings a server up. When it returns, requests are answered and jobs run.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Clock == nil {
		cfg.Clock = clock.System
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &Server{cfg: cfg, done: make(chan struct{})}
	for _, step := range []func(context.Context) error{s.openDir, s.openListener, s.openCatalog, s.openService, s.openDoor, s.openMetrics} {
		if err := step(ctx); err != nil {
			close(s.done)
			return nil, errors.Join(fmt.Errorf("start server: %w", err), s.Close())
		}
	}
	go s.serve()
	s.serveMetrics()
	s.schedule()
	cfg.Log.Info("ready", "endpoint", s.Endpoint(), "data", cfg.DataDir, "admin", s.AdminEnv())
	return s, nil
}

// openDir makes the data directory and locks it against a second server.
func (s *Server) openDir(context.Context) (err error) {
	if s.cfg.DataDir, err = filepath.Abs(s.cfg.DataDir); err != nil {
		return err
	}
	if err := os.MkdirAll(s.cfg.DataDir, 0o711); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if s.cfg.ScratchDir == "" {
		s.cfg.ScratchDir = filepath.Join(s.cfg.DataDir, "scratch")
	}
	for dir, mode := range map[string]os.FileMode{"vaults": 0o700, "tls": 0o711} {
		if err := os.MkdirAll(filepath.Join(s.cfg.DataDir, dir), mode); err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
	}
	s.lock, err = os.OpenFile(filepath.Join(s.cfg.DataDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if err := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("data directory %s is used by another holdfast serve: %w", s.cfg.DataDir, err)
	}
	return nil
}

func (s *Server) openListener(ctx context.Context) (err error) {
	s.listen, err = new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Listen)
	return err
}

func (s *Server) openCatalog(ctx context.Context) (err error) {
	if s.cfg.Catalog != "" {
		s.catalog, err = catalog.Open(ctx, s.cfg.Catalog, s.cfg.Clock)
		return err
	}
	path := filepath.Join(s.cfg.DataDir, "catalog.db")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // SQLite gives its journal the same mode
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	s.catalog, err = catalog.Open(ctx, path, s.cfg.Clock)
	return err
}

func (s *Server) openService(ctx context.Context) error {
	s.metrics = metric.New(metric.Config{Clock: s.cfg.Clock, Places: s.gauges.places, Stats: func(ctx context.Context) (service.Stats, error) { return s.service.Stats(ctx) }})
	s.catalog.Watch(s.metrics.Transaction)
	s.alerts = notify.New(notify.Config{Catalog: s.catalog, Clock: s.cfg.Clock, Log: s.cfg.Log, Channels: s.cfg.Channels})
	runner := job.NewRunner(job.Config{Catalog: s.catalog, Clock: s.cfg.Clock, Log: s.cfg.Log, CancelLate: service.CancelLate(s.cfg.Limits), Workers: workers})
	var deployer server.Deployer // sends its requests to the server, which is made of the service
	s.service = service.New(service.Deps{
		Catalog: s.catalog, Jobs: runner, Inventory: s.cfg.Inventory, Provisioner: s.cfg.Provisioner, Machines: s.cfg.Machines, Clock: s.cfg.Clock, DataDir: s.cfg.DataDir, ScratchDir: s.cfg.ScratchDir, Limits: s.cfg.Limits,
		Alerts: s.alerts, Ended: s.metrics.Job, Run: s.metrics.Run,
		Backup: s.cfg.Backup, Restore: s.cfg.Restore, Delete: s.cfg.Delete, Machine: s.cfg.Machine, Deploy: &deployer, Verify: s.cfg.Verify,
		RestorePoint: s.cfg.RestorePoint, Contents: s.cfg.Contents, Examiner: s.cfg.Examiner,
	})
	sub, err := s.service.Resources.Found(ctx)
	if err != nil {
		return err
	}
	s.sub = sub
	s.door = server.New(server.Config{
		Service: s.service, Metrics: s.metrics, Clock: s.cfg.Clock, Log: s.cfg.Log,
		Issuer:       &authn.Issuer{Catalog: s.catalog, Clock: s.cfg.Clock, Tenant: sub.TenantID, Outside: s.cfg.Outside},
		Subscription: sub.SubscriptionID,
	})
	deployer.Server = s.door
	if err := runner.Start(ctx); err != nil {
		return err
	}
	s.jobs = runner
	return nil
}

// openDoor prepares TLS, the first principal and the HTTP server.
func (s *Server) openDoor(ctx context.Context) (err error) {
	host, _, err := net.SplitHostPort(s.cfg.Listen)
	if err != nil {
		return err
	}
	s.tls, err = openAuthority(filepath.Join(s.cfg.DataDir, "tls"), host, s.cfg.Clock)
	if err != nil {
		return err
	}
	if s.tls.given, err = openGiven(s.cfg.TLSCert, s.cfg.TLSKey); err != nil {
		return err
	}
	if s.cfg.Outside != nil {
		if err := s.cfg.Outside.Check(); err != nil {
			return err
		}
	}
	if err := s.admin(ctx, s.sub); err != nil {
		return err
	}
	s.http = s.door.HTTP()
	s.http.TLSConfig = s.tls.config()
	return nil
}

func (s *Server) serve() {
	defer close(s.done)
	if err := s.http.ServeTLS(s.listen, "", ""); !errors.Is(err, http.ErrServerClosed) {
		s.err = err
	}
}

// Wait returns when ctx ends or the server cannot serve any more.
func (s *Server) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.catalog.Lost():
		return catalog.ErrLost
	case <-s.done:
		return s.err
	}
}

// Endpoint is the server's URL as its own machine reaches it.
func (s *Server) Endpoint() string {
	host, port, err := net.SplitHostPort(s.listen.Addr().String())
	if err != nil {
		return "https://" + s.listen.Addr().String()
	}
	if given, _, err := net.SplitHostPort(s.cfg.Listen); err == nil && given != "" {
		host = given
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "https://" + net.JoinHostPort(host, port)
}

// AdminEnv is the file that the first principal is in.
func (s *Server) AdminEnv() string { return filepath.Join(s.cfg.DataDir, "admin.env") }

// Jobs is the job runner, for who waits for a job's end.
func (s *Server) Jobs() *job.Runner { return s.jobs }

// Close answers the requests that are there, leaves the running jobs to the next
// start, and lets go of the data directory.
func (s *Server) Close() (err error) {
	s.once.Do(func() { err = s.close() })
	return err
}

func (s *Server) close() error {
	var errs []error
	if s.http != nil {
		ctx, cancel := context.WithTimeout(context.Background(), drainTime)
		defer cancel()
		if err := s.http.Shutdown(ctx); err != nil {
			errs = append(errs, s.http.Close())
		}
		<-s.done
	} else if s.listen != nil {
		errs = append(errs, s.listen.Close())
	}
	errs = append(errs, s.closeMetrics())
	if s.unschedule != nil {
		s.unschedule()
	}
	if s.jobs != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopTime)
		defer cancel()
		errs = append(errs, s.jobs.Stop(ctx))
	}
	if s.catalog != nil {
		errs = append(errs, s.catalog.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}
