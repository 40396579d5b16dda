package support

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/matrix"
)

// Each case changes one thing of a sound VM and says what its row answers of a
// restore point.
func TestRowsOfRestorePoints(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RPT-01", "RPT-02", "RPT-03", "RPT-04", "RPT-05", "RPT-06", "RPT-09", "RPT-11", "RPT-12", "RPT-13", "RPT-15", "RPT-16", "RPT-17", "RPT-24", "RPT-25", "RPL-01")
	const app, fs, crash = holdfast.ApplicationConsistent, holdfast.FileSystemConsistent, holdfast.CrashConsistent
	kept := func(name string, v any) func(*VM) {
		return func(vm *VM) { vm.Kept = map[string]any{"properties": map[string]any{name: v}} }
	}
	class := func(of string) func(*VM) { return func(vm *VM) { vm.Classes = map[string]string{"default": of} } }
	ofData := func(of string) func(*VM) { // of the data disk only
		return func(vm *VM) {
			vm.Kept = map[string]any{"disks": map[string]any{"vdb": map[string]any{"managedDisk": map[string]any{"storageAccountType": of}}}}
		}
	}
	ephemeral := func(vm *VM) {
		vm.Kept = map[string]any{"disks": map[string]any{"vda": map[string]any{"diffDiskSettings": map[string]any{"option": "Local"}}}}
	}
	without := func(lun int, change func(*VM)) func(*VM) {
		return func(vm *VM) { change(vm); vm.Exclude = append(vm.Exclude, lun) }
	}
	for _, c := range []struct {
		row, subject, want string
		mode               holdfast.Consistency
		change             func(*VM)
	}{
		{"RPT-25", "disk vda", "Good: is in the point; its class is Premium_LRS", app, func(*VM) {}},
		{"RPT-01", "disk vdb", "Lessens: is left out", app, func(vm *VM) { vm.Exclude = []int{0} }},
		{"RPT-02", "disk vdb", "Blocks: is in no storage pool", app, func(vm *VM) { vm.Disks[1].Pool = "" }},
		{"RPT-02", "disk vdb", "Blocks", crash, without(0, func(vm *VM) { vm.Disks[1].Pool = "" })},
		{"RPT-03", "disk vda", "Good: is in the point; its class is UltraSSD_LRS", app, class("UltraSSD_LRS")},
		{"RPT-03", "disk vda", "Good", fs, class("UltraSSD_LRS")},
		{"RPT-03", "disk vdb", "Blocks: is an ultra disk", crash, class("UltraSSD_LRS")},
		{"RPT-03", "disk vdb", "Lessens: is left out", crash, without(0, ofData("UltraSSD_LRS"))},
		{"RPT-04", "disk vda", "Good", app, class("PremiumV2_LRS")},
		{"RPT-04", "disk vdb", "Blocks: is a premium SSD v2", crash, class("PremiumV2_LRS")},
		{"RPT-04", "disk vdb", "Lessens: is left out", crash, without(0, ofData("PremiumV2_LRS"))},
		{"RPT-05", "disk vda", "Blocks: is an ephemeral disk", app, ephemeral},
		{"RPT-05", "disk vda", "Blocks", crash, ephemeral},
		{"RPT-05", "disk vda", "Lessens: is left out", app, without(-1, ephemeral)},
		{"RPT-06", "disk vdb", "Blocks: is shared", app, func(vm *VM) { vm.Disks[1].Shared = true }},
		{"RPT-06", "disk vdb", "Lessens: is left out", app, without(0, func(vm *VM) { vm.Disks[1].Shared = true })},
		{"RPT-09", "vm", "Blocks: is a confidential one (launchSecurity sev)", crash, func(vm *VM) { vm.Confidential = "sev" }},
		{"RPT-09", "vm", "nothing", crash, func(*VM) {}},
		{"RPT-11", "disk vdb", "Lessens: is an NVMe device of the host: what is on it is not in the point", app, func(vm *VM) { vm.Disks[1].NVMe, vm.Disks[1].Pool = true, "" }},
		{"RPT-12", "vm", "Good", app, kept("proximityPlacementGroup", map[string]any{"id": "g"})},
		{"RPT-13", "vm", "Good: is in an availability set; the point is of this VM only", app, kept("availabilitySet", map[string]any{"id": "s"})},
		{"RPT-15", "vm", "Good: is in a scale set with flexible", app, kept("virtualMachineScaleSet", map[string]any{"id": "s"})},
		{"RPT-16", "vm", "Good", app, kept("priority", "Spot")},
		{"RPT-17", "vm", "Good", app, kept("host", map[string]any{"id": "h"})},
		{"RPT-17", "vm", "Good", app, kept("hostGroup", map[string]any{"id": "h"})},
		{"RPT-24", "disk vdb", "Lessens: is temporary: what is on it is not in the point", crash, func(vm *VM) { vm.Disks[1].Temporary, vm.Disks[1].Pool = true, "" }},
		{"RPT-25", "disk vda", "Good: is in the point; its class is Standard_LRS", app, class("Standard_LRS")},
		{"RPT-25", "disk vda", "Good: is in the point; its class is StandardSSD_LRS", crash, class("StandardSSD_LRS")},
		{"RPT-25", "disk vda", "Good: is in the point; its class is Premium_ZRS", crash, class("Premium_ZRS")},
		{"RPT-25", "disk vda", "Unknown", crash, func(vm *VM) { vm.Classes = nil }},
	} {
		vm := sound()
		c.change(&vm)
		got := found(CheckPoint(vm, c.mode), c.row, c.subject)
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s of %s, %s: %q, want %q", c.row, c.subject, c.mode, got, c.want)
		}
		if err := RefusedPoint(vm, c.mode); (err != nil) != strings.HasPrefix(got, "Blocks") || err != nil && !strings.Contains(err.Error(), c.row) {
			t.Errorf("%s, %s: %v", c.row, c.mode, err)
		}
	}
}

// Application consistency asks which system it is, crash consistency doesn't.
func TestSystemsOfRestorePoints(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RPO-01", "RPO-02", "RPO-03")
	linux := func(id, machine string) holdfast.GuestFact {
		return holdfast.GuestFact{ID: id, Name: id, Version: "12", Machine: machine, Looked: true}
	}
	alpine := linux("alpine", "x86_64")
	alpine.Python = []string{"3.11.2"}
	proxied := linux("debian", "x86_64")
	proxied.Proxy = "http://p"
	nfs := linux("debian", "x86_64")
	nfs.NetworkMounts = []string{"/srv"}
	old := windowsGuest("Windows 10 Pro", "19045")
	old.Machine = "x86"
	for _, c := range []struct {
		row, want string
		guest     holdfast.GuestFact
	}{
		{"RPO-01", "Good: Windows Server 2022 is supported", windowsGuest("Windows Server 2022 Datacenter", "20348")},
		{"RPO-01", "Good: Windows Server 2008 R2 is supported", windowsGuest("Windows Server 2008 R2 Standard", "7601")},
		{"RPO-01", "Good: Windows 10 is supported", windowsGuest("Windows 10 Pro", "19045")},
		{"RPO-01", "Blocks", old},
		{"RPO-01", "Lessens", windowsGuest("Windows 11 Pro", "22631")},
		{"RPO-02", "Good", linux("debian", "x86_64")},
		{"RPO-02", "Blocks", linux("debian", "i686")},
		{"RPO-02", "Blocks", linux("coreos", "x86_64")},
		{"RPO-02", "Blocks", linux("alpine", "x86_64")},
		{"RPO-02", "Lessens", alpine},
		{"RPO-02", "Unknown", holdfast.GuestFact{Why: "no guest agent is connected"}},
	} {
		vm := sound()
		vm.Guest = c.guest
		for _, mode := range []holdfast.Consistency{holdfast.ApplicationConsistent, holdfast.FileSystemConsistent} {
			if got := found(CheckPoint(vm, mode), c.row, "vm"); !strings.HasPrefix(got, c.want) {
				t.Errorf("%s, %s: %q, want %q", c.guest.Name, mode, got, c.want)
			}
			if err := RefusedPoint(vm, mode); (err != nil) != (c.want == "Blocks") {
				t.Errorf("%s, %s: %v", c.guest.Name, mode, err)
			}
		}
		all := CheckPoint(vm, holdfast.CrashConsistent)
		if got := found(all, "RPO-03", "vm"); !strings.HasPrefix(got, "Good") || found(all, c.row, "vm") != "nothing" {
			t.Errorf("%s, crash consistent: %q", c.guest.Name, got)
		}
	}
	for _, g := range []holdfast.GuestFact{proxied, nfs} {
		vm := sound()
		vm.Guest = g
		all := CheckPoint(vm, holdfast.ApplicationConsistent)
		if !slices.ContainsFunc(all, func(f holdfast.Finding) bool { return f.Row == "RPO-02" && f.Severity != holdfast.Good }) {
			t.Errorf("a proxy without Python, and NFS, are told: %v", all)
		}
	}
}

func TestVersionsOfRestorePoints(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RPT-34", "RPT-35")
	for _, c := range []struct {
		version string
		mode    holdfast.Consistency
		says    string
	}{
		{"2020-12-01", holdfast.ApplicationConsistent, "RPT-34"},
		{"2020-12-01", holdfast.FileSystemConsistent, "RPT-34"},
		{"2021-03-01", holdfast.ApplicationConsistent, ""},
		{"2021-03-01", holdfast.CrashConsistent, "RPT-35"},
		{"2021-06-30", holdfast.CrashConsistent, "2021-07-01"},
		{"2021-07-01", holdfast.CrashConsistent, ""},
		{"2024-11-01", holdfast.ApplicationConsistent, ""},
	} {
		err := PointVersion(c.version, c.mode)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s, %s: %v", c.version, c.mode, err)
		}
	}
}

func TestSourcesOfRestorePoints(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RPT-13", "RPT-14")
	for typ, row := range map[string]string{
		"Microsoft.Compute/virtualMachines": "", "Microsoft.Compute/availabilitySets": "RPT-13", "Microsoft.Compute/virtualMachineScaleSets": "RPT-14",
		"microsoft.compute/virtualMachineScaleSets/virtualMachines": "RPT-14",
	} {
		if err := PointSource(typ, "/id"); (err == nil) != (row == "") || err != nil && !strings.Contains(err.Error(), row) {
			t.Errorf("%s: %v", typ, err)
		}
	}
}

func TestSpacingOfRestorePoints(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RPT-32", "RPT-33", "RPL-02")
	const app, fs, crash = holdfast.ApplicationConsistent, holdfast.FileSystemConsistent, holdfast.CrashConsistent
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	one := func(ago time.Duration, mode holdfast.Consistency) []MadePoint {
		return []MadePoint{{Asked: now.Add(-ago), Want: mode}}
	}
	many := func(n int) []MadePoint {
		all := make([]MadePoint, n)
		for i := range all {
			all[i] = MadePoint{Asked: now.Add(-time.Duration(i+4) * time.Hour), Want: app}
		}
		return all
	}
	for i, c := range []struct {
		have []MadePoint
		next MadePoint
		says string // "" is allowed
	}{
		{nil, MadePoint{Want: app}, ""},
		{one(3*time.Hour-time.Second, app), MadePoint{Want: app}, "2026-01-02T03:04:06Z (RPT-32)"},
		{one(3*time.Hour, app), MadePoint{Want: app}, ""},
		{one(2*time.Hour, fs), MadePoint{Want: app}, "RPT-32"},
		{one(2*time.Hour, app), MadePoint{Want: fs}, "RPT-32"},
		{one(time.Minute, crash), MadePoint{Want: app}, ""},
		{one(time.Minute, app), MadePoint{Want: crash}, ""},
		{one(time.Hour-time.Second, crash), MadePoint{Want: crash}, "RPT-33"},
		{one(time.Hour, crash), MadePoint{Want: crash}, ""},
		{[]MadePoint{{Asked: now, Want: app, Copy: true}}, MadePoint{Want: app}, ""},
		{one(time.Minute, app), MadePoint{Want: app, Copy: true}, ""},
		{one(-time.Hour, app), MadePoint{Want: app}, ""}, // the clock was put back
		{many(499), MadePoint{Want: app}, ""},
		{many(500), MadePoint{Want: app}, "RPL-02"},
		{many(500), MadePoint{Want: crash, Copy: true}, "RPL-02"},
	} {
		c.next.Asked = now
		err := OneMorePoint("web", c.have, c.next, strict)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("case %d: %v, want %q", i, err, c.says)
		}
		free := OneMorePoint("web", c.have, c.next, func(row string) bool { r, _ := matrix.Find(row); return r.Lift })
		if (free != nil) != (c.says == "RPL-02") {
			t.Errorf("case %d, lifted: %v", i, free)
		}
	}
}

// Every row that is named of a restore point is one of the matrix.
func TestRowsOfRestorePointsAreOfTheMatrix(t *testing.T) {
	t.Parallel()
	vm := sound()
	vm.Confidential, vm.Disks[1].Shared = "sev", true
	for _, mode := range []holdfast.Consistency{holdfast.ApplicationConsistent, holdfast.CrashConsistent} {
		for _, f := range CheckPoint(vm, mode) {
			if _, ok := matrix.Find(f.Row); !ok {
				t.Errorf("%q is no row: %v", f.Row, fmt.Sprint(f))
			}
		}
	}
}

// Who looks at a VM before a backup is told what restore points it cannot have.
func TestBesidePoints(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want   string
		change func(*VM)
	}{
		{"nothing", func(*VM) {}},
		{"Lessens: it is in no storage pool: no restore point of the VM is made", func(vm *VM) { vm.Disks[1].Pool = "" }},
		{"Lessens: it is shared between machines: no restore point of the VM is made", func(vm *VM) { vm.Disks[1].Shared, vm.Exclude = true, []int{0} }},
		{"Lessens: it is an ultra disk: no restore point of the VM that is crash consistent is made with it", func(vm *VM) { vm.Classes["default"] = "UltraSSD_LRS" }},
		{"Lessens: debian is a 32-bit system (i686): no restore point of the VM that is application consistent is made", func(vm *VM) { vm.Guest = holdfast.GuestFact{ID: "debian", Name: "debian", Machine: "i686"} }},
	} {
		vm := sound()
		vm.Classes = map[string]string{"default": "Premium_LRS"}
		c.change(&vm)
		all, got := BesidePoints(vm), "nothing"
		if len(all) > 0 {
			got = string(all[len(all)-1].Severity) + ": " + all[len(all)-1].Text
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%v, want %q", all, c.want)
		}
	}
}
