package mover

import (
	"strings"
	"testing"

	"holdfast/internal/hypervisor"
)

// TestLUNs: kept LUNs stay when a disk before goes, others get the lowest free.
func TestLUNs(t *testing.T) {
	t.Parallel()
	disk := func(target string) hypervisor.Disk { return hypervisor.Disk{Device: "disk", Target: target} }
	d := hypervisor.Domain{Disks: []hypervisor.Disk{disk("vda"), disk("vdb"), disk("vdc"), disk("vdd")}}
	luns := func() (all []int) {
		for _, f := range DiskFacts(d) {
			all = append(all, f.LUN)
		}
		return all
	}
	same := func(what string, want ...int) {
		t.Helper()
		got := luns()
		for i := range want {
			if len(got) != len(want) || got[i] != want[i] {
				t.Fatalf("%s: %v, want %v", what, got, want)
			}
		}
	}
	same("in order", -1, 0, 1, 2)
	element, err := LUNsElement(DiskFacts(d))
	if err != nil {
		t.Fatal(err)
	}
	// As libvirt gives it back: with the prefix and the namespace.
	d.Metadata = strings.NewReplacer("<luns>", `<holdfast:luns xmlns:holdfast="`+LUNsSpace+`">`, "</luns>", "</holdfast:luns>").Replace(element) + `<other xmlns="urn:x"/>`
	d.Disks = append(d.Disks[:1], d.Disks[2:]...)
	same("the first data disk is gone", -1, 1, 2)
	d.Disks = append(d.Disks, disk("vde"))
	same("a new one takes the lowest", -1, 1, 2, 0)
	d.Metadata = `<luns xmlns="` + LUNsSpace + `"><disk target="vdc" lun="-4"/><disk target="vdd" lun="7"/><disk target="vde" lun="7"/><disk target="vdd" lun="9"/></luns>`
	same("what makes no sense is none", -1, 0, 7, 1)
	d.Metadata = "<broken"
	same("broken", -1, 0, 1, 2)
	if element, err := LUNsElement(nil); element != "" || err != nil {
		t.Errorf("no disks: %q, %v", element, err)
	}
}
