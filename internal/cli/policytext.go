package cli

import (
	"fmt"
	"strings"
	"time"

	backup "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservicesbackup/v4"

	"holdfast/internal/client"
)

// schedule is when a policy backs up, in words.
func schedule(policy client.Policy) string {
	p := policy.VM
	if p == nil {
		return ""
	}
	text := ""
	switch s := p.SchedulePolicy.(type) {
	case *backup.SimpleSchedulePolicy:
		text = runs(s.ScheduleRunFrequency, s.ScheduleRunDays, s.ScheduleRunTimes, s.HourlySchedule)
	case *backup.SimpleSchedulePolicyV2:
		var days []*backup.DayOfWeek
		var times []*time.Time
		if s.WeeklySchedule != nil {
			days, times = s.WeeklySchedule.ScheduleRunDays, s.WeeklySchedule.ScheduleRunTimes
		}
		if s.DailySchedule != nil {
			times = s.DailySchedule.ScheduleRunTimes
		}
		text = runs(s.ScheduleRunFrequency, days, times, s.HourlySchedule)
	default:
		return ""
	}
	if p.TimeZone != nil {
		text += " " + *p.TimeZone
	}
	if policy.Extension.FollowDaylightSaving {
		text += ", with daylight saving"
	}
	return text
}

func runs(frequency *backup.ScheduleRunType, days []*backup.DayOfWeek, times []*time.Time, hourly *backup.HourlySchedule) string {
	if hourly != nil && hourly.Interval != nil && hourly.ScheduleWindowStartTime != nil && hourly.ScheduleWindowDuration != nil {
		return fmt.Sprintf("every %d h from %s for %d h", *hourly.Interval, hourly.ScheduleWindowStartTime.Format("15:04"), *hourly.ScheduleWindowDuration)
	}
	var at []string
	for _, t := range times {
		if t != nil {
			at = append(at, t.Format("15:04"))
		}
	}
	head := "daily"
	if frequency != nil && *frequency == backup.ScheduleRunTypeWeekly {
		head = "weekly " + join(days)
	}
	return head + " " + strings.Join(at, ",")
}

// retention is how long a policy keeps points, one line per tag.
func retention(p *vmPolicy) []string {
	if p == nil {
		return nil
	}
	if simple, ok := p.RetentionPolicy.(*backup.SimpleRetentionPolicy); ok {
		return []string{duration(simple.RetentionDuration)}
	}
	keep, ok := p.RetentionPolicy.(*backup.LongTermRetentionPolicy)
	if !ok {
		return nil
	}
	var list []string
	if d := keep.DailySchedule; d != nil {
		list = append(list, duration(d.RetentionDuration))
	}
	if w := keep.WeeklySchedule; w != nil {
		list = append(list, duration(w.RetentionDuration)+" of "+join(w.DaysOfTheWeek))
	}
	if m := keep.MonthlySchedule; m != nil {
		list = append(list, duration(m.RetentionDuration)+" of "+which(m.RetentionScheduleDaily, m.RetentionScheduleWeekly))
	}
	if y := keep.YearlySchedule; y != nil {
		list = append(list, duration(y.RetentionDuration)+" of "+join(y.MonthsOfYear)+" "+which(y.RetentionScheduleDaily, y.RetentionScheduleWeekly))
	}
	return list
}

func duration(d *backup.RetentionDuration) string {
	if d == nil || d.Count == nil || d.DurationType == nil {
		return "?"
	}
	return fmt.Sprintf("%d %s", *d.Count, strings.ToLower(string(*d.DurationType)))
}

func which(daily *backup.DailyRetentionFormat, weekly *backup.WeeklyRetentionFormat) string {
	if weekly != nil {
		return strings.ToLower(join(weekly.WeeksOfTheMonth)) + " " + join(weekly.DaysOfTheWeek)
	}
	var days []string
	if daily != nil {
		for _, d := range daily.DaysOfTheMonth {
			switch {
			case d == nil:
			case d.IsLast != nil && *d.IsLast:
				days = append(days, "last")
			case d.Date != nil:
				days = append(days, fmt.Sprint(*d.Date))
			}
		}
	}
	return "day " + strings.Join(days, ",")
}

func join[T ~string](list []*T) string {
	var words []string
	for _, w := range list {
		if w != nil {
			words = append(words, string(*w))
		}
	}
	return strings.Join(words, ",")
}

// instant is how long instant restore points stay on the site.
func instant(p *vmPolicy) string {
	if p == nil || p.InstantRpRetentionRangeInDays == nil {
		return ""
	}
	return fmt.Sprintf("%d days", *p.InstantRpRetentionRangeInDays)
}

// consistency is what a policy asks of a backup.
func consistency(p *vmPolicy) string {
	switch {
	case p == nil:
		return ""
	case p.SnapshotConsistencyType != nil:
		return string(*p.SnapshotConsistencyType)
	}
	return "the best that the guest allows"
}
