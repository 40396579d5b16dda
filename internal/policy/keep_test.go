package policy

import (
	"math/rand/v2"
	"testing"
	"time"

	"holdfast/internal/matrix"
)

// TestExpiriesOfATower keeps a year of daily points by all four tags.
func TestExpiriesOfATower(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "FRQ-06")
	p := Policy{Retention: Retention{
		Daily:   &Keep{Duration: Duration{7, "Days"}},
		Weekly:  &Keep{Duration: Duration{4, "Weeks"}, Days: []string{"Sunday"}},
		Monthly: monthly(12, 1, false),
		Yearly:  yearly(99, "January", 1),
	}}
	var points []time.Time
	for d := at(t, "2026-01-01T02:30:00Z"); d.Year() == 2026; d = d.AddDate(0, 0, 1) {
		points = append(points, d)
	}
	ends := expiries(p, points)
	for day, want := range map[string]string{
		"2026-01-01": "2125-01-01", // yearly
		"2026-02-01": "2027-02-01", // monthly, a Sunday too
		"2026-03-08": "2026-04-05", // weekly
		"2026-03-09": "2026-03-16", // daily
		"2026-12-31": "2027-01-07",
	} {
		i := at(t, day+"T00:00:00Z").YearDay() - 1
		if got := ends[i].Format("2006-01-02"); got != want {
			t.Errorf("the point of %s is kept until %s, want %s", day, got, want)
		}
	}
}

func TestExpiriesStandIn(t *testing.T) {
	t.Parallel()
	p := Policy{Retention: Retention{Daily: &Keep{Duration: Duration{7, "Days"}}, Monthly: monthly(12, 0, true)}}
	points := []time.Time{at(t, "2027-02-27T02:30:00Z"), at(t, "2027-03-02T02:30:00Z"), at(t, "2027-03-03T02:30:00Z")}
	ends := expiries(p, points)
	// The last of February failed: the next point stands in for it. The first
	// point of all stands in for the last of January.
	for i, want := range []string{"2028-02-27", "2028-03-02", "2027-03-10"} {
		if got := ends[i].Format("2006-01-02"); got != want {
			t.Errorf("point %d is kept until %s, want %s", i, got, want)
		}
	}
}

// expiries are those of a chain of scheduled points.
func expiries(p Policy, points []time.Time) (ends []time.Time) {
	var previous time.Time
	for _, at := range points {
		ends = append(ends, p.Expires(at, previous))
		previous = at
	}
	return ends
}

// TestExpiriesAgainstOracle walks all days for random towers and random gaps.
func TestExpiriesAgainstOracle(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "ACT-10", "FRQ-06")
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		p := Policy{Retention: Retention{
			Daily: &Keep{Duration: Duration{1 + random.IntN(30), "Days"}}, Weekly: &Keep{Duration: Duration{1 + random.IntN(20), "Weeks"}, Days: []string{weekdays[random.IntN(7)]}},
			Monthly: monthly(1+random.IntN(24), 1+random.IntN(28), false), Yearly: yearly(1+random.IntN(9), months[random.IntN(12)], 1+random.IntN(28)),
		}}
		if random.IntN(2) == 0 {
			p.Retention.Monthly = relative(1+random.IntN(24), weeks[random.IntN(5)], weekdays[random.IntN(7)])
		}
		for p.TimeZone = range zones { // any
			break
		}
		p.Holdfast.FollowDaylightSaving = random.IntN(2) == 0
		var points []time.Time
		p.Schedule = randomSchedule(random)
		for run := p.Next(at(t, "2027-06-01T12:00:00Z").AddDate(0, 0, random.IntN(500))); len(points) < 60; run = p.Next(run) {
			if random.IntN(4) > 0 { // else it failed
				points = append(points, run)
			}
		}
		got, want := expiries(p, points), oracle(p, points)
		for i := range points {
			if !got[i].Equal(want[i]) {
				t.Fatalf("%+v: point %s is kept until %s, the oracle says %s", p.Retention, points[i], got[i], want[i])
			}
		}
	}
}

// oracle gives every day of a tag its point by walking forward over all days.
func oracle(p Policy, points []time.Time) []time.Time {
	r := p.Retention
	ends := make([]time.Time, len(points))
	hold := func(i int, end time.Time) {
		if end.After(ends[i]) {
			ends[i] = end
		}
	}
	for i, at := range points {
		hold(i, p.end(r.Daily, at))
	}
	for _, tag := range []*Keep{r.Weekly, r.Monthly, r.Yearly} {
		open := false // a day of the tag has passed that has no point yet
		i := 0
		for day := date(p, points[0]).AddDate(-2, 0, 0); i < len(points); day = day.AddDate(0, 0, 1) {
			if isDay(tag, day) {
				open = true
			}
			for ; i < len(points) && !date(p, points[i]).After(day); i++ {
				if open {
					hold(i, p.end(tag, points[i]))
					open = false
				}
			}
		}
	}
	return ends
}

// date is the day of a moment in the policy's zone, as a date of UTC.
func date(p Policy, at time.Time) time.Time {
	day, err := time.Parse(time.DateOnly, at.In(p.zone()).Format(time.DateOnly))
	if err != nil {
		panic(err)
	}
	return day
}

func isDay(k *Keep, day time.Time) bool {
	switch k.Duration.Unit {
	case "Weeks":
		return day.Weekday().String() == k.Days[0]
	case "Years":
		return day.Month().String() == k.Months[0] && day.Day() == k.ByDay.Days[0].Date
	}
	if k.Format == "Daily" {
		return day.Day() == k.ByDay.Days[0].Date
	}
	if day.Weekday().String() != k.ByWeek.Days[0] {
		return false
	}
	nth := 0
	for d := day; d.Month() == day.Month(); d = d.AddDate(0, 0, -7) {
		nth++
	}
	last := day.AddDate(0, 0, 7).Month() != day.Month()
	return k.ByWeek.Weeks[0] == "Last" && last || k.ByWeek.Weeks[0] == []string{"", "First", "Second", "Third", "Fourth", "Fifth"}[nth]
}

func monthly(count, date int, last bool) *Keep {
	k := &Keep{Duration: Duration{count, "Months"}, Format: "Daily"}
	k.ByDay = &MonthDays{Days: []MonthDay{{Date: date, IsLast: last}}}
	return k
}

func yearly(count int, month string, date int) *Keep {
	k := monthly(count, date, false)
	k.Duration.Unit, k.Months = "Years", []string{month}
	return k
}

func relative(count int, week, weekday string) *Keep {
	return &Keep{Duration: Duration{count, "Months"}, Format: "Weekly", ByWeek: &MonthWeeks{Days: []string{weekday}, Weeks: []string{week}}}
}

// A point's expiry does not move when the points before it are gone.
func TestExpiryStays(t *testing.T) {
	t.Parallel()
	p := Policy{Retention: Retention{Daily: &Keep{Duration: Duration{7, "Days"}}, Monthly: monthly(1, 1, false)}}
	var all []Made
	for d := at(t, "2027-01-01T02:00:00Z"); d.Month() < 4; d = d.AddDate(0, 0, 1) {
		m := Made{Time: d}
		if len(all) > 0 {
			m.Previous = all[len(all)-1].Time
		}
		all = append(all, m)
	}
	whole := p.Remark(all)
	for n := range all {
		if got := p.Remark(all[n:]); !got[0].Expires.Equal(whole[n].Expires) {
			t.Errorf("the point of %s: %s alone, %s in its chain", all[n].Time, got[0].Expires, whole[n].Expires)
		}
	}
}

// A point that a clock which was put back has made counts from the one before it.
func TestRemarkAfterAClockWasPutBack(t *testing.T) {
	t.Parallel()
	p := Policy{Retention: Retention{Daily: &Keep{Duration: Duration{7, "Days"}}}}
	yesterday := at(t, "2027-01-10T02:00:00Z")
	got := p.Remark([]Made{{Time: yesterday.AddDate(-1, 0, 0), Previous: yesterday}, {Time: yesterday, Fixed: true, Expires: yesterday}})
	if want := at(t, "2027-01-17T02:00:00Z"); !got[0].Expires.Equal(want) || !got[1].Expires.Equal(yesterday) {
		t.Errorf("kept until %s, want %s; a fixed one until %s, want %s", got[0].Expires, want, got[1].Expires, yesterday)
	}
}
