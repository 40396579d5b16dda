package restore

import (
	"fmt"
	"slices"

	"github.com/beevik/etree"

	"holdfast"
	"holdfast/internal/mover"
)

// swap is what the definition of a VM whose disks are replaced differs in from
// the one that it has.
type swap struct {
	RestoreID string
	PointID   string
	Disks     map[string]string // disk target (vda) -> path of the restored disk
	Formats   map[string]string // disk target -> raw or qcow2
	Keep      map[string]bool   // targets of the VM's disks that stay as they are
	LUNs      map[string]int    // of the data disks that it then has
	NVRAM     string            // path of the restored UEFI variables; "" leaves the VM's
}

// swapDisks makes that definition. Everything but the disks is the VM's own (its
// NICs, MAC addresses and tags included); disks follow the point: one that the VM
// has at the same target and bus gets other bytes, one that it has not comes as
// the point defines it, one that the point's VM did not have goes, and is named in
// the notes. The VM gets a new generation id, so that its guest sees that it was
// rolled back (matrix RST-03, MGT-09).
func swapDisks(now, point string, s swap) (xml string, notes []string, err error) {
	doc, devices, err := readDomain(now, "the VM")
	if err != nil {
		return "", nil, err
	}
	_, pointDevices, err := readDomain(point, "the point")
	if err != nil {
		return "", nil, err
	}
	dom := doc.Root()
	if g := dom.SelectElement("genid"); g != nil {
		g.SetText("")
	}
	mark(dom, s.RestoreID, s.PointID)
	writeLUNs(dom, s.LUNs)
	if s.NVRAM != "" {
		if err := placeNVRAM(dom, s.NVRAM); err != nil {
			return "", nil, err
		}
	}
	disks, notes, err := swapped(hardDisks(devices), hardDisks(pointDevices), s)
	if err != nil {
		return "", nil, err
	}
	at := len(devices.Child)
	for _, d := range hardDisks(devices) {
		at = min(at, d.element.Index())
		devices.RemoveChild(d.element)
	}
	for i, d := range disks {
		devices.InsertChildAt(at+i, d)
	}
	doc.Indent(2)
	xml, err = doc.WriteToString()
	return xml, notes, err
}

// swapped are the disks that the VM then has, those of the point first and in its
// order.
func swapped(now, point []hardDisk, s swap) (disks []*etree.Element, notes []string, err error) {
	for _, p := range point {
		path, ok := s.Disks[p.target]
		if !ok {
			continue
		}
		d := p.element.Copy()
		removeAll(d, "address", "boot", "alias") // a free address, and the VM's own boot order
		if i := slices.IndexFunc(now, func(n hardDisk) bool { return n.target == p.target && n.bus == p.bus }); i >= 0 {
			d = now[i].element.Copy()
		}
		placeDisk(d, path, s.Formats[p.target])
		disks = append(disks, d)
	}
	if len(disks) != len(s.Disks) {
		return nil, nil, fmt.Errorf("domain XML of the point names %d of its %d disks", len(disks), len(s.Disks))
	}
	for _, n := range now {
		switch _, replaced := s.Disks[n.target]; {
		case replaced:
		case s.Keep[n.target]:
			disks = append(disks, n.element.Copy())
		default:
			notes = append(notes, fmt.Sprintf("Disk %s was not there at the time of the point and was detached.", n.target))
		}
	}
	return disks, notes, nil
}

// hardDisk is a disk of a definition that is no drive for removable media.
type hardDisk struct {
	element     *etree.Element
	target, bus string
	path        string // of a file or block device; "" for others
}

func hardDisks(devices *etree.Element) (all []hardDisk) {
	for _, e := range devices.SelectElements("disk") {
		if dev := e.SelectAttrValue("device", "disk"); dev != "disk" && dev != "lun" {
			continue
		}
		d := hardDisk{element: e}
		if t := e.SelectElement("target"); t != nil {
			d.target, d.bus = t.SelectAttrValue("dev", ""), t.SelectAttrValue("bus", "")
		}
		if s := e.SelectElement("source"); s != nil {
			d.path = s.SelectAttrValue("file", s.SelectAttrValue("dev", ""))
		}
		all = append(all, d)
	}
	return all
}

// disksOf are the paths of a definition's disks.
func disksOf(xml string) (paths []string, err error) {
	_, devices, err := readDomain(xml, "the VM")
	if err != nil {
		return nil, err
	}
	for _, d := range hardDisks(devices) {
		if d.path != "" {
			paths = append(paths, d.path)
		}
	}
	return paths, nil
}

// readDomain reads a definition; whose says of what.
func readDomain(xml, whose string) (*etree.Document, *etree.Element, error) {
	doc := etree.NewDocument()
	doc.ReadSettings.Permissive = false
	if err := doc.ReadFromString(xml); err != nil {
		return nil, nil, fmt.Errorf("domain XML of %s: %w", whose, err)
	}
	if doc.Root() == nil || doc.Root().Tag != "domain" {
		return nil, nil, fmt.Errorf("domain XML of %s: root element is not <domain>", whose)
	}
	devices := doc.Root().SelectElement("devices")
	if devices == nil {
		return nil, nil, fmt.Errorf("domain XML of %s: no <devices>", whose)
	}
	return doc, devices, nil
}

// writeLUNs says in the definition which LUNs its data disks have
// (mover.LUNsSpace).
func writeLUNs(dom *etree.Element, luns map[string]int) {
	md := metadata(dom, mover.LUNsSpace)
	if len(luns) == 0 {
		return
	}
	e := md.CreateElement("holdfast:luns")
	e.CreateAttr("xmlns:holdfast", mover.LUNsSpace)
	for _, target := range sortedKeys(luns) {
		k := e.CreateElement("holdfast:disk")
		k.CreateAttr("target", target)
		k.CreateAttr("lun", fmt.Sprint(luns[target]))
	}
}

// lunsAfter are the LUNs of the data disks that a VM has once its disks are
// replaced: those of the point, and of the disks that stay those that are free.
func lunsAfter(point, now []holdfast.DiskFact, s swap) map[string]int {
	luns, taken := map[string]int{}, map[int]bool{}
	add := func(f holdfast.DiskFact) {
		if f.LUN >= 0 && !taken[f.LUN] {
			luns[f.Target], taken[f.LUN] = f.LUN, true
		}
	}
	for _, f := range point {
		if s.Disks[f.Target] != "" {
			add(f)
		}
	}
	for _, f := range now {
		if s.Disks[f.Target] == "" && s.Keep[f.Target] {
			add(f)
		}
	}
	return luns
}
