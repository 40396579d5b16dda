package policy_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/matrix"
	"holdfast/internal/policy"
)

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	for name, body := range policy.Defaults(time.Date(2026, 3, 4, 23, 45, 6, 0, time.UTC)) {
		if _, err := policy.Parse(body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "ACT-10", "FRQ-02", "FRQ-07")
	all := policy.Defaults(time.Now())
	for _, c := range []struct {
		of, path, value string // the default policy with one member set
		want            string // in the error; "" is valid
	}{
		{"DefaultPolicy", "x.y", `{"unknown":1}`, ""},
		{"DefaultPolicy", "backupManagementType", `"AzureSql"`, "backupManagementType"},
		{"DefaultPolicy", "policyType", `"V3"`, "policyType"},
		{"DefaultPolicy", "policyType", `"V2"`, "schedulePolicyType"},
		{"DefaultPolicy", "schedulePolicy.scheduleRunFrequency", `"Monthly"`, "scheduleRunFrequency"},
		{"DefaultPolicy", "schedulePolicy.scheduleRunFrequency", `"Hourly"`, "scheduleRunFrequency"},
		{"DefaultPolicy", "schedulePolicy.scheduleRunTimes", `["2024-01-01T01:00:00Z","2024-01-01T02:00:00Z"]`, "one scheduled backup a day"},
		{"DefaultPolicy", "schedulePolicy.scheduleRunTimes", `["2024-01-01T01:10:00Z"]`, "half hour"},
		{"DefaultPolicy", "schedulePolicy.scheduleRunTimes", `["yesterday"]`, "yesterday"},
		{"DefaultPolicy", "schedulePolicy.scheduleRunTimes", `"2024"`, "schedulePolicy.scheduleRunTimes"},
		{"DefaultPolicy", "instantRpRetentionRangeInDays", `6`, "1 to 5"},
		{"EnhancedPolicy", "instantRpRetentionRangeInDays", `30`, ""},
		{"EnhancedPolicy", "instantRpRetentionRangeInDays", `31`, "1 to 30"},
		{"EnhancedPolicy", "schedulePolicy", `{"schedulePolicyType":"SimpleSchedulePolicyV2","scheduleRunFrequency":"Hourly","hourlySchedule":{"interval":4,"scheduleWindowDuration":12}}`, "3 backups a day"},
		{"EnhancedPolicy", "schedulePolicy", `{"schedulePolicyType":"SimpleSchedulePolicyV2","scheduleRunFrequency":"Hourly","hourlySchedule":{"interval":24,"scheduleWindowDuration":24}}`, ""},
		{"EnhancedPolicy", "schedulePolicy", `{"schedulePolicyType":"SimpleSchedulePolicyV2","scheduleRunFrequency":"Hourly"}`, "hourlySchedule is missing"},
		{"EnhancedPolicy", "schedulePolicy", `{"schedulePolicyType":"SimpleSchedulePolicyV2","scheduleRunFrequency":"Weekly"}`, "weeklySchedule is missing"},
		{"DefaultPolicy", "retentionPolicy.dailySchedule.retentionDuration.count", `0`, "count"},
		{"DefaultPolicy", "retentionPolicy.dailySchedule.retentionDuration.count", `9999`, ""},
		{"DefaultPolicy", "retentionPolicy.dailySchedule.retentionDuration.count", `10000`, "10000 recovery points"},
		{"DefaultPolicy", "retentionPolicy.dailySchedule.retentionDuration.durationType", `"Years"`, "durationType"},
		{"DefaultPolicy", "retentionPolicy.weeklySchedule", `{"daysOfTheWeek":["Caturday"],"retentionDuration":{"count":4,"durationType":"Weeks"}}`, "Caturday"},
		{"DefaultPolicy", "retentionPolicy.monthlySchedule", `{"retentionScheduleFormatType":"Weekly","retentionScheduleWeekly":{"daysOfTheWeek":["Sunday"],"weeksOfTheMonth":["Last"]},"retentionDuration":{"count":60,"durationType":"Months"}}`, ""},
		{"DefaultPolicy", "retentionPolicy.monthlySchedule", `{"retentionScheduleFormatType":"Daily","retentionScheduleDaily":{"daysOfTheMonth":[{"date":31}]},"retentionDuration":{"count":60,"durationType":"Months"}}`, "1 to 28"},
		{"DefaultPolicy", "retentionPolicy.yearlySchedule", `{"monthsOfYear":["March"],"retentionScheduleFormatType":"Daily","retentionScheduleDaily":{"daysOfTheMonth":[{"date":0,"isLast":true}]},"retentionDuration":{"count":99,"durationType":"Years"}}`, ""},
		{"DefaultPolicy", "retentionPolicy.yearlySchedule", `{"monthsOfYear":["March"],"retentionScheduleFormatType":"Daily","retentionScheduleDaily":{"daysOfTheMonth":[{"date":1}]},"retentionDuration":{"count":100,"durationType":"Years"}}`, "99 years"},
	} {
		_, err := policy.Parse(with(t, all[c.of], c.path, c.value))
		if c.want == "" && err != nil {
			t.Errorf("%s = %s: %v", c.path, c.value, err)
		}
		if c.want != "" && (err == nil || holdfast.KindOf(err) != holdfast.Invalid || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s = %s: %v; want it to say %q", c.path, c.value, err, c.want)
		}
	}
}

// with sets one member, given by a path with dots, to a JSON value.
func with(t *testing.T, body json.RawMessage, path, value string) json.RawMessage {
	t.Helper()
	var all, v any
	if err := errors.Join(json.Unmarshal(body, &all), json.Unmarshal([]byte(value), &v)); err != nil {
		t.Fatal(err)
	}
	at := all.(map[string]any)
	for member, rest, deeper := strings.Cut(path, "."); ; member, rest, deeper = strings.Cut(rest, ".") {
		if !deeper {
			at[member] = v
			break
		}
		if at[member] == nil {
			at[member] = map[string]any{}
		}
		at = at[member].(map[string]any)
	}
	return holdfast.Marshal(all)
}

func FuzzParse(f *testing.F) {
	for _, body := range policy.Defaults(time.Now()) {
		f.Add([]byte(body))
	}
	f.Add([]byte(`{"retentionPolicy":{"yearlySchedule":{}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := policy.Parse(body); err != nil && holdfast.KindOf(err) != holdfast.Invalid {
			t.Errorf("%v", err)
		}
	})
}
