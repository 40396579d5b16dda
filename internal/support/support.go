// Package support answers, for one VM, what the two support matrices say of it:
// pure rules from facts to findings, one row each.
//
// It promises that a fact that is not known gives a finding of the severity
// Unknown that says why, never one that is Good; that a rule reads only what it
// is given; and that every finding names its row. It doesn't collect facts
// (mover/discover) and it refuses nothing by itself: who protects, backs up or
// restores asks Refused, each in one place.
package support

import (
	"fmt"
	"slices"

	"holdfast"
)

// VM is what the rules look at.
type VM struct {
	holdfast.VMFact
	Guest holdfast.GuestFact
	// Classes are the disk classes of the site's pools, by pool, in Azure's words
	// (Standard_LRS, StandardSSD_LRS, Premium_LRS, UltraSSD_LRS, PremiumV2_LRS…).
	Classes map[string]string
	// Exclude are the LUNs that are left out of backups.
	Exclude []int
	// Accelerator says that the site is one of those that back up write accelerated
	// disks (STO-06).
	Accelerator bool
	// Locked says that a lock holds the VM or what it is in.
	Locked bool
}

// Lifted says whether a row's limit does not hold here (limits: extended).
type Lifted func(row string) bool

// rule is what one row, or a few rows of one kind, say of a VM.
type rule func(VM) []holdfast.Finding

// rules in the order of the matrix.
var rules = []rule{off, windows, linux, networkMounts, size, plan, agentless, diagnostics, locked, spot, dedicatedHost, numberOfDisks, sizeOfDisks, disks, storageSpaces}

// Check says all that the rows say of the VM, in the order of the matrix. What
// a lifted row would refuse is Lessens, and says so.
func Check(vm VM, lifted Lifted) []holdfast.Finding {
	var all []holdfast.Finding
	for _, r := range rules {
		for _, f := range r(vm) {
			if f.Severity == holdfast.Blocks && lifted(f.Row) {
				f.Severity, f.Text, f.Fix = holdfast.Lessens, f.Text+" (the limit "+f.Row+" is lifted here)", ""
			}
			all = append(all, f)
		}
	}
	return all
}

// Refused is the error of the first finding that makes a backup of the VM
// impossible under the limits; nil when there is none.
func Refused(vm VM, lifted Lifted) error {
	all := Check(vm, lifted)
	i := slices.IndexFunc(all, func(f holdfast.Finding) bool { return f.Severity == holdfast.Blocks })
	if i < 0 {
		return nil
	}
	f := all[i]
	return holdfast.Errorf(holdfast.Unsupported, f.Subject, "The virtual machine %q cannot be backed up: %s (%s).", vm.Name, f.Text, f.Row).WithHint(f.Fix)
}

// NewVM refuses to make a new VM of a point whose VM a row says that of
// (CMP-04, CMP-08): its disks can be restored. kept is what the point kept of it.
func NewVM(kept map[string]any) error {
	vm := VM{VMFact: holdfast.VMFact{Kept: kept}}
	for _, f := range append(plan(vm), diagnostics(vm)...) {
		return holdfast.Errorf(holdfast.Unsupported, "properties.recoveryType", "The VM of the point cannot be restored as a new VM: %s (%s).", f.Text, f.Row).
			WithHint("Restore its disks (RestoreDisks) and make the VM of them.")
	}
	return nil
}

func one(severity holdfast.Severity, row, subject, text, fix string) []holdfast.Finding {
	return []holdfast.Finding{{Row: row, Severity: severity, Subject: subject, Text: text, Fix: fix}}
}

// off: a VM without power is backed up as it lies (ACT-01).
func off(vm VM) []holdfast.Finding {
	if vm.State != "shutoff" {
		return nil
	}
	return one(holdfast.Lessens, "ACT-01", "vm", "it is off: its points are crash-consistent", "start it for points that are file-system or application consistent")
}

// size is CMP-01.
func size(vm VM) []holdfast.Finding {
	if vm.VCPUs >= 2 && vm.MemoryBytes >= 1<<30 {
		return one(holdfast.Good, "CMP-01", "vm", fmt.Sprintf("it has %d vCPUs and %d MiB of memory", vm.VCPUs, vm.MemoryBytes>>20), "")
	}
	return one(holdfast.Blocks, "CMP-01", "vm", fmt.Sprintf("it has %d vCPUs and %d MiB of memory; at least 2 and 1024 are supported", vm.VCPUs, vm.MemoryBytes>>20),
		"give it more, or lift the limit: holdfast serve --limits extended")
}

// plan: a VM of a marketplace image comes back as disks only (CMP-04).
func plan(vm VM) []holdfast.Finding {
	if vm.Kept["plan"] == nil {
		return nil
	}
	return one(holdfast.Lessens, "CMP-04", "vm", "it was made from a marketplace image with a plan: it comes back as disks, not as a new VM", "restore its disks and deploy their template, which carries the plan")
}

// agentless is CMP-06: without an agent there is no more than a crash-consistent point.
func agentless(vm VM) []holdfast.Finding {
	switch {
	case vm.State == "shutoff":
		return nil
	case vm.AgentUp:
		return one(holdfast.Good, "CMP-06", "vm", "the guest agent answers", "")
	}
	return one(holdfast.Lessens, "CMP-06", "vm", "the guest agent does not answer: its points are crash-consistent", "install qemu-guest-agent in the guest and give the VM its channel")
}

// diagnostics is CMP-08.
func diagnostics(vm VM) []holdfast.Finding {
	if member(vm.Kept, "properties", "diagnosticsProfile") == nil {
		return nil
	}
	return one(holdfast.Lessens, "CMP-08", "vm", "it has diagnostic settings: it cannot be restored as a new VM", "restore its disks and make the VM of them")
}

// locked is CMP-11: a lock is harmless to managed disks alone.
func locked(vm VM) []holdfast.Finding {
	if !vm.Locked {
		return nil
	}
	for _, k := range vm.Disks {
		if k.Pool == "" && !vm.leftOut(k) {
			return one(holdfast.Blocks, "CMP-11", "vm", "it is locked and its disk "+k.Target+" is in no storage pool", "remove the lock, or move the disk into a pool of the site")
		}
	}
	return one(holdfast.Good, "CMP-11", "vm", "it is locked, and its disks are in storage pools", "")
}

// spot is CMP-12.
func spot(vm VM) []holdfast.Finding {
	if p := member(vm.Kept, "properties", "priority"); p != "Spot" && p != "Low" {
		return nil
	}
	return one(holdfast.Lessens, "CMP-12", "vm", "it is a spot VM: it comes back as a regular one", "nothing, or set its priority again after a restore")
}

// dedicatedHost is CMP-13.
func dedicatedHost(vm VM) []holdfast.Finding {
	if member(vm.Kept, "properties", "host") == nil && member(vm.Kept, "properties", "hostGroup") == nil {
		return nil
	}
	return one(holdfast.Lessens, "CMP-13", "vm", "it is on a dedicated host: a new VM of a point is not put there", "restore its disks and deploy their template, which names the host")
}

// member is a member of a JSON object; nil when it is not there.
func member(of map[string]any, path ...string) any {
	for _, key := range path[:len(path)-1] {
		of, _ = of[key].(map[string]any)
	}
	return of[path[len(path)-1]]
}
