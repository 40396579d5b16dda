package service

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestBelief(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for _, c := range []struct {
		name  string
		jumps []time.Duration // each followed by so much of steady going on
		watch []time.Duration
		want  time.Duration // what is believed, from the start
	}{
		{"steady", []time.Duration{0}, []time.Duration{3 * day}, 3 * day},
		{"a year ahead, a day later", []time.Duration{365 * day}, []time.Duration{day}, day},
		{"a year ahead, almost a week later", []time.Duration{365 * day}, []time.Duration{7*day - time.Minute}, 7*day - time.Minute},
		{"a year ahead, a week later", []time.Duration{365 * day}, []time.Duration{7 * day}, 372 * day},
		{"a year ahead and put right", []time.Duration{365 * day, -365 * day}, []time.Duration{day, day}, 2 * day},
		{"a year ahead and put right in part", []time.Duration{365 * day, -65 * day}, []time.Duration{day, day}, 2 * day},
		{"away for the night, in the morning", []time.Duration{8 * time.Hour}, []time.Duration{time.Hour}, time.Hour},
		{"away for the night, in the evening", []time.Duration{8 * time.Hour}, []time.Duration{9 * time.Hour}, 17 * time.Hour},
		{"a day back", []time.Duration{-day}, []time.Duration{time.Hour}, -day + time.Hour},
		{"a day back and put right", []time.Duration{-day, day}, []time.Duration{time.Hour, time.Hour}, -day + 2*time.Hour},
		{"ahead by steps", []time.Duration{30 * day, 30 * day, 30 * day}, []time.Duration{6 * day, 6 * day, 6 * day}, 18 * day},
		{"frozen", []time.Duration{0}, []time.Duration{0}, 0},
	} {
		now := start
		b := belief{}.look(now)
		for i, jump := range c.jumps {
			now = now.Add(jump)
			b = b.look(now)
			for end := now.Add(c.watch[i]); now.Before(end); {
				now = now.Add(time.Minute)
				b = b.look(now)
			}
		}
		if got := b.Time.Sub(start); got != c.want || !b.Seen.Equal(now) {
			t.Errorf("%s: %v is believed to have passed, want %v", c.name, got, c.want)
		}
	}
}

// However the clock jumps: what is believed never runs ahead of it, and makes up
// for a jump only when the clock was watched for as long, or for a week.
func TestBeliefProperty(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 8))
	for range 100 {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		b, watched := belief{}.look(now), time.Duration(0)
		for range 1000 {
			step := time.Duration(random.Int64N(int64(longestStep)))
			switch random.IntN(60) {
			case 0:
				step = longestStep + time.Duration(random.Int64N(int64(800*24*time.Hour)))
			case 1:
				step = -time.Duration(random.Int64N(int64(400 * 24 * time.Hour)))
			}
			now = now.Add(step)
			was := b
			b = b.look(now)
			if step > longestStep {
				watched = 0
			} else if step > 0 {
				watched += step
			}
			if b.Time.After(now) || b.Seen != now {
				t.Fatalf("believed %s at %s", b.Time, now)
			}
			if rise := b.Time.Sub(was.Time); rise > longestStep && watched < min(rise-step, patience) {
				t.Fatalf("believed %v at once after %v of watching", rise, watched)
			}
		}
	}
}
