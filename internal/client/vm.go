package client

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"
)

// VM is a libvirt domain of a site.
type VM struct {
	Raw             json.RawMessage
	ID, Name, Group string
	Site            string
	Power           string // such as running; empty if the server did not say
	Size            string // such as 2 vCPU, 1 GiB
	OSType          string
	Disks           []VMDisk // the OS disk first
}

// VMDisk is one disk of a VM.
type VMDisk struct {
	LUN     int // -1 is the OS disk
	Name    string
	SizeGiB int
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
		for _, s := range p.InstanceView.Statuses {
			if power, ok := strings.CutPrefix(value(s.Code), "PowerState/"); ok {
				vm.Power = power
			}
		}
	}
	if p.StorageProfile != nil {
		vm.fillDisks(p.StorageProfile)
	}
	return vm, nil
}

func (vm *VM) fillDisks(s *armcompute.StorageProfile) {
	if d := s.OSDisk; d != nil {
		vm.OSType = string(value(d.OSType))
		vm.Disks = append(vm.Disks, VMDisk{LUN: -1, Name: value(d.Name), SizeGiB: int(value(d.DiskSizeGB))})
	}
	for _, d := range s.DataDisks {
		vm.Disks = append(vm.Disks, VMDisk{LUN: int(value(d.Lun)), Name: value(d.Name), SizeGiB: int(value(d.DiskSizeGB))})
	}
}

// VMs lists the VMs of a resource group, or with an empty group all.
func (c *Client) VMs(ctx context.Context, group string) ([]VM, error) {
	if group != "" {
		return list(ctx, c, decodeVM, c.vms.NewListPager(group, nil))
	}
	return list(ctx, c, decodeVM, c.vms.NewListAllPager(nil))
}

// VM shows one VM, its power state included.
func (c *Client) VM(ctx context.Context, group, name string) (VM, error) {
	view := armcompute.InstanceViewTypesInstanceView
	return get(ctx, c, decodeVM, func(ctx context.Context) error {
		_, err := c.vms.Get(ctx, group, name, &armcompute.VirtualMachinesClientGetOptions{Expand: &view})
		return err
	})
}

// VMID is the ARM id that a VM of a group has, whether it is there or not.
func (c *Client) VMID(group, name string) string {
	return c.groupID(group) + "/providers/Microsoft.Compute/virtualMachines/" + name
}
