// Package policy reads and judges backup policies. It is pure: JSON in, rules
// out. A policy is kept as its owner wrote it, so that members which Holdfast
// does not know survive; Parse reads from it what Holdfast obeys.
//
// The members and their limits are those of AzureIaaSVMProtectionPolicy
// (arm-contract, 7); the rows of the support matrix are named where they speak.
package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast"
)

// Policy is what Holdfast obeys of a policy.
type Policy struct {
	Management string    `json:"backupManagementType"`
	Type       string    `json:"policyType"` // V1 or V2 (enhanced)
	Schedule   Schedule  `json:"schedulePolicy"`
	Retention  Retention `json:"retentionPolicy"`
	// InstantDays is how long the instant tier is kept, days.
	InstantDays int    `json:"instantRpRetentionRangeInDays"`
	TimeZone    string `json:"timeZone"`
	// Consistency is "" for the best that the guest allows, or OnlyCrashConsistent
	// (V2), which leaves the guest alone.
	Consistency string `json:"snapshotConsistencyType"`
	// Holdfast are the members that Azure's policies don't have.
	Holdfast Extension `json:"holdfast"`
}

// Extension is what Holdfast's policies have beside Azure's. A member that it
// does not have is refused: it would be obeyed by nobody.
type Extension struct {
	// FollowDaylightSaving lets the times of the schedule be those that the clocks
	// on the wall show; without it they are standard time all year (ACT-11).
	FollowDaylightSaving bool `json:"followDaylightSaving"`
	// VerifyPoints lets the newest point be booted in isolation after each backup.
	VerifyPoints bool `json:"verifyPoints"`
}

// UnmarshalJSON reads the extension, strictly.
func (e *Extension) UnmarshalJSON(b []byte) error {
	type plain Extension // without this method
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode((*plain)(e)); err != nil {
		return invalid("holdfast", "is not readable: it takes followDaylightSaving and verifyPoints, true or false").WithCause(err)
	}
	return nil
}

// OnlyCrash is the consistency preference of a policy that freezes no guest.
const OnlyCrash = "OnlyCrashConsistent"

// Schedule says when a backup is taken.
type Schedule struct {
	Type      string      `json:"schedulePolicyType"`
	Frequency string      `json:"scheduleRunFrequency"` // Hourly (V2 only), Daily or Weekly
	Days      []string    `json:"scheduleRunDays"`      // V1 weekly
	Times     []time.Time `json:"scheduleRunTimes"`     // V1; only the time of day counts
	Hourly    *Hourly     `json:"hourlySchedule"`       // V2
	Daily     *Daily      `json:"dailySchedule"`        // V2
	Weekly    *Weekly     `json:"weeklySchedule"`       // V2
}

// Hourly is a V2 schedule of several backups a day.
type Hourly struct {
	Interval int       `json:"interval"` // hours
	Start    time.Time `json:"scheduleWindowStartTime"`
	Duration int       `json:"scheduleWindowDuration"` // hours
}

// Daily is a V2 schedule of one backup a day.
type Daily struct {
	Times []time.Time `json:"scheduleRunTimes"`
}

// Weekly is a V2 schedule of one backup on each of some days.
type Weekly struct {
	Days  []string    `json:"scheduleRunDays"`
	Times []time.Time `json:"scheduleRunTimes"`
}

// Retention says how long points are kept: as long as any tag holds them.
type Retention struct {
	Type    string `json:"retentionPolicyType"`
	Daily   *Keep  `json:"dailySchedule"`
	Weekly  *Keep  `json:"weeklySchedule"`
	Monthly *Keep  `json:"monthlySchedule"`
	Yearly  *Keep  `json:"yearlySchedule"`
}

// Keep is one retention tag.
type Keep struct {
	Times    []time.Time `json:"retentionTimes"`
	Duration Duration    `json:"retentionDuration"`
	Days     []string    `json:"daysOfTheWeek"`               // weekly
	Format   string      `json:"retentionScheduleFormatType"` // monthly, yearly: Daily or Weekly
	Months   []string    `json:"monthsOfYear"`                // yearly
	ByDay    *MonthDays  `json:"retentionScheduleDaily"`
	ByWeek   *MonthWeeks `json:"retentionScheduleWeekly"`
}

// MonthDays are days of a month by their date.
type MonthDays struct {
	Days []MonthDay `json:"daysOfTheMonth"`
}

// MonthDay is one of them.
type MonthDay struct {
	Date   int  `json:"date"` // 1 to 28; 0 with IsLast
	IsLast bool `json:"isLast"`
}

// MonthWeeks are days of a month such as its first Sunday.
type MonthWeeks struct {
	Days  []string `json:"daysOfTheWeek"`
	Weeks []string `json:"weeksOfTheMonth"` // First to Fourth, Last
}

// Duration is a count of days, weeks, months or years.
type Duration struct {
	Count int    `json:"count"`
	Unit  string `json:"durationType"` // Days, Weeks, Months or Years
}

// defaultInstant is how long the instant tier is kept when the policy does not
// say, and weeklyInstant when it is a weekly standard one, days (arm-contract, 7).
const (
	defaultInstant = 2
	weeklyInstant  = 5
)

// Instant is how long a point is kept in the instant tier.
func (p Policy) Instant() time.Duration {
	days := p.InstantDays
	switch {
	case days == 0 && p.Type == "V1" && p.Schedule.Frequency == "Weekly":
		days = weeklyInstant
	case days == 0:
		days = defaultInstant
	}
	return time.Duration(days) * 24 * time.Hour
}

// Parse reads the properties of a policy and judges them.
// The error is a holdfast.Invalid that names the member and the rule.
func Parse(properties json.RawMessage) (Policy, error) {
	var p Policy
	if err := json.Unmarshal(properties, &p); err != nil {
		return p, wrongType(err)
	}
	if p.Type == "" {
		p.Type = "V1"
	}
	return p, p.check()
}

// wrongType turns a decoding error into one that names the member.
func wrongType(err error) error {
	var refused *holdfast.Error
	if errors.As(err, &refused) {
		return refused
	}
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		return invalid(t.Field, "is of the wrong type (%s)", t.Value)
	}
	var at *time.ParseError
	if errors.As(err, &at) {
		return invalid("retentionTimes or scheduleRunTimes", "has the time %q; a time is written 2024-01-02T15:04:05Z", at.Value)
	}
	return invalid("", "is not valid JSON").WithCause(err)
}

func invalid(member, rule string, args ...any) *holdfast.Error {
	target := "properties"
	if member != "" {
		target += "." + member
	}
	return holdfast.Errorf(holdfast.Invalid, target, "%s %s.", target, fmt.Sprintf(rule, args...))
}

func (p Policy) check() error {
	if p.Management != "AzureIaasVM" {
		return invalid("backupManagementType", "is %q; only AzureIaasVM policies are known", p.Management)
	}
	maxInstant := 5
	switch p.Type {
	case "V1":
	case "V2":
		maxInstant = 30
	default:
		return invalid("policyType", "is %q; it is V1 or V2", p.Type)
	}
	if zones[p.TimeZone] == nil {
		return invalid("timeZone", "is %q; it is UTC or a Windows name such as W. Europe Standard Time", p.TimeZone)
	}
	if err := p.Schedule.check(p.Type); err != nil {
		return err
	}
	if p.InstantDays != 0 && (p.InstantDays < 1 || p.InstantDays > maxInstant) {
		return invalid("instantRpRetentionRangeInDays", "is %d; a %s policy takes 1 to %d days", p.InstantDays, p.Type, maxInstant)
	}
	if p.Type == "V1" && p.Schedule.Frequency == "Weekly" && p.InstantDays != 0 && p.InstantDays != 5 {
		return invalid("instantRpRetentionRangeInDays", "is %d; a weekly V1 policy takes exactly 5 days", p.InstantDays)
	}
	if p.Consistency != "" && (p.Consistency != OnlyCrash || p.Type != "V2") {
		return invalid("snapshotConsistencyType", "is %q; it is left out or, in a V2 policy, %s", p.Consistency, OnlyCrash)
	}
	return p.Retention.check(p.Schedule)
}

func (s Schedule) check(version string) error {
	want := map[string]string{"V1": "SimpleSchedulePolicy", "V2": "SimpleSchedulePolicyV2"}[version]
	if s.Type != want {
		return invalid("schedulePolicy.schedulePolicyType", "is %q; a %s policy takes %s", s.Type, version, want)
	}
	days, times := s.Days, s.Times
	switch {
	case s.Frequency == "Hourly" && version == "V2":
		return s.checkHourly()
	case s.Frequency == "Daily" && version == "V2":
		if s.Daily == nil {
			return invalid("schedulePolicy.dailySchedule", "is missing")
		}
		times = s.Daily.Times
	case s.Frequency == "Weekly" && version == "V2":
		if s.Weekly == nil {
			return invalid("schedulePolicy.weeklySchedule", "is missing")
		}
		days, times = s.Weekly.Days, s.Weekly.Times
	case s.Frequency != "Daily" && s.Frequency != "Weekly": // ACT-10
		return invalid("schedulePolicy.scheduleRunFrequency", "is %q; a backup is scheduled Daily or Weekly", s.Frequency)
	}
	if len(times) < 1 || len(times) > maxTimes {
		return invalid("schedulePolicy.scheduleRunTimes", "has %d times; it takes 1 to %d", len(times), maxTimes)
	}
	for i, t := range times {
		if err := checkTime("schedulePolicy.scheduleRunTimes", t); err != nil {
			return err
		}
		if slices.ContainsFunc(times[:i], func(o time.Time) bool { return timeOfDay(o) == timeOfDay(t) }) {
			return invalid("schedulePolicy.scheduleRunTimes", "has %s twice", t.Format("15:04"))
		}
	}
	if s.Frequency == "Weekly" {
		return checkWords("schedulePolicy.scheduleRunDays", days, weekdays)
	}
	return nil
}

// maxTimes is how many times of day a schedule names at most.
const maxTimes = 24

// OnceADay refuses a daily or weekly schedule of several backups a day (ACT-07,
// FRQ-03). It is a limit of Azure's service, not of a machine: Parse takes them.
func (p Policy) OnceADay() error {
	if n := len(p.Schedule.times()); n > 1 && p.Schedule.Frequency != "Hourly" {
		return holdfast.Errorf(holdfast.Invalid, "properties.schedulePolicy.scheduleRunTimes", "properties.schedulePolicy.scheduleRunTimes has %d times; one scheduled backup a day is the rule.", n)
	}
	return nil
}

// times are the times of day of a daily or weekly schedule.
func (s Schedule) times() []time.Time {
	switch {
	case s.Daily != nil:
		return s.Daily.Times
	case s.Weekly != nil:
		return s.Weekly.Times
	}
	return s.Times
}

// checkHourly judges the enhanced form of several backups a day. The rows that
// speak of one a day (ACT-07, FRQ-03) are of the standard policy.
func (s Schedule) checkHourly() error {
	const member = "schedulePolicy.hourlySchedule"
	h := s.Hourly
	if h == nil {
		return invalid(member, "is missing")
	}
	if !slices.Contains([]int{4, 6, 8, 12, 24}, h.Interval) {
		return invalid(member+".interval", "is %d; it is 4, 6, 8, 12 or 24 hours", h.Interval)
	}
	if h.Duration < 4 || h.Duration > 24 {
		return invalid(member+".scheduleWindowDuration", "is %d; it is 4 to 24 hours", h.Duration)
	}
	if h.Start.IsZero() {
		return invalid(member+".scheduleWindowStartTime", "is missing")
	}
	return checkTime(member+".scheduleWindowStartTime", h.Start)
}

func checkTime(member string, t time.Time) error {
	if t.Minute()%30 != 0 || t.Second() != 0 || t.Nanosecond() != 0 {
		return invalid(member, "has %s; a run begins at a full or half hour", t.Format("15:04:05"))
	}
	return nil
}

var (
	weekdays = []string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"}
	months   = []string{"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"}
	weeks    = []string{"First", "Second", "Third", "Fourth", "Last"}
)

func checkWords(member string, words, known []string) error {
	if len(words) == 0 {
		return invalid(member, "is empty")
	}
	for i, w := range words {
		if !slices.Contains(known, w) {
			return invalid(member, "has %q; it takes %s", w, strings.Join(known, ", "))
		}
		if slices.Contains(words[:i], w) {
			return invalid(member, "has %q twice", w)
		}
	}
	return nil
}
