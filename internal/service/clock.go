package service

import (
	"context"
	"fmt"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/resource"
)

const (
	// longestStep is how far the clock may go between two looks at it, which are
	// a minute apart, and still be taken at its word.
	longestStep = time.Hour
	// patience is how long a clock that ran ahead is watched at most before it is
	// believed.
	patience = 7 * 24 * time.Hour
	// clockID is where what the server remembers of its clock is kept.
	clockID = "/clock"
)

// belief is how far the server believes its clock. A clock that goes on step by
// step is believed. One that ran ahead, or went on while the server was away,
// which looks the same, is believed when it has been watched for as long as it
// ran ahead, a week at most. What is deleted because its time is over is deleted
// by the believed time: a clock that jumps deletes nothing early.
type belief struct {
	Seen time.Time `json:"seen"` // the clock at the last look
	// Time is never after Seen.
	Time    time.Time     `json:"time"`
	Watched time.Duration `json:"watched,omitempty"` // since the clock ran ahead
}

// look is the belief after another look at the clock.
func (b belief) look(now time.Time) belief {
	step := now.Sub(b.Seen)
	b.Seen = now
	switch {
	case b.Time.IsZero() || now.Before(b.Time): // new, or put back behind all that was believed
		return belief{Seen: now, Time: now}
	case step < 0: // put back, but not so far
	case step > longestStep:
		b.Watched = 0
	default:
		b.Time = b.Time.Add(step)
		b.Watched += step
	}
	if ahead := now.Sub(b.Time); b.Watched >= min(ahead, patience) {
		return belief{Seen: now, Time: now}
	}
	return b
}

// WatchClock looks at the clock. It is called each minute; whoever is to know
// that nothing is deleted for a while gets an error that says until when.
func (s *Service) WatchClock(ctx context.Context) error {
	b, err := resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (belief, error) {
		b, err := believed(tx)
		if err != nil {
			return b, err
		}
		b = b.look(s.Clock())
		_, err = catalog.Write(tx, catalog.Resource{ID: clockID, Type: "Holdfast.Server/clocks", Parent: "/"}, b)
		return b, err
	})
	if ahead := b.Seen.Sub(b.Time); err == nil && ahead > longestStep {
		return fmt.Errorf("the clock ran ahead, or nobody looked at it: what has expired meanwhile is kept until %s",
			b.Seen.Add(min(ahead, patience)-b.Watched).Format(time.RFC3339))
	}
	return err
}

// believed is what the server remembers of its clock.
func believed(tx *catalog.Tx) (belief, error) {
	b, _, err := catalog.Read[belief](tx, clockID)
	if err != nil && holdfast.KindOf(err) == holdfast.NotFound {
		return belief{}, nil
	}
	return b, err
}

// slip is how far the clock may be put back without anybody calling it that.
const slip = time.Hour

// ahead says whether a moment that was marked can only be of a clock that has
// been put back since.
func ahead(marked, now time.Time) bool { return marked.After(now.Add(slip)) }
