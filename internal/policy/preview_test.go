package policy

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestForecastAgainstOracle lets each run happen, one after the other, with a
// clean-up after each, and compares what is left with the forecast of any day.
func TestForecastAgainstOracle(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	for n := range 60 {
		p := Policy{TimeZone: "W. Europe Standard Time", Schedule: randomSchedule(random), Retention: Retention{Weekly: &Keep{Duration: Duration{1 + random.IntN(9), "Weeks"}, Days: []string{weekdays[random.IntN(7)]}}}}
		if p.Schedule.Frequency != "Weekly" {
			p.Retention.Daily = &Keep{Duration: Duration{1 + random.IntN(20), "Days"}}
		}
		if random.IntN(2) == 0 {
			p.Retention.Monthly = monthly(1+random.IntN(6), 0, true)
		}
		now := at(t, "2027-12-20T12:00:00Z").Add(time.Duration(random.IntN(10000)) * time.Minute)
		end := now.AddDate(0, 0, random.IntN(200))
		have := []Made{{Name: "own", Time: now.Add(-time.Hour), Fixed: true, Expires: now.AddDate(0, 0, 40)}}
		served := now
		late := n%3 == 0
		want := have
		var previous time.Time
		add := func(run time.Time) {
			want = append(want, Made{Time: run, Previous: previous})
			previous = run
			want, _ = CleanUp(p.Remark(want), run)
		}
		if late {
			served = now.AddDate(0, 0, -20)
			add(now)
		}
		for run := p.Next(now); !run.After(end); run = p.Next(run) {
			add(run)
		}
		got := p.Forecast(have, served, now, end)
		if len(got) != len(want) {
			t.Fatalf("%+v: %d points forecast on %s, the oracle has %d", p, len(got), end, len(want))
		}
		for i := range got {
			if !got[i].Time.Equal(want[i].Time) || !got[i].Expires.Equal(want[i].Expires) {
				t.Fatalf("%+v: point %d is %+v, the oracle has %+v", p, i, got[i], want[i])
			}
		}
	}
}

func TestCleanUp(t *testing.T) {
	t.Parallel()
	now := at(t, "2026-01-10T00:00:00Z")
	for _, c := range []struct {
		name    string
		newest  int   // hours before now that the newest point was made
		expires []int // hours from now; 0 is never
		gone    string
	}{
		{"none", 0, nil, ""},
		{"the only one", 1, []int{-1}, ""},
		{"expired before the newest was made", 1, []int{-2, 9}, "a"},
		{"in that moment", 1, []int{-1, 9}, "a"},
		{"expired since", 2, []int{-1, 9}, ""},
		{"not expired", 1, []int{1, 9}, ""},
		{"the newest is of a clock that ran ahead", -9000, []int{1, 9, 0}, ""},
		{"kept for ever", 1, []int{0, 9}, ""},
		{"in between", 1, []int{9, -2, 9}, "b"},
		{"all expired", 1, []int{-3, -2, -1}, "ab"},
	} {
		var points []Made
		for i, hours := range c.expires {
			m := Made{Name: string(rune('a' + i)), Time: now.Add(-time.Duration(c.newest) * time.Hour)}
			if hours != 0 {
				m.Expires = now.Add(time.Duration(hours) * time.Hour)
			}
			points = append(points, m)
		}
		kept, gone := CleanUp(points, now)
		names := ""
		for _, m := range gone {
			names += m.Name
		}
		if names != c.gone || len(kept)+len(gone) != len(points) {
			t.Errorf("%s: %q goes, %d stay of %d; want %q", c.name, names, len(kept), len(points), c.gone)
		}
	}
}

// BenchmarkForecast looks 99 years ahead.
func BenchmarkForecast(b *testing.B) {
	p := Policy{Schedule: Schedule{Frequency: "Daily", Times: []time.Time{time.Date(2024, 1, 1, 2, 0, 0, 0, time.UTC)}}, Retention: Retention{
		Daily: &Keep{Duration: Duration{365, "Days"}}, Monthly: monthly(120, 1, false), Yearly: yearly(99, "January", 1)}}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for b.Loop() {
		p.Forecast(nil, now, now, now.AddDate(99, 0, 0))
	}
}
