package policy

import (
	"slices"
	"time"
)

// Expires says until when the retention keeps a point: the longest of the tags
// that hold it (FRQ-06). previous is when the scheduled point before it was
// made; zero if there was none.
//
// The daily tag holds every point; of weekly backups, the weekly tag does. The
// others hold the first point on or after each of their days, so that a backup
// that failed on the first Sunday is stood in for by the next one, and the very
// first point stands in for all days before it. What became of the point before
// changes nothing: an answer doesn't move when old points are deleted.
func (p Policy) Expires(at, previous time.Time) time.Time {
	var end time.Time
	for _, k := range p.holders(at, previous) {
		if e := p.end(k, at); e.After(end) {
			end = e
		}
	}
	return end
}

// Tags names the retention tags that hold a point: Daily, Weekly, Monthly, Yearly.
func (p Policy) Tags(at, previous time.Time) []string {
	var names []string
	for _, k := range p.holders(at, previous) {
		names = append(names, map[*Keep]string{p.Retention.Daily: "Daily", p.Retention.Weekly: "Weekly", p.Retention.Monthly: "Monthly", p.Retention.Yearly: "Yearly"}[k])
	}
	return names
}

// holders are the tags that hold a point. There is always one.
func (p Policy) holders(at, previous time.Time) []*Keep {
	r, day := p.Retention, p.day(at)
	since := time.Time{}
	if !previous.IsZero() {
		since = p.day(previous)
	}
	var all []*Keep
	if r.Daily != nil {
		all = append(all, r.Daily)
	}
	for _, tag := range []struct {
		keep *Keep
		of   func(*Keep, time.Time) bool
	}{{r.Weekly, (*Keep).ofWeek}, {r.Monthly, (*Keep).ofMonth}, {r.Yearly, (*Keep).ofYear}} {
		if tag.keep != nil && tag.keep.hasDay(day, since, tag.of) {
			all = append(all, tag.keep)
		}
	}
	if len(all) == 0 { // between the days of a weekly schedule: as long as its shortest
		all = append(all, r.Weekly)
	}
	return all
}

// hasDay says whether one of the tag's days lies after a day, up to another.
// Every tag has a day in any two years.
func (k *Keep) hasDay(day, after time.Time, of func(*Keep, time.Time) bool) bool {
	for ; after.Before(day); day = day.AddDate(0, 0, -1) {
		if after.IsZero() || of(k, day) {
			return true
		}
	}
	return false
}

// end is until when a tag keeps a point: the same time of a later day.
func (p Policy) end(k *Keep, at time.Time) time.Time {
	local, day, n := at.In(p.zone()), p.day(at), k.Duration.Count
	switch k.Duration.Unit {
	case "Weeks":
		day = day.AddDate(0, 0, 7*n)
	case "Months":
		day = day.AddDate(0, n, 0)
	case "Years":
		day = day.AddDate(n, 0, 0)
	default:
		day = day.AddDate(0, 0, n)
	}
	return p.moment(day, timeOfDay(local)+time.Duration(local.Second())*time.Second+time.Duration(local.Nanosecond()))
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
