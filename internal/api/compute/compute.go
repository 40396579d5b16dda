// Package compute is the wire form of what a site has: its machines, its pools
// (storage accounts) and its networks (virtual networks).
package compute

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	sdk "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"

	"holdfast"
	"holdfast/internal/api/resources"
	"holdfast/internal/resource"
	"holdfast/internal/service"
)

// powerStates are Azure's words for libvirt's domain states.
var powerStates = map[string]string{"running": "running", "paused": "running", "shutdown": "stopping", "shutoff": "deallocated", "crashed": "stopped", "pmsuspended": "stopped"}

// VM is a machine on the wire; view adds its instance view.
func VM(vm service.VM, view bool) *sdk.VirtualMachine {
	generation := sdk.HyperVGenerationTypeV1
	if vm.UEFI {
		generation = sdk.HyperVGenerationTypeV2
	}
	wire := withKept(vm)
	p := wire.Properties
	p.VMID, p.ProvisioningState = &vm.UUID, to.Ptr("Succeeded")
	p.HardwareProfile = &sdk.HardwareProfile{VMSize: to.Ptr(sdk.VirtualMachineSizeTypes(Size(vm.VMFact)))}
	p.StorageProfile = storage(vm, p.StorageProfile.ImageReference)
	p.SecurityProfile = security(vm.VMFact, p.SecurityProfile)
	p.OSProfile = &sdk.OSProfile{ComputerName: &vm.Name}
	if p.NetworkProfile == nil {
		p.NetworkProfile = &sdk.NetworkProfile{}
	}
	p.NetworkProfile.NetworkInterfaces = []*sdk.NetworkInterfaceReference{} // empty, or az asks Microsoft.Network for each
	if view {
		p.InstanceView = InstanceView(vm)
		p.InstanceView.HyperVGeneration = &generation
	}
	wire.ID, wire.Name, wire.Type = &vm.ID, &vm.Name, to.Ptr(resource.TypeVM)
	wire.Location, wire.Tags = to.Ptr(resource.Location(vm.Location)), tags(vm.Tags)
	return wire
}

// Machine is VM with what Azure's model has no member for: the sizes of the disks in
// bytes, by their libvirt targets.
func Machine(vm service.VM, view bool) map[string]any {
	var wire map[string]any
	if err := json.Unmarshal(holdfast.Marshal(VM(vm, view)), &wire); err != nil {
		panic("internal error: " + err.Error()) // it was just written
	}
	bytes := map[string]int64{}
	for _, d := range vm.Disks {
		bytes[d.Target] = d.Size
	}
	wire["properties"].(map[string]any)["holdfast"] = map[string]any{"diskBytes": bytes}
	return wire
}

// security says how a machine boots, beside what is kept of it; nil is nothing.
func security(f holdfast.VMFact, kept *sdk.SecurityProfile) *sdk.SecurityProfile {
	if !f.SecureBoot && !f.TPM && f.Confidential == "" {
		return kept
	}
	if kept == nil {
		kept = &sdk.SecurityProfile{}
	}
	kept.UefiSettings = &sdk.UefiSettings{SecureBootEnabled: &f.SecureBoot, VTpmEnabled: &f.TPM}
	switch {
	case f.Confidential != "":
		kept.SecurityType = to.Ptr(sdk.SecurityTypesConfidentialVM)
	case f.SecureBoot && f.TPM:
		kept.SecurityType = to.Ptr(sdk.SecurityTypesTrustedLaunch)
	}
	return kept
}

// Creating is a machine that is being made.
func Creating(id, name string, in service.NewVM) *sdk.VirtualMachine {
	return &sdk.VirtualMachine{ID: &id, Name: &name, Type: to.Ptr(resource.TypeVM), Location: to.Ptr(resource.Location(in.Location)), Tags: tags(in.Tags),
		Properties: &sdk.VirtualMachineProperties{ProvisioningState: to.Ptr("Creating")}}
}

func tags(of map[string]string) map[string]*string {
	out := map[string]*string{}
	for name, value := range of {
		out[name] = &value
	}
	return out
}

// Size says how large a machine is.
func Size(f holdfast.VMFact) string {
	return fmt.Sprintf("%d vCPU, %s", f.VCPUs, gib(f.MemoryBytes))
}

func gib(bytes int64) string {
	const GiB = 1 << 30
	if bytes%GiB == 0 {
		return fmt.Sprintf("%d GiB", bytes/GiB)
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/GiB)
}

func storage(vm service.VM, image *sdk.ImageReference) *sdk.StorageProfile {
	osType := sdk.OperatingSystemTypesLinux
	if vm.OSType == "Windows" {
		osType = sdk.OperatingSystemTypesWindows
	}
	s := &sdk.StorageProfile{DataDisks: []*sdk.DataDisk{}, ImageReference: image}
	for _, d := range vm.Disks {
		if d.LUN < 0 {
			s.OSDisk = osDisk(vm, d)
			s.OSDisk.OSType = &osType
			continue
		}
		s.DataDisks = append(s.DataDisks, dataDisk(vm, d))
	}
	return s
}

func osDisk(vm service.VM, d holdfast.DiskFact) *sdk.OSDisk {
	k := &sdk.OSDisk{}
	read(vm.KeptOfDisk(d.Target), k)
	k.Name, k.CreateOption, k.DiskSizeGB = to.Ptr(d.Target), to.Ptr(sdk.DiskCreateOptionTypesAttach), gigabytes(d.Size)
	k.Vhd, k.ManagedDisk = &sdk.VirtualHardDisk{URI: to.Ptr(d.Path)}, managed(vm, d, k.ManagedDisk)
	return k
}

func dataDisk(vm service.VM, d holdfast.DiskFact) *sdk.DataDisk {
	k := &sdk.DataDisk{}
	read(vm.KeptOfDisk(d.Target), k)
	k.Name, k.CreateOption, k.DiskSizeGB = to.Ptr(d.Target), to.Ptr(sdk.DiskCreateOptionTypesAttach), gigabytes(d.Size)
	k.Vhd, k.ManagedDisk, k.Lun = &sdk.VirtualHardDisk{URI: to.Ptr(d.Path)}, managed(vm, d, k.ManagedDisk), to.Ptr(int32(d.LUN))
	return k
}

// managed says which disk it is, beside what is kept of it.
func managed(vm service.VM, d holdfast.DiskFact, kept *sdk.ManagedDiskParameters) *sdk.ManagedDiskParameters {
	if kept == nil {
		kept = &sdk.ManagedDiskParameters{}
	}
	kept.ID = to.Ptr(service.DiskID(vm.Site(), d.Pool, d.Path))
	return kept
}

func gigabytes(bytes int64) *int32 { return to.Ptr(int32((bytes + 1<<30 - 1) >> 30)) }

// InstanceView says how a machine is now.
func InstanceView(vm service.VM) *sdk.VirtualMachineInstanceView {
	power, ok := powerStates[vm.State]
	if !ok {
		power = "unknown"
	}
	agent, display := "ProvisioningState/unavailable", "Not Ready"
	if vm.AgentUp {
		agent, display = "ProvisioningState/succeeded", "Ready"
	}
	level := to.Ptr(sdk.StatusLevelTypesInfo)
	return &sdk.VirtualMachineInstanceView{
		ComputerName: &vm.Name, OSName: &vm.OS,
		VMAgent: &sdk.VirtualMachineAgentInstanceView{VMAgentVersion: to.Ptr("qemu-guest-agent"),
			Statuses: []*sdk.InstanceViewStatus{{Code: &agent, Level: level, DisplayStatus: &display}}},
		Statuses: []*sdk.InstanceViewStatus{
			{Code: to.Ptr("ProvisioningState/succeeded"), Level: level, DisplayStatus: to.Ptr("Provisioning succeeded")},
			{Code: to.Ptr("PowerState/" + power), Level: level, DisplayStatus: to.Ptr("VM " + power)},
		},
	}
}

// Check is what was looked at before a backup of a machine: an extension
// resource of it. ready says that nothing found makes a backup fail.
func Check(c service.Check) resources.Resource {
	blocks := slices.ContainsFunc(c.Findings, func(f holdfast.Finding) bool { return f.Severity == holdfast.Blocks })
	return resources.Resource{ID: c.ID, Name: "current", Type: resource.TypePreflight,
		Properties: map[string]any{"ready": !blocks, "findings": append([]holdfast.Finding{}, c.Findings...)}}
}

// Account is a pool as a storage account.
func Account(p service.Part) resources.Resource {
	return resources.Resource{ID: p.ID, Name: p.Name, Type: resource.TypePool, Location: resource.Location(p.Location), SKU: map[string]any{"name": "Standard_LRS", "tier": "Standard"},
		Properties: map[string]any{"provisioningState": "Succeeded", "holdfast": p.Pool}}
}

// Network is a libvirt network as a virtual network with one subnet.
func Network(p service.Part) resources.Resource {
	return resources.Resource{ID: p.ID, Name: p.Name, Type: resource.TypeNetwork, Location: resource.Location(p.Location),
		Properties: map[string]any{"provisioningState": "Succeeded", "subnets": []map[string]any{
			{"id": p.ID + "/subnets/default", "name": "default", "properties": map[string]any{"provisioningState": "Succeeded"}},
		}}}
}
