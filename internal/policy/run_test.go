package policy

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"holdfast/internal/matrix"
)

func at(t *testing.T, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestNext(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "ACT-11")
	clock := []time.Time{time.Date(2024, 1, 1, 2, 30, 0, 0, time.UTC)}
	for _, c := range []struct {
		name        string
		zone        string
		schedule    Schedule
		after, want string
	}{
		{"later today", "UTC", Schedule{Frequency: "Daily", Times: clock}, "2026-03-01T01:00:00Z", "2026-03-01T02:30:00Z"},
		{"a run itself is not after itself", "UTC", Schedule{Frequency: "Daily", Times: clock}, "2026-03-01T02:30:00Z", "2026-03-02T02:30:00Z"},
		{"end of February in a leap year", "UTC", Schedule{Frequency: "Daily", Times: clock}, "2028-02-28T03:00:00Z", "2028-02-29T02:30:00Z"},
		{"another day there than here", "Tokyo Standard Time", Schedule{Frequency: "Daily", Times: clock}, "2026-03-01T16:00:00Z", "2026-03-01T17:30:00Z"},
		// Clocks in Berlin go forward on 2026-03-29 and back on 2026-10-25.
		{"before the clocks go forward", "W. Europe Standard Time", Schedule{Frequency: "Daily", Times: clock}, "2026-03-28T00:00:00Z", "2026-03-28T01:30:00Z"},
		{"after the clocks went forward", "W. Europe Standard Time", Schedule{Frequency: "Daily", Times: clock}, "2026-03-30T00:00:00Z", "2026-03-30T01:30:00Z"},
		{"weekly", "UTC", Schedule{Frequency: "Weekly", Days: []string{"Sunday", "Wednesday"}, Times: clock}, "2026-11-22T03:00:00Z", "2026-11-25T02:30:00Z"},
		{"weekly, once around", "UTC", Schedule{Frequency: "Weekly", Weekly: &Weekly{Days: []string{"Sunday"}, Times: clock}}, "2026-11-22T03:00:00Z", "2026-11-29T02:30:00Z"},
		{"several a day, as they come", "UTC", Schedule{Frequency: "Daily", Times: []time.Time{clock[0].Add(12 * time.Hour), clock[0]}}, "2026-11-22T01:00:00Z", "2026-11-22T02:30:00Z"},
		{"several a day, the later one", "UTC", Schedule{Frequency: "Daily", Times: []time.Time{clock[0].Add(12 * time.Hour), clock[0]}}, "2026-11-22T03:00:00Z", "2026-11-22T14:30:00Z"},
		{"hourly", "UTC", Schedule{Frequency: "Hourly", Hourly: &Hourly{Interval: 4, Start: clock[0], Duration: 12}}, "2026-11-22T03:00:00Z", "2026-11-22T06:30:00Z"},
		{"hourly, window over", "UTC", Schedule{Frequency: "Hourly", Hourly: &Hourly{Interval: 4, Start: clock[0], Duration: 12}}, "2026-11-22T10:30:00Z", "2026-11-23T02:30:00Z"},
	} {
		p := Policy{TimeZone: c.zone, Schedule: c.schedule}
		if got := p.Next(at(t, c.after)); !got.Equal(at(t, c.want)) {
			t.Errorf("%s: next after %s is %s, want %s", c.name, c.after, got.UTC().Format(time.RFC3339), c.want)
		}
	}
}

func TestMissed(t *testing.T) {
	t.Parallel()
	p := Policy{Schedule: Schedule{Frequency: "Daily", Times: []time.Time{time.Date(2024, 1, 1, 2, 30, 0, 0, time.UTC)}}}
	for _, c := range []struct{ since, now, want string }{
		{"2026-11-20T02:30:00Z", "2026-11-21T02:29:59Z", ""},
		{"2026-11-20T02:30:00Z", "2026-11-21T02:30:00Z", "2026-11-21T02:30:00Z"},
		{"2026-11-10T02:30:00Z", "2026-11-21T12:00:00Z", "2026-11-21T02:30:00Z"},
		{"2020-01-01T00:00:00Z", "2026-11-21T12:00:00Z", "2026-11-21T02:30:00Z"},
	} {
		got, ok := p.Missed(at(t, c.since), at(t, c.now))
		if ok != (c.want != "") || ok && !got.Equal(at(t, c.want)) {
			t.Errorf("missed from %s to %s: %s, %v; want %s", c.since, c.now, got, ok, c.want)
		}
	}
}

// TestNextIsTheFirst compares Next with a walk by half hours, for random
// schedules in every zone.
func TestNextIsTheFirst(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for name := range zones {
		p := Policy{TimeZone: name, Schedule: randomSchedule(random)}
		after := time.Unix(1_700_000_000+random.Int64N(300_000_000), 0)
		got := p.Next(after)
		for step := after.Truncate(15 * time.Minute).Add(15 * time.Minute); ; step = step.Add(15 * time.Minute) {
			if !due(p, step) {
				continue
			}
			if !got.Equal(step) {
				t.Errorf("%s, %+v: next after %s is %s, want %s", name, p.Schedule, after, got, step)
			}
			break
		}
		if last := p.Latest(after); last.After(after) || !p.Next(last).Equal(got) || !p.Latest(got).Equal(got) {
			t.Errorf("%s, %+v: latest at %s is %s, the next after that %s, want %s", name, p.Schedule, after, last, p.Next(last), got)
		}
	}
}

// due is the slow oracle: is there a run at this very moment?
func due(p Policy, at time.Time) bool {
	s, local := p.Schedule, at.In(p.zone())
	if s.Frequency == "Hourly" {
		for h := 0; h < s.Hourly.Duration; h += s.Hourly.Interval {
			start := local.Add(-time.Duration(h) * time.Hour)
			if start.Hour() == s.Hourly.Start.Hour() && start.Minute() == s.Hourly.Start.Minute() {
				return true
			}
		}
		return false
	}
	return local.Hour() == s.Times[0].Hour() && local.Minute() == s.Times[0].Minute() &&
		(s.Frequency == "Daily" || slices.Contains(s.Days, local.Weekday().String()))
}

func randomSchedule(random *rand.Rand) Schedule {
	clock := time.Date(2024, 1, 1, random.IntN(24), 30*random.IntN(2), 0, 0, time.UTC)
	switch random.IntN(3) {
	case 0:
		return Schedule{Frequency: "Daily", Times: []time.Time{clock}}
	case 1:
		return Schedule{Frequency: "Hourly", Hourly: &Hourly{Interval: []int{4, 6, 8, 12, 24}[random.IntN(5)], Start: clock, Duration: 4 + random.IntN(21)}}
	}
	return Schedule{Frequency: "Weekly", Times: []time.Time{clock}, Days: []string{weekdays[random.IntN(7)], weekdays[random.IntN(7)]}}
}
