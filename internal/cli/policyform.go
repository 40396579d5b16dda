package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	backup "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservicesbackup/v4"
	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

// vmPolicy is the SDK's model of a policy for VMs.
type vmPolicy = backup.AzureIaaSVMProtectionPolicy

// policyForm is a policy as the flags of policy create say it.
type policyForm struct {
	daily, weekly, hourly      string
	days                       int
	weeks, months, years       string
	instantDays                int
	timeZone, wantedConsistent string
	daylightSaving             bool
}

// formFlags are the flags that make a policy and so do not go with a file.
var formFlags = []string{"daily", "weekly", "hourly", "retain-days", "retain-weeks", "retain-months", "retain-years", "instant-days", "time-zone", "follow-daylight-saving", "consistency"}

func (f *policyForm) addFlags(c *cobra.Command) {
	fs := c.Flags()
	fs.StringVar(&f.daily, "daily", "", "back up every day at this `TIME`, such as 02:00")
	fs.StringVar(&f.weekly, "weekly", "", "back up on `DAYS@TIME`, such as Sun,Wed@02:00")
	fs.StringVar(&f.hourly, "hourly", "", "back up `N@TIME/HOURS`: every N (4, 6, 8, 12) hours from a time for so many hours, such as 4@08:00/12")
	fs.IntVar(&f.days, "retain-days", 0, "keep daily and hourly points for this many `DAYS` (default 30)")
	fs.StringVar(&f.weeks, "retain-weeks", "", "keep a point of each week for `N[@DAYS]` weeks")
	fs.StringVar(&f.months, "retain-months", "", "keep a point of each month for `N[@WHICH]` months")
	fs.StringVar(&f.years, "retain-years", "", "keep a point of each year for `N[@MONTHS/WHICH]` years")
	fs.IntVar(&f.instantDays, "instant-days", 0, "keep instant restore points for this many `DAYS` (default 2, or 5 with --weekly)")
	fs.StringVar(&f.timeZone, "time-zone", "UTC", "`ZONE` of the times, by its Windows name as in Azure")
	fs.BoolVar(&f.daylightSaving, "follow-daylight-saving", false, "let the times be what the clocks show in summer, too")
	fs.StringVar(&f.wantedConsistent, "consistency", "ApplicationConsistent", "the best to try: ApplicationConsistent or CrashConsistent (no freeze of the guest)")
	fixed(c, "consistency", "ApplicationConsistent", "CrashConsistent")
}

// properties are the policy as the server takes it: Azure's form, and Holdfast's
// extension whole, since one that is left out stays as it was.
func (f *policyForm) properties() (json.RawMessage, error) {
	p, err := f.policy()
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	var members map[string]any
	if err := json.Unmarshal(b, &members); err != nil {
		return nil, err
	}
	members["holdfast"] = client.PolicyExtension{FollowDaylightSaving: f.daylightSaving}
	return json.Marshal(members)
}

// policy is the ARM policy that the form describes. CrashConsistent is in Azure
// a property of the enhanced policy (V2) only, so it makes one.
func (f *policyForm) policy() (*vmPolicy, error) {
	p := &vmPolicy{
		BackupManagementType:          to.Ptr(string(backup.BackupManagementTypeAzureIaasVM)),
		PolicyType:                    to.Ptr(backup.IAASVMPolicyTypeV1),
		TimeZone:                      &f.timeZone,
		InstantRpRetentionRangeInDays: to.Ptr(int32(f.instantDays)),
	}
	days, at, err := f.when()
	if err != nil {
		return nil, err
	}
	if f.instantDays == 0 {
		*p.InstantRpRetentionRangeInDays = 2
		if f.weekly != "" {
			*p.InstantRpRetentionRangeInDays = 5 // weekly wants exactly 5 (contract, section 7)
		}
	}
	switch f.wantedConsistent {
	case "CrashConsistent", "ApplicationConsistent", "":
	default:
		return nil, usagef("--consistency is %q; it is ApplicationConsistent, which takes the best that the guest allows, or CrashConsistent.", f.wantedConsistent)
	}
	if f.wantedConsistent == "CrashConsistent" {
		p.SnapshotConsistencyType = to.Ptr(backup.IaasVMSnapshotConsistencyTypeOnlyCrashConsistent)
	}
	switch {
	case f.hourly != "":
		p.PolicyType = to.Ptr(backup.IAASVMPolicyTypeV2)
		if p.SchedulePolicy, at, err = hourlySchedule(f.hourly); err != nil {
			return nil, err
		}
	case f.wantedConsistent == "CrashConsistent":
		p.PolicyType = to.Ptr(backup.IAASVMPolicyTypeV2)
		p.SchedulePolicy = enhancedSchedule(days, at)
	default:
		p.SchedulePolicy = simpleSchedule(days, at)
	}
	keep, err := f.retention(days, at)
	p.RetentionPolicy = keep
	return p, err
}

// when is the schedule: the days, none for every day, and the time of day.
func (f *policyForm) when() (days []backup.DayOfWeek, at time.Time, err error) {
	if f.hourly != "" {
		return nil, at, nil // hourlySchedule reads it
	}
	clock, flag := f.daily, "daily"
	if f.weekly != "" {
		list, rest, ok := strings.Cut(f.weekly, "@")
		if !ok {
			return nil, at, usagef("--weekly is %q; it is DAYS@HH:MM, such as Sun,Wed@02:00.", f.weekly)
		}
		if days, err = parseDays("weekly", list); err != nil {
			return nil, at, err
		}
		clock, flag = rest, "weekly"
	}
	t, err := time.Parse("15:04", clock)
	if err != nil {
		return nil, at, usagef("--%s: %q is not a time of day, such as 02:00.", flag, clock)
	}
	// Of a full date only the time of day counts; az writes this day.
	return days, time.Date(2023, 1, 1, t.Hour(), t.Minute(), 0, 0, time.UTC), nil
}

// hourlySchedule is the schedule of --hourly N@TIME/HOURS, and its first time of day.
func hourlySchedule(s string) (backup.SchedulePolicyClassification, time.Time, error) {
	var every, hour, minute, hours int32
	if n, err := fmt.Sscanf(s+"\n", "%d@%d:%d/%d\n", &every, &hour, &minute, &hours); err != nil || n != 4 || hour < 0 || hour > 23 || minute < 0 || minute > 59 {
		return nil, time.Time{}, usagef("--hourly is %q; it is N@HH:MM/HOURS, such as 4@08:00/12 for every 4 hours from 8:00 for 12 hours.", s)
	}
	at := time.Date(2023, 1, 1, int(hour), int(minute), 0, 0, time.UTC)
	return &backup.SimpleSchedulePolicyV2{
		SchedulePolicyType:   to.Ptr("SimpleSchedulePolicyV2"),
		ScheduleRunFrequency: to.Ptr(backup.ScheduleRunTypeHourly),
		HourlySchedule:       &backup.HourlySchedule{Interval: &every, ScheduleWindowStartTime: &at, ScheduleWindowDuration: &hours},
	}, at, nil
}

func simpleSchedule(days []backup.DayOfWeek, at time.Time) backup.SchedulePolicyClassification {
	s := &backup.SimpleSchedulePolicy{
		SchedulePolicyType:   to.Ptr("SimpleSchedulePolicy"),
		ScheduleRunFrequency: to.Ptr(backup.ScheduleRunTypeDaily),
		ScheduleRunTimes:     []*time.Time{&at},
	}
	if len(days) > 0 {
		s.ScheduleRunFrequency, s.ScheduleRunDays = to.Ptr(backup.ScheduleRunTypeWeekly), to.SliceOfPtrs(days...)
	}
	return s
}

func enhancedSchedule(days []backup.DayOfWeek, at time.Time) backup.SchedulePolicyClassification {
	s := &backup.SimpleSchedulePolicyV2{SchedulePolicyType: to.Ptr("SimpleSchedulePolicyV2")}
	if len(days) > 0 {
		s.ScheduleRunFrequency = to.Ptr(backup.ScheduleRunTypeWeekly)
		s.WeeklySchedule = &backup.WeeklySchedule{ScheduleRunDays: to.SliceOfPtrs(days...), ScheduleRunTimes: []*time.Time{&at}}
		return s
	}
	s.ScheduleRunFrequency = to.Ptr(backup.ScheduleRunTypeDaily)
	s.DailySchedule = &backup.DailySchedule{ScheduleRunTimes: []*time.Time{&at}}
	return s
}

// retention is how long points are kept. scheduled are the days of a weekly
// schedule.
func (f *policyForm) retention(scheduled []backup.DayOfWeek, at time.Time) (*backup.LongTermRetentionPolicy, error) {
	times := []*time.Time{&at}
	keep := &backup.LongTermRetentionPolicy{RetentionPolicyType: to.Ptr("LongTermRetentionPolicy")}
	day := backup.DayOfWeekSunday
	if len(scheduled) > 0 {
		day = scheduled[0]
	}
	switch {
	case f.days < 0, f.weekly != "" && f.days > 0:
		return nil, usagef("--retain-days goes with --daily and is 1 or more; with --weekly say --retain-weeks.")
	case f.weekly == "":
		days := f.days
		if days == 0 {
			days = 30
		}
		keep.DailySchedule = &backup.DailyRetentionSchedule{RetentionTimes: times, RetentionDuration: span(days, backup.RetentionDurationTypeDays)}
	case f.weeks == "":
		return nil, usagef("--weekly wants --retain-weeks.")
	}
	if f.weeks != "" {
		n, which, err := countAt("retain-weeks", f.weeks)
		if err != nil {
			return nil, err
		}
		days := []backup.DayOfWeek{day}
		if len(scheduled) > 0 {
			days = scheduled
		}
		if which != "" {
			if days, err = parseDays("retain-weeks", which); err != nil {
				return nil, err
			}
		}
		keep.WeeklySchedule = &backup.WeeklyRetentionSchedule{DaysOfTheWeek: to.SliceOfPtrs(days...), RetentionTimes: times,
			RetentionDuration: span(n, backup.RetentionDurationTypeWeeks)}
	}
	return keep, f.longRetention(keep, day, times)
}

// longRetention adds the monthly and yearly tags.
func (f *policyForm) longRetention(keep *backup.LongTermRetentionPolicy, day backup.DayOfWeek, times []*time.Time) error {
	if f.months != "" {
		n, which, err := countAt("retain-months", f.months)
		if err != nil {
			return err
		}
		format, daily, weekly, err := parseWhich("retain-months", which, day)
		if err != nil {
			return err
		}
		keep.MonthlySchedule = &backup.MonthlyRetentionSchedule{RetentionTimes: times, RetentionDuration: span(n, backup.RetentionDurationTypeMonths),
			RetentionScheduleFormatType: format, RetentionScheduleDaily: daily, RetentionScheduleWeekly: weekly}
	}
	if f.years == "" {
		return nil
	}
	n, rest, err := countAt("retain-years", f.years)
	if err != nil {
		return err
	}
	list, which, _ := strings.Cut(rest, "/")
	if list == "" {
		list = "January"
	}
	months, err := parseWords("retain-years", "month", list, backup.PossibleMonthOfYearValues())
	if err != nil {
		return err
	}
	format, daily, weekly, err := parseWhich("retain-years", which, day)
	if err != nil {
		return err
	}
	keep.YearlySchedule = &backup.YearlyRetentionSchedule{MonthsOfYear: to.SliceOfPtrs(months...), RetentionTimes: times,
		RetentionDuration:           span(n, backup.RetentionDurationTypeYears),
		RetentionScheduleFormatType: format, RetentionScheduleDaily: daily, RetentionScheduleWeekly: weekly}
	return nil
}

func span(n int, unit backup.RetentionDurationType) *backup.RetentionDuration {
	return &backup.RetentionDuration{Count: to.Ptr(int32(n)), DurationType: &unit}
}

// countAt reads N or N@REST.
func countAt(flag, s string) (n int, rest string, err error) {
	number, rest, _ := strings.Cut(s, "@")
	n, err = strconv.Atoi(number)
	if err != nil || n < 1 || n > 9999 {
		return 0, "", usagef("--%s is %q; it starts with a number from 1 to 9999.", flag, s)
	}
	return n, rest, nil
}

// parseWhich reads which days of a month: first-Sun, last-Sat or 1,15,last.
// Nothing is the first of a weekday.
func parseWhich(flag, s string, day backup.DayOfWeek) (*backup.RetentionScheduleFormat, *backup.DailyRetentionFormat, *backup.WeeklyRetentionFormat, error) {
	if s == "" {
		s = "first-" + string(day)
	}
	if week, name, ok := strings.Cut(s, "-"); ok {
		weeks, err := parseWords(flag, "week of the month", week, backup.PossibleWeekOfMonthValues())
		if err != nil {
			return nil, nil, nil, err
		}
		days, err := parseDays(flag, name)
		return to.Ptr(backup.RetentionScheduleFormatWeekly), nil,
			&backup.WeeklyRetentionFormat{WeeksOfTheMonth: to.SliceOfPtrs(weeks...), DaysOfTheWeek: to.SliceOfPtrs(days...)}, err
	}
	format := &backup.DailyRetentionFormat{}
	for _, one := range strings.Split(s, ",") {
		if strings.EqualFold(one, "last") {
			format.DaysOfTheMonth = append(format.DaysOfTheMonth, &backup.Day{Date: to.Ptr(int32(0)), IsLast: to.Ptr(true)})
			continue
		}
		n, err := strconv.Atoi(one)
		if err != nil || n < 1 || n > 28 {
			return nil, nil, nil, usagef("--%s: %q is not a day of every month (1 to 28, or last), nor such as first-Sun.", flag, one)
		}
		format.DaysOfTheMonth = append(format.DaysOfTheMonth, &backup.Day{Date: to.Ptr(int32(n)), IsLast: to.Ptr(false)})
	}
	return to.Ptr(backup.RetentionScheduleFormatDaily), format, nil, nil
}

func parseDays(flag, s string) ([]backup.DayOfWeek, error) {
	return parseWords(flag, "day of the week", s, backup.PossibleDayOfWeekValues())
}

// parseWords reads a list of words of which the first three letters are enough.
func parseWords[T ~string](flag, what, s string, all []T) ([]T, error) {
	var list []T
	for _, one := range strings.Split(s, ",") {
		i := slices.IndexFunc(all, func(w T) bool {
			return len(one) >= 3 && len(one) <= len(w) && strings.EqualFold(string(w[:len(one)]), one)
		})
		if i < 0 {
			return nil, usagef("--%s: %q is not a %s.", flag, one, what)
		}
		if slices.Contains(list, all[i]) {
			return nil, usagef("--%s: %s is there twice.", flag, all[i])
		}
		list = append(list, all[i])
	}
	return list, nil
}
