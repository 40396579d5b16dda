package client

import (
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
)

// fabric is the only backup fabric that there is (contract, section 7).
const fabric = "Azure"

// parts of an ARM id that commands print and choose by; empty where absent.
type parts struct{ group, name string }

func partsOf(id string) parts {
	r, err := arm.ParseResourceID(id)
	if err != nil {
		return parts{name: id[strings.LastIndexByte(id, '/')+1:]}
	}
	return parts{group: r.ResourceGroupName, name: r.Name}
}

// VaultRef names a vault of the client's subscription.
type VaultRef struct{ Group, Name string }

func (c *Client) vaultID(v VaultRef) string {
	return c.groupID(v.Group) + "/providers/Microsoft.RecoveryServices/vaults/" + v.Name
}

// ItemRef names a protected item: a VM in a vault.
type ItemRef struct {
	Vault     VaultRef
	Container string // such as IaasVMContainer;iaasvmcontainerv2;RG;VM
	Item      string // such as VM;iaasvmcontainerv2;RG;VM
}

// itemRef is the item that the VM of a group is or will be in a vault
// (contract, section 7).
func itemRef(v VaultRef, vmID string) ItemRef {
	p := partsOf(vmID)
	tail := "iaasvmcontainerv2;" + p.group + ";" + p.name
	return ItemRef{Vault: v, Container: "IaasVMContainer;" + tail, Item: "VM;" + tail}
}

func (c *Client) itemID(i ItemRef) string {
	return c.vaultID(i.Vault) + "/backupFabrics/" + fabric + "/protectionContainers/" + i.Container + "/protectedItems/" + i.Item
}

// itemRefOf is the item that an ARM id names.
func itemRefOf(id string) (ItemRef, error) {
	r, err := arm.ParseResourceID(id)
	if err != nil {
		return ItemRef{}, err
	}
	ref := ItemRef{Item: r.Name, Vault: VaultRef{Group: r.ResourceGroupName}}
	for p := r.Parent; p != nil; p = p.Parent {
		switch strings.ToLower(p.ResourceType.Types[len(p.ResourceType.Types)-1]) {
		case "protectioncontainers":
			ref.Container = p.Name
		case "vaults":
			ref.Vault.Name = p.Name
		}
	}
	return ref, nil
}
