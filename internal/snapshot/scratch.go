package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"holdfast/internal/hypervisor"
	"holdfast/internal/luks"
)

// workdir is the directory of one snapshot: ScratchDir/holdfast-HASH-RANDOM
// with the scratch files and a lock that lives as long as the process that made
// it. socket is where QEMU serves NBD, "" for one that a dead process left.
type workdir struct {
	path   string
	socket string
	lock   *os.File
	key    luks.Key // of the scratch files of encrypted disks
}

const (
	lockFile   = "lock"
	freezeFile = "freeze" // there while this snapshot may have the guest frozen
)

// maxSocket is the longest path of a UNIX socket, bytes (unix(7), sun_path).
const maxSocket = 107

// dirPrefix starts the names of a domain's working directories. It holds a
// hash of the UUID, because the path of a socket in there is bounded.
func dirPrefix(uuid string) string {
	sum := sha256.Sum256([]byte(uuid))
	return prefix + hex.EncodeToString(sum[:6]) + "-"
}

// ours says that a job serves from a socket of ours.
func ours(scratchDir string, job *hypervisor.BackupJob) bool {
	dir, name := filepath.Split(job.Socket)
	dir = filepath.Clean(dir)
	return strings.HasPrefix(name, socketPrefix(scratchDir)) ||
		job.Socket != "" && filepath.Dir(dir) == filepath.Clean(scratchDir) && strings.HasPrefix(filepath.Base(dir), prefix)
}

// socketPrefix starts the names of the sockets that we have QEMU make in its
// own directory. It tells them from those of a server with another scratch
// directory.
func socketPrefix(scratchDir string) string {
	sum := sha256.Sum256([]byte(filepath.Clean(scratchDir)))
	return prefix + hex.EncodeToString(sum[:4]) + "-"
}

// socketOf is where QEMU serves the snapshot that has the working directory at
// path: in its own directory, where AppArmor and SELinux let it, else there.
func socketOf(scratchDir, path string, d hypervisor.Domain) string {
	own := filepath.Join(d.RuntimeDir, socketPrefix(scratchDir)+strings.TrimPrefix(filepath.Base(path), dirPrefix(d.UUID)))
	if d.RuntimeDir == "" || len(own) > maxSocket {
		return filepath.Join(path, "nbd")
	}
	return own
}

// makeWorkdir makes the directory for QEMU to write to and nobody else to read.
func makeWorkdir(scratchDir string, d hypervisor.Domain) (*workdir, error) {
	if !filepath.IsAbs(scratchDir) {
		return nil, fmt.Errorf("the scratch directory %q is not an absolute path", scratchDir)
	}
	const random, socket = 10, 8 // bytes at most of what follows: MkdirTemp's digits, a socket's name
	if n := len(scratchDir) + 1 + len(dirPrefix(d.UUID)) + random + 1 + socket; n > maxSocket {
		return nil, fmt.Errorf("the scratch directory %q is %d bytes too long: the path of a socket in it may have %d bytes; give the site a shorter one",
			scratchDir, n-maxSocket, maxSocket)
	}
	path, err := os.MkdirTemp(scratchDir, dirPrefix(d.UUID))
	if err != nil {
		return nil, fmt.Errorf("scratch directory: %w", err)
	}
	w := &workdir{path: path, socket: socketOf(scratchDir, path, d)}
	if w.lock, err = lock(filepath.Join(path, lockFile)); err != nil {
		return nil, errors.Join(err, w.remove())
	}
	if d.QEMUUser >= 0 {
		if err := os.Chown(path, d.QEMUUser, d.QEMUGroup); err != nil {
			return nil, errors.Join(fmt.Errorf("scratch directory for QEMU: %w", err), w.remove())
		}
	}
	return w, nil
}

// lockPatience is how long a lock is waited for: a dead process's watchdog gives
// it back soon, a living one doesn't.
const (
	lockPatience = 10 * time.Second
	lockPoll     = 50 * time.Millisecond
	removeTries  = 10 // a waiting process comes once each lockPoll
)

// lock takes the lock of a working directory; it ends with the process.
// os.ErrNotExist when the directory is gone.
func lock(path string) (*os.File, error) {
	for began := time.Now(); ; time.Sleep(lockPoll) {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && exists(path) { // its last owner may have removed it
			return f, nil
		}
		f.Close()
		if err != nil && time.Since(began) > lockPatience {
			return nil, fmt.Errorf("%w: %s is in use by a living process", hypervisor.ErrBusy, path)
		}
	}
}

// frozen notes that the guest may stand still because of this snapshot.
func (w *workdir) frozen() error {
	return os.WriteFile(filepath.Join(w.path, freezeFile), nil, 0o600)
}

// thawed takes the note back.
func (w *workdir) thawed() { os.Remove(filepath.Join(w.path, freezeFile)) }

// scratch makes the file that takes the old content of one disk's blocks. It is
// made before the freeze, so that libvirt need not make it during it.
func (w *workdir) scratch(ctx context.Context, p *planned) error {
	p.scratch = filepath.Join(w.path, p.disk.Target+".qcow2")
	if p.disk.Size <= 0 {
		return fmt.Errorf("disk %s: its size is not known", p.disk.Target)
	}
	if p.key != nil {
		return luks.Create(ctx, p.scratch, "qcow2", p.disk.Size, w.key, true)
	}
	cmd := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", p.scratch, strconv.FormatInt(p.disk.Size, 10))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("scratch file of %s: %w: %s", p.disk.Target, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// mayBeFrozen says whether the note is there.
func (w *workdir) mayBeFrozen() bool { return exists(filepath.Join(w.path, freezeFile)) }

// remove takes the directory away. Whoever waits for its lock, the watchdog or the
// next server, may make the lock's file anew while it goes: it goes again.
func (w *workdir) remove() error {
	if w.socket != "" {
		os.Remove(w.socket) // QEMU does when it stops to serve; it may have died
	}
	err := os.RemoveAll(w.path)
	for tries := 0; errors.Is(err, syscall.ENOTEMPTY) && tries < removeTries; tries++ {
		err = os.RemoveAll(w.path)
	}
	if w.lock != nil {
		w.lock.Close()
	}
	return err
}

// used is what the scratch files take on disk, bytes.
func (w *workdir) used() int64 {
	entries, err := os.ReadDir(w.path)
	if err != nil {
		return 0
	}
	var n int64
	for _, e := range entries {
		var st syscall.Stat_t
		if syscall.Lstat(filepath.Join(w.path, e.Name()), &st) == nil {
			n += st.Blocks * 512
		}
	}
	return n
}

// free is what unprivileged users (QEMU) can still write there, bytes, and
// what the file system holds in all.
func (w *workdir) free() (avail, total int64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(w.path, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}

// reserve is what stays free on the scratch file system, so that the job can be
// ended before QEMU runs into the wall: 1/32 of it, 16 MiB to 2 GiB.
func reserve(total int64) int64 { return min(max(total/32, 16<<20), 2<<30) }

// scratchPoll is the pause between two looks at the scratch files.
const scratchPoll = 200 * time.Millisecond

// watchScratch ends the job when scratch space runs out: the backup fails, the
// guest goes on.
func (t *taken) watchScratch() {
	tick := time.NewTicker(scratchPoll)
	defer tick.Stop()
	for {
		select {
		case <-t.life.Done():
			return
		case <-tick.C:
		}
		if why := t.scratchFull(); why != "" {
			t.spareGuest(why)
			return
		}
	}
}

// scratchFull says why no more may be written there; "" while it may.
func (t *taken) scratchFull() string {
	if used := t.dir.used(); t.r.ScratchCap > 0 && used > t.r.ScratchCap {
		return fmt.Sprintf("%d bytes used, the cap is %d", used, t.r.ScratchCap)
	}
	avail, total, err := t.dir.free()
	if err == nil && avail < reserve(total) {
		return fmt.Sprintf("%d bytes free in %s, %d are kept in reserve", avail, t.r.ScratchDir, reserve(total))
	}
	return ""
}

// spareGuest ends the job. If QEMU was quicker and stopped the guest for lack
// of space, the guest is let run again.
func (t *taken) spareGuest(why string) {
	t.end(fmt.Errorf("%w: %s", ErrScratchFull, why))
	t.r.Log.Warn("scratch space is full, the backup is ended", "vm", t.domain.Name, "why", why)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.life), releaseTimeout)
	defer cancel()
	if err := t.r.Host.EndBackup(ctx, t.r.UUID); err != nil {
		t.r.Log.Error("ending the backup job", "vm", t.domain.Name, "err", err)
	}
	if t.domain.State != hypervisor.Running {
		return
	}
	if err := resumeSpared(ctx, t.r.Host, t.r.UUID, spareFor); err != nil {
		t.r.Log.Error("resuming the guest", "vm", t.domain.Name, "err", err)
	}
}

// A guest whose writes met full scratch space is stopped by QEMU's main loop
// and reported by libvirt some time after the write, even after the end of the
// job. So it is looked at for a while.
const (
	spareFor  = 3 * time.Second
	sparePoll = 100 * time.Millisecond
)

// resumeSpared lets a guest run again that QEMU stopped for an I/O error: with
// the job gone its writes need no scratch, and QEMU repeats those that failed. It
// looks at the guest for so long, and once at least.
func resumeSpared(ctx context.Context, host hypervisor.Host, uuid string, long time.Duration) error {
	tick := time.NewTicker(sparePoll)
	defer tick.Stop()
	for range long/sparePoll + 1 {
		d, err := host.Domain(ctx, uuid)
		if err != nil || !d.State.Active() {
			return err
		}
		if d.State == hypervisor.Paused && d.StateReason == hypervisor.PausedIOError {
			if err := host.Resume(ctx, uuid); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
