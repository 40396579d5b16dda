package snapshot_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/guestlab"
	"holdfast/internal/snapshot"
)

// TestLibvirtdRestarted restarts the daemon while a snapshot is open: QEMU serves
// on, and the snapshot is ended through the new daemon. It runs alone, before
// the package's parallel tests.
func TestLibvirtdRestarted(t *testing.T) {
	l := newLab(t, guestlab.Options{Name: "restart", Paused: true, Disks: []guestlab.Disk{{Size: 4 << 20}}})
	l.mayRestart()
	l.writeFromOutside(1)
	l.backup()
	l.writeFromOutside(2)
	s := l.take()
	l.writeFromOutside(3)
	l.restartLibvirtd()
	l.read(s)
	if !find(t, s, "vdb").Incremental || l.base["vdb"][1<<20] != 2 {
		t.Errorf("the point: incremental %v, byte %d, want true and 2", find(t, s, "vdb").Incremental, l.base["vdb"][1<<20])
	}
	s = l.backup()
	if !find(t, s, "vdb").Incremental || l.base["vdb"][1<<20] != 3 {
		t.Errorf("the next point: %q, byte %d, want incremental and 3", find(t, s, "vdb").Reason, l.base["vdb"][1<<20])
	}
	// A snapshot that is open when the server and the daemon die.
	l.sacrifice("alone", snapshot.Crash)
	l.restartLibvirtd()
	if err := l.reconcile(); err != nil {
		t.Fatal(err)
	}
	l.wantNothingLeft()
	if s := l.backup(); !find(t, s, "vdb").Incremental {
		t.Errorf("after a dead server: %s", find(t, s, "vdb").Reason)
	}
}

// writeFromOutside fills 64 KiB of vdb with a byte, through the guest's device.
func (l *lab) writeFromOutside(b byte) {
	l.t.Helper()
	l.virsh("qemu-monitor-command", l.Name, "--hmp", fmt.Sprintf(`qemu-io -d /machine/peripheral/virtio-disk1/virtio-backend "write -P %d 1M 64k"`, b))
}

const libvirtdPID = "/run/libvirtd.pid"

// mayRestart skips the test where the daemon is not ours to restart: it must be
// one that scripts/libvirt-up has started, and no other test's guest may run.
func (l *lab) mayRestart() {
	l.t.Helper()
	if _, err := os.Stat("/run/holdfast-libvirt"); errors.Is(err, fs.ErrNotExist) && os.Getenv("HOLDFAST_SOAK") == "" {
		l.t.Skip("libvirtd was not started by scripts/libvirt-up, so it is not restarted; HOLDFAST_SOAK=1 does it all the same")
	}
	all, err := l.Host.Domains(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	for _, d := range all {
		if d.UUID != l.UUID && d.State.Active() {
			l.t.Skipf("the guest %s of somebody else runs: a restart of libvirtd would disturb its test", d.Name)
		}
	}
}

// restartLibvirtd ends the daemon and starts it again as scripts/libvirt-up does.
func (l *lab) restartLibvirtd() {
	l.t.Helper()
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		l.host("systemctl", "restart", "libvirtd")
	} else {
		raw, err := os.ReadFile(libvirtdPID)
		if err != nil {
			l.t.Fatal(err)
		}
		// The daemon outlives this process, and must not hold what it was given
		// by whoever started it: a lock, most often.
		given, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			l.t.Fatal(err)
		}
		for _, f := range given {
			if n, err := strconv.Atoi(f.Name()); err == nil && n > 2 {
				syscall.CloseOnExec(n)
			}
		}
		pid := strings.TrimSpace(string(raw))
		l.host("sh", "-c", "kill "+pid+" && tail --pid="+pid+" -f /dev/null && libvirtd -d -p "+libvirtdPID)
	}
	for range 100 {
		if d, err := l.Host.Domain(l.t.Context(), l.UUID); err == nil && d.State.Active() {
			return
		}
		time.Sleep(100 * time.Millisecond) // the new daemon says that it is ready by answering
	}
	l.t.Fatal("libvirtd does not come back")
}
