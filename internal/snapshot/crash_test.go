package snapshot_test

import (
	"context"
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

	"holdfast/internal/guestlab"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/libvirt"
	"holdfast/internal/matrix"
	"holdfast/internal/snapshot"
)

// victimCommand makes the test binary take a snapshot and kill itself, as a
// server may die: "victim WHEN UUID SCRATCH [WANT]".
const victimCommand = "victim"

// victim is that process. WHEN is frozen, paused (frozen too), open, or alone
// (open, and its watchdog dies with it).
func victim(args []string) int {
	ctx := context.Background()
	host, err := libvirt.Connect(ctx, guestlab.URI)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	r := snapshot.Request{Host: host, URI: guestlab.URI, UUID: args[1], ScratchDir: args[2],
		Want: snapshot.Consistency(args[3]), Exclude: []string{"vda"}, FreezeDeadline: time.Hour}
	if args[0] == "frozen" {
		r.Host = &atBegin{Host: host, do: die}
	}
	if args[0] == "paused" {
		r.Host = &atBegin{Host: host, do: func() {
			if out, err := exec.Command("virsh", "-c", guestlab.URI, "suspend", args[1]).CombinedOutput(); err != nil {
				fmt.Println(err, string(out))
				return
			}
			die()
		}}
	}
	if args[0] == "alone" {
		r.Watchdog = []string{"sh", "-c", "echo ready; read order"}
	}
	if _, err := snapshot.Take(ctx, r); err != nil {
		fmt.Println(err)
		return 1
	}
	die()
	return 1
}

func die() { syscall.Kill(os.Getpid(), syscall.SIGKILL) }

// atBegin is a host that does something at the instant, when the guest is frozen.
type atBegin struct {
	hypervisor.Host
	do func()
}

func (h *atBegin) BeginBackup(ctx context.Context, uuid string, b hypervisor.Backup) error {
	h.do()
	return h.Host.BeginBackup(ctx, uuid, b)
}

// sacrifice runs a victim to its end.
func (l *lab) sacrifice(when string, want snapshot.Consistency) {
	l.t.Helper()
	cmd := exec.Command(os.Args[0], victimCommand, when, l.UUID, l.scratch, string(want))
	out, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		l.t.Fatalf("the victim was to be killed: %v: %s", err, out)
	}
}

func TestLeftovers(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "LNX-01")
	small := smallDisk(t) // before QEMU starts: it may not see what is mounted later
	l := newLab(t, guestlab.Options{Name: "crash", Disks: []guestlab.Disk{{}}})
	l.Sh("mkfs.ext4 -q /dev/vdb && mkdir -p /data && mount /dev/vdb /data && echo hello >/data/file")
	l.backup()
	for _, c := range []struct {
		name string
		test func(*lab)
	}{
		{"a busy writer", busyWriter},
		{"killed while frozen", killedFrozen},
		{"paused while frozen", pausedFrozen},
		{"hanging while frozen", hangingFrozen},
		{"killed while open", killedOpen},
		{"killed while open, its watchdog too", killedAlone},
		{"two at once", twoAtOnce},
		{"a foreign job", foreignJob},
		{"frozen by somebody else", frozenByOther},
		{"scripts", scripts},
		{"scratch disk full", func(l *lab) { scratchDiskFull(l, small) }},
		{"started while off", startedWhileOff},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.t, l.T = t, t
			c.test(l)
			if frozen, err := l.Agent.Frozen(t.Context(), 10*time.Second); err != nil || frozen {
				t.Errorf("frozen %v, %v", frozen, err)
			}
			l.wantNothingLeft()
		})
	}
}

// wantNothingLeft checks that no job, no file and no checkpoint but the last
// point's is there.
func (l *lab) wantNothingLeft() {
	l.t.Helper()
	if job, err := l.Host.BackupJob(l.t.Context(), l.UUID); err != nil || job != nil {
		l.t.Errorf("job %+v, %v", job, err)
	}
	if left, err := os.ReadDir(l.scratch); err != nil || len(left) > 0 {
		l.t.Errorf("in the scratch directory: %v, %v", left, err)
	}
	names, err := l.Host.Checkpoints(l.t.Context(), l.UUID)
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, "holdfast-") })
	if err != nil || len(names) > 1 || l.last != nil && len(names) == 1 && names[0] != l.last.Name {
		l.t.Errorf("checkpoints %v, %v", names, err)
	}
}

// reconcile does what the next backup does first.
func (l *lab) reconcile() error {
	keep := ""
	if l.last != nil {
		keep = l.last.Name
	}
	if err := snapshot.End(l.t.Context(), l.Host, l.UUID, l.scratch); err != nil {
		return err
	}
	return snapshot.KeepOnly(l.t.Context(), l.Host, l.UUID, keep)
}

// busyWriter takes points of a file system that is being written all the time;
// what was frozen must be whole.
func busyWriter(l *lab) {
	l.Sh(`cat >/run/writer <<'E'
while [ ! -e /run/stop ]; do
	dd if=/dev/urandom of=/data/$((RANDOM % 8)) bs=64k count=$((1 + RANDOM % 20)) seek=$((RANDOM % 20)) conv=notrunc status=none
	rm -f /data/$((RANDOM % 8))
done
E
rm -f /run/stop; setsid busybox ash /run/writer >/dev/null 2>&1 </dev/null &`)
	defer l.Sh("touch /run/stop")
	for range 4 {
		s := l.backup()
		if s.Consistency != snapshot.FileSystem {
			l.t.Errorf("%s: %s", s.Consistency, s.Reason)
		}
		image := filepath.Join(l.t.TempDir(), "vdb")
		if err := os.WriteFile(image, l.base["vdb"], 0o600); err != nil {
			l.t.Fatal(err)
		}
		l.host("e2fsck", "-fn", image)
	}
}

// killedFrozen kills the server when the guest is frozen: the watchdog, a
// process of its own, thaws.
func killedFrozen(l *lab) {
	l.sacrifice("frozen", snapshot.FileSystem)
	l.wantThawed()
	l.incrementalAgain()
}

// pausedFrozen pauses the guest when it is frozen, and kills the server: once it
// runs again, the watchdog thaws. Until then it may be frozen for all we know.
func pausedFrozen(l *lab) {
	l.sacrifice("paused", snapshot.FileSystem)
	if err := l.reconcile(); err != nil {
		l.t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(l.scratch, "*", "freeze")); err != nil || len(left) != 1 {
		l.t.Errorf("marks of a guest that is paused: %v, %v", left, err)
	}
	l.virsh("resume", l.Name)
	l.wantThawed()
	if err := l.reconcile(); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) wantThawed() {
	l.t.Helper()
	for range 300 {
		if frozen, err := l.Agent.Frozen(l.t.Context(), 10*time.Second); err == nil && !frozen {
			return
		}
		time.Sleep(100 * time.Millisecond) // there is no event to wait for
	}
	l.t.Fatal("the guest stays frozen")
}

// hangingFrozen lets libvirt take longer than the deadline.
func hangingFrozen(l *lab) {
	r := l.request()
	r.FreezeDeadline = 2 * time.Second
	r.Host = &atBegin{Host: l.Host, do: l.wantThawed} // by the watchdog
	s, err := snapshot.Take(l.t.Context(), r)
	if err != nil {
		l.t.Fatal(err)
	}
	if s.Consistency != snapshot.Crash || !strings.Contains(s.Reason, "before the snapshot was complete") {
		l.t.Errorf("%s: %s", s.Consistency, s.Reason)
	}
	l.read(s)
}

// killedOpen kills the server while it reads, and starts no other: the watchdog
// ends the job, whose scratch files would else take every old block that the
// guest overwrites, and takes the files away. The guest writes all the while.
func killedOpen(l *lab) {
	l.Sh("rm -f /run/stop; setsid sh -c 'until [ -e /run/stop ]; do dd if=/dev/urandom of=/data/on bs=1M count=8 conv=notrunc,fsync status=none; done' >/dev/null 2>&1 </dev/null &")
	l.sacrifice("open", snapshot.FileSystem)
	l.wantEnded()
	l.Sh("touch /run/stop; sync")
	l.incrementalAgain()
}

// wantEnded waits until no backup job runs and no scratch file is left.
func (l *lab) wantEnded() {
	l.t.Helper()
	for range 300 {
		job, err := l.Host.BackupJob(l.t.Context(), l.UUID)
		left, err2 := os.ReadDir(l.scratch)
		if err == nil && err2 == nil && job == nil && len(left) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond) // the watchdog says nothing to us
	}
	l.t.Fatal("nobody ends the backup of a dead server")
}

// killedAlone kills the server while it reads, and its watchdog: what they left
// is ended by the next.
func killedAlone(l *lab) {
	l.sacrifice("alone", snapshot.FileSystem)
	if _, err := snapshot.Take(l.t.Context(), l.request()); !errors.Is(err, hypervisor.ErrBusy) || !strings.Contains(err.Error(), "of Holdfast") {
		l.t.Errorf("take: %v, want ErrBusy", err)
	}
	l.incrementalAgain()
}

// incrementalAgain takes the point after a server died.
func (l *lab) incrementalAgain() {
	l.t.Helper()
	if err := l.reconcile(); err != nil {
		l.t.Fatal(err)
	}
	l.wantNothingLeft()
	if s := l.backup(); !find(l.t, s, "vdb").Incremental {
		l.t.Errorf("the next point is not incremental: %s", find(l.t, s, "vdb").Reason)
	}
}

func twoAtOnce(l *lab) {
	s := l.take()
	if _, err := snapshot.Take(l.t.Context(), l.request()); !errors.Is(err, hypervisor.ErrBusy) || !strings.Contains(err.Error(), "of Holdfast") {
		l.t.Errorf("second take: %v, want ErrBusy", err)
	}
	if err := l.reconcile(); !errors.Is(err, hypervisor.ErrBusy) {
		l.t.Errorf("reconcile beside a living snapshot: %v, want ErrBusy", err)
	}
	l.read(s)
	if err := s.Release(l.t.Context(), false); err != nil {
		l.t.Errorf("second release: %v", err)
	}
}

// foreignJob has another tool's backup, and its checkpoint, on the machine.
func foreignJob(l *lab) {
	backup, point := filepath.Join(l.scratch, "foreign.xml"), filepath.Join(l.scratch, "point.xml")
	for path, doc := range map[string]string{
		backup: `<domainbackup mode='pull'><server transport='unix' socket='` + l.Dir + `/foreign'/>
			<disks><disk name='vdb' backup='yes' type='file'><scratch file='` + l.Dir + `/foreign.scratch'/></disk></disks></domainbackup>`,
		point: `<domaincheckpoint><name>foreign</name><disks><disk name='vda' checkpoint='no'/><disk name='vdb' checkpoint='bitmap'/></disks></domaincheckpoint>`,
	} {
		if err := os.WriteFile(path, []byte(doc), 0o600); err != nil {
			l.t.Fatal(err)
		}
		defer os.Remove(path)
	}
	if err := os.Chmod(l.Dir, 0o777); err != nil { // QEMU makes its socket there
		l.t.Fatal(err)
	}
	l.virsh("backup-begin", l.Name, backup, point)
	if _, err := snapshot.Take(l.t.Context(), l.request()); !errors.Is(err, hypervisor.ErrBusy) || !strings.Contains(err.Error(), "did not start") {
		l.t.Errorf("take: %v, want ErrBusy", err)
	}
	if err := l.reconcile(); err != nil {
		l.t.Errorf("reconcile: %v", err)
	}
	if job, err := l.Host.BackupJob(l.t.Context(), l.UUID); err != nil || job == nil {
		l.t.Errorf("the foreign job is gone: %v", err)
	}
	l.virsh("domjobabort", l.Name)
	if err := l.Host.EndBackup(l.t.Context(), l.UUID); err != nil {
		l.t.Fatal(err)
	}
	os.Remove(backup)
	os.Remove(point)
	l.backup()
	if names, err := l.Host.Checkpoints(l.t.Context(), l.UUID); err != nil || !slices.Contains(names, "foreign") {
		l.t.Errorf("checkpoints %v, %v: the foreign one is gone", names, err)
	}
}

func frozenByOther(l *lab) {
	if _, err := l.Agent.Freeze(l.t.Context(), 10*time.Second); err != nil {
		l.t.Fatal(err)
	}
	s := l.take()
	if s.Consistency != snapshot.Crash || !strings.Contains(s.Reason, "frozen already") {
		l.t.Errorf("%s: %s", s.Consistency, s.Reason)
	}
	if frozen, err := l.Agent.Frozen(l.t.Context(), 10*time.Second); err != nil || !frozen {
		l.t.Errorf("somebody else's freeze was undone (%v)", err)
	}
	if n, err := l.Agent.Thaw(l.t.Context(), 10*time.Second); err != nil || n == 0 {
		l.t.Errorf("thaw: %d, %v", n, err)
	}
	l.read(s)
}

// scripts goes through what a guest's script configuration can mean.
func scripts(l *lab) {
	configure := func(pre, options string) {
		l.Sh(`mkdir -p /etc/azure && cd /etc/azure && : >log && chmod 700 /etc/azure
printf '#!/bin/sh\n` + pre + `\n' >pre; printf '#!/bin/sh\necho post >>/etc/azure/log\n' >post; chmod 700 pre post
cat >VMSnapshotScriptPluginConfig.json <<'E'
{"pluginName":"ScriptRunner","preScriptLocation":"/etc/azure/pre","postScriptLocation":"/etc/azure/post","timeoutInSeconds":30` + options + `}
E
chmod 600 VMSnapshotScriptPluginConfig.json`)
	}
	take := func() (*snapshot.Snapshot, error) {
		r := l.request()
		r.Want = snapshot.Application
		return snapshot.Take(l.t.Context(), r)
	}
	log := func() string { return l.Sh("cat /etc/azure/log") }
	want := func(what string, c snapshot.Consistency, says string) {
		l.t.Helper()
		s, err := take()
		if err != nil {
			l.t.Fatalf("%s: %v", what, err)
		}
		if s.Consistency != c {
			l.t.Errorf("%s: %s (%s)", what, s.Consistency, s.Reason)
		}
		if got := log(); got != says {
			l.t.Errorf("%s: the scripts said %q, want %q", what, got, says)
		}
		if err := s.Release(l.t.Context(), false); err != nil {
			l.t.Error(err)
		}
	}
	configure("echo pre >>/etc/azure/log", "")
	want("both succeed", snapshot.Application, "pre\npost\n")
	configure("echo pre >>/etc/azure/log", `,"fsFreezeEnabled":false`)
	want("no freeze", snapshot.Application, "pre\npost\n")
	configure("exit 3", `,"continueBackupOnFailure":true`)
	want("pre fails, go on", snapshot.FileSystem, "post\n")
	configure("exit 3", "")
	if _, err := take(); !errors.Is(err, snapshot.ErrScript) {
		l.t.Errorf("pre fails: %v, want ErrScript", err)
	}
	if got := log(); got != "post\n" {
		l.t.Errorf("pre fails: the scripts said %q", got)
	}
	configure("sleep 60", `,"timeoutInSeconds":1,"continueBackupOnFailure":true`)
	want("pre takes too long, go on", snapshot.FileSystem, "post\n")
	configure("echo pre >>/etc/azure/log", "")
	l.Sh("chmod 722 /etc/azure/pre")
	want("unsafe permissions", snapshot.FileSystem, "")
	configure("echo pre >>/etc/azure/log", "")
	l.sacrifice("frozen", snapshot.Application)
	l.wantThawed()
	for range 300 {
		if log() == "pre\npost\n" {
			break
		}
		time.Sleep(100 * time.Millisecond) // the watchdog says nothing to us
	}
	if got := log(); got != "pre\npost\n" {
		l.t.Errorf("server killed: the scripts said %q", got)
	}
	if err := l.reconcile(); err != nil {
		l.t.Error(err)
	}
	l.Sh("rm -r /etc/azure")
	if s, err := take(); err != nil || s.Consistency != snapshot.FileSystem {
		l.t.Errorf("no configuration: %v", err)
	} else {
		s.Release(l.t.Context(), false)
	}
}

// smallDisk mounts a file system of 24 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := guestlab.Dir(t)
	if err := syscall.Mount("holdfast-lab", dir, "tmpfs", 0, "size=24m,mode=711"); err != nil {
		t.Logf("no small disk: mount: %v", err)
		return ""
	}
	t.Cleanup(func() { syscall.Unmount(dir, 0) })
	return dir
}

// scratchDiskFull lets the guest write more than the scratch disk holds. The
// backup fails; the guest runs, and all that it wrote is there.
func scratchDiskFull(l *lab, small string) {
	if small == "" {
		l.t.Skip("this machine lets nobody mount a small disk")
	}
	l.Sh("dd if=/dev/urandom of=/data/large bs=1M count=40 oflag=direct status=none && sync") // zeroes would cost no scratch
	r := l.request()
	r.ScratchDir = small
	s, err := snapshot.Take(l.t.Context(), r)
	if err != nil {
		l.t.Fatal(err)
	}
	l.Sh(`rm -f /run/large
setsid sh -c 'dd if=/dev/zero of=/data/large bs=1M count=40 oflag=direct conv=notrunc status=none && sync && cmp -n 41943040 /data/large /dev/zero && echo ok >/run/large' >/dev/null 2>&1 </dev/null &`)
	if err := waitErr(l.t, s); !errors.Is(err, snapshot.ErrScratchFull) {
		l.t.Errorf("check: %v, want ErrScratchFull", err)
	}
	if err := s.Release(l.t.Context(), false); err != nil {
		l.t.Error(err)
	}
	if d, err := l.Host.Domain(l.t.Context(), l.UUID); err != nil || d.State != hypervisor.Running {
		l.t.Fatalf("the guest is %s, %s (%v)", d.State, d.StateReason, err)
	}
	l.Sh("until [ -e /run/large ]; do sleep 0.1; done; rm /data/large")
	l.backup()
}

// startedWhileOff starts the machine during the backup of its images.
func startedWhileOff(l *lab) {
	l.Shutdown()
	s := l.take()
	if !find(l.t, s, "vdb").Incremental {
		l.t.Errorf("vdb was read in full: %s", find(l.t, s, "vdb").Reason)
	}
	if err := s.Check(l.t.Context()); err != nil {
		l.t.Errorf("check while off: %v", err)
	}
	l.start()
	if err := s.Check(l.t.Context()); !errors.Is(err, snapshot.ErrStarted) {
		l.t.Errorf("check: %v, want ErrStarted", err)
	}
	if err := s.Release(l.t.Context(), false); err != nil {
		l.t.Error(err)
	}
	if s := l.backup(); !find(l.t, s, "vdb").Incremental {
		l.t.Errorf("the next point is not incremental: %s", find(l.t, s, "vdb").Reason)
	}
}
