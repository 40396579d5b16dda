package mover

import (
	"encoding/xml"

	"holdfast"
	"holdfast/internal/hypervisor"
)

// LUNsSpace is the XML namespace of the element in a domain's <metadata> that
// keeps the LUNs of its data disks, by libvirt's target:
//
//	<holdfast:luns xmlns:holdfast="urn:holdfast:luns:1"><disk target="vdb" lun="0"/></holdfast:luns>
//
// Without it LUNs count the data disks in the order of the definition. It is
// written before a disk is attached or detached, so that the LUNs of the others
// (and the disks that a protected item leaves out by LUN) stay what they were.
const LUNsSpace = "urn:holdfast:luns:1"

type lunXML struct {
	Target string `xml:"target,attr"`
	LUN    int    `xml:"lun,attr"`
}

// keptLUNs reads the LUNs by target from the inner XML of a domain's <metadata>;
// what cannot be read, is out of range or is there twice is none.
func keptLUNs(metadata string) map[string]int {
	var x struct {
		LUNs struct {
			Disk []lunXML `xml:"disk"`
		} `xml:"urn:holdfast:luns:1 luns"`
	}
	if metadata == "" || xml.Unmarshal([]byte("<metadata>"+metadata+"</metadata>"), &x) != nil {
		return nil
	}
	kept, taken := map[string]int{}, map[int]bool{}
	for _, k := range x.LUNs.Disk {
		if _, twice := kept[k.Target]; twice || k.LUN < 0 || k.LUN > holdfast.MaxLUN || taken[k.LUN] {
			continue
		}
		kept[k.Target], taken[k.LUN] = k.LUN, true
	}
	return kept
}

// LUNsElement is the element that keeps the LUNs of disks; "" for none.
func LUNsElement(disks []holdfast.DiskFact) (string, error) {
	x := struct {
		XMLName xml.Name `xml:"luns"`
		Disk    []lunXML `xml:"disk"`
	}{}
	for _, k := range disks {
		if k.LUN >= 0 {
			x.Disk = append(x.Disk, lunXML{k.Target, k.LUN})
		}
	}
	if len(x.Disk) == 0 {
		return "", nil
	}
	b, err := xml.Marshal(x)
	return string(b), err
}

// number gives each data disk (LUN 0 or more) its LUN: the one that is kept, and
// the others the lowest that are free, in order.
func number(facts []holdfast.DiskFact, d hypervisor.Domain) {
	kept := keptLUNs(d.Metadata)
	taken := map[int]bool{}
	for i, f := range facts {
		if lun, ok := kept[f.Target]; ok && f.LUN >= 0 {
			facts[i].LUN, taken[lun] = lun, true
		}
	}
	for i, f := range facts {
		if _, ok := kept[f.Target]; !ok && f.LUN >= 0 {
			facts[i].LUN = FreeLUN(taken)
			taken[facts[i].LUN] = true
		}
	}
}

// FreeLUN is the lowest LUN that is not taken.
func FreeLUN(taken map[int]bool) int {
	lun := 0
	for taken[lun] {
		lun++
	}
	return lun
}
