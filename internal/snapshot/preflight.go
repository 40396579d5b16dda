package snapshot

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"holdfast/internal/hypervisor"
)

// Severity of a finding.
type Severity string

// The severities: Blocks means that a backup would fail, Lessens that it would
// be slower or less consistent than it could be.
const (
	Blocks  Severity = "Blocks"
	Lessens Severity = "Lessens"
)

// Finding is one thing that stands between a VM and a good backup.
type Finding struct {
	Severity Severity
	Subject  string // "vm", "host", "disk vdb"
	Text     string // what is the case
	Fix      string // what to do about it
}

// Preflight looks at what a backup of a VM would meet, and changes nothing. An
// empty list means that a fast, file-system consistent backup is to be expected.
func Preflight(ctx context.Context, host hypervisor.Host, uuid, scratchDir string) ([]Finding, error) {
	d, err := host.Domain(ctx, uuid)
	if err != nil {
		return nil, err
	}
	job, err := host.BackupJob(ctx, uuid)
	if err != nil {
		return nil, err
	}
	var all []Finding
	if job != nil && !ours(scratchDir, job) {
		all = append(all, Finding{Blocks, "vm", "another tool's backup job runs on it", "wait for it, or end it: virsh domjobabort " + d.Name})
	}
	all = append(all, aboutHost(d, scratchDir)...)
	all = append(all, aboutAgent(d)...)
	for _, k := range d.Disks {
		if k.Device == "disk" || k.Device == "lun" {
			all = append(all, aboutDisk(ctx, k)...)
		}
	}
	return all, nil
}

func aboutHost(d hypervisor.Domain, scratchDir string) []Finding {
	var all []Finding
	for tool, pkg := range map[string]string{"qemu-img": "qemu-utils", "qemu-nbd": "qemu-utils"} {
		if _, err := exec.LookPath(tool); err != nil {
			all = append(all, Finding{Blocks, "host", tool + " is not installed", "apt-get install " + pkg})
		}
	}
	w := workdir{path: scratchDir}
	avail, total, err := w.free()
	switch {
	case err != nil:
		all = append(all, Finding{Blocks, "host", fmt.Sprintf("the scratch directory cannot be used: %v", err), "make it, on a local disk: mkdir -p " + scratchDir})
	case avail < 2*reserve(total):
		all = append(all, Finding{Blocks, "host", fmt.Sprintf("%d MiB are free in %s; a backup keeps %d in reserve", avail>>20, scratchDir, reserve(total)>>20), "free space there, or choose another scratch directory"})
	}
	if dir := closedTo(scratchDir, d.QEMUUser, d.QEMUGroup); dir != "" {
		all = append(all, Finding{Blocks, "host", fmt.Sprintf("QEMU (user %d) cannot reach the scratch directory: %s is closed to it", d.QEMUUser, dir), "chmod a+x " + dir})
	}
	return all
}

// closedTo gives the first directory on the way to path that a user may not
// pass; "" when there is none, or the user is not known.
func closedTo(path string, user, group int) string {
	if user <= 0 {
		return ""
	}
	for dir := filepath.Clean(path); ; dir = filepath.Dir(dir) {
		var st syscall.Stat_t
		if syscall.Stat(dir, &st) == nil {
			mode := os.FileMode(st.Mode)
			switch {
			case int(st.Uid) == user:
				mode >>= 6
			case int(st.Gid) == group:
				mode >>= 3
			}
			if mode&1 == 0 {
				return dir
			}
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

func aboutAgent(d hypervisor.Domain) []Finding {
	const crash = "; its backups are crash-consistent"
	switch {
	case !d.State.Active():
		return []Finding{{Lessens, "vm", "it is off" + crash, "nothing, if that is meant"}}
	case d.State == hypervisor.Paused:
		return []Finding{{Lessens, "vm", "it is paused" + crash, "virsh resume " + d.Name}}
	case !d.AgentChannel:
		return []Finding{{Lessens, "vm", "it has no channel for a guest agent" + crash, "add a virtio channel named org.qemu.guest_agent.0 (virsh edit " + d.Name + ") and start it anew"}}
	case !d.AgentConnected:
		return []Finding{{Lessens, "vm", "no guest agent is connected" + crash, "in the guest: install and start qemu-guest-agent"}}
	}
	return nil
}

func aboutDisk(ctx context.Context, k hypervisor.Disk) []Finding {
	subject := "disk " + k.Target
	if k.Format != "raw" && k.Format != "qcow2" {
		return []Finding{{Blocks, subject, (&FormatError{k.Target, k.Path, k.Format}).Error(), "convert it with the machine off: qemu-img convert -O qcow2"}}
	}
	if k.Format == "raw" {
		return []Finding{{Lessens, subject, "raw images cannot record changes: it is read in full each time", "convert it with the machine off: qemu-img convert -O qcow2"}}
	}
	c, err := inspect(ctx, k)
	if err != nil {
		return []Finding{{Lessens, subject, err.Error(), "check that the server may read the image"}}
	}
	if c.version2() {
		return []Finding{{Lessens, subject, "the image is qcow2 version 2, which cannot record changes: it is read in full each time", "with the machine off: qemu-img amend -f qcow2 -o compat=1.1 " + k.Path}}
	}
	return nil
}
