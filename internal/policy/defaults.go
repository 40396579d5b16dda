package policy

import (
	"encoding/json"
	"fmt"
	"time"
)

// Defaults are the policies of a new vault, by name, as in Azure: a V1 and a V2
// one, each daily at half past the coming hour and kept for 30 days.
func Defaults(now time.Time) map[string]json.RawMessage {
	at := now.UTC().Truncate(time.Hour).Add(90 * time.Minute).Format(time.RFC3339)
	retention := fmt.Sprintf(`{"retentionPolicyType":"LongTermRetentionPolicy","dailySchedule":{"retentionTimes":[%q],"retentionDuration":{"count":30,"durationType":"Days"}}}`, at)
	const form = `{"backupManagementType":"AzureIaasVM","policyType":%q,"instantRPDetails":{},"schedulePolicy":%s,"retentionPolicy":%s,` +
		`"tieringPolicy":{"ArchivedRP":{"tieringMode":"DoNotTier","duration":0,"durationType":"Invalid"}},"instantRpRetentionRangeInDays":%d,"timeZone":"UTC"}`
	v1 := fmt.Sprintf(`{"schedulePolicyType":"SimpleSchedulePolicy","scheduleRunFrequency":"Daily","scheduleRunTimes":[%q],"scheduleWeeklyFrequency":0}`, at)
	v2 := fmt.Sprintf(`{"schedulePolicyType":"SimpleSchedulePolicyV2","scheduleRunFrequency":"Daily","dailySchedule":{"scheduleRunTimes":[%q]}}`, at)
	return map[string]json.RawMessage{
		"DefaultPolicy":  json.RawMessage(fmt.Sprintf(form, "V1", v1, retention, 2)),
		"EnhancedPolicy": json.RawMessage(fmt.Sprintf(form, "V2", v2, retention, 7)),
	}
}
