package image

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInUse marks an image that somebody writes to, or has written to while it
// was read.
var ErrInUse = errors.New("image: in use")

// writerByte is the byte of an image on which every QEMU that may write to it
// holds a shared lock (file-posix.c: RAW_LOCK_PERM_BASE 100, BLK_PERM_WRITE is
// bit 1).
const writerByte = 101

// The bytes of an image on which QEMUs hold locks for what they do with it, and for
// what they let no other do (file-posix.c: RAW_LOCK_PERM_BASE 100 and
// RAW_LOCK_SHARED_BASE 200, at most 64 bits each).
const (
	lockFirst = 100
	lockBytes = 200 + 64 - lockFirst
)

// Lock keeps every QEMU from opening an image, until release or the end of this
// process. It fails with ErrInUse while one has it open.
func Lock(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET, Start: lockFirst, Len: lockBytes}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock)
	if err == unix.EAGAIN || err == unix.EACCES {
		err = fmt.Errorf("%w: %s is open in QEMU", ErrInUse, path)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f.Close, nil
}

// watch remembers an image's file, to tell later whether it was written.
type watch struct {
	f     *os.File
	size  int64
	mtime time.Time
}

// newWatch fails with ErrInUse where a QEMU has the image open for writing.
func newWatch(path string) (*watch, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	w := &watch{f: f}
	st, err := f.Stat()
	if err == nil {
		w.size, w.mtime = st.Size(), st.ModTime()
		err = w.writer()
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return w, nil
}

// writer asks for a QEMU that may write. The lock is asked about and never
// taken.
func (w *watch) writer() error {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET, Start: writerByte, Len: 1}
	err := unix.FcntlFlock(w.f.Fd(), unix.F_OFD_GETLK, &lock)
	if err == unix.EINVAL {
		return nil // no locks on this file system
	}
	if err != nil {
		return &os.PathError{Op: "query lock", Path: w.f.Name(), Err: err}
	}
	if lock.Type != unix.F_UNLCK {
		return fmt.Errorf("%w: %s is open for writing in QEMU: is the VM running?", ErrInUse, w.f.Name())
	}
	return nil
}

func (w *watch) unchanged() error {
	st, err := w.f.Stat()
	if err != nil {
		return err
	}
	if st.Size() != w.size || !st.ModTime().Equal(w.mtime) {
		return fmt.Errorf("%w: %s was written while it was read", ErrInUse, w.f.Name())
	}
	return w.writer()
}

func (w *watch) close() error { return w.f.Close() }
