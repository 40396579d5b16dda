package policy

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/matrix"
)

// TestPlaces reads the rules of every place, and compares its standard time with
// that of its zone.
func TestPlaces(t *testing.T) {
	t.Parallel()
	// Where the clocks stay at summer's time for good since Windows named the zone,
	// or its names are of before a change.
	moved := []string{"Paraguay Standard Time", "Greenland Standard Time"}
	for name, z := range zones {
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		least := 15 * 3600
		for range 24 {
			_, seconds := at.In(z.wall()).Zone()
			least = min(least, seconds)
			at = at.AddDate(0, 0, 15)
		}
		_, standard := at.In(z.standard).Zone()
		if least != standard && !slices.Contains(moved, name) {
			t.Errorf("%s is %d s from UTC, its place %s at least %d s", name, standard, z.wall(), least)
		}
	}
}

// daily is a policy of one run a day that follows the wall clock.
func daily(zone, clock string) Policy {
	at, err := time.Parse("15:04", clock)
	if err != nil {
		panic(err)
	}
	return Policy{TimeZone: zone, Schedule: Schedule{Frequency: "Daily", Times: []time.Time{at}}, Holdfast: Extension{FollowDaylightSaving: true}}
}

func TestNextFollowsTheWallClock(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "ACT-11")
	const berlin, havana, howe = "W. Europe Standard Time", "Cuba Standard Time", "Lord Howe Standard Time"
	for _, c := range []struct{ name, zone, clock, after, want string }{
		{"in winter", berlin, "02:30", "2026-03-27T12:00:00Z", "2026-03-28T01:30:00Z"},
		{"skipped: as much later as the clocks go forward", berlin, "02:30", "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z"},
		{"the end of what is skipped", berlin, "03:00", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"},
		{"in summer", berlin, "02:30", "2026-03-29T12:00:00Z", "2026-03-30T00:30:00Z"},
		{"shown twice: the first", berlin, "02:30", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"},
		{"and not the second", berlin, "02:30", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		{"after what is shown twice", berlin, "03:00", "2026-10-24T12:00:00Z", "2026-10-25T02:00:00Z"},
		{"midnight is skipped", havana, "00:00", "2026-03-07T12:00:00Z", "2026-03-08T05:00:00Z"},
		{"midnight is shown twice", havana, "00:00", "2026-10-31T12:00:00Z", "2026-11-01T04:00:00Z"},
		{"clocks that go by half an hour", howe, "02:00", "2026-10-03T00:00:00Z", "2026-10-03T15:30:00Z"},
		{"no daylight saving", "Tokyo Standard Time", "02:30", "2026-03-28T18:00:00Z", "2026-03-29T17:30:00Z"},
	} {
		if got := daily(c.zone, c.clock).Next(at(t, c.after)); !got.Equal(at(t, c.want)) {
			t.Errorf("%s: next after %s is %s, want %s", c.name, c.after, got.UTC().Format(time.RFC3339), c.want)
		}
	}
	twice := daily(berlin, "02:30") // and 03:30, which is the same moment on one day
	twice.Schedule.Times = append(twice.Schedule.Times, twice.Schedule.Times[0].Add(time.Hour))
	if got := twice.runs(at(t, "2026-03-29T00:00:00Z")); len(got) != 1 || !got[0].Equal(at(t, "2026-03-29T01:30:00Z")) {
		t.Errorf("a skipped time and the one that it falls on: %v", got)
	}
}

// TestWallClockAgainstOracle walks the days around every change of the clocks by
// quarters of an hour, in every zone, for random schedules.
func TestWallClockAgainstOracle(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "ACT-11")
	random := rand.New(rand.NewPCG(5, 6))
	changes := 0
	for name, z := range zones {
		for change := range changesOf(z.wall(), 2026, 2029) {
			changes++
			p := Policy{TimeZone: name, Schedule: randomSchedule(random), Holdfast: Extension{FollowDaylightSaving: true}}
			if random.IntN(2) == 0 { // near the change, where it matters
				near := change.In(z.wall()).Truncate(time.Hour).Add(time.Duration(random.IntN(8)-4) * 30 * time.Minute)
				p = daily(name, near.Format("15:04"))
			}
			compareWithOracle(t, p, change.Add(-36*time.Hour), change.Add(36*time.Hour))
		}
	}
	if changes < 200 {
		t.Errorf("%d changes of clocks were met: are the rules of the places there?", changes)
	}
}

// changesOf gives when a place's clocks are put forward or back.
func changesOf(l *time.Location, from, to int) func(func(time.Time) bool) {
	return func(yield func(time.Time) bool) {
		for at := time.Date(from, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() < to; {
			_, end := at.In(l).ZoneBounds()
			if end.IsZero() || end.Year() >= to || !yield(end) {
				return
			}
			at = end
		}
	}
}

func compareWithOracle(t *testing.T, p Policy, from, to time.Time) {
	t.Helper()
	const step = 15 * time.Minute
	var want []time.Time
	for at := from.Truncate(step).Add(step); !at.After(to); at = at.Add(step) {
		if dueByTheWall(p, at) {
			want = append(want, at)
		}
	}
	var got []time.Time
	for run := p.Next(from); !run.After(to); run = p.Next(run) {
		got = append(got, run)
		if last := p.Latest(run); !last.Equal(run) {
			t.Errorf("%s, %+v: the latest at %s is %s", p.TimeZone, p.Schedule, run, last)
		}
	}
	if !slices.EqualFunc(got, want, time.Time.Equal) {
		t.Errorf("%s, %+v, from %s: %v, the oracle says %v", p.TimeZone, p.Schedule, from, got, want)
	}
}

// dueByTheWall is the slow oracle: some time of the schedule is shown now and was
// not shown in the hours before; or it is skipped, and would be shown now if the
// clocks had not been put forward.
func dueByTheWall(p Policy, now time.Time) bool {
	shown := now.In(p.zone())
	today, again := false, false
	for back := 15 * time.Minute; back <= 3*time.Hour; back += 15 * time.Minute {
		again = again || now.Add(-back).In(p.zone()).Format(time.DateTime) == shown.Format(time.DateTime)
	}
	today = scheduledAt(p, shown) && !again
	_, before := now.Add(-3 * time.Hour).In(p.zone()).Zone()
	unmoved := now.In(time.FixedZone("", before))
	for d := -4 * time.Hour; d <= 4*time.Hour; d += 15 * time.Minute {
		if now.Add(d).In(p.zone()).Format(time.DateTime) == unmoved.Format(time.DateTime) {
			return today // it is shown at some time
		}
	}
	return today || scheduledAt(p, unmoved)
}

// scheduledAt says whether the schedule has a run when the clocks show this.
func scheduledAt(p Policy, shown time.Time) bool {
	naive := time.Date(shown.Year(), shown.Month(), shown.Day(), shown.Hour(), shown.Minute(), 0, 0, time.UTC)
	return due(Policy{Schedule: p.Schedule}, naive)
}

// TestOneRunADay counts the runs of two years by the wall clock: one on each day,
// hours apart, at its time but where the clocks skip that; Greenland skips the
// last hour of a day.
func TestOneRunADay(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "ACT-11")
	for name, z := range zones {
		for _, clock := range []string{"00:00", "01:00", "01:30", "02:00", "02:30", "03:00", "23:30"} {
			p := daily(name, clock)
			run, odd := p.Next(time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)), 0
			for range 730 {
				next := p.Next(run)
				skipped := func(at time.Time) bool { return at.In(z.wall()).Format("15:04") != clock }
				if got, want := date(p, next), date(p, run).AddDate(0, 0, 1); !got.Equal(want) && !skipped(run) && !skipped(next) {
					t.Fatalf("%s at %s: a run on %s, the next on %s", name, clock, run, next)
				}
				if apart := next.Sub(run); apart < 22*time.Hour || apart > 26*time.Hour {
					t.Fatalf("%s at %s: %s between %s and the next run", name, clock, apart, run)
				}
				if skipped(next) {
					odd++
				}
				run = next
			}
			if odd > 4 {
				t.Errorf("%s at %s: %d runs of two years were at another time", name, clock, odd)
			}
		}
	}
}

func TestExtension(t *testing.T) {
	t.Parallel()
	saved := string(Defaults(time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC))["EnhancedPolicy"])
	with := func(member string) json.RawMessage {
		return json.RawMessage(strings.Replace(saved, "{", "{"+member+",", 1))
	}
	for member, want := range map[string]bool{
		`"holdfast":{"followDaylightSaving":true}`: true, `"holdfast":{"followDaylightSaving":false}`: false, `"holdfast":{}`: false, `"holdfast":null`: false,
	} {
		if p, err := Parse(with(member)); err != nil || p.Holdfast.FollowDaylightSaving != want {
			t.Errorf("%s: %+v, %v", member, p.Holdfast, err)
		}
	}
	for _, member := range []string{`"holdfast":{"followDaylightSavings":true}`, `"holdfast":{"followDaylightSaving":"yes"}`, `"holdfast":[]`} {
		if _, err := Parse(with(member)); err == nil || !strings.Contains(err.Error(), "properties.holdfast is not readable") {
			t.Errorf("%s: %v", member, err)
		}
	}
}
