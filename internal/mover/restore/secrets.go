package restore

import (
	"fmt"
	"slices"

	"github.com/beevik/etree"
)

// What of a VM is secret, and where it is (libvirt.org/formatdomain.html): the
// passwords of displays are in its definition, which libvirt shows with them when it
// is asked to (VIR_DOMAIN_XML_SECURE), and so in the point; what a <secret> refers
// to is libvirt's own, and in no point, but for those of disks (sealed.go).

// withoutPasswords is a definition without the passwords of its displays, and what
// its reader is told of that.
func withoutPasswords(xml string) (string, []string) {
	doc := etree.NewDocument()
	if doc.ReadFromString(xml) != nil {
		return xml, nil // who reads it next says why
	}
	var notes []string
	for _, g := range doc.FindElements("//graphics") {
		if g.RemoveAttr("passwd") != nil {
			notes = append(notes, fmt.Sprintf("The definition beside the disks is without the password of the %s display. A VM that the template makes has it; set one (passwd of <graphics>) before you define a VM with virsh.", g.SelectAttrValue("type", "")))
		}
	}
	out, err := doc.WriteToString()
	if err != nil {
		return xml, nil
	}
	return out, notes
}

// secretsNeeded tells of the secrets of libvirt's that devices of a definition refer
// to, and that its host has to have before the VM starts. Those of disks are not
// looked at: the point has them.
func secretsNeeded(dom *etree.Element) (notes []string) {
	note := func(device, secret string) {
		n := fmt.Sprintf("A %s of the VM needs the libvirt secret %s, which no point holds: see that the host has it (virsh secret-define, virsh secret-set-value) before the VM starts.", device, secret)
		if !slices.Contains(notes, n) {
			notes = append(notes, n)
		}
	}
	for _, device := range dom.FindElements("devices/*") {
		if device.Tag == "disk" {
			continue
		}
		for _, e := range device.FindElements(".//secret") {
			note(device.Tag, e.SelectAttrValue("uuid", e.SelectAttrValue("usage", "?")))
		}
		for _, e := range device.FindElements("backend/encryption[@secret]") {
			note(device.Tag, e.SelectAttrValue("secret", ""))
		}
	}
	return notes
}
