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
		`{"properties":{"holdfast":{"diskBytes":{"vda":1},"warnings":[null],"failure":"x"}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !json.Valid(b) {
			return // the pages of a list hold valid JSON
		}
		_, _ = decodeSite(b)
		_, _ = decodeVM(b)
		_, _ = decodeRestorePoint(b)
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

// TestBesideAzure: what Azure's models have no member for is read: a disk's bytes, and
// what there is to know of a restore point.
func TestBesideAzure(t *testing.T) {
	t.Parallel()
	vm, err := decodeVM([]byte(`{"properties":{"storageProfile":{"osDisk":{"name":"vda","diskSizeGB":1},"dataDisks":[{"name":"vdb","lun":0,"diskSizeGB":3}]},"holdfast":{"diskBytes":{"vda":67108864}}}}`))
	if err != nil || len(vm.Disks) != 2 || vm.Disks[0].Size != 64<<20 || vm.Disks[1].Size != 3<<30 { // an older server says gigabytes only
		t.Errorf("%+v, %v", vm, err)
	}
	p, err := decodeRestorePoint([]byte(`{"properties":{"provisioningState":"Failed","holdfast":{"warnings":["a","b"],"failure":"It is gone."}}}`))
	if err != nil || len(p.Warnings) != 2 || p.Failure != "It is gone." {
		t.Errorf("%+v, %v", p, err)
	}
}
