package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/metric"
)

// sizeEvery is how often it is asked how large vaults are.
const sizeEvery = time.Hour

// gauges is what was measured when it was last looked at.
type gauges struct {
	mu    sync.Mutex
	last  []metric.Place
	sized map[string]size // by path
	door  *http.Server
	at    net.Listener
}

type size struct {
	bytes int64
	at    time.Time
}

func (g *gauges) places() []metric.Place {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.last)
}

// measure looks how much room the directories of this machine have.
func (s *Server) measure(ctx context.Context) error {
	places, err := s.service.Places(ctx)
	var all []metric.Place
	for _, p := range places {
		var room unix.Statfs_t
		if unix.Statfs(p.Path, &room) != nil {
			continue // not there yet, or on another machine
		}
		m := metric.Place{Place: p, Free: int64(room.Bavail) * room.Bsize, Size: int64(room.Blocks) * room.Bsize, Used: -1}
		if p.Kind == "vault" {
			m.Used = s.gauges.used(p.Path)
		}
		all = append(all, m)
		err = errors.Join(err, s.service.Room(ctx, p, m.Free, m.Size))
	}
	stores, storesErr := s.service.Stores(ctx)
	for _, p := range stores {
		all = append(all, metric.Place{Place: p, Free: -1, Size: -1, Used: s.gauges.used(p.Path)})
	}
	s.gauges.mu.Lock()
	defer s.gauges.mu.Unlock()
	s.gauges.last = all
	return errors.Join(err, storesErr)
}

// used is how many bytes were at a path when they were last added up; -1 is not
// known.
func (g *gauges) used(dir string) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s, ok := g.sized[dir]; ok {
		return s.bytes
	}
	return -1
}

// addUp asks how large the vaults are at every signal that finds them older than
// an hour: of those in directories of this machine the files are added up, the
// others' own books are asked. That takes its time, so nothing waits for it.
func (s *Server) addUp(ctx context.Context, signals <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		for _, p := range s.gauges.places() {
			if p.Kind == "vault" {
				s.gauges.addUp(p.Path, s.cfg.Clock(), func() (int64, error) {
					if p.Size < 0 {
						return s.service.StoredIn(ctx, p.Place)
					}
					return bytesIn(ctx, p.Path)
				})
			}
		}
	}
}

// addUp asks how much there is at a path, unless that was known an hour ago. What
// cannot be asked now is asked again at the next signal.
func (g *gauges) addUp(path string, now time.Time, ask func() (int64, error)) {
	g.mu.Lock()
	old, known := g.sized[path]
	g.mu.Unlock()
	if known && now.Sub(old.at).Abs() < sizeEvery {
		return
	}
	sum, err := ask()
	if err != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sized == nil {
		g.sized = map[string]size{}
	}
	g.sized[path] = size{sum, now}
}

// bytesIn adds up the files of a directory. Its error is that one went meanwhile,
// or that the server stops.
func bytesIn(ctx context.Context, dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, f fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if info, err := f.Info(); err == nil && info.Mode().IsRegular() { // else it went meanwhile
			sum += info.Size()
		}
		return nil
	})
	return sum, err
}

// openMetrics listens where Prometheus reads. It is plaintext and knows nobody,
// so it is for this machine only (SEC-02).
func (s *Server) openMetrics(ctx context.Context) error {
	if s.cfg.Metrics == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(s.cfg.Metrics)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("metrics: %s is not an address of this machine alone: they are read without TLS and sign-in; listen on 127.0.0.1, or read /metrics of the API with a token", s.cfg.Metrics)
	}
	if s.gauges.at, err = new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Metrics); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	s.gauges.door = &http.Server{Handler: s.metrics.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug)}
	return nil
}

func (s *Server) serveMetrics() {
	if s.gauges.door == nil {
		return
	}
	go func() {
		if err := s.gauges.door.Serve(s.gauges.at); !errors.Is(err, http.ErrServerClosed) {
			s.cfg.Log.Error("metrics", "error", err)
		}
	}()
}

// MetricsAddress is where the metrics are read, "" if nowhere.
func (s *Server) MetricsAddress() string {
	if s.gauges.at == nil {
		return ""
	}
	return s.gauges.at.Addr().String()
}

func (s *Server) closeMetrics() error {
	if s.gauges.at == nil {
		return nil
	}
	if s.gauges.door == nil {
		return s.gauges.at.Close()
	}
	err := s.gauges.door.Close()
	if closed := s.gauges.at.Close(); !errors.Is(closed, net.ErrClosed) {
		err = errors.Join(err, closed)
	}
	return err
}
