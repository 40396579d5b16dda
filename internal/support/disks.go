package support

import (
	"fmt"
	"slices"

	"holdfast"
)

// Limits of disks (STO-01, STO-02).
const (
	maxDataDisks      = 32
	maxUnmanagedDisks = 16
	maxDisk           = 32 << 40  // bytes
	maxDisks          = 256 << 40 // bytes, all disks of a VM
)

// numberOfDisks is STO-01. A VM counts as unmanaged when one of its disks is.
func numberOfDisks(vm VM) []holdfast.Finding {
	n, most, kind := 0, maxDataDisks, "data disks"
	for _, k := range vm.Disks {
		if k.LUN >= 0 && !vm.leftOut(k) {
			n++
		}
		if k.Pool == "" {
			most, kind = maxUnmanagedDisks, "data disks outside of storage pools"
		}
	}
	if n <= most {
		return one(holdfast.Good, "STO-01", "vm", fmt.Sprintf("it has %d data disks of at most %d", n, most), "")
	}
	return one(holdfast.Blocks, "STO-01", "vm", fmt.Sprintf("it has %d data disks; at most %d %s are backed up", n, most, kind), "leave disks out of the backup (diskExclusionProperties), or detach them")
}

// sizeOfDisks is STO-02.
func sizeOfDisks(vm VM) (all []holdfast.Finding) {
	var sum int64
	for _, k := range vm.Disks {
		if vm.leftOut(k) {
			continue
		}
		sum += k.Size
		if k.Size > maxDisk {
			all = append(all, one(holdfast.Blocks, "STO-02", "disk "+k.Target, fmt.Sprintf("it has %d GiB; a disk may have 32 TiB", k.Size>>30), "leave it out of the backup")...)
		}
	}
	if sum > maxDisks {
		all = append(all, one(holdfast.Blocks, "STO-02", "vm", fmt.Sprintf("its disks have %d GiB together; 256 TiB are the most", sum>>30), "leave disks out of the backup")...)
	}
	if len(all) == 0 {
		return one(holdfast.Good, "STO-02", "vm", "its disks are within 32 TiB each and 256 TiB together", "")
	}
	return all
}

// disks says what the rows say of each disk by itself.
func disks(vm VM) (all []holdfast.Finding) {
	for _, k := range vm.Disks {
		all = append(all, vm.disk(k)...)
	}
	return all
}

func (vm VM) disk(k holdfast.DiskFact) []holdfast.Finding {
	subject, leave := "disk "+k.Target, "leave it out of the backup (diskExclusionProperties)"
	class := vm.Class(k)
	row, what := "", ""
	switch {
	case k.Temporary:
		return one(holdfast.Lessens, "STO-13", subject, "it is temporary: it is in no point and comes back empty", "")
	case k.Shared:
		row, what = "STO-11", "it is shared between machines"
	case k.NVMe:
		row, what = "STO-14", "it is an NVMe device of the host"
	case vm.keptOf(k, "diffDiskSettings") != nil:
		row, what = "STO-14", "it is an ephemeral disk"
	case class == "UltraSSD_LRS" || class == "PremiumV2_LRS":
		row, what = "STO-12", "its class is "+class
	case vm.keptOf(k, "writeAcceleratorEnabled") == true:
		if !vm.accelerated(k) {
			return one(holdfast.Good, "STO-06", subject, "it is write accelerated and backed up like any other", "")
		}
		return one(holdfast.Lessens, "STO-06", subject, leftAccelerated, "if it is to be backed up: holdfast site register SITE --write-accelerator")
	case class == "":
		return one(holdfast.Unknown, "STO-03", subject, "nothing says which class its storage has", "say it of its pool: holdfast site register SITE --pool-class POOL=Premium_LRS")
	default:
		return one(holdfast.Good, "STO-03", subject, "its class is "+class, "")
	}
	if vm.leftOut(k) {
		return one(holdfast.Lessens, row, subject, what+" and left out of the backup", "")
	}
	return one(holdfast.Blocks, row, subject, what+", which cannot be backed up", leave)
}

// leftAccelerated is what is said of a disk that STO-06 leaves out.
const leftAccelerated = "it is write accelerated, and its site is not one that backs such disks up: it is left out"

// accelerated says that a disk is left out for its write accelerator. The OS disk
// never is: without it nothing comes back.
func (vm VM) accelerated(k holdfast.DiskFact) bool {
	return !vm.Accelerator && k.LUN >= 0 && vm.keptOf(k, "writeAcceleratorEnabled") == true
}

// LeftOut are the LUNs that a backup leaves out by itself, with what the job says
// of each (STO-06).
func LeftOut(vm VM) (luns []int, notes []string) {
	for _, k := range vm.Disks {
		if vm.accelerated(k) && !vm.leftOut(k) {
			luns, notes = append(luns, k.LUN), append(notes, fmt.Sprintf("Disk %s (LUN %d): %s (STO-06).", k.Target, k.LUN, leftAccelerated))
		}
	}
	return luns, notes
}

// Class is the class of a disk: its own, or that of its pool; "" when nothing says.
func (vm VM) Class(k holdfast.DiskFact) string {
	managed, _ := vm.keptOf(k, "managedDisk").(map[string]any)
	if own, _ := managed["storageAccountType"].(string); own != "" {
		return own
	}
	return vm.Classes[k.Pool]
}

// keptOf is a kept member of a disk.
func (vm VM) keptOf(k holdfast.DiskFact, name string) any {
	return member(vm.Kept, "disks", k.Target, name)
}

func (vm VM) leftOut(k holdfast.DiskFact) bool {
	return k.Temporary || slices.Contains(vm.Exclude, k.LUN)
}
