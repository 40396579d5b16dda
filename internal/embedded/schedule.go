package embedded

import (
	"context"
	"time"
)

const (
	// lookEvery is how often the schedules are looked at.
	lookEvery = time.Minute
	// cleanEvery is how often expired points are looked for.
	cleanEvery = time.Hour
)

// schedule starts what happens by itself: due backups and the clean-up.
func (s *Server) schedule() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	s.unschedule = func() { cancel(); <-done }
	ticks, stop := s.cfg.Ticks, func() {}
	if ticks == nil {
		ticker := time.NewTicker(lookEvery)
		ticks, stop = ticker.C, ticker.Stop
	}
	go func() {
		defer close(done)
		defer stop()
		var cleaned time.Time
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticks:
			}
			s.report(ctx, "scheduled backups", s.service.RunDue(ctx))
			if now := s.cfg.Clock(); now.Sub(cleaned) >= cleanEvery {
				cleaned = now
				s.report(ctx, "clean-up", s.service.CleanUp(ctx))
			}
		}
	}()
}

// report logs what went wrong; the next tick tries again.
func (s *Server) report(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		s.cfg.Log.Error(what, "error", err)
	}
}
