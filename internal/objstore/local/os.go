package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// osFS is a directory of the operating system. It holds the directory open, so
// that it stays with it if the path is renamed or something is mounted over
// it, and so that no name or symbolic link leads out of it.
type osFS struct{ root *os.Root }

// OpenOS opens the directory dir, which must exist.
func OpenOS(dir string) (FS, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return osFS{root}, nil
}

// MkdirOS makes the directory dir durably, with what is missing above it.
func MkdirOS(dir string) error {
	switch info, err := os.Stat(dir); {
	case err == nil && !info.IsDir():
		return &fs.PathError{Op: "mkdir", Path: dir, Err: unix.ENOTDIR}
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(dir)
	if err := MkdirOS(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.Open(parent)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func (o osFS) Create(path string) (File, error) {
	f, err := o.root.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(f, unix.LOCK_EX); err != nil && !noLocks(err) {
		f.Close()
		return nil, err
	}
	// Between the two calls someone may have taken the file for abandoned.
	if info, err := f.Stat(); err != nil || links(info) == 0 {
		f.Close()
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	return created{f}, nil
}

// created is a file that is being made.
type created struct{ *os.File }

// dropFrom is how long a file is, from which on it is not kept in the page
// cache once it is durable, bytes: packs are, and nobody reads a pack soon
// after it was written. It also makes writing the next one cheaper
// (docs/design/measurements.md).
const dropFrom = 1 << 20

// Sync makes the content durable and, if it is long, drops it from memory.
func (c created) Sync() error {
	if err := c.File.Sync(); err != nil {
		return err
	}
	if info, err := c.Stat(); err == nil && info.Size() >= dropFrom {
		_ = unix.Fadvise(int(c.Fd()), 0, 0, unix.FADV_DONTNEED) // a hint
	}
	return nil
}

func (o osFS) Reap(path string) (bool, error) {
	f, err := o.root.OpenFile(path, os.O_RDWR, 0) // NFS locks no file that can't be written
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = lock(f, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || noLocks(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, o.root.Remove(path) // still under the lock
}

// Link falls back to a rename that doesn't replace on file systems without
// hard links (FAT, some FUSE and CIFS mounts).
func (o osFS) Link(from, to string) error {
	err := o.root.Link(from, to)
	if err == nil || !errors.Is(err, unix.EPERM) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	dir, err2 := o.root.Open(".")
	if err2 != nil {
		return err2
	}
	defer dir.Close()
	fd := int(dir.Fd())
	switch err2 = unix.Renameat2(fd, from, fd, to, unix.RENAME_NOREPLACE); err2 {
	case nil:
		return nil
	case unix.EINVAL, unix.ENOSYS:
		return err // neither is to be had: the first says why
	}
	return &os.LinkError{Op: "rename", Old: from, New: to, Err: err2}
}

func (o osFS) Open(path string) (File, error)        { return opened(o.root.Open(path)) }
func (o osFS) Remove(path string) error              { return o.root.Remove(path) }
func (o osFS) Mkdir(path string) error               { return o.root.Mkdir(path, 0o700) }
func (o osFS) Stat(path string) (fs.FileInfo, error) { return o.root.Stat(path) }
func (o osFS) Close() error                          { return o.root.Close() }

func (o osFS) SyncDir(path string) error {
	f, err := o.root.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func (o osFS) Alive() error {
	info, err := o.root.Stat(".")
	if err != nil {
		return err
	}
	if links(info) == 0 {
		return fmt.Errorf("directory %s has been removed", o.root.Name())
	}
	return nil
}

func (o osFS) Room() (free, total int64, err error) {
	dir, err := o.root.Open(".")
	if err != nil {
		return 0, 0, err
	}
	defer dir.Close()
	var at unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &at); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: o.root.Name(), Err: err}
	}
	return int64(at.Bavail) * at.Frsize, int64(at.Blocks) * at.Frsize, nil
}

// opened keeps a nil *os.File from becoming a File that isn't nil.
func opened(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

// lock is flock(2) on f.
func lock(f *os.File, how int) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var locked error
	err = raw.Control(func(fd uintptr) {
		for {
			if locked = unix.Flock(int(fd), how); locked != unix.EINTR {
				return
			}
		}
	})
	return errors.Join(err, locked)
}

// noLocks says whether err means that the file system has no locks to give.
func noLocks(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, unix.ENOLCK)
}

func links(info fs.FileInfo) uint64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 1
	}
	return uint64(st.Nlink)
}
