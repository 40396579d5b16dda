package backup

import (
	"errors"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	sdk "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservicesbackup/v4"

	"holdfast"
	"holdfast/internal/resource"
	"holdfast/internal/service"
)

// managed is the only kind of backup there is here.
const managed = sdk.BackupManagementTypeAzureIaasVM

const vmType = "Microsoft.Compute/virtualMachines"

// Item is a protected item on the wire.
func Item(i service.Item) *sdk.ProtectedItemResource {
	policyID := ""
	if i.Policy != "" {
		policyID = i.Vault + "/backupPolicies/" + i.Policy
	}
	name := "iaasvmcontainerv2;" + i.Group + ";" + i.VM
	p := &sdk.AzureIaaSComputeVMProtectedItem{
		ProtectedItemType:    to.Ptr(vmType),
		BackupManagementType: to.Ptr(managed),
		WorkloadType:         to.Ptr(sdk.DataSourceTypeVM),
		ContainerName:        &name,
		SourceResourceID:     &i.Source,
		VirtualMachineID:     &i.Source,
		FriendlyName:         &i.VM,
		PolicyID:             &policyID,
		PolicyName:           &i.Policy, // "" and never null: az crashes on null
		ProtectionState:      to.Ptr(sdk.ProtectionState(i.State())),
		ProtectionStatus:     to.Ptr("Healthy"),
		HealthStatus:         to.Ptr(health(i)),
		HealthDetails:        []*sdk.AzureIaaSVMHealthDetails{},
		LastBackupStatus:     &i.LastBackupStatus, // the key must be there for az -o table
		LastBackupTime:       moment(i.LastBackupTime),
		LastRecoveryPoint:    moment(i.LastPoint),
		ProtectedItemDataID:  &i.Series,

		IsScheduledForDeferredDelete: to.Ptr(!i.DeleteAfter.IsZero()),
		IsArchiveEnabled:             to.Ptr(false),
		ExtendedProperties:           exclusion(i.Exclusion),
	}
	if !i.DeleteAfter.IsZero() {
		p.DeferredDeleteTimeInUTC = moment(i.DeleteAfter)
	}
	return &sdk.ProtectedItemResource{ID: &i.ID, Name: to.Ptr("VM;" + name), Type: to.Ptr(resource.TypeItem), ETag: &i.ETag, Properties: p}
}

// ItemDetail is Item with what is counted: n points, the oldest of them.
func ItemDetail(i service.Item, n int, oldest time.Time) *sdk.ProtectedItemResource {
	r := Item(i)
	r.Properties.(*sdk.AzureIaaSComputeVMProtectedItem).ExtendedInfo = &sdk.AzureIaaSVMProtectedItemExtendedInfo{
		RecoveryPointCount: to.Ptr(int32(n)), OldestRecoveryPoint: moment(oldest), PolicyInconsistent: to.Ptr(false),
	}
	return r
}

func health(i service.Item) sdk.HealthStatus {
	if i.LastBackupStatus == "Failed" {
		return sdk.HealthStatusActionRequired
	}
	return sdk.HealthStatusPassed
}

func exclusion(e *service.Exclusion) *sdk.ExtendedProperties {
	if e == nil {
		return nil
	}
	luns := make([]int32, len(e.LUNs))
	for i, l := range e.LUNs {
		luns[i] = int32(l)
	}
	return &sdk.ExtendedProperties{DiskExclusionProperties: &sdk.DiskExclusionProperties{DiskLunList: ptrs(luns), IsInclusionList: &e.Include}}
}

// DecodeProtect reads PUT on a protected item.
func DecodeProtect(body []byte) (service.Protect, error) {
	var r sdk.ProtectedItemResource
	if err := decode(body, &r); err != nil {
		return service.Protect{}, err
	}
	if err := beyond(body); err != nil {
		return service.Protect{}, err
	}
	if r.Properties == nil {
		return service.Protect{}, unknown("protectedItemType", nil, vmType)
	}
	p, ok := r.Properties.(*sdk.AzureIaaSComputeVMProtectedItem)
	if !ok {
		return service.Protect{}, unknown("protectedItemType", r.Properties.GetProtectedItem().ProtectedItemType, vmType)
	}
	in := service.Protect{Source: deref(p.SourceResourceID), PolicyID: deref(p.PolicyID)}
	if e := p.ExtendedProperties; e != nil && e.DiskExclusionProperties != nil {
		in.Exclusion = &service.Exclusion{LUNs: ints(e.DiskExclusionProperties.DiskLunList), Include: deref(e.DiskExclusionProperties.IsInclusionList)}
	} else if e != nil {
		in.Reset = true // {} ends the exclusion
	}
	if deref(p.IsRehydrate) {
		in.Undelete = true
		return in, nil
	}
	return in, decodeState(&in, deref(p.ProtectionState))
}

// decodeState reads what a missing policy means.
func decodeState(in *service.Protect, state sdk.ProtectionState) error {
	if in.PolicyID != "" {
		return nil // protect, change or resume, whatever the state says
	}
	switch state {
	case sdk.ProtectionStateProtectionStopped:
		in.Hold = service.Stopped
	case sdk.ProtectionStateBackupsSuspended:
		in.Hold = service.Suspended
	default:
		return holdfast.Errorf(holdfast.Invalid, "properties.policyId", "properties.policyId is missing: a VM is protected with a policy.").
			WithHint("To stop protection, set properties.protectionState to ProtectionStopped or BackupsSuspended.")
	}
	return nil
}

func ints(list []*int32) []int { return plain(list, func(n int32) int { return int(n) }) }

// plain is a list without pointers; nil stays nil, and an element that is null is left out.
func plain[W, T any](list []*W, f func(W) T) []T {
	if list == nil {
		return nil
	}
	out := make([]T, 0, len(list))
	for _, n := range list {
		if n != nil {
			out = append(out, f(*n))
		}
	}
	return out
}

// Container is the container of a protected item.
func Container(i service.Item) *sdk.ProtectionContainerResource {
	name := "IaasVMContainer;iaasvmcontainerv2;" + i.Group + ";" + i.VM
	return &sdk.ProtectionContainerResource{
		ID: to.Ptr(resource.ContainerID(i.Vault, i.Group, i.VM)), Name: &name, Type: to.Ptr(resource.TypeContainer),
		Properties: &sdk.AzureIaaSComputeVMContainer{
			ContainerType:         to.Ptr(sdk.ProtectableContainerTypeMicrosoftComputeVirtualMachines),
			BackupManagementType:  to.Ptr(managed),
			ProtectableObjectType: to.Ptr(vmType),
			FriendlyName:          &i.VM,
			HealthStatus:          to.Ptr("Healthy"),
			RegistrationStatus:    to.Ptr("Registered"),
			ResourceGroup:         &i.Group,
			VirtualMachineID:      &i.Source,
			VirtualMachineVersion: to.Ptr("Compute"),
		},
	}
}

// Protectable is a VM that a vault could protect.
func Protectable(vault string, vm service.VM) *sdk.WorkloadProtectableItemResource {
	name := "iaasvmcontainerv2;" + vm.Group + ";" + vm.Name
	id := vault + "/backupFabrics/Azure/protectionContainers/IaasVMContainer;" + name + "/protectableItems/vm;" + name
	return &sdk.WorkloadProtectableItemResource{
		ID: &id, Name: &name, Type: to.Ptr(resource.TypeContainer + "/protectableItems"),
		Properties: &sdk.AzureIaaSComputeVMProtectableItem{
			ProtectableItemType:   to.Ptr(vmType),
			BackupManagementType:  to.Ptr(string(managed)),
			WorkloadType:          to.Ptr("VM"),
			FriendlyName:          &vm.Name,
			ProtectionState:       to.Ptr(sdk.ProtectionStatusNotProtected),
			ResourceGroup:         &vm.Group,
			VirtualMachineID:      &vm.ID,
			VirtualMachineVersion: to.Ptr("Compute"),
		},
	}
}

// StatusRequest is what backupStatus asks.
func StatusRequest(body []byte) (vmID string, err error) {
	var r sdk.BackupStatusRequest
	if err := decode(body, &r); err != nil {
		return "", err
	}
	if t := deref(r.ResourceType); t != sdk.DataSourceTypeVM {
		return "", holdfast.Errorf(holdfast.Invalid, "resourceType", "resourceType is %q; only VM is known.", t)
	}
	return deref(r.ResourceID), nil
}

// Status says how a VM is protected; nil is not at all.
func Status(i *service.Item) sdk.BackupStatusResponse {
	if i == nil {
		return sdk.BackupStatusResponse{ProtectionStatus: to.Ptr(sdk.ProtectionStatusNotProtected)}
	}
	name := "iaasvmcontainerv2;" + i.Group + ";" + i.VM
	return sdk.BackupStatusResponse{
		ProtectionStatus: to.Ptr(sdk.ProtectionStatusProtected), VaultID: &i.Vault, FabricName: to.Ptr(sdk.FabricNameAzure),
		ContainerName: to.Ptr("IaasVMContainer;" + name), ProtectedItemName: to.Ptr("VM;" + name), PolicyName: &i.Policy,
		RegistrationStatus: to.Ptr("Registered"),
	}
}

// PreValidateRequest is what backupPreValidateProtection asks.
func PreValidateRequest(body []byte) (r sdk.PreValidateEnableBackupRequest, err error) {
	if err := decode(body, &r); err != nil {
		return r, err
	}
	if t := deref(r.ResourceType); t != sdk.DataSourceTypeVM {
		return r, holdfast.Errorf(holdfast.Invalid, "resourceType", "resourceType is %q; only VM is known.", t)
	}
	return r, nil
}

// PreValidate says whether protection would be refused, and why.
func PreValidate(refusal error) sdk.PreValidateEnableBackupResponse {
	var e *holdfast.Error
	if !errors.As(refusal, &e) {
		return sdk.PreValidateEnableBackupResponse{Status: to.Ptr(sdk.ValidationStatusSucceeded)}
	}
	return sdk.PreValidateEnableBackupResponse{Status: to.Ptr(sdk.ValidationStatusFailed), ErrorCode: to.Ptr(string(e.Kind)), ErrorMessage: &e.Message, Recommendation: &e.Hint}
}

// DecodeFeature reads backupValidateFeatures: only backup of VMs is known.
func DecodeFeature(body []byte) (known bool, err error) {
	var r struct {
		FeatureType string `json:"featureType"`
	}
	if err := decode(body, &r); err != nil {
		return false, err
	}
	return r.FeatureType == "AzureVMResourceBackup", nil
}

// Feature says whether a feature is supported.
func Feature(known bool) sdk.AzureVMResourceFeatureSupportResponse {
	return sdk.AzureVMResourceFeatureSupportResponse{SupportStatus: to.Ptr(map[bool]sdk.SupportStatus{true: sdk.SupportStatusSupported, false: sdk.SupportStatusNotSupported}[known])}
}

// Usage is one line of a vault's usage summary.
func Usage(name string, n int) *sdk.BackupManagementUsage {
	return &sdk.BackupManagementUsage{Name: &sdk.NameInfo{Value: &name, LocalizedValue: &name}, CurrentValue: to.Ptr(int64(n)), Limit: to.Ptr(int64(-1)), Unit: to.Ptr(sdk.UsagesUnitCount)}
}
