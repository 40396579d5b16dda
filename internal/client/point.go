package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	backup "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservicesbackup/v4"
)

// Point is a recovery point of an item.
type Point struct {
	Raw         json.RawMessage
	ID, Name    string
	Time        time.Time
	Consistency string // recoveryPointType
	Note        string // recoveryPointAdditionalInfo
	Tiers       []string
	Size        string // of the VM
	OSType      string
	Disks       []PointDisk
	Excluded    []PointDisk
	Expires     time.Time // zero: not said
}

// PointDisk is a disk that a point holds, or does not hold.
type PointDisk struct {
	LUN  int // -1 is the OS disk
	Name string
}

func decodePoint(raw json.RawMessage) (Point, error) {
	var m backup.RecoveryPointResource
	if err := json.Unmarshal(raw, &m); err != nil {
		return Point{}, err
	}
	point := Point{Raw: raw, ID: value(m.ID), Name: value(m.Name)}
	p, ok := m.Properties.(*backup.IaasVMRecoveryPoint)
	if !ok {
		return point, nil
	}
	point.Time, point.Consistency, point.Note = moment(p.RecoveryPointTime), value(p.RecoveryPointType), value(p.RecoveryPointAdditionalInfo)
	point.Size, point.OSType = value(p.VirtualMachineSize), value(p.OSType)
	for t := range each(p.RecoveryPointTierDetails) {
		if value(t.Status) == backup.RecoveryPointTierStatusValid || value(t.Status) == backup.RecoveryPointTierStatusRehydrated {
			point.Tiers = append(point.Tiers, string(value(t.Type)))
		}
	}
	if d := p.RecoveryPointDiskConfiguration; d != nil {
		point.Disks, point.Excluded = pointDisks(d.IncludedDiskList), pointDisks(d.ExcludedDiskList)
	}
	if p.RecoveryPointProperties != nil {
		// The SDK's model has this one as a string.
		expiry, err := time.Parse(time.RFC3339, value(p.RecoveryPointProperties.ExpiryTime))
		if err == nil {
			point.Expires = expiry.UTC()
		}
	}
	return point, nil
}

func pointDisks(list []*backup.DiskInformation) []PointDisk {
	var out []PointDisk
	for d := range each(list) {
		out = append(out, PointDisk{LUN: int(value(d.Lun)), Name: value(d.Name)})
	}
	return out
}

// Points lists the points of an item, newest first.
func (c *Client) Points(ctx context.Context, i ItemRef) ([]Point, error) {
	return list(ctx, c, decodePoint, c.backup.NewRecoveryPointsClient().NewListPager(i.Vault.Name, i.Vault.Group, fabric, i.Container, i.Item, nil))
}

// Point shows one point.
func (c *Client) Point(ctx context.Context, i ItemRef, name string) (Point, error) {
	return get(ctx, c, decodePoint, func(ctx context.Context) error {
		_, err := c.backup.NewRecoveryPointsClient().Get(ctx, i.Vault.Name, i.Vault.Group, fabric, i.Container, i.Item, name, nil)
		return err
	})
}

// Restore says what to bring back from a point, and where to.
type Restore struct {
	Point    string
	SourceID string // ARM id of the VM that the point is of
	Site     string // ARM location
	Group    string // resource group of what is restored, and of the pool and the network

	Pool      string // libvirt storage pool; exactly one of Pool and Directory is set
	Directory string // absolute, on the site's host
	Format    string // qcow2, raw or "" for the server's choice
	Prefix    string // of the restored files' names
	LUNs      []int  // only these disks; nil is all

	Replace bool          // replace the disks of the VM that the point is of
	Within  time.Duration // how old a point may be that spares the backup before that; 0 spares none

	Verify   bool          // only see whether the VM comes up: no target
	Check    []string      // of a verification: a program with its arguments
	Patience time.Duration // of a verification: 0 is the server's choice

	NewVM    string // name of the VM to make; "" restores disks only
	Network  string // libvirt network of the new VM; "" keeps the point's
	Start    bool   // start the new VM
	Instant  bool   // boot it at once, and fill its disks while it runs
	FillRate int64  // at most so many bytes a second; 0 is no limit
}

// Restore starts a restore of an item.
func (c *Client) Restore(ctx context.Context, i ItemRef, r Restore) (Work, error) {
	body, err := extended(&backup.RestoreRequestResource{Properties: c.restoreRequest(r)}, r.extension())
	if err != nil {
		return Work{}, c.translate(ctx, err)
	}
	url := c.url(c.itemID(i)+"/recoveryPoints/"+r.Point+"/restore", backupVersion)
	return c.start(ctx, i.Vault, func(ctx context.Context) error {
		_, err := c.send(ctx, http.MethodPost, url, body, http.StatusAccepted)
		return err
	})
}

// extension are Holdfast's own members. start is always said of a VM: Azure
// starts what it restores, and so does a server that is told nothing.
func (r Restore) extension() map[string]any {
	m := nonEmpty(map[string]any{"directory": r.Directory, "format": r.Format, "namePrefix": r.Prefix})
	if r.NewVM != "" || r.Replace && r.Start {
		m["start"] = r.Start
	}
	if r.Instant {
		m["instant"], m["fillRate"] = true, r.FillRate
	}
	if r.Within > 0 {
		m["snapshotWithin"] = r.Within.String()
	}
	if r.Patience > 0 {
		m["patience"] = r.Patience.String()
	}
	if len(r.Check) > 0 {
		m["check"] = r.Check
	}
	return m
}

// restoreRequest is what az sends for the same wish (contract, section 6).
func (c *Client) restoreRequest(r Restore) *backup.IaasVMRestoreRequest {
	m := &backup.IaasVMRestoreRequest{
		RecoveryPointID:              &r.Point,
		RecoveryType:                 to.Ptr(backup.RecoveryTypeRestoreDisks),
		SourceResourceID:             &r.SourceID,
		Region:                       &r.Site,
		TargetResourceGroupID:        to.Ptr(c.groupID(r.Group)),
		CreateNewCloudService:        to.Ptr(false),
		OriginalStorageAccountOption: to.Ptr(false),
	}
	if r.Pool != "" {
		m.StorageAccountID = to.Ptr(c.groupID(r.Group) + "/providers/Microsoft.Storage/storageAccounts/" + r.Pool)
	}
	if r.LUNs != nil {
		m.RestoreDiskLunList = luns(r.LUNs)
	}
	if r.Replace {
		m.RecoveryType, m.TargetResourceGroupID = to.Ptr(backup.RecoveryTypeOriginalLocation), nil
	}
	if r.Verify {
		m.RecoveryType, m.TargetResourceGroupID = to.Ptr(backup.RecoveryType("Verify")), nil
	}
	if r.NewVM != "" {
		m.RecoveryType = to.Ptr(backup.RecoveryTypeAlternateLocation)
		m.TargetVirtualMachineID = to.Ptr(c.VMID(r.Group, r.NewVM))
	}
	if r.Network != "" {
		network := c.groupID(r.Group) + "/providers/Microsoft.Network/virtualNetworks/" + r.Network
		m.VirtualNetworkID, m.SubnetID = &network, to.Ptr(network+"/subnets/default")
	}
	return m
}
