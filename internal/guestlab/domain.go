package guestlab

import (
	"cmp"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// domain makes the guest's images and writes its XML.
func (g *Guest) domain(o Options, image string) string {
	g.T.Helper()
	args, err := os.ReadFile(filepath.Join(image, "cmdline"))
	if err != nil {
		g.T.Fatal(err)
	}
	for _, f := range []string{"vmlinuz", "initrd.img"} {
		g.run("cp", filepath.Join(image, f), filepath.Join(g.Dir, f))
	}
	next := map[string]int{}
	disks := g.disk(serial(0), Disk{Format: o.System.Format, Bus: o.System.Bus, LUKS: o.System.LUKS, Path: filepath.Join(image, "disk.qcow2")}, true, next)
	for i, d := range o.Disks {
		disks += g.disk(serial(i+1), d, d.Path == "", next)
	}
	var loader, channel, screen, tpm string
	if o.UEFI {
		loader = "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>" +
			"<nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>" + filepath.Join(g.Dir, "nvram.fd") + "</nvram>"
	}
	if !o.NoAgent {
		channel = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
	}
	if o.Screen {
		screen = "<video><model type='vga'/></video>"
	}
	if o.TPM {
		tpm = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
	}
	return fmt.Sprintf(`<domain type='qemu'>
  <name>%s</name>
  <memory unit='MiB'>1024</memory>
  <vcpu>2</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    %s
    <kernel>%s</kernel>
    <initrd>%s</initrd>
    <cmdline>%s</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    %s
    <controller type='scsi' model='virtio-scsi'/>
    <serial type='file'><source path='%s'/></serial>
    %s%s%s
    <memballoon model='none'/>
  </devices>
</domain>`, g.Name, loader, filepath.Join(g.Dir, "vmlinuz"), filepath.Join(g.Dir, "initrd.img"),
		html.EscapeString(strings.TrimSpace(string(args))), disks, filepath.Join(g.Dir, "console"), channel, screen, tpm)
}

// serial is the serial number of the i-th disk, by which the guest knows it.
func serial(i int) string { return fmt.Sprintf("disk%02d", i) }

// letters counts disks as Linux does: a, b, … z, aa, ab, …
func letters(n int) string {
	if n < 26 {
		return string(rune('a' + n))
	}
	return letters(n/26-1) + letters(n%26)
}

// prefixes of target names by bus.
var prefixes = map[string]string{"virtio": "vd", "scsi": "sd", "sata": "sd"}

// disk makes one image and writes its XML. A given image is used as it is, or
// copied when it is only the template.
func (g *Guest) disk(name string, d Disk, fresh bool, next map[string]int) string {
	g.T.Helper()
	d.Format, d.Bus = cmp.Or(d.Format, "qcow2"), cmp.Or(d.Bus, "virtio")
	d.Size = cmp.Or(d.Size, 64<<20)
	path := d.Path
	if fresh {
		path = filepath.Join(g.Dir, name+"."+d.Format)
		switch {
		case d.LUKS:
			g.encrypt(path, d)
		case d.Path == "":
			g.run("qemu-img", "create", "-q", "-f", d.Format, path, strconv.FormatInt(d.Size, 10))
		case d.Format == "qcow2":
			g.run("cp", "--sparse=always", d.Path, path)
		default:
			g.run("qemu-img", "convert", "-q", "-O", d.Format, d.Path, path)
		}
	}
	g.Disks = append(g.Disks, path)
	prefix := prefixes[d.Bus]
	target := prefix + letters(next[prefix])
	next[prefix]++
	transient := ""
	if d.Transient {
		transient = "<transient/>"
	}
	return fmt.Sprintf(`<disk type='file' device='disk'><driver name='qemu' type='%s' discard='unmap'/><source file='%s'/><target dev='%s' bus='%s'/>%s<serial>%s</serial>%s</disk>`,
		d.Format, path, target, d.Bus, transient, name, g.encryption(d))
}

// run runs a program that must succeed.
func (g *Guest) run(name string, args ...string) {
	g.T.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		g.T.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}
