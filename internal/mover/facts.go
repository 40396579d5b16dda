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
		VMRef:       holdfast.VMRef{UUID: d.UUID, Name: d.Name},
		State:       string(d.State),
		VCPUs:       d.VCPUs,
		MemoryBytes: d.MemoryBytes,
		UEFI:        d.UEFI,
		Disks:       DiskFacts(d),
		Transient:   !d.Persistent,
		Tags:        Tags(d.Metadata),
		Kept:        Kept(d.Metadata),
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

// DiskFacts gives a domain's disks with their LUNs: the OS disk, which is the
// first in boot order or else the first defined, is -1 as in Azure's point
// model, and the others count from 0 in the order of the definition. Drives
// for removable media are no disks.
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
	facts, lun := []holdfast.DiskFact(nil), 0
	for i, k := range d.Disks {
		if !isDisk(k) {
			continue
		}
		f := holdfast.DiskFact{Target: k.Target, Path: k.Path, Pool: k.Pool, Format: k.Format, Bus: k.Bus, Size: k.Size, LUN: -1}
		if i != osDisk {
			f.LUN, lun, f.Temporary = lun, lun+1, k.Transient
		}
		facts = append(facts, f)
	}
	return facts
}

func isDisk(k hypervisor.Disk) bool { return k.Device == "disk" || k.Device == "lun" }

func bootsBefore(a, b hypervisor.Disk) bool {
	return a.Boot > 0 && (b.Boot == 0 || a.Boot < b.Boot)
}
