package client

import (
	"encoding/json"
	"testing"
)

// FuzzDecode shows that no answer of a server, however odd, breaks the reading
// of it: an odd one is an error or a resource with gaps.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{}`, `null`, `[]`, `{"id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.RecoveryServices/vaults/v/backupJobs/j"}`,
		`{"id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.RecoveryServices/vaults/v/backupJobs/j","properties":{"jobType":"AzureIaaSVMJob","errorDetails":[null],"actionsInfo":[null],"extendedInfo":{"tasksList":[null],"propertyBag":{"Bytes done":null}}}}`,
		`{"properties":{"objectType":"IaasVMRecoveryPoint","recoveryPointTierDetails":[null],"recoveryPointDiskConfiguration":{"includedDiskList":[null]}}}`,
		`{"id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.RecoveryServices/vaults/v/backupJobs/j","properties":{"protectedItemType":"Microsoft.Compute/virtualMachines","extendedProperties":{"diskExclusionProperties":{"diskLunList":[null]}}}}`,
		`{"properties":{"storageProfile":{"osDisk":null,"dataDisks":[null]},"instanceView":{"statuses":[null],"vmAgent":{"statuses":[null]}}}}`,
		`{"properties":{"holdfast":{"repositoryUrl":7}}}`,
		`{"properties":{"backupManagementType":"AzureIaasVM","schedulePolicy":null}}`,
		`{"properties":{"pools":[null],"networks":null}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !json.Valid(b) {
			return // the pages of a list hold valid JSON
		}
		_, _ = decodeSite(b)
		_, _ = decodeVM(b)
		_, _ = decodeVault(b)
		_, _ = decodePolicy(b)
		_, _ = decodeItem(b)
		_, _ = decodePoint(b)
		_, _ = decodeEvent(b)
		if j, err := decodeJob(b); err == nil && (j.Done < 0 || j.Total < 0 || j.Succeeded() && !j.Ended()) {
			t.Errorf("job %+v", j)
		}
		if properties, err := ParsePolicy(b); err == nil && !json.Valid(properties) {
			t.Errorf("policy %s", properties)
		}
	})
}
