package backup

import (
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	sdk "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservicesbackup/v4"

	"holdfast/internal/resource"
	"holdfast/internal/service"
)

// The settings of a vault have two views, the vault's own properties and the
// configs here; both read and write the same settings.

var storageTypes = map[string]sdk.StorageType{
	"LocallyRedundant": sdk.StorageTypeLocallyRedundant,
	"GeoRedundant":     sdk.StorageTypeGeoRedundant,
	"ZoneRedundant":    sdk.StorageTypeZoneRedundant,
}

// VaultConfig is backupconfig/vaultconfig.
func VaultConfig(v service.Vault) *sdk.BackupResourceVaultConfigResource {
	soft := func(name string) string { return v.Setting("securitySettings", "softDeleteSettings", name) }
	storage := storageTypes[v.Setting("redundancySettings", "standardTierStorageRedundancy")]
	return &sdk.BackupResourceVaultConfigResource{
		ID: to.Ptr(v.ID + "/backupconfig/vaultconfig"), Name: to.Ptr("vaultconfig"), Type: to.Ptr(resource.TypeVault + "/backupconfig"),
		Properties: &sdk.BackupResourceVaultConfig{
			EnhancedSecurityState:            to.Ptr(sdk.EnhancedSecurityState(soft("enhancedSecurityState"))),
			SoftDeleteFeatureState:           to.Ptr(sdk.SoftDeleteFeatureState(soft("softDeleteState"))),
			SoftDeleteRetentionPeriodInDays:  to.Ptr(int32(v.SoftDeleteDays())),
			IsSoftDeleteFeatureStateEditable: to.Ptr(soft("softDeleteState") != "AlwaysON"),
			StorageModelType:                 &storage, StorageType: &storage, StorageTypeState: to.Ptr(sdk.StorageTypeStateUnlocked),
		},
	}
}

// DecodeVaultConfig reads a change of backupconfig/vaultconfig as settings.
func DecodeVaultConfig(body []byte) (map[string]any, error) {
	var r sdk.BackupResourceVaultConfigResource
	if err := decode(body, &r); err != nil {
		return nil, err
	}
	settings := map[string]any{}
	if r.Properties == nil {
		return settings, nil
	}
	set := func(value any, name string) {
		settings = service.Set(settings, value, "securitySettings", "softDeleteSettings", name)
	}
	if p := r.Properties.EnhancedSecurityState; p != nil {
		set(string(*p), "enhancedSecurityState")
	}
	if p := r.Properties.SoftDeleteFeatureState; p != nil {
		set(string(*p), "softDeleteState")
	}
	if p := r.Properties.SoftDeleteRetentionPeriodInDays; p != nil {
		set(float64(*p), "softDeleteRetentionPeriodInDays")
	}
	return settings, nil
}

// StorageConfig is backupstorageconfig/vaultstorageconfig.
func StorageConfig(v service.Vault) *sdk.BackupResourceConfigResource {
	storage := storageTypes[v.Setting("redundancySettings", "standardTierStorageRedundancy")]
	return &sdk.BackupResourceConfigResource{
		ID: to.Ptr(v.ID + "/backupstorageconfig/vaultstorageconfig"), Name: to.Ptr("vaultstorageconfig"), Type: to.Ptr(resource.TypeVault + "/backupstorageconfig"),
		Properties: &sdk.BackupResourceConfig{
			StorageModelType: &storage, StorageType: &storage, StorageTypeState: to.Ptr(sdk.StorageTypeStateUnlocked),
			CrossRegionRestoreFlag: to.Ptr(v.Setting("redundancySettings", "crossRegionRestore") == "Enabled"),
			DedupState:             to.Ptr(sdk.DedupStateEnabled), XcoolState: to.Ptr(sdk.XcoolStateDisabled),
		},
	}
}

// DecodeStorageConfig reads a change of backupstorageconfig/vaultstorageconfig as settings.
func DecodeStorageConfig(body []byte) (map[string]any, error) {
	var r sdk.BackupResourceConfigResource
	if err := decode(body, &r); err != nil {
		return nil, err
	}
	settings := map[string]any{}
	if r.Properties == nil {
		return settings, nil
	}
	p := r.Properties.StorageType
	if p == nil {
		p = r.Properties.StorageModelType
	}
	if p != nil {
		settings = service.Set(settings, string(*p), "redundancySettings", "standardTierStorageRedundancy")
	}
	if p := r.Properties.CrossRegionRestoreFlag; p != nil {
		state := map[bool]string{true: "Enabled", false: "Disabled"}[*p]
		settings = service.Set(settings, state, "redundancySettings", "crossRegionRestore")
	}
	return settings, nil
}

// EncryptionConfig says that the vault's key is the server's; the bytes are
// encrypted before they leave it in any case.
func EncryptionConfig(v service.Vault) *sdk.BackupResourceEncryptionConfigExtendedResource {
	const name = "backupResourceEncryptionConfig"
	return &sdk.BackupResourceEncryptionConfigExtendedResource{
		ID: to.Ptr(v.ID + "/backupEncryptionConfigs/" + name), Name: to.Ptr(name), Type: to.Ptr(resource.TypeVault + "/backupEncryptionConfigs"),
		Properties: &sdk.BackupResourceEncryptionConfigExtended{
			EncryptionAtRestType:          to.Ptr(sdk.EncryptionAtRestTypeMicrosoftManaged),
			LastUpdateStatus:              to.Ptr(sdk.LastUpdateStatusNotEnabled),
			InfrastructureEncryptionState: to.Ptr(sdk.InfrastructureEncryptionStateDisabled),
		},
	}
}
