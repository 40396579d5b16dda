package mover

import (
	"context"
	"time"

	"holdfast"
	"holdfast/internal/guest"
	"holdfast/internal/hypervisor"
)

// agentPatience is how long a guest agent may take to answer a question that
// only makes a listing better.
const agentPatience = 3 * time.Second

// Facts says what a site sees of a VM. With ask, a connected guest agent is
// asked for its operating system; one that does not answer in time leaves it
// unknown.
func Facts(ctx context.Context, host hypervisor.Host, d hypervisor.Domain, ask bool) holdfast.VMFact {
	f := holdfast.VMFact{
		VMRef:        holdfast.VMRef{UUID: d.UUID, Name: d.Name},
		State:        string(d.State),
		VCPUs:        d.VCPUs,
		MemoryBytes:  d.MemoryBytes,
		UEFI:         d.UEFI,
		SecureBoot:   d.SecureBoot,
		TPM:          d.TPM != nil,
		Confidential: d.Confidential,
		Disks:        DiskFacts(d),
		Transient:    !d.Persistent,
		Saved:        d.Saved,
		Tags:         Tags(d.Metadata),
		Kept:         Kept(d.Metadata),
	}
	for _, n := range d.NICs {
		nic := holdfast.NICFact{MAC: n.MAC, Kind: n.Kind, Model: n.Model}
		if n.Kind == "network" {
			f.Networks, nic.Network = append(f.Networks, n.Source), n.Source
		}
		f.NICs = append(f.NICs, nic)
	}
	if ask && d.State == hypervisor.Running && d.AgentConnected {
		os, err := guest.Of(host, d.UUID).OS(ctx, agentPatience)
		if err == nil {
			f.AgentUp, f.OS, f.OSType = true, os.Name, "Linux"
			if os.Windows() {
				f.OSType = "Windows"
			}
		}
	}
	return f
}

// lookPatience is how long looking into a guest may take.
const lookPatience = 20 * time.Second

// GuestFacts asks the guest agent of a VM for its system, and looks into a
// Linux one for what the support matrix asks of it.
func GuestFacts(ctx context.Context, host hypervisor.Host, d hypervisor.Domain) holdfast.GuestFact {
	switch {
	case d.State != hypervisor.Running:
		return holdfast.GuestFact{Why: "the VM is not running"}
	case !d.AgentConnected:
		return holdfast.GuestFact{Why: "no guest agent is connected"}
	}
	agent := guest.Of(host, d.UUID)
	os, err := agent.OS(ctx, agentPatience)
	if err != nil {
		return holdfast.GuestFact{Why: err.Error()}
	}
	f := holdfast.GuestFact{ID: os.ID, Name: os.Name, Version: os.Version, Variant: os.Variant, Kernel: os.Kernel, Machine: os.Machine}
	if os.Windows() {
		f.Why = "a Windows guest is not looked into"
		return f
	}
	look, err := agent.Look(ctx, lookPatience)
	if err != nil {
		f.Why = err.Error()
		return f
	}
	f.Looked, f.Python, f.Proxy, f.NetworkMounts = true, look.Python, look.Proxy, look.Mounts
	return f
}

// DiskFacts gives a domain's disks with their LUNs: the OS disk, which is the
// first in boot order or else the first defined, is -1 as in Azure's point
// model, and the others have those that Holdfast keeps (LUNsSpace), or the lowest
// free ones in the order of the definition. Drives for removable media are no
// disks.
func DiskFacts(d hypervisor.Domain) []holdfast.DiskFact {
	osDisk := -1
	for i, k := range d.Disks {
		if !isDisk(k) {
			continue
		}
		if osDisk < 0 || bootsBefore(k, d.Disks[osDisk]) {
			osDisk = i
		}
	}
	facts := []holdfast.DiskFact(nil)
	for i, k := range d.Disks {
		if !isDisk(k) {
			continue
		}
		f := holdfast.DiskFact{Target: k.Target, Path: k.Path, Pool: k.Pool, Format: k.Format, Bus: k.Bus, Size: k.Size, LUN: -1,
			Shared: k.Shareable, NVMe: k.Kind == "nvme", Encrypted: k.Encrypted}
		if i != osDisk {
			f.LUN, f.Temporary = 0, k.Transient
		}
		facts = append(facts, f)
	}
	number(facts, d)
	return facts
}

func isDisk(k hypervisor.Disk) bool { return k.Device == "disk" || k.Device == "lun" }

func bootsBefore(a, b hypervisor.Disk) bool {
	return a.Boot > 0 && (b.Boot == 0 || a.Boot < b.Boot)
}
