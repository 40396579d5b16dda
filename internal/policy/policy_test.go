package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
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
		{"DefaultPolicy", "schedulePolicy.scheduleRunTimes", `["2024-01-01T01:00:00Z","2024-01-02T01:00:00Z"]`, "01:00 twice"},
		{"DefaultPolicy", "schedulePolicy.scheduleRunTimes", `[]`, "0 times"},
		{"DefaultPolicy", "schedulePolicy.scheduleRunTimes", `["2024-01-01T01:10:00Z"]`, "half hour"},
		{"DefaultPolicy", "schedulePolicy.scheduleRunTimes", `["yesterday"]`, "yesterday"},
		{"DefaultPolicy", "schedulePolicy.scheduleRunTimes", `"2024"`, "schedulePolicy.scheduleRunTimes"},
		{"DefaultPolicy", "instantRpRetentionRangeInDays", `6`, "1 to 5"},
		{"EnhancedPolicy", "instantRpRetentionRangeInDays", `30`, ""},
		{"EnhancedPolicy", "instantRpRetentionRangeInDays", `31`, "1 to 30"},
		{"EnhancedPolicy", "schedulePolicy", `{"schedulePolicyType":"SimpleSchedulePolicyV2","scheduleRunFrequency":"Hourly","hourlySchedule":{"interval":4,"scheduleWindowDuration":24,"scheduleWindowStartTime":"2026-01-01T08:00:00Z"}}`, ""},
		{"EnhancedPolicy", "schedulePolicy", `{"schedulePolicyType":"SimpleSchedulePolicyV2","scheduleRunFrequency":"Hourly","hourlySchedule":{"interval":6,"scheduleWindowDuration":12,"scheduleWindowStartTime":"2026-01-01T08:00:00Z"}}`, ""},
		{"EnhancedPolicy", "schedulePolicy", `{"schedulePolicyType":"SimpleSchedulePolicyV2","scheduleRunFrequency":"Hourly","hourlySchedule":{"interval":8,"scheduleWindowDuration":24,"scheduleWindowStartTime":"2026-01-01T08:00:00Z"}}`, ""},
		{"EnhancedPolicy", "schedulePolicy", `{"schedulePolicyType":"SimpleSchedulePolicyV2","scheduleRunFrequency":"Hourly","hourlySchedule":{"interval":12,"scheduleWindowDuration":13,"scheduleWindowStartTime":"2026-01-01T08:00:00Z"}}`, ""},
		{"EnhancedPolicy", "schedulePolicy", `{"schedulePolicyType":"SimpleSchedulePolicyV2","scheduleRunFrequency":"Hourly","hourlySchedule":{"interval":24,"scheduleWindowDuration":24,"scheduleWindowStartTime":"2026-01-01T08:00:00Z"}}`, ""},
		{"EnhancedPolicy", "schedulePolicy", `{"schedulePolicyType":"SimpleSchedulePolicyV2","scheduleRunFrequency":"Hourly","hourlySchedule":{"interval":5,"scheduleWindowDuration":24,"scheduleWindowStartTime":"2026-01-01T08:00:00Z"}}`, "hourlySchedule.interval is 5"},
		{"EnhancedPolicy", "schedulePolicy", `{"schedulePolicyType":"SimpleSchedulePolicyV2","scheduleRunFrequency":"Hourly","hourlySchedule":{"interval":0,"scheduleWindowDuration":24,"scheduleWindowStartTime":"2026-01-01T08:00:00Z"}}`, "hourlySchedule.interval is 0"},
		{"EnhancedPolicy", "schedulePolicy", `{"schedulePolicyType":"SimpleSchedulePolicyV2","scheduleRunFrequency":"Hourly","hourlySchedule":{"interval":4,"scheduleWindowDuration":3,"scheduleWindowStartTime":"2026-01-01T08:00:00Z"}}`, "scheduleWindowDuration is 3"},
		{"EnhancedPolicy", "schedulePolicy", `{"schedulePolicyType":"SimpleSchedulePolicyV2","scheduleRunFrequency":"Hourly","hourlySchedule":{"interval":4,"scheduleWindowDuration":25,"scheduleWindowStartTime":"2026-01-01T08:00:00Z"}}`, "scheduleWindowDuration is 25"},
		{"EnhancedPolicy", "schedulePolicy", `{"schedulePolicyType":"SimpleSchedulePolicyV2","scheduleRunFrequency":"Hourly","hourlySchedule":{"interval":4,"scheduleWindowDuration":12}}`, "scheduleWindowStartTime is missing"},
		{"EnhancedPolicy", "schedulePolicy", `{"schedulePolicyType":"SimpleSchedulePolicyV2","scheduleRunFrequency":"Hourly","hourlySchedule":{"interval":4,"scheduleWindowDuration":12,"scheduleWindowStartTime":"2026-01-01T08:05:00Z"}}`, "scheduleWindowStartTime has 08:05:00"},
		{"EnhancedPolicy", "snapshotConsistencyType", `"OnlyCrashConsistent"`, ""},
		{"EnhancedPolicy", "snapshotConsistencyType", `"Perfect"`, "snapshotConsistencyType"},
		{"DefaultPolicy", "snapshotConsistencyType", `"OnlyCrashConsistent"`, "V2 policy"},
		{"DefaultPolicy", "instantRpRetentionRangeInDays", `5`, ""},
		{"DefaultPolicy", "instantRpRetentionRangeInDays", `-1`, "1 to 5"},
		{"EnhancedPolicy", "instantRpRetentionRangeInDays", `1`, ""},
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
	f.Add([]byte(`{"backupManagementType":"AzureIaasVM","holdfast":{"followDaylightSaving":true}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := policy.Parse(body); err != nil && holdfast.KindOf(err) != holdfast.Invalid {
			t.Errorf("%v", err)
		}
	})
}

// TestHourlyPointsCount: the points of a day count each (FRQ-07).
func TestHourlyPointsCount(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "FRQ-07")
	for days, want := range map[int]string{1666: "", 1667: "retentionPolicy keeps 10002 recovery points"} {
		body := with(t, policy.Defaults(time.Now())["EnhancedPolicy"], "schedulePolicy", `{"schedulePolicyType":"SimpleSchedulePolicyV2","scheduleRunFrequency":"Hourly","hourlySchedule":{"interval":4,"scheduleWindowDuration":24,"scheduleWindowStartTime":"2026-01-01T08:00:00Z"}}`)
		body = with(t, body, "retentionPolicy.dailySchedule.retentionDuration.count", fmt.Sprint(days))
		if _, err := policy.Parse(body); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("six points a day for %d days: %v, want %q", days, err, want)
		}
	}
}
