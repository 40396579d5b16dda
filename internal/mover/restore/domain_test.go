package restore

import (
	"strings"
	"testing"

	"github.com/beevik/etree"

	"holdfast/internal/matrix"
	"holdfast/internal/mover"
)

const original = `<domain type='qemu' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web</name>
  <uuid>11111111-1111-1111-1111-111111111111</uuid>
  <genid>22222222-2222-2222-2222-222222222222</genid>
  <metadata><app:x xmlns:app="http://example.org/app"><kept/></app:x><holdfast:restored xmlns:holdfast="urn:holdfast:vm:1" restore="old"/></metadata>
  <memory unit='KiB'>1048576</memory>
  <os><type>hvm</type><loader type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader><nvram template='/t'>/var/lib/libvirt/qemu/nvram/web.fd</nvram></os>
  <futureelement kept='yes'/>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none' discard='unmap'/><source file='/old/a.qcow2' index='2'/><backingStore/><target dev='vda' bus='virtio'/><serial>S1</serial><alias name='virtio-disk0'/></disk>
    <disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/old'/><target dev='vdb' bus='virtio'/></disk>
    <disk type='file' device='disk'><source file='/old/c.qcow2'/><target dev='vdc' bus='virtio'/></disk>
    <disk type='file' device='cdrom'><source file='/old/cd.iso'/><target dev='sda' bus='sata'/></disk>
    <interface type='network'><mac address='52:54:00:aa:bb:cc'/><source network='default' portid='x' bridge='virbr0'/><target dev='vnet3'/><model type='virtio'/><filterref filter='clean-traffic'/></interface>
    <interface type='bridge'><mac address='52:54:00:aa:bb:cd'/><source bridge='br0'/><model type='e1000'/></interface>
    <serial type='file'><source path='/var/log/web.console'/><log file='/var/log/x'/><target port='0'/></serial>
    <console type='file'><source path='/var/log/web.console'/><target type='serial' port='0'/></console>
    <graphics type='vnc' port='5901' websocket='5701'><listen type='address' address='127.0.0.1'/></graphics>
    <channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/channel/target/domain-3-web/org.qemu.guest_agent.0'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
  </devices>
  <qemu:commandline><qemu:arg value='-foo'/></qemu:commandline>
</domain>`

func TestRewriteDomain(t *testing.T) {
	matrix.Covers(t, "MGT-09", "NET-06", "NET-08")
	out, notes, err := rewriteDomain(original, newDomain{
		Name: "web-2", RestoreID: "r1", PointID: "p1", Network: "lab",
		Disks:   map[string]string{"vda": "/new/vda.qcow2", "vdb": "/new/vdb.raw"},
		Formats: map[string]string{"vda": "qcow2", "vdb": "raw"},
		NVRAM:   "/new/vars.fd",
	})
	if err != nil {
		t.Fatal(err)
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromString(out); err != nil {
		t.Fatal(err)
	}
	want := []struct{ path, attr, value string }{
		{"/domain/name", "", "web-2"},
		{"/domain/genid", "", ""},
		{"/domain/os/nvram", "", "/new/vars.fd"},
		{"/domain/devices/disk[1]/source", "file", "/new/vda.qcow2"},
		{"/domain/devices/disk[1]/driver", "cache", "none"},
		{"/domain/devices/disk[1]/serial", "", "S1"},
		{"/domain/devices/disk[2]", "type", "file"},
		{"/domain/devices/disk[2]/source", "file", "/new/vdb.raw"},
		{"/domain/devices/disk[2]/driver", "type", "raw"},
		{"/domain/devices/disk[3]", "device", "cdrom"},
		{"/domain/devices/interface[1]/source", "network", "lab"},
		{"/domain/devices/interface[1]/filterref", "filter", "clean-traffic"},
		{"/domain/devices/interface[2]", "type", "network"},
		{"/domain/devices/interface[2]/model", "type", "e1000"},
		{"/domain/devices/serial", "type", "pty"},
		{"/domain/devices/serial/target", "port", "0"},
		{"/domain/devices/console", "type", "pty"},
		{"/domain/devices/graphics", "autoport", "yes"},
		{"/domain/futureelement", "kept", "yes"},
		{"/domain/metadata/app:x/kept", "", ""},
		{"/domain/qemu:commandline/qemu:arg", "value", "-foo"},
	}
	for _, w := range want {
		e := doc.FindElement(w.path)
		if e == nil {
			t.Errorf("%s is gone", w.path)
			continue
		}
		got := e.Text()
		if w.attr != "" {
			got = e.SelectAttrValue(w.attr, "")
		}
		if strings.TrimSpace(got) != w.value {
			t.Errorf("%s %s = %q, want %q", w.path, w.attr, got, w.value)
		}
	}
	for _, gone := range []string{"11111111-1111", "52:54:00:aa", "vnet3", "domain-3-web", "/old/a", "/dev/old", "web.console", "5901", "5701", "/var/log/x", "virtio-disk0", "vdc", ` id="3"`, `restore="old"`} {
		if strings.Contains(out, gone) {
			t.Errorf("%q of the original is still there:\n%s", gone, out)
		}
	}
	if mover.RestoreOf(out) != "r1" {
		t.Errorf("RestoreOf = %q", mover.RestoreOf(out))
	}
	if len(notes) != 2 || !strings.Contains(notes[0], "vdc") || !strings.Contains(notes[1], "web.console") {
		t.Errorf("notes = %q, want one about vdc and one about the serial port", notes)
	}
}

func TestRewriteDomainRefuses(t *testing.T) {
	for name, xml := range map[string]string{
		"not XML":        "<domain",
		"other root":     "<network/>",
		"no devices":     "<domain><name>a</name></domain>",
		"disk not there": "<domain><name>a</name><devices/></domain>",
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := rewriteDomain(xml, newDomain{Name: "b", Disks: map[string]string{"vda": "/x"}})
			if err == nil {
				t.Error("accepted")
			}
		})
	}
}

func FuzzRewriteDomain(f *testing.F) {
	f.Add(original)
	f.Add("<domain><devices><disk><target dev='vda'/></disk></devices></domain>")
	f.Fuzz(func(t *testing.T, xml string) {
		out, _, err := rewriteDomain(xml, newDomain{Name: "n", RestoreID: "r", Disks: map[string]string{"vda": "/x"}, Formats: map[string]string{"vda": "raw"}})
		if err == nil && mover.RestoreOf(out) != "r" {
			t.Fatalf("accepted but not marked: %s", out)
		}
	})
}

// A copy without variables of its own must not be left on the original's.
func TestRewriteDomainLetsGoOfNVRAM(t *testing.T) {
	const xml = `<domain><name>a</name><os><nvram type='file'><source file='/original/vars.fd'/></nvram></os><devices/></domain>`
	out, _, err := rewriteDomain(xml, newDomain{Name: "b"})
	if err != nil || strings.Contains(out, "/original") {
		t.Errorf("%v:\n%s", err, out)
	}
}

// An isolated VM reaches nothing but its own disks.
func TestIsolated(t *testing.T) {
	t.Parallel()
	from := strings.Replace(original, "<devices>", `<devices><hostdev mode='subsystem' type='usb'/><filesystem type='mount'><source dir='/srv'/><target dir='x'/></filesystem><vsock model='virtio'/><redirdev bus='usb' type='tcp'/>`, 1)
	for _, isolated := range []bool{false, true} {
		out, _, err := rewriteDomain(from, newDomain{Name: "n", Isolated: isolated, Disks: map[string]string{"vda": "/a", "vdb": "/b", "vdc": "/c"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, way := range []string{"<interface", "<hostdev", "<filesystem", "<vsock", "<redirdev", "commandline"} {
			if strings.Contains(out, way) == isolated {
				t.Errorf("isolated %v: %s\n%s", isolated, way, out)
			}
		}
	}
}
