package support

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast"
	"holdfast/internal/matrix"
)

func strict(string) bool { return false }

// sound is a VM of which every row is content.
func sound() VM {
	return VM{
		VMFact: holdfast.VMFact{VMRef: holdfast.VMRef{Name: "web"}, State: "running", VCPUs: 2, MemoryBytes: 1 << 30, AgentUp: true,
			Disks: []holdfast.DiskFact{{LUN: -1, Target: "vda", Pool: "default", Size: 10 << 30}, {LUN: 0, Target: "vdb", Pool: "default", Size: 1 << 30}}},
		Guest:   holdfast.GuestFact{ID: "debian", Name: "Debian GNU/Linux 12", Version: "12", Machine: "x86_64", Looked: true},
		Classes: map[string]string{"default": "Premium_LRS"},
	}
}

// found gives what a row says of a subject, as severity and text.
func found(all []holdfast.Finding, row, subject string) string {
	i := slices.IndexFunc(all, func(f holdfast.Finding) bool { return f.Row == row && (subject == "" || f.Subject == subject) })
	if i < 0 {
		return "nothing"
	}
	return string(all[i].Severity) + ": " + all[i].Text
}

func TestSound(t *testing.T) {
	t.Parallel()
	for _, f := range Check(sound(), strict) {
		if f.Severity != holdfast.Good || f.Fix != "" {
			t.Errorf("%+v", f)
		}
	}
	if err := Refused(sound(), strict); err != nil {
		t.Error(err)
	}
}

// Each case changes one thing of a sound VM and says what its row answers.
func TestRows(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "CMP-06", "CMP-11", "STO-10")
	kept := func(vm *VM, name string, v any) { vm.Kept = map[string]any{"properties": map[string]any{name: v}} }
	disk := func(vm *VM, name string, v any) {
		vm.Kept = map[string]any{"disks": map[string]any{"vdb": map[string]any{name: v}}}
	}
	for _, c := range []struct {
		row, subject, want string
		change             func(*VM)
	}{
		{"ACT-01", "vm", "Lessens: it is off", func(vm *VM) { vm.State = "shutoff" }},
		{"CMP-01", "vm", "Blocks: it has 1 vCPUs", func(vm *VM) { vm.VCPUs = 1 }},
		{"CMP-01", "vm", "Blocks: it has 2 vCPUs and 1023 MiB", func(vm *VM) { vm.MemoryBytes = 1<<30 - 1 }},
		{"CMP-04", "vm", "Lessens: it was made from a marketplace image", func(vm *VM) { vm.Kept = map[string]any{"plan": map[string]any{"name": "p"}} }},
		{"CMP-06", "vm", "Good: the guest agent answers", func(*VM) {}},
		{"CMP-06", "vm", "Lessens: the guest agent does not answer", func(vm *VM) { vm.AgentUp = false }},
		{"CMP-08", "vm", "Lessens: it has diagnostic settings", func(vm *VM) { kept(vm, "diagnosticsProfile", map[string]any{}) }},
		{"CMP-11", "vm", "Good: it is locked", func(vm *VM) { vm.Locked = true }},
		{"CMP-11", "vm", "Blocks: it is locked and its disk vdb", func(vm *VM) { vm.Locked = true; vm.Disks[1].Pool = "" }},
		{"CMP-11", "vm", "nothing", func(vm *VM) { vm.Disks[1].Pool = "" }},
		{"CMP-12", "vm", "Lessens: it is a spot VM", func(vm *VM) { kept(vm, "priority", "Spot") }},
		{"CMP-12", "vm", "nothing", func(vm *VM) { kept(vm, "priority", "Regular") }},
		{"CMP-13", "vm", "Lessens: it is on a dedicated host", func(vm *VM) { kept(vm, "hostGroup", map[string]any{}) }},
		{"STO-01", "vm", "Good: it has 32 data disks of at most 32", func(vm *VM) { withDisks(vm, 32, "default") }},
		{"STO-01", "vm", "Blocks: it has 33 data disks", func(vm *VM) { withDisks(vm, 33, "default") }},
		{"STO-01", "vm", "Good: it has 32 data disks", func(vm *VM) { withDisks(vm, 33, "default"); vm.Exclude = []int{7} }},
		{"STO-01", "vm", "Good: it has 16 data disks of at most 16", func(vm *VM) { withDisks(vm, 16, "") }},
		{"STO-01", "vm", "Blocks: it has 17 data disks; at most 16", func(vm *VM) { withDisks(vm, 17, "") }},
		{"STO-02", "", "Good", func(vm *VM) { vm.Disks[1].Size = 32 << 40 }},
		{"STO-02", "disk vdb", "Blocks: it has 32768 GiB", func(vm *VM) { vm.Disks[1].Size = 32<<40 + 1 }},
		{"STO-02", "", "Good", func(vm *VM) { vm.Disks[1].Size = 32<<40 + 1; vm.Exclude = []int{0} }},
		{"STO-02", "vm", "Blocks: its disks have 294912 GiB together", func(vm *VM) { withDisks(vm, 8, "default"); grow(vm, 32<<40) }},
		{"STO-03", "disk vdb", "Good: its class is Premium_LRS", func(*VM) {}},
		{"STO-03", "disk vdb", "Good: its class is Standard_LRS", func(vm *VM) { disk(vm, "managedDisk", map[string]any{"storageAccountType": "Standard_LRS"}) }},
		{"STO-03", "disk vdb", "Unknown: nothing says which class", func(vm *VM) { vm.Classes = nil }},
		{"STO-06", "disk vdb", "Lessens: it is write accelerated", func(vm *VM) { disk(vm, "writeAcceleratorEnabled", true) }},
		{"STO-06", "disk vdb", "Good: it is write accelerated", func(vm *VM) { disk(vm, "writeAcceleratorEnabled", true); vm.Accelerator = true }},
		{"STO-06", "disk vdb", "nothing", func(vm *VM) { disk(vm, "writeAcceleratorEnabled", false) }},
		{"STO-10", "vm", "Unknown: whether it has cluster shared volumes", func(vm *VM) { vm.Guest = windowsGuest("Windows Server 2019 Standard", "17763") }},
		{"STO-11", "disk vdb", "Blocks: it is shared", func(vm *VM) { vm.Disks[1].Shared = true }},
		{"STO-11", "disk vdb", "Lessens: it is shared between machines and left out", func(vm *VM) { vm.Disks[1].Shared = true; vm.Exclude = []int{0} }},
		{"STO-12", "disk vdb", "Blocks: its class is UltraSSD_LRS", func(vm *VM) { vm.Classes["default"] = "UltraSSD_LRS" }},
		{"STO-13", "disk vdb", "Lessens: it is temporary", func(vm *VM) { vm.Disks[1].Temporary = true }},
		{"STO-14", "disk vdb", "Blocks: it is an NVMe device", func(vm *VM) { vm.Disks[1].NVMe = true }},
		{"STO-14", "disk vdb", "Blocks: it is an ephemeral disk", func(vm *VM) { disk(vm, "diffDiskSettings", map[string]any{"option": "Local"}) }},
	} {
		vm := sound()
		c.change(&vm)
		if got := found(Check(vm, strict), c.row, c.subject); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s %s: %q, want %q", c.row, c.subject, got, c.want)
		}
		if err := Refused(vm, strict); (err != nil) != strings.HasPrefix(c.want, "Blocks") {
			t.Errorf("%s: refused: %v", c.row, err)
		}
	}
}

func withDisks(vm *VM, n int, pool string) {
	vm.Disks[0].Pool, vm.Disks = pool, vm.Disks[:1]
	for i := range n {
		vm.Disks = append(vm.Disks, holdfast.DiskFact{LUN: i, Target: fmt.Sprint("d", i), Pool: pool, Size: 1})
	}
}

func grow(vm *VM, size int64) {
	for i := range vm.Disks {
		vm.Disks[i].Size = size
	}
}

func windowsGuest(name, build string) holdfast.GuestFact {
	return holdfast.GuestFact{ID: "mswindows", Name: name, Kernel: build, Machine: "x86_64"}
}

func TestSystems(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "WIN-01", "WIN-02", "WIN-03", "WIN-04", "WIN-05", "WIN-06", "WIN-07", "WIN-09", "LOS-01", "LOS-02", "LOS-03", "LOS-04", "LOS-05")
	linux := func(id, version string) holdfast.GuestFact {
		return holdfast.GuestFact{ID: id, Name: id + " " + version, Version: version, Machine: "x86_64", Looked: true}
	}
	with := func(g holdfast.GuestFact, change func(*holdfast.GuestFact)) holdfast.GuestFact {
		change(&g)
		return g
	}
	for _, c := range []struct {
		row, want string
		guest     holdfast.GuestFact
	}{
		{"WIN-01", "Good", windowsGuest("Windows 10 Pro", "19045")},
		{"WIN-02", "Good", windowsGuest("Windows Server 2019 Datacenter", "17763")},
		{"WIN-03", "Good", windowsGuest("Windows Server 2016 Standard", "14393")},
		{"WIN-04", "Good", windowsGuest("Windows Server 2012 R2 Datacenter", "9600")},
		{"WIN-05", "Good", windowsGuest("Windows Server 2012 Standard", "9200")},
		{"WIN-06", "Good", windowsGuest("Windows Server 2008 R2 Standard", "7601")},
		{"WIN-07", "Good", windowsGuest("Windows Server 2008 Standard", "6003")},
		{"WIN-09", "Blocks", with(windowsGuest("Windows 10 Pro", "19045"), func(g *holdfast.GuestFact) { g.Machine = "x86" })},
		{"WIN-09", "Lessens", windowsGuest("Windows 11 Pro", "22631")},
		{"WIN-09", "Unknown", windowsGuest("Windows 10 Pro", "")},
		{"RPO-01", "Lessens", windowsGuest("Windows Server 2022 Standard", "20348")},
		{"LOS-01", "Good", linux("debian", "12")},
		{"LOS-01", "Good", linux("ubuntu", "12.04")},
		{"LOS-01", "Unknown", holdfast.GuestFact{Why: "no guest agent is connected"}},
		{"LOS-02", "Blocks", linux("coreos", "2765")},
		{"LOS-02", "Blocks", with(linux("fedora", "39"), func(g *holdfast.GuestFact) { g.Variant = "coreos" })},
		{"LOS-03", "Blocks", with(linux("debian", "12"), func(g *holdfast.GuestFact) { g.Machine = "i686" })},
		{"LOS-04", "Blocks", linux("alpine", "3.19")},
		{"LOS-04", "Blocks", linux("centos", "6.2")},
		{"LOS-04", "Lessens", with(linux("alpine", "3.19"), func(g *holdfast.GuestFact) { g.Python = []string{"3.11.2"} })},
		{"LOS-04", "Unknown", with(linux("alpine", "3.19"), func(g *holdfast.GuestFact) { g.Looked = false })},
		{"LOS-05", "Blocks", with(linux("debian", "12"), func(g *holdfast.GuestFact) { g.Proxy = "http://p" })},
		{"LOS-05", "Blocks", with(linux("debian", "12"), func(g *holdfast.GuestFact) { g.Proxy, g.Python = "http://p", []string{"2.6.9"} })},
		{"LOS-05", "Good", with(linux("debian", "12"), func(g *holdfast.GuestFact) { g.Proxy, g.Python = "http://p", []string{"2.7.18"} })},
		{"LOS-05", "Unknown", with(linux("debian", "12"), func(g *holdfast.GuestFact) { g.Looked = false })},
		{"LOS-06", "Lessens", with(linux("debian", "12"), func(g *holdfast.GuestFact) { g.NetworkMounts = []string{"/srv"} })},
	} {
		vm := sound()
		vm.Guest = c.guest
		if got := found(Check(vm, strict), c.row, ""); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s, %s: %q, want %q", c.row, c.guest.Name, got, c.want)
		}
	}
}

// A limit that is lifted is still told, and refuses nothing.
func TestLifted(t *testing.T) {
	t.Parallel()
	vm := sound()
	vm.VCPUs = 1
	lifted := func(row string) bool { return row == "CMP-01" }
	if got := found(Check(vm, lifted), "CMP-01", "vm"); !strings.HasPrefix(got, "Lessens") || !strings.Contains(got, "lifted") {
		t.Error(got)
	}
	if err := Refused(vm, lifted); err != nil {
		t.Error(err)
	}
}

// Every row that a rule names is one of the matrix.
func TestRowsAreOfTheMatrix(t *testing.T) {
	t.Parallel()
	vms := []VM{sound()}
	off := sound()
	off.State, off.VCPUs, off.Classes, off.Disks[1].Shared = "shutoff", 1, nil, true
	for _, vm := range append(vms, off) {
		for _, f := range Check(vm, strict) {
			if _, ok := matrix.Find(f.Row); !ok {
				t.Errorf("%q is no row: %+v", f.Row, f)
			}
		}
	}
	for _, s := range windowsSystems {
		if _, ok := matrix.Find(s.Row); !ok {
			t.Errorf("%q is no row", s.Row)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want int
	}{{"12", "7", 1}, {"6.10", "6.9", 1}, {"2.7", "2.7.0", 0}, {"", "", 0}, {"", "1", -1}, {"x", "1", -1}} {
		if got := compareVersions(c.a, c.b); got > 0 != (c.want > 0) || got < 0 != (c.want < 0) {
			t.Errorf("%q, %q: %d", c.a, c.b, got)
		}
	}
}
