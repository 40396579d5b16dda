package service

import (
	"slices"
	"strings"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/resource"
)

// defaultSettings are the properties of a vault that nobody has set. Clients
// crash when one of these is missing (arm-contract, 5, Vaults).
func defaultSettings() map[string]any {
	return map[string]any{
		"publicNetworkAccess": "Enabled",
		"monitoringSettings": map[string]any{
			"azureMonitorAlertSettings": map[string]any{"alertsForAllJobFailures": "Enabled"},
			"classicAlertSettings":      map[string]any{"alertsForCriticalOperations": "Enabled"},
		},
		"redundancySettings": map[string]any{"standardTierStorageRedundancy": "LocallyRedundant", "crossRegionRestore": "Disabled"},
		"securitySettings": map[string]any{
			"softDeleteSettings": map[string]any{"softDeleteState": "Enabled", "softDeleteRetentionPeriodInDays": float64(14), "enhancedSecurityState": "Enabled"},
		},
		"restoreSettings": map[string]any{
			"crossSubscriptionRestoreSettings": map[string]any{"crossSubscriptionRestoreState": "Disabled"}, // MGT-01
		},
	}
}

// AllSettings are the vault's settings with the defaults beneath them.
func (v Vault) AllSettings() map[string]any { return resource.Merge(defaultSettings(), v.Settings) }

// Setting returns one setting as text, "" if it is not set.
func (v Vault) Setting(path ...string) string {
	s, _ := v.setting(path).(string)
	return s
}

// SoftDeleteDays is how long a deleted item can be brought back, days.
func (v Vault) SoftDeleteDays() int {
	days, _ := v.setting([]string{"securitySettings", "softDeleteSettings", "softDeleteRetentionPeriodInDays"}).(float64)
	return int(days)
}

func (v Vault) setting(path []string) any {
	var at any = v.AllSettings()
	for _, key := range path {
		m, _ := at.(map[string]any)
		at = m[key]
	}
	return at
}

// allowed are the settings with a fixed set of words.
var allowed = []struct {
	path  string
	words []string
}{
	{"publicNetworkAccess", []string{"Enabled", "Disabled"}},
	{networkRules + ".defaultAction", []string{"Allow", "Deny"}},
	{"redundancySettings.standardTierStorageRedundancy", []string{"LocallyRedundant", "GeoRedundant", "ZoneRedundant"}},
	{"redundancySettings.crossRegionRestore", []string{"Enabled", "Disabled"}},
	{"securitySettings.softDeleteSettings.softDeleteState", []string{"Enabled", "Disabled", "AlwaysON"}},
	{"securitySettings.softDeleteSettings.enhancedSecurityState", []string{"Enabled", "Disabled", "AlwaysON"}},
	{"securitySettings.immutabilitySettings.state", []string{"Disabled", "Unlocked", "Locked"}},
}

// checkSettings judges what a client wants to set.
func checkSettings(in map[string]any) error {
	for _, a := range allowed {
		v, ok := find(in, a.path)
		if !ok {
			continue
		}
		if word, isText := v.(string); !isText || !slices.Contains(a.words, word) {
			return holdfast.Errorf(holdfast.Invalid, "properties."+a.path, "properties.%s is %v; it is one of %s.", a.path, v, strings.Join(a.words, ", "))
		}
	}
	if _, err := parseNetworks(in); err != nil {
		return err
	}
	const days = "securitySettings.softDeleteSettings.softDeleteRetentionPeriodInDays"
	if v, ok := find(in, days); ok {
		if n, isNumber := v.(float64); !isNumber || n < 14 || n > 180 || n != float64(int(n)) {
			return holdfast.Errorf(holdfast.Invalid, "properties."+days, "properties.%s is %v; it is 14 to 180 days.", days, v)
		}
	}
	return nil
}

func find(in map[string]any, path string) (any, bool) {
	var at any = in
	for key := range strings.SplitSeq(path, ".") {
		m, ok := at.(map[string]any)
		if !ok {
			return nil, false
		}
		if at, ok = m[key]; !ok || at == nil {
			return nil, false
		}
	}
	return at, true
}

// checkRedundancy refuses to change how a vault is stored once it protects
// something, as Azure does.
func checkRedundancy(tx *catalog.Tx, v Vault, in map[string]any) error {
	const member = "redundancySettings.standardTierStorageRedundancy"
	want, ok := find(in, member)
	if !ok || want == v.Setting(strings.Split(member, ".")...) {
		return nil
	}
	n, err := tx.Count(catalog.Query{Type: resource.TypeItem, Parent: v.ID})
	if err == nil && n > 0 {
		err = holdfast.Errorf(holdfast.Conflict, "properties."+member, "The redundancy of the vault %q cannot change: it already protects %d items.", v.Name, n)
	}
	return err
}

// Set builds the settings that set one path, for the views of a vault that are
// resources of their own (backupconfig, backupstorageconfig).
func Set(in map[string]any, value any, path ...string) map[string]any {
	for _, key := range slices.Backward(path) {
		value = map[string]any{key: value}
	}
	return resource.Merge(in, value.(map[string]any))
}
