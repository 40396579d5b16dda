package policy

// MaxPoints is how many recovery points one item may have (FRQ-01), and
// maxYears how long one may be kept (FRQ-02).
const (
	MaxPoints = 9999
	maxYears  = 99
)

// units gives, per unit, how many there are in the longest retention.
var units = map[string]int{"Days": maxYears*365 + maxYears/4 + 1, "Weeks": maxYears * 366 / 7, "Months": maxYears * 12, "Years": maxYears}

func (r Retention) check(s Schedule) error {
	if r.Type != "LongTermRetentionPolicy" {
		return invalid("retentionPolicy.retentionPolicyType", "is %q; it is LongTermRetentionPolicy", r.Type)
	}
	daily := s.Frequency != "Weekly"
	if daily && r.Daily == nil {
		return invalid("retentionPolicy.dailySchedule", "is missing; daily backups take one")
	}
	if !daily && r.Daily != nil {
		return invalid("retentionPolicy.dailySchedule", "is given, but backups are weekly")
	}
	if !daily && r.Weekly == nil {
		return invalid("retentionPolicy.weeklySchedule", "is missing; weekly backups take one")
	}
	points := 0
	for _, tag := range []struct {
		name string
		unit string // its own unit
		keep *Keep
	}{{"dailySchedule", "Days", r.Daily}, {"weeklySchedule", "Weeks", r.Weekly}, {"monthlySchedule", "Months", r.Monthly}, {"yearlySchedule", "Years", r.Yearly}} {
		if tag.keep == nil {
			continue
		}
		if err := tag.keep.check("retentionPolicy."+tag.name, tag.unit); err != nil {
			return err
		}
		n := tag.keep.Duration.Count * max(1, tag.keep.perUnit())
		if tag.unit == "Days" {
			n *= s.perDay()
		}
		points += n
	}
	if points > MaxPoints { // FRQ-07
		return invalid("retentionPolicy", "keeps %d recovery points; at most %d can be kept", points, MaxPoints)
	}
	return nil
}

// perDay is how many backups a day the schedule makes at most.
func (s Schedule) perDay() int {
	if s.Frequency == "Hourly" {
		return len(s.Hourly.clocks())
	}
	return len(s.times())
}

func (k Keep) check(member, unit string) error {
	if k.Duration.Unit != unit {
		return invalid(member+".retentionDuration.durationType", "is %q; here it is %s", k.Duration.Unit, unit)
	}
	if k.Duration.Count < 1 || k.Duration.Count > units[unit] { // FRQ-02
		return invalid(member+".retentionDuration.count", "is %d; it is 1 to %d %s (%d years)", k.Duration.Count, units[unit], unit, maxYears)
	}
	switch unit {
	case "Weeks":
		return checkWords(member+".daysOfTheWeek", k.Days, weekdays)
	case "Years":
		if err := checkWords(member+".monthsOfYear", k.Months, months); err != nil {
			return err
		}
		fallthrough
	case "Months":
		return k.checkFormat(member)
	}
	return nil
}

// checkFormat checks the day within a month: absolute (Daily) or relative (Weekly).
func (k Keep) checkFormat(member string) error {
	switch k.Format {
	case "Daily":
		if k.ByDay == nil || len(k.ByDay.Days) == 0 {
			return invalid(member+".retentionScheduleDaily.daysOfTheMonth", "is empty")
		}
		for _, d := range k.ByDay.Days {
			if d.IsLast && d.Date != 0 || !d.IsLast && (d.Date < 1 || d.Date > 28) {
				return invalid(member+".retentionScheduleDaily.daysOfTheMonth", "has the day %d; it is 1 to 28, or 0 with isLast", d.Date)
			}
		}
		return nil
	case "Weekly":
		if k.ByWeek == nil {
			return invalid(member+".retentionScheduleWeekly", "is missing")
		}
		if err := checkWords(member+".retentionScheduleWeekly.daysOfTheWeek", k.ByWeek.Days, weekdays); err != nil {
			return err
		}
		return checkWords(member+".retentionScheduleWeekly.weeksOfTheMonth", k.ByWeek.Weeks, weeks)
	}
	return invalid(member+".retentionScheduleFormatType", "is %q; it is Daily or Weekly", k.Format)
}

// perUnit is how many points the tag keeps of one of its units.
func (k Keep) perUnit() int {
	in := 1
	if k.Format == "Daily" && k.ByDay != nil {
		in = len(k.ByDay.Days)
	}
	if k.Format == "Weekly" && k.ByWeek != nil {
		in = len(k.ByWeek.Days) * len(k.ByWeek.Weeks)
	}
	return in * max(1, len(k.Days)) * max(1, len(k.Months))
}
