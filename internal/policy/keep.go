package policy

import (
	"slices"
	"time"
)

// Expiries says for each point, given oldest first, until when the retention
// keeps it: the longest of the tags that hold it (FRQ-06).
//
// The daily tag holds every point; of weekly backups, the weekly tag does. The
// others hold the first point on or after each of their days, so that a backup
// that failed on the first Sunday is stood in for by the next one.
func (p Policy) Expiries(points []time.Time) []time.Time {
	r, zone := p.Retention, p.zone()
	ends := make([]time.Time, len(points))
	var before time.Time
	for i, at := range points {
		at = at.In(zone)
		if r.Daily != nil {
			ends[i] = r.Daily.end(at)
		}
		for _, tag := range []struct {
			keep *Keep
			of   func(*Keep, time.Time) bool
		}{{r.Weekly, (*Keep).ofWeek}, {r.Monthly, (*Keep).ofMonth}, {r.Yearly, (*Keep).ofYear}} {
			if tag.keep == nil || i > 0 && !before.Before(tag.keep.lastDay(at, tag.of)) {
				continue
			}
			if end := tag.keep.end(at); end.After(ends[i]) {
				ends[i] = end
			}
		}
		if ends[i].IsZero() { // between the days of a weekly schedule: as long as its shortest
			ends[i] = r.Weekly.end(at)
		}
		before = at
	}
	return ends
}

// end is until when the tag keeps a point.
func (k *Keep) end(at time.Time) time.Time {
	n := k.Duration.Count
	switch k.Duration.Unit {
	case "Weeks":
		return at.AddDate(0, 0, 7*n)
	case "Months":
		return at.AddDate(0, n, 0)
	case "Years":
		return at.AddDate(n, 0, 0)
	}
	return at.AddDate(0, 0, n)
}

// lastDay is the midnight that began the tag's latest day not after a moment.
// Every tag has a day in any two years.
func (k *Keep) lastDay(at time.Time, of func(*Keep, time.Time) bool) time.Time {
	day := midnight(at)
	for !of(k, day) {
		day = day.AddDate(0, 0, -1)
	}
	return day
}

func (k *Keep) ofWeek(day time.Time) bool { return slices.Contains(k.Days, day.Weekday().String()) }

func (k *Keep) ofMonth(day time.Time) bool {
	if k.Format == "Weekly" {
		return slices.Contains(k.ByWeek.Days, day.Weekday().String()) && slices.ContainsFunc(k.ByWeek.Weeks, func(w string) bool { return inWeek(day, w) })
	}
	for _, d := range k.ByDay.Days {
		if d.Date == day.Day() || d.IsLast && lastOfMonth(day) {
			return true
		}
	}
	return false
}

func (k *Keep) ofYear(day time.Time) bool {
	return slices.Contains(k.Months, day.Month().String()) && k.ofMonth(day)
}

// inWeek says whether a day is the First, Second, …, Last of its weekday in the month.
func inWeek(day time.Time, week string) bool {
	if week == "Last" {
		return day.AddDate(0, 0, 7).Month() != day.Month()
	}
	return slices.Index(weeks, week) == (day.Day()-1)/7
}

func lastOfMonth(day time.Time) bool { return day.AddDate(0, 0, 1).Day() == 1 }
