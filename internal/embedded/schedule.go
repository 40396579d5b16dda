package embedded

import (
	"context"
	"sync"
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
	s.unschedule, s.said = func() { cancel(); <-done }, map[string]map[string]bool{}
	ticks, stop := s.cfg.Ticks, func() {}
	if ticks == nil {
		ticker := time.NewTicker(lookEvery)
		ticks, stop = ticker.C, ticker.Stop
	}
	delivered, slow := make(chan struct{}), sync.WaitGroup{}
	signals, examine := make(chan struct{}, 1), make(chan struct{}, 1)
	slow.Go(func() { s.addUp(ctx, signals) })
	slow.Go(func() { s.examine(ctx, examine) })
	go func() { // besides the scheduler: a mail server may be slow
		defer close(delivered)
		s.alerts.Run(ctx)
	}()
	s.alerts.Wake() // what the last process did not bring out
	go func() {
		defer close(done)
		defer func() { <-delivered; slow.Wait() }()
		defer stop()
		var cleaned time.Time
		for {
			select {
			case <-ctx.Done():
				return
			case <-s.service.Wake():
				s.report(ctx, "scheduled backups", s.service.RunDue(ctx))
				continue
			case <-ticks:
			}
			s.report(ctx, "clock", s.service.WatchClock(ctx))
			s.report(ctx, "scheduled backups", s.service.RunDue(ctx))
			s.report(ctx, "verifications", s.service.VerifyDue(ctx))
			if now := s.cfg.Clock(); now.Sub(cleaned) >= cleanEvery || now.Before(cleaned) {
				cleaned = now
				s.report(ctx, "clean-up", s.service.CleanUp(ctx))
			}
			s.report(ctx, "room", s.measure(ctx))
			s.report(ctx, "restore points", s.service.LookAtPoints(ctx))
			s.alerts.Wake()
			for _, c := range []chan struct{}{signals, examine} {
				select {
				case c <- struct{}{}:
				default: // it is still at it
				}
			}
		}
	}()
}

// examine reads operational repositories, at every signal those whose time it is.
func (s *Server) examine(ctx context.Context, signals <-chan struct{}) {
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		err := s.service.ExamineDue(ctx)
		if err != nil && ctx.Err() == nil && err.Error() != said {
			s.cfg.Log.Error("examining operational repositories", "error", err)
		}
		if said = ""; err != nil {
			said = err.Error()
		}
		s.alerts.Wake()
	}
}

// report logs what went wrong; the next tick tries again. What went wrong the
// last time already is not said again.
func (s *Server) report(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	now := map[string]bool{}
	for _, e := range parts(err) {
		if now[e.Error()] = true; !s.said[what][e.Error()] {
			s.cfg.Log.Error(what, "error", e)
		}
	}
	s.said[what] = now
}

// parts are the errors that errors.Join put together.
func parts(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, parts(e)...)
	}
	return all
}
