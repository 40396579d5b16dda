package restore

import (
	"fmt"
	"strings"

	"github.com/beevik/etree"
)

// metadataSpace is the XML namespace of Holdfast's own element in a domain's
// <metadata>: it says which restore made the domain.
const metadataSpace = "urn:holdfast:vm:1"

// newDomain is what the definition of a restored VM differs in from the one
// in the point.
type newDomain struct {
	Name      string
	RestoreID string
	PointID   string
	Network   string            // libvirt network for every interface; "" keeps the point's
	Disks     map[string]string // disk target (vda) -> path of the restored disk
	Formats   map[string]string // disk target -> raw or qcow2
	NVRAM     string            // path of the restored UEFI variables; "" when there are none
}

// rewriteDomain makes the definition of a restored VM from the one kept in the
// point: another name, UUID, generation id and MAC addresses, disks at their
// new places, everything else as it was (unknown elements included: the text
// is edited as a tree, never passed through typed structs). Disks that the
// point does not hold are left out and named in the returned notes.
//
// The definition comes from libvirt's inactive XML
// (https://libvirt.org/formatdomain.html).
func rewriteDomain(xml string, n newDomain) (string, []string, error) {
	doc, _, err := readDomain(xml, "the point")
	if err != nil {
		return "", nil, err
	}
	dom := doc.Root()
	dom.RemoveAttr("id")
	setChild(dom, "name", n.Name)
	removeAll(dom, "uuid", "hwuuid", "seclabel")
	if g := dom.SelectElement("genid"); g != nil {
		g.SetText("") // libvirt makes a new one, so that the guest sees it was rolled back (matrix MGT-09)
	}
	mark(dom, n.RestoreID, n.PointID)
	if err := placeNVRAM(dom, n.NVRAM); err != nil {
		return "", nil, err
	}
	notes, err := leaveBehind(dom)
	if err != nil {
		return "", nil, err
	}
	more, err := placeDevices(dom, n)
	if err != nil {
		return "", nil, err
	}
	doc.Indent(2)
	out, err := doc.WriteToString()
	return out, append(notes, more...), err
}

// metadata is the <metadata> of a definition, without elements of a namespace.
func metadata(dom *etree.Element, space string) *etree.Element {
	md := dom.SelectElement("metadata")
	if md == nil {
		md = etree.NewElement("metadata")
		dom.InsertChildAt(dom.SelectElement("name").Index()+1, md)
	}
	for _, e := range md.ChildElements() {
		if e.NamespaceURI() == space {
			md.RemoveChild(e)
		}
	}
	return md
}

// mark writes Holdfast's element into the metadata, replacing an older one.
func mark(dom *etree.Element, restoreID, pointID string) {
	e := metadata(dom, metadataSpace).CreateElement("holdfast:restored")
	e.CreateAttr("xmlns:holdfast", metadataSpace)
	e.CreateAttr("restore", restoreID)
	e.CreateAttr("point", pointID)
}

// restoreOf is the restore that made a domain, "" if none did.
func restoreOf(xml string) string {
	doc := etree.NewDocument()
	if doc.ReadFromString(xml) != nil || doc.Root() == nil {
		return ""
	}
	for _, e := range doc.FindElements("/domain/metadata/*") {
		if e.Tag == "restored" && e.NamespaceURI() == metadataSpace {
			return e.SelectAttrValue("restore", "")
		}
	}
	return ""
}

// placeNVRAM points the firmware at the restored variables.
func placeNVRAM(dom *etree.Element, path string) error {
	nv := dom.FindElement("os/nvram")
	switch {
	case nv == nil && path == "":
		return nil
	case nv == nil:
		os := dom.SelectElement("os")
		if os == nil {
			return fmt.Errorf("domain XML of the point: UEFI variables but no <os>")
		}
		nv = os.CreateElement("nvram")
	}
	for _, c := range nv.ChildElements() {
		nv.RemoveChild(c)
	}
	nv.RemoveAttr("type")
	nv.SetText(path) // none in the point: libvirt makes them again from the template
	return nil
}

// placeDevices puts disks and network interfaces where the restore wants them.
func placeDevices(dom *etree.Element, n newDomain) (notes []string, err error) {
	devices := dom.SelectElement("devices")
	if devices == nil {
		return nil, fmt.Errorf("domain XML of the point: no <devices>")
	}
	placed := 0
	for _, d := range devices.SelectElements("disk") {
		if dev := d.SelectAttrValue("device", "disk"); dev != "disk" && dev != "lun" {
			continue
		}
		target := ""
		if t := d.SelectElement("target"); t != nil {
			target = t.SelectAttrValue("dev", "")
		}
		path, ok := n.Disks[target]
		if !ok {
			devices.RemoveChild(d)
			notes = append(notes, fmt.Sprintf("Disk %s is not in the point and was left out.", target))
			continue
		}
		placeDisk(d, path, n.Formats[target])
		placed++
	}
	if placed != len(n.Disks) {
		return nil, fmt.Errorf("domain XML of the point names %d of its %d disks", placed, len(n.Disks))
	}
	for _, nic := range devices.SelectElements("interface") {
		placeInterface(nic, n.Network)
	}
	forgetRuntime(devices)
	return append(notes, freePlaces(devices)...), nil
}

func placeDisk(d *etree.Element, path, format string) {
	d.CreateAttr("type", "file")
	removeAll(d, "backingStore", "mirror", "alias", "auth")
	if s := d.SelectElement("source"); s != nil {
		d.RemoveChild(s)
	}
	s := etree.NewElement("source")
	s.CreateAttr("file", path)
	d.InsertChildAt(d.SelectElement("target").Index(), s)
	drv := d.SelectElement("driver")
	if drv == nil {
		drv = etree.NewElement("driver")
		drv.CreateAttr("name", "qemu")
		d.InsertChildAt(0, drv)
	}
	drv.CreateAttr("type", format)
}

// placeInterface gives a NIC a fresh MAC (libvirt chooses one where none is
// given) and, if asked, another network (matrix NET-04, NET-08).
func placeInterface(nic *etree.Element, network string) {
	removeAll(nic, "mac", "alias", "target", "ip", "route")
	if network == "" {
		if s := nic.SelectElement("source"); s != nil {
			s.RemoveAttr("portid")
		}
		return
	}
	nic.CreateAttr("type", "network")
	removeAll(nic, "source", "virtualport", "backend", "portForward")
	s := etree.NewElement("source")
	s.CreateAttr("network", network)
	nic.InsertChildAt(0, s)
}

// forgetRuntime removes what belongs to the running original: aliases and the
// paths of sockets and logs that libvirt makes for each domain.
func forgetRuntime(devices *etree.Element) {
	for _, e := range devices.ChildElements() {
		removeAll(e, "alias")
		if e.Tag != "channel" {
			continue
		}
		if s := e.SelectElement("source"); s != nil && strings.Contains(s.SelectAttrValue("path", ""), "/libvirt/") {
			e.RemoveChild(s)
		}
	}
}

// freePlaces takes from the copy what only one VM of a host can have: files and
// sockets behind serial ports (they become pseudo terminals), log files, and
// fixed ports of displays. It says what it changed.
func freePlaces(devices *etree.Element) (notes []string) {
	for _, e := range devices.ChildElements() {
		switch e.Tag {
		case "serial", "console", "parallel":
			removeAll(e, "log")
			kind := e.SelectAttrValue("type", "pty")
			if kind == "pty" || kind == "null" || kind == "stdio" {
				continue
			}
			if s := e.SelectElement("source"); s != nil && e.Tag != "console" {
				notes = append(notes, fmt.Sprintf("A %s port of the original goes to a %s (%s); the restored VM's goes to a pseudo terminal.",
					e.Tag, kind, s.SelectAttrValue("path", s.SelectAttrValue("service", ""))))
			}
			e.CreateAttr("type", "pty")
			removeAll(e, "source", "protocol")
		case "graphics":
			for _, port := range []string{"port", "tlsPort", "websocket"} {
				e.RemoveAttr(port)
			}
			if e.SelectAttr("type") != nil && e.SelectAttrValue("type", "") != "egl-headless" {
				e.CreateAttr("autoport", "yes")
			}
			for _, l := range e.SelectElements("listen") {
				l.RemoveAttr("socket")
			}
		}
	}
	return notes
}

func setChild(e *etree.Element, tag, text string) {
	c := e.SelectElement(tag)
	if c == nil {
		c = e.CreateElement(tag)
	}
	c.SetText(text)
}

func removeAll(e *etree.Element, tags ...string) {
	for _, tag := range tags {
		for _, c := range e.SelectElements(tag) {
			e.RemoveChild(c)
		}
	}
}
