package raw

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"holdfast/internal/disk"
)

// Target is a raw disk as a disk.Target.
type Target struct {
	f     *os.File
	size  int64
	fresh bool
}

// NewTarget makes a fresh disk of an empty regular file that is open for
// reading and writing: it gets its size and reads as zeroes. The Target owns
// the file from then on.
func NewTarget(f *os.File, size int64) (*Target, error) {
	if size < 0 {
		return nil, fmt.Errorf("%s: size %d is negative", f.Name(), size)
	}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() != 0 {
		return nil, fmt.Errorf("%s: not an empty regular file", f.Name())
	}
	if err := f.Truncate(size); err != nil {
		return nil, err
	}
	return &Target{f, size, true}, nil
}

// OpenTarget opens a disk that has content: a file or a block device. Its
// size stays what it is.
func OpenTarget(path string) (*Target, error) {
	f, size, err := open(path, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	return &Target{f, size, false}, nil
}

// ResumeTarget goes on with a regular file that NewTarget made and somebody has
// written to. The Target owns the file from then on.
func ResumeTarget(f *os.File) (*Target, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", f.Name())
	}
	return &Target{f, st.Size(), false}, nil
}

// Clone gives a fresh target what another file holds: they share their blocks
// (FICLONE: XFS, Btrfs). The size stays.
func (t *Target) Clone(path string) error {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := unix.IoctlFileClone(int(t.f.Fd()), int(from.Fd())); err != nil {
		return &os.PathError{Op: "clone", Path: t.f.Name(), Err: err}
	}
	t.fresh = false
	return t.f.Truncate(t.size)
}

// Size of the disk, bytes.
func (t *Target) Size() int64 { return t.size }

// Fresh says whether the disk was empty at the start.
func (t *Target) Fresh() bool { return t.fresh }

// check keeps writers inside the disk.
func (t *Target) check(off, n int64) error {
	if off < 0 || n < 0 || n > t.size || off > t.size-n {
		return fmt.Errorf("%s: %d bytes at %d are outside the disk of %d", t.f.Name(), n, off, t.size)
	}
	return nil
}

// WriteAt writes p at off, inside the disk.
func (t *Target) WriteAt(p []byte, off int64) (int, error) {
	if err := t.check(off, int64(len(p))); err != nil {
		return 0, err
	}
	return t.f.WriteAt(p, off)
}

// ReadAt reads what was written.
func (t *Target) ReadAt(p []byte, off int64) (int, error) { return t.f.ReadAt(p, off) }

// Zero makes a range read as zeroes and frees its space where the file system
// can (fallocate(2), FALLOC_FL_PUNCH_HOLE, which block devices take too).
func (t *Target) Zero(off, length int64) error {
	if err := t.check(off, length); err != nil || length == 0 {
		return err
	}
	for {
		err := unix.Fallocate(int(t.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, length)
		switch err {
		case unix.EINTR:
			continue
		case unix.EOPNOTSUPP, unix.ENOSYS, unix.EINVAL: // EINVAL: a device's ragged range
			return t.writeZeroes(off, length)
		case nil:
			return nil
		}
		return &os.PathError{Op: "punch", Path: t.f.Name(), Err: err}
	}
}

var zeroes [256 << 10]byte

func (t *Target) writeZeroes(off, length int64) error {
	for length > 0 {
		n, err := t.f.WriteAt(zeroes[:min(length, int64(len(zeroes)))], off)
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		off, length = off+int64(n), length-int64(n)
	}
	return nil
}

// Sync makes what was written durable. The name of a new file is made durable
// by who names it.
func (t *Target) Sync() error { return t.f.Sync() }

// Close closes the file without syncing it.
func (t *Target) Close() error { return t.f.Close() }

var (
	_ disk.Source = (*Source)(nil)
	_ disk.Target = (*Target)(nil)
)
