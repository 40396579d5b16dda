package support

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast"
)

// MaxRestorePoints is how many restore points a VM has at most, over all of its
// collections (RPL-02).
const MaxRestorePoints = 500

// The least time between two restore points of a VM (RPT-32, RPT-33).
const (
	applicationSpacing = 3 * time.Hour
	crashSpacing       = time.Hour
)

// The api-versions with which restore points began (RPT-34, RPT-35).
const (
	pointsSince     = "2021-03-01"
	crashSince      = "2021-07-01"
	versionAdvice   = "Ask with that api-version or a later one; az and the SDKs of today do."
	excludeAdvice   = "leave it out of the point (excludeDisks)"
	onePerVM        = "Make a collection for each of its virtual machines."
	scaleSetType    = "microsoft.compute/virtualmachinescalesets"
	availabilitySet = "microsoft.compute/availabilitysets"
)

// PointVersion refuses a restore point that is asked for with an api-version
// from before there were any of its kind.
func PointVersion(version string, want holdfast.Consistency) error {
	since, row := pointsSince, "RPT-34"
	if want == holdfast.CrashConsistent {
		since, row = crashSince, "RPT-35"
	}
	if version >= since {
		return nil
	}
	return holdfast.Errorf(holdfast.Invalid, "api-version", "The api-version %s knows no restore points that are %s: they began with %s (%s).", version, want, since, row).WithHint(versionAdvice)
}

// PointSource refuses a resource of a type that has no restore points: they are
// of single VMs (RPT-13 to RPT-15).
func PointSource(resourceType, id string) error {
	row := ""
	switch t := strings.ToLower(resourceType); {
	case t == availabilitySet:
		row = "an availability set has no restore points (RPT-13)"
	case t == scaleSetType:
		row = "a scale set has no restore points (RPT-14, RPT-15)"
	case t == scaleSetType+"/virtualmachines":
		row = "an instance of a scale set with uniform orchestration has no restore points (RPT-14)"
	default:
		return nil
	}
	return holdfast.Errorf(holdfast.Unsupported, "properties.source.id", "%s: %s.", id, row).WithHint(onePerVM)
}

// MadePoint is a restore point that a VM has, or is about to have.
type MadePoint struct {
	Asked time.Time // for it
	Want  holdfast.Consistency
	Copy  bool // of one of another site
}

// OneMorePoint refuses a restore point that a VM may not have yet, or at all,
// beside those that it has. A copy is not a moment of the VM: it only counts.
func OneMorePoint(vm string, have []MadePoint, next MadePoint, lifted Lifted) error {
	if len(have) >= MaxRestorePoints {
		return holdfast.Errorf(holdfast.Unsupported, vm, "The virtual machine %q has %d restore points over all collections, as many as it may have (RPL-02).", vm, len(have)).
			WithHint("Delete some first.")
	}
	row, spacing := spacingOf(next.Want)
	if next.Copy || lifted(row) {
		return nil
	}
	for _, p := range have {
		other, _ := spacingOf(p.Want)
		since := next.Asked.Sub(p.Asked)
		if p.Copy || other != row || since < 0 || since >= spacing { // since < 0: the clock was put back
			continue
		}
		return holdfast.Errorf(holdfast.Unsupported, vm, "The virtual machine %q has a restore point of %s; the next that is %s may be made %v after it, at %s (%s).",
			vm, p.Asked.UTC().Format(time.RFC3339), next.Want, spacing, p.Asked.Add(spacing).UTC().Format(time.RFC3339), row).
			WithHint("Wait until then, or lift the limit: holdfast serve --limits extended.")
	}
	return nil
}

// spacingOf is how far restore points of a kind are apart. File-system consistent
// is what application consistent is on a Linux without scripts.
func spacingOf(want holdfast.Consistency) (row string, spacing time.Duration) {
	if want == holdfast.CrashConsistent {
		return "RPT-33", crashSpacing
	}
	return "RPT-32", applicationSpacing
}

// CheckPoint says what the rows say of a restore point of the VM with the wanted
// consistency. VM.Exclude are the LUNs that are left out; without a Guest nothing
// is said of a system that matters (RPO-03).
func CheckPoint(vm VM, want holdfast.Consistency) []holdfast.Finding {
	all := slices.Concat(confidential(vm), placement(vm), pointSystem(vm, want))
	for _, k := range vm.Disks {
		all = append(all, vm.diskInPoint(k, want))
	}
	return all
}

// BesidePoints says what stands in the way of restore points of a VM, for who
// looks at it before a backup, which does not need any.
func BesidePoints(vm VM) (all []holdfast.Finding) {
	vm.Exclude = nil // from backups; a point says its own
	blocks := func(want holdfast.Consistency) []holdfast.Finding {
		return slices.DeleteFunc(CheckPoint(vm, want), func(f holdfast.Finding) bool { return f.Severity != holdfast.Blocks })
	}
	crash := blocks(holdfast.CrashConsistent)
	for _, f := range append(blocks(holdfast.ApplicationConsistent), crash...) {
		inBoth := func(o holdfast.Finding) bool { return o.Subject == f.Subject && o.Row == f.Row }
		if slices.ContainsFunc(all, inBoth) {
			continue
		}
		what := "no restore point of the VM is made"
		switch {
		case !slices.ContainsFunc(crash, inBoth):
			what = "no restore point of the VM that is application consistent is made"
		case f.Row == "RPT-03" || f.Row == "RPT-04":
			what = "no restore point of the VM that is crash consistent is made with it"
		}
		if strings.HasPrefix(f.Text, "is ") {
			f.Text = "it " + f.Text
		}
		f.Severity, f.Text = holdfast.Lessens, f.Text+": "+what
		all = append(all, f)
	}
	return all
}

// RefusedPoint is the error of the first finding that makes the restore point
// impossible; nil when there is none.
func RefusedPoint(vm VM, want holdfast.Consistency) error {
	all := CheckPoint(vm, want)
	i := slices.IndexFunc(all, func(f holdfast.Finding) bool { return f.Severity == holdfast.Blocks })
	if i < 0 {
		return nil
	}
	f := all[i]
	return holdfast.Errorf(holdfast.Unsupported, f.Subject, "The virtual machine %q cannot have a restore point that is %s: %s %s (%s).", vm.Name, want, f.Subject, f.Text, f.Row).WithHint(sentence(f.Fix))
}

func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// confidential is RPT-09.
func confidential(vm VM) []holdfast.Finding {
	if vm.Confidential == "" {
		return nil
	}
	return one(holdfast.Blocks, "RPT-09", "vm", fmt.Sprintf("is a confidential one (launchSecurity %s)", vm.Confidential), "back up its files from inside the guest")
}

// placement is RPT-12, RPT-13 and RPT-15 to RPT-17: where a VM runs says nothing
// against a point of it.
func placement(vm VM) (all []holdfast.Finding) {
	for _, p := range []struct{ row, name, text string }{
		{"RPT-12", "proximityPlacementGroup", "is in a proximity placement group, which is kept"},
		{"RPT-13", "availabilitySet", "is in an availability set; the point is of this VM only"},
		{"RPT-15", "virtualMachineScaleSet", "is in a scale set with flexible orchestration; the point is of this VM only"},
		{"RPT-16", "priority", "has a priority of its own, which is kept"},
		{"RPT-17", "host", "is on a dedicated host, which is kept"},
		{"RPT-17", "hostGroup", "is in a group of dedicated hosts, which is kept"},
	} {
		if member(vm.Kept, "properties", p.name) != nil {
			all = append(all, one(holdfast.Good, p.row, "vm", p.text, "")...)
		}
	}
	return all
}

// pointSystem is RPO-01 to RPO-03: for a crash-consistent point the system does
// not matter, for others it is judged as for a backup.
func pointSystem(vm VM, want holdfast.Consistency) []holdfast.Finding {
	if want == holdfast.CrashConsistent {
		return one(holdfast.Good, "RPO-03", "vm", "may have any operating system", "")
	}
	row, all := "RPO-02", linux(vm)
	if vm.Guest.ID == "mswindows" {
		row, all = "RPO-01", windows(vm)
	}
	for i := range all {
		if f := &all[i]; f.Row == "RPO-01" { // only the list for restore points has it
			f.Severity, f.Text, f.Fix = holdfast.Good, strings.Split(f.Text, " is in")[0]+" is supported", ""
		} else if f.Severity == holdfast.Blocks {
			f.Fix = "ask for a crash-consistent point (consistencyMode CrashConsistent)"
		}
		all[i].Row = row
	}
	return append(all, networkMountsOfPoint(vm)...)
}

// networkMountsOfPoint is the end of RPO-02: NFS is in no point.
func networkMountsOfPoint(vm VM) []holdfast.Finding {
	all := networkMounts(vm)
	for i := range all {
		all[i].Row = "RPO-02"
	}
	return all
}

// diskInPoint says whether a disk is in a restore point, and what it is in its way.
func (vm VM) diskInPoint(k holdfast.DiskFact, want holdfast.Consistency) holdfast.Finding {
	say := func(severity holdfast.Severity, row, text, fix string) holdfast.Finding {
		return one(severity, row, "disk "+k.Target, text, fix)[0]
	}
	class := vm.Class(k)
	row, what := "", ""
	switch {
	case k.Temporary:
		return say(holdfast.Lessens, "RPT-24", "is temporary: what is on it is not in the point", "")
	case k.NVMe:
		return say(holdfast.Lessens, "RPT-11", "is an NVMe device of the host: what is on it is not in the point", "")
	case k.Pool == "":
		return say(holdfast.Blocks, "RPT-02", "is in no storage pool", "move it into a pool of the site")
	case vm.keptOf(k, "diffDiskSettings") != nil:
		row, what = "RPT-05", "is an ephemeral disk"
	case k.Shared:
		row, what = "RPT-06", "is shared between machines"
	case want == holdfast.CrashConsistent && class == "UltraSSD_LRS":
		row, what = "RPT-03", "is an ultra disk"
	case want == holdfast.CrashConsistent && class == "PremiumV2_LRS":
		row, what = "RPT-04", "is a premium SSD v2"
	}
	switch {
	case vm.leftOut(k):
		return say(holdfast.Lessens, cmp.Or(row, "RPT-01"), "is left out of the point", "")
	case row != "":
		return say(holdfast.Blocks, row, what, excludeAdvice)
	case class == "":
		return say(holdfast.Unknown, "RPT-25", "has a class that nothing says", "say it of its pool: holdfast site register SITE --pool-class POOL=Premium_LRS")
	}
	return say(holdfast.Good, classRow(class), "is in the point; its class is "+class, "")
}

// classRow is the row that allows a disk of a class.
func classRow(class string) string {
	switch class {
	case "UltraSSD_LRS":
		return "RPT-03"
	case "PremiumV2_LRS":
		return "RPT-04"
	}
	return "RPT-25"
}
