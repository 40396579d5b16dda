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
	"time"

	"holdfast/internal/disk"
	"holdfast/internal/guestlab"
	"holdfast/internal/hypervisor"
	"holdfast/internal/matrix"
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
	rows    []string
	frozen  time.Duration // the longest so far
	writer  *writer
	resetAt map[string]string // checksums of the disks when the guest was reset
}

// The disks of the axis guest, in the order of its options. SATA has no driver
// in the guest's kernel: those disks are written while the machine is off.
var axisDisks = []struct{ target, format, bus string }{
	{"vdb", "qcow2", "virtio"}, {"vdc", "raw", "virtio"},
	{"sda", "qcow2", "scsi"}, {"sdb", "raw", "scsi"},
	{"sdc", "qcow2", "sata"}, {"sdd", "raw", "sata"},
}

const (
	axisMiB   = 4 // size of each disk
	tracked   = "vdb sda sdc"
	untracked = "vdc sdb sdd"
)

// cell is one state or fault: what happens, and which disks are then read
// incrementally.
type cell struct {
	name        string
	do          func(a *axis)
	incremental string               // targets
	want        snapshot.Consistency // "": it depends on how far the guest has booted
	reason      string               // part of the reason of the disks that lost their tracking
	// check holds the point to the guest; nil compares every byte of a guest
	// that is quiet.
	check func(a *axis)
}

func TestAxis(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "STO-08", "STO-09")
	var disks []guestlab.Disk
	for _, d := range axisDisks {
		disks = append(disks, guestlab.Disk{Format: d.format, Bus: d.bus, Size: axisMiB << 20})
	}
	a := &axis{lab: newLab(t, guestlab.Options{Name: "axis", Disks: disks})}
	defer a.table()
	const all, fs, crash = tracked, snapshot.FileSystem, snapshot.Crash
	failed := false
	for _, c := range []cell{
		{"first point", (*axis).writeAll, "", fs, "no earlier point", nil},
		{"written", (*axis).writeAll, all, fs, "", nil},
		{"nothing written", func(*axis) {}, all, fs, "", nil},
		{"discarded", (*axis).discard, all, fs, "", (*axis).freed},
		{"random writers", (*axis).startWriter, all, fs, "", (*axis).writerWas},
		{"random writers go on", (*axis).watchWriter, all, fs, "", (*axis).writerWas},
		{"after them", (*axis).stopWriter, all, fs, "", nil},
		{"paused", (*axis).pause, all, crash, "", nil},
		{"grown", (*axis).grow, all, fs, "", nil},
		{"disk added", (*axis).attach, all, fs, "did not track", nil},
		{"written with it", (*axis).writeAdded, all + " vdz", fs, "", nil},
		{"disk removed", (*axis).detach, all, fs, "", nil},
		{"scratch full", (*axis).fillScratch, all, fs, "", nil},
		{"restarted in a backup", (*axis).resetInBackup, all, "", "", (*axis).asBeforeReset},
		{"power lost in a backup", (*axis).destroyInBackup, all, crash, "", nil},
		{"written while off", (*axis).writeOff, all, crash, "", nil},
		{"older copy put back", (*axis).putBack, all, crash, "", nil},
		{"defined again, bitmap deleted", (*axis).defineAgain, "sda sdc", fs, "bitmap is missing", nil},
		{"after it", (*axis).writeAll, all, fs, "", nil},
		{"QEMU killed in a backup", (*axis).killInBackup, "", fs, "missing or broken", nil},
		{"after it", (*axis).writeAll, all, fs, "", nil},
		{"images swapped", (*axis).swap, "sdc", fs, "another image", nil},
		{"foreign snapshot", (*axis).foreignSnapshot, "sda sdc", fs, "another image", nil},
		{"after it", (*axis).writeAll, all, fs, "", nil},
	} {
		if failed { // the cells build on each other
			a.rows = append(a.rows, fmt.Sprintf("%-29s    -     NOT RUN: a cell before it failed", c.name))
			continue
		}
		failed = !t.Run(c.name, func(t *testing.T) { a.run(t, c) })
	}
}

// run does one cell and checks its point.
func (a *axis) run(t *testing.T, c cell) {
	outcome, began := "FAILED", time.Now()
	defer func() {
		a.rows = append(a.rows, fmt.Sprintf("%-29s %5.1f s  %s", c.name, time.Since(began).Seconds(), outcome))
	}()
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
		case slices.Contains(strings.Fields(tracked+" vdz"), d.Target) && !d.Incremental && !strings.Contains(d.Reason, c.reason):
			t.Errorf("disk %s: reason %q, want %q", d.Target, d.Reason, c.reason)
		}
	}
	a.frozen = max(a.frozen, s.FrozenFor)
	if c.want != "" && s.Consistency != c.want {
		t.Errorf("%s (%s), want %s", s.Consistency, s.Reason, c.want)
	}
	if c.check == nil {
		c.check = (*axis).compare
	}
	c.check(a)
	if !t.Failed() {
		outcome = fmt.Sprintf("%-11s frozen %4d ms  %s", s.Consistency, s.FrozenFor.Milliseconds(), strings.Join(cells, " "))
	}
}

// compare holds the point to what the disks have now: the guest is quiet.
func (a *axis) compare() {
	a.t.Helper()
	d, err := a.Host.Domain(a.t.Context(), a.UUID)
	if err != nil {
		a.t.Fatal(err)
	}
	switch d.State {
	case hypervisor.Paused:
		a.virsh("resume", a.Name)
		a.wantSums(a.reached())
	case hypervisor.Running:
		a.wantSums(a.reached())
	default:
		for _, k := range d.Disks[1:] {
			raw := filepath.Join(a.t.TempDir(), k.Target)
			a.host("qemu-img", "convert", "-O", "raw", "-f", k.Format, k.Path, raw)
			got, err := os.ReadFile(raw)
			if err != nil || string(got) != string(a.base[k.Target]) {
				a.t.Errorf("disk %s: the point is not what the image has (%v)", k.Target, err)
			}
		}
	}
}

// reached are the point's disks that the guest can reach.
func (a *axis) reached() (targets []string) {
	for target := range a.base {
		if target != "sdc" && target != "sdd" {
			targets = append(targets, target)
		}
	}
	return targets
}

func (a *axis) table() {
	a.t.Logf("the axis, cell by cell:\n%s\nfrozen for %d ms at most (goal: 2000, on a machine that does nothing else)", strings.Join(a.rows, "\n"), a.frozen.Milliseconds())
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
	var each []string
	for _, target := range []string{"vdb", "vdc", "sda", "sdb"} {
		each = append(each, writing(a.device(target), len(a.rows)%axisMiB, 1))
	}
	a.Sh(strings.Join(each, " && "))
}

// discard frees the first half of each disk.
func (a *axis) discard() {
	a.t.Helper()
	for _, target := range []string{"vdb", "vdc", "sda", "sdb"} {
		a.Sh(fmt.Sprintf("blkdiscard -o 0 -l %d %s", axisMiB<<19, a.device(target)))
	}
}

// freed wants nothing read, and so nothing stored, of what was freed.
func (a *axis) freed() {
	a.t.Helper()
	a.compare()
	for _, target := range []string{"vdb", "vdc", "sda", "sdb"} {
		for _, e := range a.extents[target] {
			if e.Offset < axisMiB<<19 && e.Kind != disk.Zero {
				a.t.Errorf("disk %s: %d bytes at %d were freed and are not called zero", target, e.Length, e.Offset)
			}
		}
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
	a.virsh("blockresize", a.Name, "vdb", fmt.Sprint((2*axisMiB)<<20)+"B")
	a.write("vdb", axisMiB+1, 2)
}

func (a *axis) attach() {
	a.t.Helper()
	path := filepath.Join(a.Dir, "added.qcow2")
	a.host("qemu-img", "create", "-q", "-f", "qcow2", path, "4M")
	a.virsh("attach-disk", a.Name, path, "vdz", "--subdriver", "qcow2", "--serial", "added", "--live")
	a.devices["vdz"] = strings.TrimSpace(a.Sh(`until d=$(grep -l ^added$ /sys/block/*/serial); do sleep 0.1; done; echo /dev/$(basename ${d%/serial})`))
	a.write("vdz", 1, 2)
}

// writeAdded writes to the disk that was added, among others.
func (a *axis) writeAdded() {
	a.t.Helper()
	a.writeAll()
	a.write("vdz", 2, 2)
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

// resetInBackup lets the guest restart while a point is read: it is of the
// moment before.
func (a *axis) resetInBackup() {
	a.t.Helper()
	a.writeAll()
	before := a.sums(a.reached())
	s := a.take()
	a.writeAll()
	a.resetAt = a.sums(a.reached())
	a.virsh("reset", a.Name)
	a.read(s)
	a.wantThese(before)
}

// asBeforeReset: the guest that boots touches no disk but its system's.
func (a *axis) asBeforeReset() { a.t.Helper(); a.wantThese(a.resetAt) }

// destroyInBackup takes the guest's power while a point is read: that backup
// fails, and the next knows what it needs. A copy of vdb is kept of that moment.
func (a *axis) destroyInBackup() {
	a.t.Helper()
	s := a.take()
	a.Destroy()
	if err := s.Check(a.t.Context()); err == nil {
		a.t.Error("the snapshot of a machine that went off is still good")
	}
	if err := s.Release(a.t.Context(), false); err != nil {
		a.t.Errorf("release: %v", err)
	}
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
		a.host("qemu-io", "-f", d.format, "-c", fmt.Sprintf("write -P %d 3M 1M", i+1), a.Disks[i+1])
	}
}

// defineAgain forgets the domain, and libvirt's record of the checkpoint with
// it, makes it anew and starts it. vdb's bitmap is deleted meanwhile.
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
