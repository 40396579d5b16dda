package cli

import (
	"encoding/json"
	"testing"

	"holdfast/internal/client"
)

// TestPolicyFormSaysWhatAzSays compares the policy of some flags with the ARM
// policy that it has to be (contract, section 7).
func TestPolicyFormSaysWhatAzSays(t *testing.T) {
	t.Parallel()
	const at = `"2023-01-01T02:00:00Z"`
	for name, c := range map[string]struct {
		form policyForm
		want string
	}{
		"daily": {policyForm{daily: "02:00", days: 7, timeZone: "UTC"},
			`{"backupManagementType":"AzureIaasVM","instantRpRetentionRangeInDays":2,"policyType":"V1",
			"retentionPolicy":{"dailySchedule":{"retentionDuration":{"count":7,"durationType":"Days"},"retentionTimes":[` + at + `]},"retentionPolicyType":"LongTermRetentionPolicy"},
			"schedulePolicy":{"schedulePolicyType":"SimpleSchedulePolicy","scheduleRunFrequency":"Daily","scheduleRunTimes":[` + at + `]},"timeZone":"UTC"}`},
		"weekly, enhanced": {policyForm{weekly: "Mon@02:00", weeks: "4", wantedConsistent: "CrashConsistent", timeZone: "UTC"},
			`{"backupManagementType":"AzureIaasVM","instantRpRetentionRangeInDays":5,"policyType":"V2","snapshotConsistencyType":"OnlyCrashConsistent",
			"retentionPolicy":{"weeklySchedule":{"daysOfTheWeek":["Monday"],"retentionDuration":{"count":4,"durationType":"Weeks"},"retentionTimes":[` + at + `]},"retentionPolicyType":"LongTermRetentionPolicy"},
			"schedulePolicy":{"schedulePolicyType":"SimpleSchedulePolicyV2","scheduleRunFrequency":"Weekly","weeklySchedule":{"scheduleRunDays":["Monday"],"scheduleRunTimes":[` + at + `]}},"timeZone":"UTC"}`},
	} {
		p, err := c.form.policy()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if same(t, got) != same(t, []byte(c.want)) {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
		if _, err := client.ParsePolicy(got); err != nil {
			t.Errorf("%s: what the flags make is refused as a file: %v", name, err)
		}
	}
}

// same is JSON in one form.
func same(t *testing.T, b []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// FuzzPolicyText shows that every policy that a server may send can be put into
// words.
func FuzzPolicyText(f *testing.F) {
	for _, s := range []string{
		`{}`,
		`{"schedulePolicy":{"schedulePolicyType":"SimpleSchedulePolicy","scheduleRunTimes":[null],"scheduleRunDays":[null]}}`,
		`{"schedulePolicy":{"schedulePolicyType":"SimpleSchedulePolicyV2","scheduleRunFrequency":"Hourly","hourlySchedule":{"interval":4}}}`,
		`{"retentionPolicy":{"retentionPolicyType":"LongTermRetentionPolicy","monthlySchedule":{"retentionScheduleDaily":{"daysOfTheMonth":[null,{}]}},"yearlySchedule":{}}}`,
		`{"retentionPolicy":{"retentionPolicyType":"SimpleRetentionPolicy"},"instantRpRetentionRangeInDays":2,"snapshotConsistencyType":"OnlyCrashConsistent"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		var p vmPolicy
		if json.Unmarshal(b, &p) != nil {
			return
		}
		_, _, _, _ = schedule(client.Policy{VM: &p}), retention(&p), instant(&p), consistency(&p)
	})
}

// FuzzPolicyForm shows that no flags make a policy that the file form would
// refuse.
func FuzzPolicyForm(f *testing.F) {
	f.Add("02:00", "", 30, "4@Sun", "12@first-Sun", "7@Jan/1,last")
	f.Add("", "Sun,Wed@23:59", 0, "1", "3@28", "1@Feb,Mar/last-Sat")
	f.Fuzz(func(t *testing.T, daily, weekly string, days int, weeks, months, years string) {
		form := policyForm{daily: daily, weekly: weekly, days: days, weeks: weeks, months: months, years: years, timeZone: "UTC"}
		p, err := form.policy()
		if err != nil {
			if Exit(err) != ExitUsage {
				t.Errorf("exit %d: %v", Exit(err), err)
			}
			return
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.ParsePolicy(b); err != nil {
			t.Errorf("%s: %v", b, err)
		}
	})
}
