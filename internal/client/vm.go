package client

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"

	"holdfast"
)

// VM is a libvirt domain of a site.
type VM struct {
	Raw             json.RawMessage
	ID, Name, Group string
	Site            string
	Power           string   // such as running; empty if the server did not say
	Size            string   // such as 2 vCPU, 1 GiB
	OSType          string   // Linux or Windows
	OSName          string   // as the guest says it
	Agent           string   // Ready or Not Ready; empty if the server did not say
	Disks           []VMDisk // the OS disk first
}

// VMDisk is one disk of a VM.
type VMDisk struct {
	LUN  int // -1 is the OS disk
	Name string
	Size int64  // bytes
	Path string // on the site's host
}

func decodeVM(raw json.RawMessage) (VM, error) {
	var m armcompute.VirtualMachine
	if err := json.Unmarshal(raw, &m); err != nil {
		return VM{}, err
	}
	vm := VM{Raw: raw, ID: value(m.ID), Name: value(m.Name), Group: partsOf(value(m.ID)).group, Site: value(m.Location)}
	p := m.Properties
	if p == nil {
		return vm, nil
	}
	if p.HardwareProfile != nil {
		vm.Size = string(value(p.HardwareProfile.VMSize))
	}
	if p.InstanceView != nil {
		vm.fillView(p.InstanceView)
	}
	if p.StorageProfile != nil {
		vm.fillDisks(p.StorageProfile)
	}
	var beside struct {
		Properties struct {
			Holdfast struct{ DiskBytes map[string]int64 }
		}
	}
	if err := json.Unmarshal(raw, &beside); err != nil {
		return VM{}, err
	}
	for i, d := range vm.Disks {
		if n, ok := beside.Properties.Holdfast.DiskBytes[d.Name]; ok {
			vm.Disks[i].Size = n
		}
	}
	return vm, nil
}

func (vm *VM) fillView(v *armcompute.VirtualMachineInstanceView) {
	vm.OSName = value(v.OSName)
	for s := range each(v.Statuses) {
		if power, ok := strings.CutPrefix(value(s.Code), "PowerState/"); ok {
			vm.Power = power
		}
	}
	if v.VMAgent != nil {
		for s := range each(v.VMAgent.Statuses) {
			vm.Agent = value(s.DisplayStatus)
		}
	}
}

func (vm *VM) fillDisks(s *armcompute.StorageProfile) {
	if d := s.OSDisk; d != nil {
		vm.OSType = string(value(d.OSType))
		vm.Disks = append(vm.Disks, VMDisk{LUN: -1, Name: value(d.Name), Size: int64(value(d.DiskSizeGB)) << 30, Path: diskPath(d.Vhd)})
	}
	for d := range each(s.DataDisks) {
		vm.Disks = append(vm.Disks, VMDisk{LUN: int(value(d.Lun)), Name: value(d.Name), Size: int64(value(d.DiskSizeGB)) << 30, Path: diskPath(d.Vhd)})
	}
}

func diskPath(v *armcompute.VirtualHardDisk) string {
	if v == nil {
		return ""
	}
	return value(v.URI)
}

// VMs lists the VMs of a resource group, or with an empty group all, their power
// states included.
func (c *Client) VMs(ctx context.Context, group string) ([]VM, error) {
	if group != "" {
		view := armcompute.ExpandTypeForListVMsInstanceView
		return list(ctx, c, decodeVM, c.vms.NewListPager(group, &armcompute.VirtualMachinesClientListOptions{Expand: &view}))
	}
	view := armcompute.ExpandTypesForListVMsInstanceView
	return list(ctx, c, decodeVM, c.vms.NewListAllPager(&armcompute.VirtualMachinesClientListAllOptions{Expand: &view}))
}

// VM shows one VM, its power state included.
func (c *Client) VM(ctx context.Context, group, name string) (VM, error) {
	view := armcompute.InstanceViewTypesInstanceView
	return get(ctx, c, decodeVM, func(ctx context.Context) error {
		_, err := c.vms.Get(ctx, group, name, &armcompute.VirtualMachinesClientGetOptions{Expand: &view})
		return err
	})
}

// Check is what was looked at before a backup of a VM.
type Check struct {
	Raw      json.RawMessage
	Ready    bool // nothing found makes a backup fail
	Findings []holdfast.Finding
}

func decodeCheck(raw json.RawMessage) (Check, error) {
	var m struct {
		Properties struct {
			Ready    bool               `json:"ready"`
			Findings []holdfast.Finding `json:"findings"`
		} `json:"properties"`
	}
	err := json.Unmarshal(raw, &m)
	return Check{raw, m.Properties.Ready, m.Properties.Findings}, err
}

// CheckVM asks the server what a backup of a VM would meet. Nothing is changed.
func (c *Client) CheckVM(ctx context.Context, group, name string) (Check, error) {
	return get(ctx, c, decodeCheck, func(ctx context.Context) error {
		_, err := c.send(ctx, http.MethodGet, c.url(c.VMID(group, name)+"/providers/Holdfast.Site/preflights/current", siteVersion), nil, http.StatusOK)
		return err
	})
}

// ConvertVM moves the disks of a VM that is off into a storage pool and waits until
// they are there. An empty pool leaves the choice to the server.
func (c *Client) ConvertVM(ctx context.Context, group, name, pool string) error {
	body := map[string]any{}
	if pool != "" {
		body["properties"] = map[string]any{"holdfast": map[string]any{"storageAccountId": c.groupID(group) + "/providers/Microsoft.Storage/storageAccounts/" + pool}}
	}
	resp, err := c.send(onceOnly(ctx), http.MethodPost, c.url(c.VMID(group, name)+"/convertToManagedDisks", computeVersion), body, http.StatusAccepted)
	if err != nil {
		return err
	}
	_, err = c.operation(ctx, resp)
	return err
}

// computeVersion is the api-version of machines (armcompute/v6).
const computeVersion = "2024-11-01"

// VMID is the ARM id that a VM of a group has, whether it is there or not.
func (c *Client) VMID(group, name string) string {
	return c.groupID(group) + "/providers/Microsoft.Compute/virtualMachines/" + name
}
