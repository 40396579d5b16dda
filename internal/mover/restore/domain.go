package restore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/beevik/etree"

	"holdfast"
	"holdfast/internal/mover"
)

// newDomain is what the definition of a restored VM differs in from the one
// in the point.
type newDomain struct {
	Name      string
	RestoreID string
	PointID   string
	Network   string             // libvirt network for every interface; "" keeps the point's
	Networks  []string           // if not nil: those of its NICs, which are as many
	NICs      []holdfast.NICFact // if not nil, and Networks is: those that it is to have (NET-01)
	Disks     map[string]string  // disk target (vda) -> path of the restored disk
	Formats   map[string]string  // disk target -> raw or qcow2
	Secrets   map[string]string  // disk target -> UUID of the secret that opens it; none is not encrypted
	NVRAM     string             // path of the restored UEFI variables; "" when there are none
	Base      string             // socket on which the disks' base images are served; "" when they stand alone
	Whole     map[string]bool    // targets of disks that stand alone even so
	VCPUs     int                // 0 as they were
	Memory    int64              // bytes; 0 as it was
	// Own says that the tags and kept members are these instead of the point's, and
	// LUNs those of the data disks.
	Own  bool
	Tags map[string]string
	Kept map[string]any
	LUNs map[string]int
	// Extra are disks that the point's VM did not have.
	Extra []holdfast.DiskFact
	// LeaveSets leaves behind which disk encryption sets the disks name.
	LeaveSets bool
	Isolated  bool // without network, devices and folders of the host
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
	resize(dom, n)
	notes := append(staticAddresses(dom), secretsNeeded(dom)...)
	if n.Own {
		writeLUNs(dom, n.LUNs)
		err = ownMembers(dom, n)
	} else {
		var left []string
		left, err = leaveBehind(dom, n.LeaveSets)
		notes = append(notes, left...)
	}
	if err != nil {
		return "", nil, err
	}
	more, err := placeDevices(dom, n)
	if err != nil {
		return "", nil, err
	}
	if n.Isolated {
		isolate(dom)
	}
	doc.Indent(2)
	out, err := doc.WriteToString()
	return out, append(notes, more...), err
}

// resize gives a definition other processors and memory. What the point's VM said
// of where they lie (topology, NUMA cells) goes, where it would not fit any more.
func resize(dom *etree.Element, n newDomain) {
	if n.VCPUs > 0 {
		removeAll(dom, "vcpu", "vcpus")
		dom.CreateElement("vcpu").SetText(fmt.Sprint(n.VCPUs))
	}
	if n.Memory > 0 {
		removeAll(dom, "memory", "currentMemory", "maxMemory")
		m := dom.CreateElement("memory")
		m.CreateAttr("unit", "KiB")
		m.SetText(fmt.Sprint(n.Memory >> 10))
	}
	if cpu := dom.SelectElement("cpu"); cpu != nil && (n.VCPUs > 0 || n.Memory > 0) {
		removeAll(cpu, "topology", "numa")
	}
}

// ownMembers puts tags and kept members into a definition in place of the point's.
func ownMembers(dom *etree.Element, n newDomain) error {
	tags, err := mover.TagsElement(n.Tags)
	if err != nil {
		return err
	}
	kept, err := mover.KeptElement(n.Kept)
	if err != nil {
		return err
	}
	for space, element := range map[string]string{mover.TagsSpace: tags, mover.KeptSpace: kept} {
		md := metadata(dom, space)
		if element == "" {
			continue
		}
		doc := etree.NewDocument()
		if err := doc.ReadFromString(element); err != nil {
			return err
		}
		e := doc.Root().Copy()
		e.Space = mover.TagsPrefix
		e.RemoveAttr("xmlns")
		e.CreateAttr("xmlns:"+mover.TagsPrefix, space)
		for _, c := range e.ChildElements() {
			c.Space = mover.TagsPrefix
		}
		md.AddChild(e)
	}
	return nil
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
	e := metadata(dom, mover.MarkSpace).CreateElement("holdfast:restored")
	e.CreateAttr("xmlns:holdfast", mover.MarkSpace)
	e.CreateAttr("restore", restoreID)
	e.CreateAttr("point", pointID)
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
		placeKey(d, n.Secrets[target])
		if n.Base != "" && !n.Whole[target] {
			placeBase(d, n.Base, target)
		}
		placed++
	}
	if placed != len(n.Disks) {
		return nil, fmt.Errorf("domain XML of the point names %d of its %d disks", placed, len(n.Disks))
	}
	for _, k := range n.Extra {
		addDisk(devices, k)
	}
	notes = append(notes, placeInterfaces(devices, n)...)
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

// placeKey says of a disk with which secret libvirt opens it, after placeDisk.
func placeKey(d *etree.Element, secret string) {
	removeAll(d, "encryption")
	if secret == "" {
		return
	}
	e := d.SelectElement("source").CreateElement("encryption")
	e.CreateAttr("format", "luks")
	s := e.CreateElement("secret")
	s.CreateAttr("type", "passphrase")
	s.CreateAttr("uuid", secret)
}

// addDisk adds a disk that the point's VM did not have.
func addDisk(devices *etree.Element, k holdfast.DiskFact) {
	d := devices.CreateElement("disk")
	d.CreateAttr("device", "disk")
	t := d.CreateElement("target")
	t.CreateAttr("dev", k.Target)
	t.CreateAttr("bus", k.Bus)
	placeDisk(d, k.Path, k.Format)
}

// placeInterfaces gives the VM its NICs, in order: those of the point, each on its
// network. With n.NICs it gets as many as these and in their order, known by their
// MAC addresses; with n.Networks as many as these, virtio ones beyond the point's.
func placeInterfaces(devices *etree.Element, n newDomain) (notes []string) {
	nics := devices.SelectElements("interface")
	networks := n.Networks
	if networks == nil && n.NICs != nil {
		nics, networks, notes = asProtected(devices, nics, n.NICs)
	}
	if networks == nil {
		networks = make([]string, len(nics))
	}
	for i, network := range networks {
		if n.Networks == nil && n.Network != "" {
			network = n.Network
		}
		if i >= len(nics) {
			nics = append(nics, newInterface(devices, "virtio"))
		}
		placeInterface(nics[i], network)
	}
	for i := len(networks); i < len(nics); i++ {
		devices.RemoveChild(nics[i])
	}
	return notes
}

func newInterface(devices *etree.Element, model string) *etree.Element {
	nic := devices.CreateElement("interface")
	if model != "" {
		nic.CreateElement("model").CreateAttr("type", model)
	}
	return nic
}

// asProtected orders the NICs of the point as those that the VM had when its
// protection was enabled, makes those that it had lost by then, and takes those
// away that came later (matrix NET-01). A lost one that was on no network of
// libvirt cannot be made.
func asProtected(devices *etree.Element, have []*etree.Element, protected []holdfast.NICFact) (nics []*etree.Element, networks, notes []string) {
	left := slices.Clone(have)
	for i, p := range protected {
		at := slices.IndexFunc(left, func(e *etree.Element) bool {
			mac := e.SelectElement("mac")
			return mac != nil && strings.EqualFold(mac.SelectAttrValue("address", ""), p.MAC)
		})
		switch {
		case at >= 0:
			devices.RemoveChild(left[at])
			devices.AddChild(left[at])
			nics, networks, left = append(nics, left[at]), append(networks, ""), slices.Delete(left, at, at+1)
		case p.Network == "":
			notes = append(notes, fmt.Sprintf("NIC %d (%s), which the VM had when it was protected, was on no libvirt network and is not made again (NET-01).", i, p.MAC))
		default:
			nics, networks = append(nics, newInterface(devices, p.Model)), append(networks, p.Network)
		}
	}
	for _, e := range left {
		devices.RemoveChild(e)
		notes = append(notes, "A NIC that came after the VM was protected was left out (NET-01).")
	}
	return nics, networks, notes
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

// isolate takes from a definition all by which its guest reaches more than its
// own disks: networks, devices of the host, folders and memory shared with it,
// and what could be told to other VMs.
func isolate(dom *etree.Element) {
	if devices := dom.SelectElement("devices"); devices != nil {
		removeAll(devices, "interface", "hostdev", "redirdev", "filesystem", "shmem", "vsock", "smartcard", "lease")
	}
	for _, e := range dom.ChildElements() {
		if e.Tag == "commandline" { // of the namespace qemu: anything may be there
			dom.RemoveChild(e)
		}
	}
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
