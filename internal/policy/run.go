package policy

import (
	"slices"
	"time"
)

// Next is the first run of the policy's schedule after a moment.
//
// Runs stay at the same offset from UTC all year, the standard time of the
// policy's zone: clocks that are put forward or back do not move them. A policy
// with FollowDaylightSaving follows the wall clock instead (ACT-11).
func (p Policy) Next(after time.Time) time.Time {
	// Yesterday's window may still be open; within the week there is a run of
	// any schedule.
	for day := p.day(after).AddDate(0, 0, -1); ; day = day.AddDate(0, 0, 1) {
		for _, run := range p.runs(day) {
			if run.After(after) {
				return run
			}
		}
	}
}

// Latest is the last run of the policy's schedule that is not after a moment.
func (p Policy) Latest(now time.Time) time.Time {
	for day := p.day(now); ; day = day.AddDate(0, 0, -1) {
		for _, run := range slices.Backward(p.runs(day)) {
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

// runs are the runs that begin on one day, in order: one that the clocks skip can
// coincide with another, and is one with it.
func (p Policy) runs(day time.Time) []time.Time {
	clocks := p.Schedule.clocks(day)
	runs := make([]time.Time, len(clocks))
	for i, clock := range clocks {
		runs[i] = p.moment(day, clock)
	}
	slices.SortFunc(runs, time.Time.Compare)
	return slices.CompactFunc(runs, time.Time.Equal)
}

// clocks are the times of day at which the schedule has a run on one day.
func (s Schedule) clocks(day time.Time) []time.Duration {
	if s.Hourly != nil && s.Frequency == "Hourly" {
		return s.Hourly.clocks()
	}
	days := s.Days
	if s.Daily == nil && s.Weekly != nil {
		days = s.Weekly.Days
	}
	if s.Frequency == "Weekly" && !slices.Contains(days, day.Weekday().String()) {
		return nil
	}
	times := s.times()
	clocks := make([]time.Duration, len(times))
	for i, t := range times {
		clocks[i] = timeOfDay(t)
	}
	return clocks
}

// clocks of an hourly schedule: from the start of its window, as long as that is
// open. A window may reach into the next day.
func (h Hourly) clocks() []time.Duration {
	var clocks []time.Duration
	for at := 0; at < h.Duration; at += h.Interval {
		clocks = append(clocks, timeOfDay(h.Start)+time.Duration(at)*time.Hour)
	}
	return clocks
}

// timeOfDay is what counts of a time in a schedule; its date and zone do not.
func timeOfDay(t time.Time) time.Duration {
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
}
