package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"holdfast/internal/disk"
	"holdfast/internal/disk/qcow2"
	"holdfast/internal/disk/raw"
)

// ErrBusy marks a name that another CreateTarget is filling right now.
var ErrBusy = errors.New("image: being written by another")

// Target is a new image being filled, as a disk.Target. It has its name only
// after Commit; Close without Commit leaves nothing.
type Target struct {
	disk.Target
	path, partial string
	file          *os.File // also in Target; its lock says that partial is ours
	committed     bool
	resumed       bool // what is there is kept when this is not committed
	closed        bool
	unsent        atomic.Int64 // bytes written since they were last sent to the disk
	changes       atomic.Int64 // writes and zeroings so far

	sending sync.Mutex
	durable int64                        // changes at the last Sync; under sending
	lost    atomic.Pointer[os.PathError] // what was sent and did not arrive
	arrive  func(fd int) error           // waits until what was written is on the disk

	child *child // that encrypts what is written; nil for none
}

// sendEvery is how much is written before it is put on the disk and dropped
// from the page cache, and sendAhead how much more may be written meanwhile,
// bytes.
const (
	sendEvery = 16 << 20
	sendAhead = 64 << 20
)

// WriteAt writes p at off.
//
// What was written is put on the disk in steps and not kept in memory: nobody
// reads it again soon, a restore must not push the pages of running guests out
// of the host's memory, and page after page of fresh cache costs more time than
// the same few pages over and over (measurements.md).
func (t *Target) WriteAt(p []byte, off int64) (int, error) {
	if lost := t.lost.Load(); lost != nil {
		return 0, lost
	}
	n, err := t.Target.WriteAt(p, off)
	t.changes.Add(1)
	if err != nil {
		return n, err
	}
	switch unsent := t.unsent.Add(int64(n)); {
	case unsent >= sendEvery && t.sending.TryLock():
		t.unsent.Store(0)
		go t.send()
	case unsent >= sendAhead: // the disk is slower than the writers
		t.sending.Lock()
		defer t.sending.Unlock()
	}
	return n, nil
}

// Clone gives a new image what another one of the same format holds, where the file
// system can share blocks between files (XFS, Btrfs); an error says why that is not
// so, or not all. Nothing of it need be right: who calls it reads the Target and
// writes all that is not as it should be. The other image may be in use, and is never
// written to. Fresh tells whether anything was cloned.
func (t *Target) Clone(path string) error {
	return t.Target.(interface{ Clone(path string) error }).Clone(path)
}

// ReadAt reads what the image holds.
func (t *Target) ReadAt(p []byte, off int64) (int, error) {
	if r, ok := t.Target.(io.ReaderAt); ok {
		return r.ReadAt(p, off)
	}
	return 0, errors.ErrUnsupported
}

// Zero makes a range read as zeroes.
func (t *Target) Zero(off, length int64) error {
	defer t.changes.Add(1)
	return t.Target.Zero(off, length)
}

// send waits until what was written is on the disk, drops it from the page
// cache and unlocks sending. The kernel tells a failed write once: here, and
// then not to fsync any more. So it is kept for Sync.
func (t *Target) send() {
	defer t.sending.Unlock()
	fd := int(t.file.Fd())
	err := t.arrive(fd)
	if err == unix.EINVAL || err == unix.ENOSYS || err == unix.EOPNOTSUPP {
		return // not to be had here: Sync does all the work
	}
	if err != nil && err != unix.EINTR {
		t.lost.Store(&os.PathError{Op: "write", Path: t.partial, Err: err})
	}
	_ = unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) // a hint
}

func arrive(fd int) error {
	return unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
}

// Sync makes what was written durable. Again without another write it does
// nothing: what was durable stays so.
func (t *Target) Sync() error {
	t.sending.Lock()
	defer t.sending.Unlock()
	if lost := t.lost.Load(); lost != nil {
		return lost
	}
	changes := t.changes.Load()
	if t.durable == changes {
		return nil
	}
	if err := t.Target.Sync(); err != nil {
		t.lost.Store(&os.PathError{Op: "sync", Path: t.partial, Err: err})
		return err
	}
	t.durable = changes
	return nil
}

// CreateTarget makes a fresh image of size bytes (qcow2 rounds up to 512).
// format is Raw or Qcow2. A path that exists is os.ErrExist. The bytes go to
// path.partial first; one that a dead process left is taken over.
func CreateTarget(ctx context.Context, path, format string, size int64) (*Target, error) {
	t, err := newPartial(ctx, path, format)
	if err != nil {
		return nil, err
	}
	if format == Raw {
		t.Target, err = raw.NewTarget(t.file, size)
	} else {
		t.Target, err = qcow2.Create(t.file, size)
	}
	if err != nil {
		_ = t.Close()
		return nil, err
	}
	return t, nil
}

// newPartial is a Target without an image: its file is there, empty and locked.
func newPartial(ctx context.Context, path, format string) (*Target, error) {
	if format != Raw && format != Qcow2 {
		return nil, fmt.Errorf("%w: %q for %s; only raw and qcow2 are written", ErrFormat, format, path)
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(path); err == nil {
		return nil, &os.PathError{Op: "create", Path: path, Err: os.ErrExist}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	partial := path + ".partial"
	f, err := takePartial(partial)
	if err != nil {
		return nil, err
	}
	return &Target{path: path, partial: partial, file: f, durable: -1, arrive: arrive}, nil
}

// ResumeTarget goes on with the raw image that a killed CreateTarget left at
// path.partial: what is in it stays, and Close without Commit leaves it there.
// os.ErrNotExist if there is none, ErrFormat if it is no raw one, ErrBusy while
// another process fills it.
func ResumeTarget(path string) (*Target, error) {
	partial := path + ".partial"
	format, err := Probe(partial)
	if err == nil && format != Raw {
		err = fmt.Errorf("%w: %s is %s; only a raw image is gone on with", ErrFormat, partial, format)
	}
	if err != nil {
		return nil, err
	}
	f, err := lockPartial(partial, 0)
	if err != nil {
		return nil, err
	}
	t := &Target{path: path, partial: partial, file: f, resumed: true, durable: -1, arrive: arrive}
	if t.Target, err = raw.ResumeTarget(f); err != nil {
		_ = t.Close()
		return nil, err
	}
	return t, nil
}

// takePartial opens an empty file under a lock that dies with this process.
func takePartial(partial string) (*os.File, error) {
	f, err := lockPartial(partial, os.O_CREATE)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(0); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// lockPartial opens a file under that lock.
func lockPartial(partial string, flags int) (*os.File, error) {
	f, err := os.OpenFile(partial, os.O_RDWR|flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == unix.EWOULDBLOCK {
		err = fmt.Errorf("%w: %s", ErrBusy, partial)
	}
	if err == nil {
		err = sameFile(f, partial)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// sameFile checks that the file which was locked still has its name: its last
// owner may have renamed or removed it in between.
func sameFile(f *os.File, path string) error {
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(path)
	if err != nil || !os.SameFile(mine, named) || !mine.Mode().IsRegular() {
		return fmt.Errorf("%w: %s", ErrBusy, path)
	}
	return nil
}

// Commit makes the image durable and gives it its name. A name that has been
// taken meanwhile is os.ErrExist, and the other file is left as it is.
func (t *Target) Commit() error {
	if err := t.Sync(); err != nil {
		return fmt.Errorf("%s: %w", t.path, err)
	}
	if err := renameNew(t.partial, t.path); err != nil {
		return err
	}
	t.committed = true
	return syncDir(filepath.Dir(t.path))
}

// Close frees what the Target holds; without a Commit it removes the file.
func (t *Target) Close() error {
	if t.closed {
		return nil
	}
	t.closed = true
	t.sending.Lock() // the file is not closed under a sender
	defer t.sending.Unlock()
	var err error
	if t.child != nil {
		err = t.child.Close()
	}
	if !t.committed && !t.resumed {
		err = errors.Join(err, os.Remove(t.partial)) // before the lock goes
	}
	return errors.Join(err, t.file.Close())
}

// renameNew renames a file to a name that must be free.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS { // the file system cannot: NFS
		if err := os.Link(from, to); err != nil {
			return err
		}
		return os.Remove(from)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// syncDir makes a directory's names durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}
