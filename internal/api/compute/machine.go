package compute

import (
	"cmp"
	"encoding/json"
	"strings"

	sdk "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"

	"holdfast"
	"holdfast/internal/api/resources"
	"holdfast/internal/resource"
	"holdfast/internal/service"
)

// updateBody is what PUT and PATCH on a machine read; other members are what a
// client read before and sends back.
type updateBody struct {
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	Properties struct {
		HardwareProfile struct {
			VMSize string `json:"vmSize"`
		} `json:"hardwareProfile"`
		StorageProfile struct {
			OSDisk    json.RawMessage   `json:"osDisk"`
			DataDisks []json.RawMessage `json:"dataDisks"`
		} `json:"storageProfile"`
		NetworkProfile struct {
			Configurations []nicBody `json:"networkInterfaceConfigurations"`
		} `json:"networkProfile"`
		Holdfast struct {
			RecoveryPointID string `json:"recoveryPointId"`
			Start           *bool  `json:"start"`
		} `json:"holdfast"`
	} `json:"properties"`
}

// nicBody is one NIC of it (VirtualMachineNetworkInterfaceConfiguration).
type nicBody struct {
	Properties struct {
		IPConfigurations []struct {
			Properties struct {
				Subnet struct {
					ID string `json:"id"`
				} `json:"subnet"`
			} `json:"properties"`
		} `json:"ipConfigurations"`
	} `json:"properties"`
}

// DecodeNew reads PUT on a machine that is not there.
func DecodeNew(body []byte) (service.NewVM, error) {
	u, err := DecodeUpdate(body)
	if err != nil {
		return service.NewVM{}, err
	}
	in, err := resources.Decode[updateBody](body)
	if err != nil {
		return service.NewVM{}, err
	}
	p := in.Properties
	n := service.NewVM{Location: in.Location, Point: p.Holdfast.RecoveryPointID, Size: u.Size, Tags: u.Tags, Kept: u.Kept, Start: p.Holdfast.Start == nil || *p.Holdfast.Start}
	var osDisk diskBody
	if len(p.StorageProfile.OSDisk) > 0 {
		if osDisk, err = resources.Decode[diskBody](p.StorageProfile.OSDisk); err != nil {
			return n, err
		}
		n.Disks = append(n.Disks, service.WantedDisk{ID: osDisk.ManagedDisk.ID, Name: osDisk.Name, Create: osDisk.CreateOption, Kept: u.KeptOfOSDisk})
		n.Disks = append(n.Disks, u.Disks...)
	}
	for _, nic := range p.NetworkProfile.Configurations {
		subnet := ""
		for _, ip := range nic.Properties.IPConfigurations {
			subnet = cmp.Or(subnet, ip.Properties.Subnet.ID)
		}
		n.Networks = append(n.Networks, subnet)
	}
	return n, nil
}

// diskBody is one data disk of it.
type diskBody struct {
	LUN          *int   `json:"lun"`
	Name         string `json:"name"`
	CreateOption string `json:"createOption"`
	ToBeDetached bool   `json:"toBeDetached"`
	ManagedDisk  struct {
		ID string `json:"id"`
	} `json:"managedDisk"`
}

// DecodeUpdate reads PUT and PATCH on a machine.
func DecodeUpdate(body []byte) (service.VMUpdate, error) {
	in, err := resources.Decode[updateBody](body)
	if err != nil {
		return service.VMUpdate{}, err
	}
	u := service.VMUpdate{Tags: in.Tags, Size: in.Properties.HardwareProfile.VMSize}
	if u.Kept, err = kept(body); err != nil {
		return u, err
	}
	if u.KeptOfOSDisk, err = keptDisk(in.Properties.StorageProfile.OSDisk); err != nil {
		return u, err
	}
	if disks := in.Properties.StorageProfile.DataDisks; disks != nil {
		u.Disks = []service.WantedDisk{}
		for _, raw := range disks {
			d, err := resources.Decode[diskBody](raw)
			if err != nil {
				return u, err
			}
			keep, err := keptDisk(raw)
			if err != nil {
				return u, err
			}
			u.Disks = append(u.Disks, service.WantedDisk{ID: d.ManagedDisk.ID, Name: d.Name, LUN: d.LUN, Detach: d.ToBeDetached, Create: d.CreateOption, Kept: keep})
		}
	}
	return u, nil
}

// DecodeConvert reads which pool the disks of a machine are to go to: the ARM id of
// its storage account. Azure's request has no body, and names none.
func DecodeConvert(body []byte) (pool string, err error) {
	if len(body) == 0 {
		return "", nil
	}
	in, err := resources.Decode[struct {
		Properties struct {
			Holdfast struct {
				StorageAccountID string `json:"storageAccountId"`
			} `json:"holdfast"`
		} `json:"properties"`
	}](body)
	return in.Properties.Holdfast.StorageAccountID, err
}

// DecodeWholeVM reads, of PUT on a machine, which restore point it is to be made
// of; one of none names no Point.
func DecodeWholeVM(body []byte) (service.WholeVM, error) {
	in, err := resources.Decode[struct {
		Location   string `json:"location"`
		Properties struct {
			Holdfast struct {
				RestorePoint     reference `json:"restorePoint"`
				StorageAccountID string    `json:"storageAccountId"`
				VirtualNetworkID string    `json:"virtualNetworkId"`
				Start            *bool     `json:"start"`
			} `json:"holdfast"`
		} `json:"properties"`
	}](body)
	h := in.Properties.Holdfast
	return service.WholeVM{Location: in.Location, Point: h.RestorePoint.ID, Pool: h.StorageAccountID, Network: h.VirtualNetworkID, Start: h.Start}, err
}

// Disk is a disk on the wire.
func Disk(d service.Disk) resources.Resource {
	state := "Unattached"
	switch {
	case d.Running:
		state = "Attached"
	case d.Owner != "":
		state = "Reserved" // attached to a machine that is off
	}
	p := map[string]any{
		"provisioningState": "Succeeded", "diskState": state, "diskSizeGB": (d.Size + 1<<30 - 1) >> 30, "diskSizeBytes": d.Size,
		"creationData": map[string]any{"createOption": "Attach"},
		"holdfast":     map[string]any{"path": d.Path, "pool": d.Pool, "format": d.Format, "allocated": d.Allocated, "backing": d.Backing},
	}
	p["encryption"] = map[string]any{"type": sdk.EncryptionTypeEncryptionAtRestWithPlatformKey}
	if d.EncryptionSet != "" {
		p["encryption"] = map[string]any{"type": d.Encryption, "diskEncryptionSetId": d.EncryptionSet}
	}
	r := resources.Resource{ID: d.ID, Name: d.Name, Type: resource.TypeDisk, Location: resource.Location(d.Location), Properties: p,
		SKU: map[string]any{"name": "Standard_LRS", "tier": "Standard"}}
	if d.Owner != "" {
		r.ManagedBy = d.Owner
	}
	return r
}

// DecodeDisk reads PUT and PATCH on a disk.
func DecodeDisk(body []byte) (service.DiskRequest, error) {
	in, err := resources.Decode[struct {
		Location   string            `json:"location"`
		Tags       map[string]string `json:"tags"`
		Properties struct {
			DiskSizeGB          int64  `json:"diskSizeGB"`
			DiskAccessID        string `json:"diskAccessId"`
			NetworkAccessPolicy string `json:"networkAccessPolicy"`
			Encryption          struct {
				Type                string `json:"type"`
				DiskEncryptionSetID string `json:"diskEncryptionSetId"`
			} `json:"encryption"`
			CreationData struct {
				CreateOption     string `json:"createOption"`
				SourceResourceID string `json:"sourceResourceId"`
				SourceURI        string `json:"sourceUri"`
			} `json:"creationData"`
			Holdfast struct {
				Format string `json:"format"`
				LUN    *int   `json:"lun"`
			} `json:"holdfast"`
		} `json:"properties"`
	}](body)
	p := in.Properties
	if err == nil && (p.DiskAccessID != "" || strings.EqualFold(p.NetworkAccessPolicy, "AllowPrivate")) {
		err = holdfast.Errorf(holdfast.Unsupported, "properties.networkAccessPolicy", "A disk has no private link (RPL-05).").WithHint("Leave networkAccessPolicy and diskAccessId out: who may read a disk, roles say.")
	}
	var set *string
	if e := p.Encryption; e.DiskEncryptionSetID != "" || strings.EqualFold(e.Type, string(sdk.EncryptionTypeEncryptionAtRestWithPlatformKey)) {
		set = &e.DiskEncryptionSetID
	}
	lun := -1
	if p.Holdfast.LUN != nil {
		lun = *p.Holdfast.LUN
	}
	return service.DiskRequest{Location: in.Location, SizeGB: p.DiskSizeGB, Create: p.CreationData.CreateOption, Format: p.Holdfast.Format, Tags: in.Tags,
		Source: p.CreationData.SourceResourceID, SourceAt: p.CreationData.SourceURI, LUN: lun, EncryptionSet: set}, err
}

// NIC is a network interface on the wire. Its addresses are the guest's own.
func NIC(n service.NIC) resources.Resource {
	ip := map[string]any{"privateIPAllocationMethod": "Dynamic", "primary": true, "provisioningState": "Succeeded"}
	if n.Network != "" {
		ip["subnet"] = map[string]any{"id": n.NetworkID + "/subnets/default"}
	}
	return resources.Resource{ID: n.ID, Name: n.Name, Type: resource.TypeNIC, Location: resource.Location(n.Location), Properties: map[string]any{
		"provisioningState": "Succeeded", "primary": n.Primary, "macAddress": strings.ToUpper(strings.ReplaceAll(n.MAC, ":", "-")),
		"virtualMachine":   map[string]any{"id": n.VM},
		"ipConfigurations": []map[string]any{{"id": n.ID + "/ipConfigurations/ipconfig1", "name": "ipconfig1", "properties": ip}},
		"holdfast":         map[string]any{"kind": n.Kind, "model": n.Model},
	}}
}

// Subnet is the one subnet of a libvirt network.
func Subnet(p service.Part) resources.Resource {
	return resources.Resource{ID: p.ID + "/subnets/default", Name: "default", Type: resource.TypeNetwork + "/subnets", Properties: map[string]any{"provisioningState": "Succeeded"}}
}
