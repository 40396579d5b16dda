package snapshot

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"holdfast/internal/guest"
	"holdfast/internal/hypervisor"
)

// Severity of a finding.
type Severity string

// The severities: Blocks means that a backup would fail, Lessens that it would
// be slower or less consistent than it could be, Good that all is well.
const (
	Blocks  Severity = "Blocks"
	Lessens Severity = "Lessens"
	Good    Severity = "Good"
)

// Finding is one thing that was looked at before a backup.
type Finding struct {
	Severity Severity
	Subject  string // "vm", "host", "disk vdb"
	Text     string // what is the case
	Fix      string // what to do about it; "" when Good
}

// Preflight looks at what a backup of a VM would meet, and changes nothing:
// the host first, then the VM, then each disk. When every finding is Good, a
// fast, file-system consistent backup is to be expected.
func Preflight(ctx context.Context, host hypervisor.Host, uuid, scratchDir string) ([]Finding, error) {
	d, err := host.Domain(ctx, uuid)
	if err != nil {
		return nil, err
	}
	info, err := host.Info(ctx)
	if err != nil {
		return nil, err
	}
	confined, err := host.Confinement(ctx)
	if err != nil {
		return nil, err
	}
	job, err := host.BackupJob(ctx, uuid)
	if err != nil {
		return nil, err
	}
	all := aboutVersions(info)
	all = append(all, aboutTools()...)
	all = append(all, aboutScratch(d, scratchDir)...)
	all = append(all, aboutConfinement(confined, d, scratchDir)...)
	if job != nil && !ours(scratchDir, job) {
		all = append(all, Finding{Blocks, "vm", "another tool's backup job runs on it", "wait for it, or end it: virsh domjobabort " + d.Name})
	}
	all = append(all, aboutGuest(ctx, host, d)...)
	all = append(all, aboutFirmware(d)...)
	for _, k := range d.Disks {
		if k.Device == "disk" || k.Device == "lun" {
			all = append(all, aboutDisk(ctx, k, d.State.Active()))
			all = append(all, aboutKey(ctx, host, k)...)
		}
	}
	return all, nil
}

// aboutTools looks for the programs that read images.
func aboutTools() (all []Finding) {
	for _, tool := range []string{"qemu-img", "qemu-nbd"} {
		if _, err := exec.LookPath(tool); err != nil {
			all = append(all, Finding{Blocks, "host", tool + " is not installed", "install it: apt-get install qemu-utils (Debian, Ubuntu), dnf install qemu-img (Fedora, RHEL)"})
		}
	}
	return all
}

// aboutScratch looks at the place of the scratch files. It may not be there yet:
// the first backup makes it.
func aboutScratch(d hypervisor.Domain, scratchDir string) (all []Finding) {
	dir := scratchDir
	for !exists(dir) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
	}
	w := workdir{path: dir}
	avail, total, err := w.free()
	switch {
	case err != nil:
		all = append(all, Finding{Blocks, "host", fmt.Sprintf("the scratch directory cannot be used: %v", err), "make it, on a local disk: mkdir -p " + scratchDir})
	case avail < 2*reserve(total):
		all = append(all, Finding{Blocks, "host", fmt.Sprintf("%d MiB are free in %s; a backup keeps %d in reserve", avail>>20, dir, reserve(total)>>20),
			"free space there, or give the site another scratch directory (--scratch-dir)"})
	default:
		all = append(all, Finding{Good, "host", fmt.Sprintf("%d MiB are free for scratch files in %s", avail>>20, scratchDir), ""})
	}
	if name := networkFS(dir); name != "" {
		all = append(all, Finding{Lessens, "host", fmt.Sprintf("the scratch directory %s is on a network (%s): the guest's writes wait for it during a backup", scratchDir, name),
			"give the site a scratch directory on a local disk (--scratch-dir)"})
	}
	if shut := closedTo(scratchDir, d.QEMUUser, d.QEMUGroup); shut != "" {
		all = append(all, Finding{Blocks, "host", fmt.Sprintf("QEMU (user %d) cannot reach the scratch directory: %s is closed to it", d.QEMUUser, shut), "chmod a+x " + shut})
	}
	return all
}

// networkFS names the network file system that a path is on (statfs(2), f_type).
func networkFS(path string) string {
	var st syscall.Statfs_t
	if syscall.Statfs(path, &st) != nil {
		return ""
	}
	return map[uint32]string{0x6969: "NFS", 0xff534d42: "CIFS", 0xfe534d42: "SMB2", 0x00c36400: "CephFS", 0x65735546: "FUSE"}[uint32(st.Type)]
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

// aboutGuest says what consistency is to be expected.
func aboutGuest(ctx context.Context, host hypervisor.Host, d hypervisor.Domain) []Finding {
	const crash = "; its backups are crash-consistent"
	lessens := func(text, fix string) []Finding { return []Finding{{Lessens, "vm", text + crash, fix}} }
	switch {
	case !d.State.Active():
		return lessens("it is off", "nothing, if that is meant")
	case d.State == hypervisor.Paused:
		return lessens("it is paused", "virsh resume "+d.Name)
	case !d.AgentChannel:
		return lessens("it has no channel for a guest agent", "add a virtio channel named org.qemu.guest_agent.0 (virsh edit "+d.Name+") and start it anew")
	case !d.AgentConnected:
		return lessens("no guest agent is connected", "in the guest: install and start qemu-guest-agent")
	}
	agent := guest.Of(host, d.UUID)
	frozen, err := agent.Frozen(ctx, pingTimeout)
	switch {
	case err != nil:
		return lessens(fmt.Sprintf("its guest agent does not answer (%v)", err), "in the guest: restart qemu-guest-agent, and allow the guest-fsfreeze commands")
	case frozen:
		return lessens("its file systems are frozen by somebody else", "virsh domfsthaw "+d.Name)
	}
	os, err := agent.OS(ctx, pingTimeout)
	switch {
	case err != nil:
		return []Finding{{Good, "vm", "its guest agent answers, and does not say which system it runs", ""}}
	case os.Windows():
		return []Finding{{Good, "vm", "its guest agent answers; " + os.Name + " is frozen through VSS", ""}}
	}
	return []Finding{{Good, "vm", "its guest agent answers; " + os.Name + " is frozen file system by file system", ""}}
}

// aboutFirmware looks at what a machine has outside its disks.
func aboutFirmware(d hypervisor.Domain) (all []Finding) {
	if d.NVRAM != "" && exists(d.NVRAM) {
		if _, err := readSmall(d.NVRAM, maxNVRAM); err != nil {
			all = append(all, Finding{Lessens, "vm", fmt.Sprintf("its UEFI variables cannot be read: %v", err), "give the server's user read access to " + d.NVRAM})
		}
	}
	if d.TPM != nil && d.TPM.StatePath != "" {
		if _, err := readTPM(d.TPM.StatePath); err != nil {
			all = append(all, Finding{Lessens, "vm", fmt.Sprintf("the state of its TPM cannot be read: %v", err), "give the server's user read access to " + d.TPM.StatePath})
		}
	}
	return all
}

// aboutDisk says how a disk will be read. running: QEMU has it open.
func aboutDisk(ctx context.Context, k hypervisor.Disk, running bool) Finding {
	const full, convert = ": it is read in full each time", "with the machine off: qemu-img convert -O qcow2, and let the definition name the new image"
	subject := "disk " + k.Target
	if k.Format != "raw" && k.Format != "qcow2" {
		return Finding{Blocks, subject, (&FormatError{k.Target, k.Path, k.Format}).Error(), convert}
	}
	c, err := inspect(ctx, k)
	switch {
	case err != nil && !running:
		return Finding{Blocks, subject, err.Error(), "while the machine is off the server reads the image itself: let it reach the image"}
	case k.Format == "raw":
		return Finding{Lessens, subject, "raw images cannot record changes" + full, convert}
	case err != nil:
		return Finding{Lessens, subject, err.Error(), "check that the server may read the image"}
	case c.version2():
		return Finding{Lessens, subject, "the image is qcow2 version 2, which cannot record changes" + full, "with the machine off: qemu-img amend -f qcow2 -o compat=1.1 " + k.Path}
	}
	return Finding{Good, subject, "the image is qcow2 version 3, which records changes: it is read incrementally", ""}
}
