package snapshot_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"holdfast/internal/guestlab"
	"holdfast/internal/hypervisor"
	"holdfast/internal/snapshot"
)

// The axis test drives one guest with a disk of each format and bus through the
// faults of a disk's life, one after the other, as a real machine meets them.
// After each it takes a point and holds it to the bytes that the guest has.
// Expected is what each disk's read must be; the table at the end shows what
// it was.

// axis is the guest, its disks and the table.
type axis struct {
	*lab
	rows []string
}

// The disks of the axis guest, in the order of its options. SATA has no driver
// in the guest's kernel: those disks are written while the machine is off.
var axisDisks = []struct{ target, format, bus string }{
	{"vdb", "qcow2", "virtio"}, {"vdc", "raw", "virtio"},
	{"sda", "qcow2", "scsi"}, {"sdb", "raw", "scsi"},
	{"sdc", "qcow2", "sata"}, {"sdd", "raw", "sata"},
}

const (
	axisMiB   = 8 // size of each disk
	tracked   = "vdb sda sdc"
	untracked = "vdc sdb sdd"
)

// cell is one state or fault: what happens, and which disks are then read
// incrementally.
type cell struct {
	name        string
	do          func(a *axis)
	incremental string // targets
	want        snapshot.Consistency
	reason      string // part of the reason of the disks that lost their tracking
}

func TestAxis(t *testing.T) {
	var disks []guestlab.Disk
	for _, d := range axisDisks {
		disks = append(disks, guestlab.Disk{Format: d.format, Bus: d.bus, Size: axisMiB << 20})
	}
	a := &axis{lab: newLab(t, guestlab.Options{Name: "axis", Disks: disks})}
	defer a.table()
	const all = tracked
	for _, c := range []cell{
		{"first point", (*axis).writeAll, "", snapshot.FileSystem, "no earlier point"},
		{"written", (*axis).writeAll, all, snapshot.FileSystem, ""},
		{"nothing written", func(*axis) {}, all, snapshot.FileSystem, ""},
		{"discarded", (*axis).discard, all, snapshot.FileSystem, ""},
		{"paused", (*axis).pause, all, snapshot.Crash, ""},
		{"grown", (*axis).grow, all, snapshot.FileSystem, ""},
		{"disk added", (*axis).attach, all, snapshot.FileSystem, ""},
		{"disk removed", (*axis).detach, all, snapshot.FileSystem, ""},
		{"scratch full", (*axis).fillScratch, all, snapshot.FileSystem, ""},
		{"shut down", (*axis).shutDownAndCopy, all, snapshot.Crash, ""},
		{"written while off", (*axis).writeOff, all, snapshot.Crash, ""},
		{"older copy put back", (*axis).putBack, all, snapshot.Crash, ""},
		{"defined again", (*axis).defineAgain, all, snapshot.FileSystem, ""},
		{"bitmap deleted", (*axis).deleteBitmap, "sda sdc", snapshot.FileSystem, "bitmap is missing"},
		{"after it", (*axis).writeAll, all, snapshot.FileSystem, ""},
		{"QEMU killed", (*axis).killQEMU, "", snapshot.FileSystem, "missing or broken"},
		{"after it", (*axis).writeAll, all, snapshot.FileSystem, ""},
		{"QEMU killed in a backup", (*axis).killInBackup, "", snapshot.FileSystem, "missing or broken"},
		{"after it", (*axis).writeAll, all, snapshot.FileSystem, ""},
		{"images swapped", (*axis).swap, "sdc", snapshot.FileSystem, "another image"},
		{"foreign snapshot", (*axis).foreignSnapshot, "sda sdc", snapshot.FileSystem, "another image"},
		{"after it", (*axis).writeAll, all, snapshot.FileSystem, ""},
	} {
		if !t.Run(c.name, func(t *testing.T) { a.run(t, c) }) {
			break // the cells build on each other
		}
	}
}

// run does one cell and checks its point.
func (a *axis) run(t *testing.T, c cell) {
	outcome := "FAILED"
	defer func() { a.rows = append(a.rows, fmt.Sprintf("%-26s %s", c.name, outcome)) }()
	a.t, a.lab.Guest.T = t, t
	c.do(a)
	s := a.backup()
	var cells []string
	for _, d := range s.Disks {
		how := "full"
		if d.Incremental {
			how = "incr"
		}
		cells = append(cells, d.Target+"="+how)
		switch want := slices.Contains(strings.Fields(c.incremental), d.Target); {
		case d.Incremental != want:
			t.Errorf("disk %s: incremental %v, want %v (%s)", d.Target, d.Incremental, want, d.Reason)
		case d.Incremental == (d.Reason != ""):
			t.Errorf("disk %s: incremental %v with reason %q", d.Target, d.Incremental, d.Reason)
		case slices.Contains(strings.Fields(tracked), d.Target) && !d.Incremental && !strings.Contains(d.Reason, c.reason):
			t.Errorf("disk %s: reason %q, want %q", d.Target, d.Reason, c.reason)
		}
	}
	if s.Consistency != c.want {
		t.Errorf("%s (%s), want %s", s.Consistency, s.Reason, c.want)
	}
	a.compare(t)
	if !t.Failed() {
		outcome = fmt.Sprintf("%-11s frozen %4d ms  %s", s.Consistency, s.FrozenFor.Milliseconds(), strings.Join(cells, " "))
	}
}

// compare holds the point to what the disks have now: the guest is quiet.
func (a *axis) compare(t *testing.T) {
	t.Helper()
	d, err := a.Host.Domain(t.Context(), a.UUID)
	if err != nil {
		t.Fatal(err)
	}
	switch d.State {
	case hypervisor.Running:
		for _, target := range []string{"vdb", "vdc", "sda", "sdb"} {
			a.wantSum(target)
		}
	case hypervisor.Paused:
		a.virsh("resume", a.Name)
		for _, target := range []string{"vdb", "vdc", "sda", "sdb"} {
			a.wantSum(target)
		}
	default:
		for _, k := range d.Disks[1:] {
			raw := filepath.Join(t.TempDir(), k.Target)
			a.host("qemu-img", "convert", "-O", "raw", "-f", k.Format, k.Path, raw)
			got, err := os.ReadFile(raw)
			if err != nil || string(got) != string(a.base[k.Target]) {
				t.Errorf("disk %s: the point is not what the image has (%v)", k.Target, err)
			}
		}
	}
}

func (a *axis) table() {
	a.t.Logf("the axis, cell by cell:\n%s", strings.Join(a.rows, "\n"))
}

// host runs a program on the host that must succeed.
func (l *lab) host(name string, args ...string) string {
	l.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (l *lab) virsh(args ...string) {
	l.t.Helper()
	l.host("virsh", append([]string{"-q", "-c", guestlab.URI}, args...)...)
}

// writeAll writes to every disk that the guest can reach, each time elsewhere.
func (a *axis) writeAll() {
	a.t.Helper()
	n := len(a.rows) % (axisMiB - 4)
	for _, device := range []string{"vdb", "vdc", "sda", "sdb"} {
		a.write(device, n, 3)
	}
}

func (a *axis) discard() {
	a.t.Helper()
	for _, target := range []string{"vdb", "sda"} {
		a.Sh("blkdiscard -o 0 -l 2097152 " + a.device(target))
	}
}

func (a *axis) pause() {
	a.t.Helper()
	a.writeAll()
	a.virsh("suspend", a.Name)
}

// grow makes vdb larger and writes into the new part.
func (a *axis) grow() {
	a.t.Helper()
	a.virsh("blockresize", a.Name, "vdb", fmt.Sprint((axisMiB+8)<<20)+"B")
	a.write("vdb", axisMiB+1, 2)
}

func (a *axis) attach() {
	a.t.Helper()
	path := filepath.Join(a.Dir, "added.qcow2")
	a.host("qemu-img", "create", "-q", "-f", "qcow2", path, "16M")
	a.virsh("attach-disk", a.Name, path, "vdz", "--subdriver", "qcow2", "--live")
}

func (a *axis) detach() {
	a.t.Helper()
	a.virsh("detach-disk", a.Name, "vdz", "--live")
}

// fillScratch fails a backup for want of scratch space while the guest writes,
// and wants the guest not to notice.
func (a *axis) fillScratch() {
	a.t.Helper()
	r := a.request()
	r.ScratchCap = 2 << 20
	s, err := snapshot.Take(a.t.Context(), r)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write("vdb", 0, axisMiB)
	a.write("sda", 0, axisMiB)
	if err := waitErr(a.t, s); !errors.Is(err, snapshot.ErrScratchFull) {
		a.t.Errorf("check: %v, want ErrScratchFull", err)
	}
	var b [4096]byte
	if _, err := find(a.t, s, "vdb").Source.ReadAt(b[:], 0); !errors.Is(err, snapshot.ErrScratchFull) {
		a.t.Errorf("read: %v, want ErrScratchFull", err)
	}
	if err := s.Release(a.t.Context(), false); err != nil {
		a.t.Error(err)
	}
	if d, err := a.Host.Domain(a.t.Context(), a.UUID); err != nil || d.State != hypervisor.Running {
		a.t.Errorf("the guest is %s (%v)", d.State, err)
	}
}

// shutDown ends the guest in order; its bitmaps go to the images' headers.
func (a *axis) shutDown() {
	a.t.Helper()
	a.writeAll()
	a.Shutdown()
}

// shutDownAndCopy keeps a copy of vdb of that moment.
func (a *axis) shutDownAndCopy() {
	a.t.Helper()
	a.shutDown()
	a.host("cp", a.Disks[1], filepath.Join(a.Dir, "older"))
}

// putBack writes that copy into vdb's file. Its bitmap is as old as it is, and
// does not know what was changed for the last point.
func (a *axis) putBack() {
	a.t.Helper()
	a.host("cp", filepath.Join(a.Dir, "older"), a.Disks[1])
}

// writeOff writes with QEMU's own tool, which keeps the bitmaps.
func (a *axis) writeOff() {
	a.t.Helper()
	for i, d := range axisDisks {
		a.host("qemu-io", "-f", d.format, "-c", fmt.Sprintf("write -P %d 5M 1M", i+1), a.Disks[i+1])
	}
}

// defineAgain forgets the domain, and libvirt's record of the checkpoint with
// it, and makes it anew.
func (a *axis) defineAgain() {
	a.t.Helper()
	doc, err := a.Host.DomainXML(a.t.Context(), a.UUID)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := a.Host.Undefine(a.t.Context(), a.UUID); err != nil {
		a.t.Fatal(err)
	}
	if _, err := a.Host.Define(a.t.Context(), doc); err != nil {
		a.t.Fatal(err)
	}
	a.start()
	a.writeAll()
}

// deleteBitmap takes vdb's bitmap away while the machine is off.
func (a *axis) deleteBitmap() {
	a.t.Helper()
	a.shutDown()
	a.host("qemu-img", "bitmap", "--remove", a.Disks[1], a.last.Name)
	a.start()
	a.writeAll()
}

// pid is that of the guest's QEMU.
func (a *axis) pid() int {
	a.t.Helper()
	raw, err := os.ReadFile(filepath.Join("/run/libvirt/qemu", a.Name+".pid"))
	if err != nil {
		a.t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(raw), &pid); err != nil {
		a.t.Fatal(err)
	}
	return pid
}

func (a *axis) killQEMU() {
	a.t.Helper()
	a.writeAll()
	a.kill()
	a.start()
	a.writeAll()
}

// kill ends QEMU like a crash and waits until libvirt has seen it.
func (a *axis) kill() {
	a.t.Helper()
	if err := syscall.Kill(a.pid(), syscall.SIGKILL); err != nil {
		a.t.Fatal(err)
	}
	a.WaitOff()
}

func (a *axis) killInBackup() {
	a.t.Helper()
	s := a.take()
	a.writeAll()
	a.kill()
	var b [4096]byte
	if _, err := find(a.t, s, "vdb").Source.ReadAt(b[:], 0); err == nil {
		a.t.Error("a disk of a dead QEMU was read")
	}
	if err := s.Check(a.t.Context()); err == nil {
		a.t.Error("the snapshot of a dead QEMU is still good")
	}
	if err := s.Release(a.t.Context(), false); err != nil {
		a.t.Errorf("release: %v", err)
	}
	a.start()
}

// swap exchanges the images of two tracked disks by renaming.
func (a *axis) swap() {
	a.t.Helper()
	a.shutDown()
	b, s, tmp := a.Disks[1], a.Disks[3], filepath.Join(a.Dir, "swap")
	for _, pair := range [][2]string{{b, tmp}, {s, b}, {tmp, s}} {
		if err := os.Rename(pair[0], pair[1]); err != nil {
			a.t.Fatal(err)
		}
	}
	a.start()
}

// foreignSnapshot puts an overlay on vdb, as another tool may.
func (a *axis) foreignSnapshot() {
	a.t.Helper()
	args := []string{"snapshot-create-as", a.Name, "foreign", "--disk-only", "--no-metadata", "--atomic"}
	for _, d := range append([]string{"vda"}, strings.Fields("vdc sda sdb sdc sdd")...) {
		args = append(args, "--diskspec", d+",snapshot=no")
	}
	a.virsh(append(args, "--diskspec", "vdb,snapshot=external,file="+filepath.Join(a.Dir, "foreign.qcow2"))...)
	a.writeAll()
}
