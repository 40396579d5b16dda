package policy

import (
	"slices"
	"time"
)

// Next is the first run of the policy's schedule after a moment.
//
// Runs stay at the same offset from UTC all year, the standard time of the
// policy's zone: clocks that are put forward or back do not move them (ACT-11).
func (p Policy) Next(after time.Time) time.Time {
	local := after.In(p.zone())
	// Yesterday's window may still be open; within the week there is a run of
	// any schedule.
	for day := midnight(local).AddDate(0, 0, -1); ; day = day.AddDate(0, 0, 1) {
		for _, run := range p.Schedule.runs(day) {
			if run.After(after) {
				return run
			}
		}
	}
}

// Latest is the last run of the policy's schedule that is not after a moment.
func (p Policy) Latest(now time.Time) time.Time {
	for day := midnight(now.In(p.zone())); ; day = day.AddDate(0, 0, -1) {
		for _, run := range slices.Backward(p.Schedule.runs(day)) {
			if !run.After(now) {
				return run
			}
		}
	}
}

// Missed is the latest run that was due after since and not later than now;
// ok is false when none was. However many were missed, one makes up for them.
func (p Policy) Missed(since, now time.Time) (run time.Time, ok bool) {
	run = p.Latest(now)
	return run, run.After(since)
}

// runs are the runs on one day, in order, given its midnight.
func (s Schedule) runs(day time.Time) []time.Time {
	days, times := s.Days, s.Times
	switch {
	case s.Hourly != nil && s.Frequency == "Hourly":
		return s.Hourly.runs(day)
	case s.Daily != nil:
		times = s.Daily.Times
	case s.Weekly != nil:
		days, times = s.Weekly.Days, s.Weekly.Times
	}
	if s.Frequency == "Weekly" && !slices.Contains(days, day.Weekday().String()) {
		return nil
	}
	runs := make([]time.Time, len(times))
	for i, t := range times {
		runs[i] = day.Add(timeOfDay(t))
	}
	slices.SortFunc(runs, time.Time.Compare)
	return runs
}

// runs of an hourly schedule: from the start of its window, as long as that is
// open. A window may reach into the next day.
func (h Hourly) runs(day time.Time) []time.Time {
	var runs []time.Time
	for at := 0; at < h.Duration; at += h.Interval {
		runs = append(runs, day.Add(timeOfDay(h.Start)+time.Duration(at)*time.Hour))
	}
	return runs
}

// timeOfDay is what counts of a time in a schedule; its date and zone do not.
func timeOfDay(t time.Time) time.Duration {
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
}

func midnight(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
}
