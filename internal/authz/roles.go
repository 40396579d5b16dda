package authz

import "strings"

// Ids of the built-in roles
// (learn.microsoft.com/azure/role-based-access-control/built-in-roles).
const (
	Owner             = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	Contributor       = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	Reader            = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	BackupContributor = "5e467623-bb1f-42f4-a55d-6e525e11384b"
	BackupOperator    = "00c29273-979b-4161-815c-10b084fb9324"
	BackupReader      = "a795c7a0-d4a2-40c1-ae25-d81f01202912"
	MUAOperator       = "f54b6d04-23c6-443e-b462-9c16ab7b4a52"
)

const (
	vaults = "Microsoft.RecoveryServices/vaults/"
	items  = vaults + "backupFabrics/protectionContainers/protectedItems/"
)

// around is what every backup role may see of what lies around a vault: a
// restore or a protection names machines, networks, pools and groups.
var around = []string{
	"Microsoft.Authorization/*/read",
	"Microsoft.Network/virtualNetworks/read",
	"Microsoft.Compute/virtualMachines/read",
	"Microsoft.Storage/storageAccounts/read",
	"Microsoft.Resources/subscriptions/resourceGroups/read",
	"Holdfast.Site/sites/read",
	"Holdfast.Site/preflights/read",
}

var builtin = []Role{
	{ID: Owner, Name: "Owner", Description: "Full access to all resources, and the right to give access to others.", Actions: []string{"*"}},
	{ID: Contributor, Name: "Contributor", Description: "Full access to all resources, without the right to give access to others.",
		Actions:    []string{"*"},
		NotActions: []string{"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action"}},
	{ID: Reader, Name: "Reader", Description: "Sees all resources, changes none.", Actions: []string{"*/read"}},
	{ID: BackupContributor, Name: "Backup Contributor", Description: "Manages backup, but cannot delete vaults nor give access to others.",
		Actions: append([]string{
			"Microsoft.RecoveryServices/locations/*",
			vaults + "*",
			"Microsoft.RecoveryServices/operations/read",
			"Microsoft.Resources/deployments/*",
			"Microsoft.Compute/restorePointCollections/*",
		}, around...),
		NotActions: []string{vaults + "delete"}},
	{ID: BackupOperator, Name: "Backup Operator", Description: "Runs backups and restores, but cannot remove backup, create vaults nor give access to others.",
		Actions: append([]string{
			"Microsoft.RecoveryServices/locations/*/read",
			"Microsoft.RecoveryServices/locations/*/action",
			"Microsoft.RecoveryServices/operations/read",
			"Microsoft.RecoveryServices/vaults/read",
			vaults + "*/read",
			vaults + "backupFabrics/refreshContainers/action",
			vaults + "backupFabrics/protectionContainers/write",
			vaults + "backupJobs/*",
			vaults + "backupJobsExport/action",
			vaults + "backupPolicies/preview/action",
			items + "write",
			items + "backup/action",
			items + "recoveryPoints/accessToken/action",
			items + "recoveryPoints/move/action",
			items + "recoveryPoints/restore/action",
			items + "recoveryPoints/provisionInstantItemRecovery/action",
			items + "recoveryPoints/revokeInstantItemRecovery/action",
			items + "recoveryPointsRecommendedForMove/action",
			vaults + "backupValidateOperation/action",
			vaults + "backupTriggerValidateOperation/action",
			"Microsoft.Resources/deployments/*",
		}, around...)},
	{ID: BackupReader, Name: "Backup Reader", Description: "Sees backup, changes nothing.",
		Actions: append([]string{
			"Microsoft.RecoveryServices/locations/*/read",
			"Microsoft.RecoveryServices/locations/backupStatus/action",
			"Microsoft.RecoveryServices/operations/read",
			"Microsoft.RecoveryServices/vaults/read",
			vaults + "*/read",
			vaults + "backupPolicies/preview/action",
			items + "recoveryPointsRecommendedForMove/action",
		}, around...)},
	{ID: MUAOperator, Name: "Backup MUA Operator", Description: "Given on a resource guard by one of its owners: lets do once more what the guard guards.",
		Actions: []string{
			"Microsoft.DataProtection/resourceGuards/read",
			"Microsoft.DataProtection/resourceGuards/*Requests/read",
			"Microsoft.DataProtection/resourceGuards/*Requests/action",
		}},
}

// Builtin lists the built-in roles.
func Builtin() []Role { return builtin }

// Find returns the built-in role of an id.
func Find(id string) (Role, bool) {
	for _, r := range builtin {
		if strings.EqualFold(r.ID, id) {
			return r, true
		}
	}
	return Role{}, false
}
