package client

import (
	"context"
	"encoding/json"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	backup "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservicesbackup/v4"
)

// Item is a protected VM in a vault. It stays when its VM is gone.
type Item struct {
	Raw         json.RawMessage
	ID          string
	Ref         ItemRef
	VM          string // the VM's name
	SourceID    string // the VM's ARM id
	Policy      string
	State       string // protectionState
	LastStatus  string // lastBackupStatus
	LastBackup  time.Time
	LastPoint   time.Time
	Points      int // recoveryPointCount; -1 if the server did not say
	ExcludeLUNs []int
	// DeletedUntil is until when a soft-deleted item can be taken back; zero:
	// it is not deleted.
	DeletedUntil time.Time
}

func decodeItem(raw json.RawMessage) (Item, error) {
	var m backup.ProtectedItemResource
	if err := json.Unmarshal(raw, &m); err != nil {
		return Item{}, err
	}
	i := Item{Raw: raw, ID: value(m.ID), Points: -1}
	var err error
	if i.Ref, err = itemRefOf(i.ID); err != nil {
		return Item{}, err
	}
	p, ok := m.Properties.(*backup.AzureIaaSComputeVMProtectedItem)
	if !ok {
		return i, nil
	}
	i.VM, i.SourceID, i.Policy = value(p.FriendlyName), value(p.SourceResourceID), value(p.PolicyName)
	if i.SourceID == "" {
		i.SourceID = value(p.VirtualMachineID)
	}
	i.State, i.LastStatus = string(value(p.ProtectionState)), value(p.LastBackupStatus)
	i.LastBackup, i.LastPoint = moment(p.LastBackupTime), moment(p.LastRecoveryPoint)
	if value(p.IsScheduledForDeferredDelete) {
		i.DeletedUntil = moment(p.DeferredDeleteTimeInUTC)
	}
	if p.ExtendedInfo != nil && p.ExtendedInfo.RecoveryPointCount != nil {
		i.Points = int(*p.ExtendedInfo.RecoveryPointCount)
	}
	if e := p.ExtendedProperties; e != nil && e.DiskExclusionProperties != nil && !value(e.DiskExclusionProperties.IsInclusionList) {
		for lun := range each(e.DiskExclusionProperties.DiskLunList) {
			i.ExcludeLUNs = append(i.ExcludeLUNs, int(value(lun)))
		}
	}
	return i, nil
}

// Group is the resource group of the item's VM.
func (i Item) Group() string { return partsOf(i.SourceID).group }

// Items lists the protected VMs of a vault.
func (c *Client) Items(ctx context.Context, v VaultRef) ([]Item, error) {
	filter := vmItems + " and itemType eq 'VM'"
	return list(ctx, c, decodeItem, c.backup.NewBackupProtectedItemsClient().NewListPager(v.Name, v.Group,
		&backup.BackupProtectedItemsClientListOptions{Filter: &filter}))
}

// Item shows one protected VM.
func (c *Client) Item(ctx context.Context, i ItemRef) (Item, error) {
	return get(ctx, c, decodeItem, func(ctx context.Context) error {
		_, err := c.backup.NewProtectedItemsClient().Get(ctx, i.Vault.Name, i.Vault.Group, fabric, i.Container, i.Item, nil)
		return err
	})
}

// Protect puts a VM under a policy of a vault, changes its policy, or resumes
// it after a stop. A nil excludeLUNs leaves what is excluded as it is; an empty
// one excludes nothing. The Work is the job that configures it.
func (c *Client) Protect(ctx context.Context, v VaultRef, vmID, policy string, excludeLUNs []int) (ItemRef, Work, error) {
	ref := itemRef(v, vmID)
	item := &backup.AzureIaaSComputeVMProtectedItem{SourceResourceID: &vmID, PolicyID: to.Ptr(c.PolicyID(v, policy))}
	if excludeLUNs != nil {
		item.ExtendedProperties = &backup.ExtendedProperties{}
	}
	if len(excludeLUNs) > 0 {
		item.ExtendedProperties.DiskExclusionProperties = &backup.DiskExclusionProperties{
			IsInclusionList: to.Ptr(false), DiskLunList: luns(excludeLUNs)}
	}
	work, err := c.putItem(ctx, ref, item)
	return ref, work, err
}

// StopProtection ends backups of an item and keeps its points.
func (c *Client) StopProtection(ctx context.Context, i Item) (Work, error) {
	return c.putItem(ctx, i.Ref, &backup.AzureIaaSComputeVMProtectedItem{
		SourceResourceID: &i.SourceID,
		PolicyID:         to.Ptr(""),
		ProtectionState:  to.Ptr(backup.ProtectionStateProtectionStopped),
	})
}

// Undelete takes a soft-deleted item back; its backups stay stopped.
func (c *Client) Undelete(ctx context.Context, i Item) (Work, error) {
	return c.putItem(ctx, i.Ref, &backup.AzureIaaSComputeVMProtectedItem{
		SourceResourceID: &i.SourceID,
		PolicyID:         to.Ptr(""),
		ProtectionState:  to.Ptr(backup.ProtectionStateProtectionStopped),
		IsRehydrate:      to.Ptr(true),
	})
}

func (c *Client) putItem(ctx context.Context, i ItemRef, item *backup.AzureIaaSComputeVMProtectedItem) (Work, error) {
	return c.start(ctx, i.Vault, func(ctx context.Context) error {
		_, err := c.backup.NewProtectedItemsClient().CreateOrUpdate(ctx, i.Vault.Name, i.Vault.Group, fabric, i.Container, i.Item,
			backup.ProtectedItemResource{Properties: item}, nil)
		return err
	})
}

// DeleteItem ends backups of an item and deletes its points, as the vault's
// soft delete allows.
func (c *Client) DeleteItem(ctx context.Context, i ItemRef) (Work, error) {
	return c.start(ctx, i.Vault, func(ctx context.Context) error {
		_, err := c.backup.NewProtectedItemsClient().Delete(ctx, i.Vault.Name, i.Vault.Group, fabric, i.Container, i.Item, nil)
		return err
	})
}

// Backup starts a backup of an item now. The point is kept until expiry.
func (c *Client) Backup(ctx context.Context, i ItemRef, expiry time.Time) (Work, error) {
	return c.start(ctx, i.Vault, func(ctx context.Context) error {
		_, err := c.backup.NewBackupsClient().Trigger(ctx, i.Vault.Name, i.Vault.Group, fabric, i.Container, i.Item,
			backup.BackupRequestResource{Properties: &backup.IaasVMBackupRequest{RecoveryPointExpiryTimeInUTC: &expiry}}, nil)
		return err
	})
}

func luns(list []int) []*int32 {
	out := make([]*int32, len(list))
	for i, lun := range list {
		out[i] = to.Ptr(int32(lun))
	}
	return out
}
