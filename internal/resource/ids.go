package resource

import (
	"strings"

	"holdfast"
	"holdfast/internal/arm"
)

// Resource types. The case is ARM's and fixed: clients cut ids by it.
const (
	TypeSubscription = "Microsoft.Resources/subscriptions"
	TypeGroup        = "Microsoft.Resources/resourceGroups"
	TypeSite         = "Holdfast.Site/sites"
	TypePreflight    = "Holdfast.Site/preflights"
	TypeVM           = "Microsoft.Compute/virtualMachines"
	TypeDisk         = "Microsoft.Compute/disks"
	TypeNIC          = "Microsoft.Network/networkInterfaces"
	TypePool         = "Microsoft.Storage/storageAccounts"
	TypeNetwork      = "Microsoft.Network/virtualNetworks"
	TypeVault        = "Microsoft.RecoveryServices/vaults"
	TypePolicy       = TypeVault + "/backupPolicies"
	TypeContainer    = TypeVault + "/backupFabrics/protectionContainers"
	TypeItem         = TypeContainer + "/protectedItems"
	TypePoint        = TypeItem + "/recoveryPoints"

	TypeCollection       = "Microsoft.Compute/restorePointCollections"
	TypeRestorePoint     = TypeCollection + "/restorePoints"
	TypeDiskRestorePoint = TypeRestorePoint + "/diskRestorePoints"
)

// SubscriptionID is the id of a subscription, from its GUID.
func SubscriptionID(sub string) string { return "/subscriptions/" + sub }

// GroupID is the id of a resource group.
func GroupID(sub, group string) string { return SubscriptionID(sub) + "/resourceGroups/" + group }

// SiteID is the id of a site, which lies in no group.
func SiteID(sub, name string) string {
	return SubscriptionID(sub) + "/providers/" + TypeSite + "/" + name
}

// InGroup is the id of a resource of a type that lies in a group.
func InGroup(sub, group, typ, name string) string {
	return GroupID(sub, group) + "/providers/" + typ + "/" + name
}

// PolicyID is the id of a policy of a vault.
func PolicyID(vault, name string) string { return vault + "/backupPolicies/" + name }

// ItemID is the id of the protected item of a VM in a vault, from the names of
// the VM's group and the VM (arm-contract, 7).
func ItemID(vault, group, vm string) string {
	return ContainerID(vault, group, vm) + "/protectedItems/VM;" + ItemName(group, vm)
}

// ContainerID is the id of the container of a VM's protected item.
func ContainerID(vault, group, vm string) string {
	return vault + "/backupFabrics/Azure/protectionContainers/IaasVMContainer;" + ItemName(group, vm)
}

// PointID is the ARM id of a point.
func PointID(item, name string) string { return item + "/recoveryPoints/" + name }

// ItemName is what the names of an item and its container end in.
func ItemName(group, vm string) string { return "iaasvmcontainerv2;" + group + ";" + vm }

// ParseAs parses an id that a request's member gives, of the expected type.
func ParseAs(member, id, typ string) (arm.ID, error) {
	parsed, err := arm.ParseID(id)
	if err != nil {
		return parsed, holdfast.Errorf(holdfast.Invalid, member, "%s is %q, which is not a resource id: %v.", member, id, err)
	}
	if !parsed.Is(typ) {
		return parsed, holdfast.Errorf(holdfast.Invalid, member, "%s is %q; it must be the id of a %s.", member, id, typ)
	}
	return parsed, nil
}

// Location brings a location to the form it is compared in: "East US" is eastus.
func Location(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "")) }

// CheckName refuses a name that no resource can have; what says of which it is.
func CheckName(what, name string) error {
	if arm.IsName(name) {
		return nil
	}
	return holdfast.Errorf(holdfast.Invalid, "name", "%q cannot name a %s: a name is %s.", name, what, arm.NameRule)
}

// Lower is an id as it is compared.
func Lower(id string) string { return strings.ToLower(id) }

// LastName is the last segment of an id, for messages.
func LastName(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// IDOf parses an id of ours, which cannot be wrong.
func IDOf(id string) arm.ID {
	parsed, err := arm.ParseID(id)
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return parsed
}

// Above is the resource that an id lies in, "" above a subscription.
func Above(id string) string {
	i := strings.LastIndexByte(id, '/')
	if i <= 0 || arm.Within("/subscriptions", id[:i]) {
		return ""
	}
	return id[:i]
}
