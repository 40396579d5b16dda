package support

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"holdfast"
)

//go:embed windows.json
var windowsJSON []byte

//go:embed linux.json
var linuxJSON []byte

// windowsSystems are the Windows systems of the matrices, known by their build.
var windowsSystems = parse[struct {
	Systems []struct {
		Row, Name string
		Server    bool
		Builds    [2]int
	}
}](windowsJSON).Systems

// linuxSystems are the endorsed distributions.
var linuxSystems = parse[struct {
	Endorsed []struct{ ID, Name, From string }
	CoreOS   []string
}](linuxJSON)

// parse reads a data file of this package, which its tests have read.
func parse[T any](b []byte) (v T) {
	if err := json.Unmarshal(b, &v); err != nil {
		panic(err)
	}
	return v
}

// unknownSystem says that nobody told which system it is.
func unknownSystem(vm VM, row string) []holdfast.Finding {
	why := vm.Guest.Why
	if why == "" {
		why = "the guest agent was not asked"
	}
	return one(holdfast.Unknown, row, "vm", "which operating system it has is not known: "+why, "install qemu-guest-agent, or start the VM")
}

// windows is WIN-01 to WIN-07 and WIN-09, and RPO-01 for a system that only
// restore points know.
func windows(vm VM) []holdfast.Finding {
	g := vm.Guest
	if g.ID != "mswindows" {
		return nil
	}
	if is32(g.Machine) {
		return one(holdfast.Blocks, "WIN-09", "vm", fmt.Sprintf("%s is a 32-bit system", g.Name), "none: 32-bit systems are not supported")
	}
	build, err := strconv.Atoi(g.Kernel)
	if err != nil {
		return one(holdfast.Unknown, "WIN-09", "vm", fmt.Sprintf("the guest agent names the build of %s %q, which is no number", g.Name, g.Kernel), "update the guest agent")
	}
	for _, s := range windowsSystems {
		if build < s.Builds[0] || build > s.Builds[1] || s.Server != strings.Contains(g.Name, "Server") {
			continue
		}
		if s.Row == "RPO-01" {
			return one(holdfast.Lessens, s.Row, "vm", s.Name+" is in the list for restore points, and not in that for backups", "nothing: it is backed up all the same")
		}
		return one(holdfast.Good, s.Row, "vm", s.Name+" is supported", "")
	}
	return one(holdfast.Lessens, "WIN-09", "vm", fmt.Sprintf("%s (build %d) is not in the list of supported systems", g.Name, build), "nothing: it is backed up all the same")
}

// linux is LOS-01 to LOS-05.
func linux(vm VM) []holdfast.Finding {
	g := vm.Guest
	switch {
	case g.ID == "mswindows":
		return nil
	case g.ID == "":
		return unknownSystem(vm, "LOS-01")
	case is32(g.Machine):
		return one(holdfast.Blocks, "LOS-03", "vm", fmt.Sprintf("%s is a 32-bit system (%s)", g.Name, g.Machine), "none: 32-bit systems are not supported")
	case slices.Contains(linuxSystems.CoreOS, g.ID) || g.Variant == "coreos":
		return one(holdfast.Blocks, "LOS-02", "vm", g.Name+" is a CoreOS, which is not supported", "none")
	}
	return append(distribution(g), proxied(g)...)
}

// distribution is LOS-01, and LOS-04 for a distribution that is not endorsed.
func distribution(g holdfast.GuestFact) []holdfast.Finding {
	for _, s := range linuxSystems.Endorsed {
		if s.ID == g.ID && compareVersions(g.Version, s.From) >= 0 {
			return one(holdfast.Good, "LOS-01", "vm", g.Name+" is endorsed", "")
		}
	}
	switch {
	case !g.Looked:
		return one(holdfast.Unknown, "LOS-04", "vm", g.Name+" is not endorsed, and whether it has Python is not known: "+g.Why, "let the guest agent run commands (guest-exec)")
	case len(g.Python) == 0:
		return one(holdfast.Blocks, "LOS-04", "vm", g.Name+" is not endorsed and has no Python", "install python3 in the guest")
	}
	return one(holdfast.Lessens, "LOS-04", "vm", fmt.Sprintf("%s is not endorsed; it is supported since its agent answers and it has Python %s", g.Name, g.Python[0]), "")
}

// proxied is LOS-05: a guest behind a proxy needs Python 2.7 or, for restore
// points, a later one (RPO-02).
func proxied(g holdfast.GuestFact) []holdfast.Finding {
	switch {
	case !g.Looked:
		return one(holdfast.Unknown, "LOS-05", "vm", "whether it has a proxy and Python 2.7 is not known: "+g.Why, "let the guest agent run commands (guest-exec)")
	case g.Proxy == "":
		return nil
	case !slices.ContainsFunc(g.Python, func(v string) bool { return compareVersions(v, "2.7") >= 0 }):
		return one(holdfast.Blocks, "LOS-05", "vm", "it has a proxy ("+g.Proxy+") and no Python 2.7 or later", "install Python in the guest, or take the proxy away")
	}
	return one(holdfast.Good, "LOS-05", "vm", "it has a proxy, and Python "+g.Python[0], "")
}

// networkMounts is LOS-06: what is mounted from the network is in no point.
func networkMounts(vm VM) (all []holdfast.Finding) {
	for _, m := range vm.Guest.NetworkMounts {
		all = append(all, one(holdfast.Lessens, "LOS-06", "mount "+m, "it is mounted from the network: what is in it is in no point", "back it up where it lies")...)
	}
	return all
}

// storageSpaces is STO-10: nobody outside of the guest sees cluster volumes.
func storageSpaces(vm VM) []holdfast.Finding {
	if vm.Guest.ID != "mswindows" {
		return nil
	}
	return one(holdfast.Unknown, "STO-10", "vm", "whether it has cluster shared volumes is not known: the guest agent does not tell", "back a cluster's volumes up from a member of the cluster")
}

// is32 knows the names of 32-bit machines (uname -m; Windows: x86).
func is32(machine string) bool {
	return slices.Contains([]string{"x86", "i386", "i486", "i586", "i686", "arm", "armv6l", "armv7l"}, machine)
}

// compareVersions compares dotted numbers; what is no number counts as 0, and a
// version that says nothing is lower than any.
func compareVersions(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		x, y := number(as, i), number(bs, i)
		if x != y {
			return x - y
		}
	}
	return 0
}

func number(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, _ := strconv.Atoi(parts[i])
	return n
}
