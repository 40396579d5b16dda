// Package raw reads and fills raw disks: regular files, whose holes are the
// zeroes, and block devices.
//
// It promises the bytes of the file system and no more: what is durable is
// what Sync has returned for. It does not watch for others that change the
// file meanwhile; a file that got shorter is an error, never zeroes.
package raw

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"golang.org/x/sys/unix"

	"holdfast/internal/disk"
)

// ErrNotDisk marks a path that is neither a regular file nor a block device.
var ErrNotDisk = errors.New("raw: neither a regular file nor a block device")

// Source is a raw disk as a disk.Source.
type Source struct {
	f    *os.File
	size int64
}

// OpenSource opens a raw disk for reading.
func OpenSource(path string) (*Source, error) {
	f, size, err := open(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return &Source{f, size}, nil
}

// open opens a disk without being caught by a FIFO, and finds its size.
func open(path string, flags int) (*os.File, int64, error) {
	f, err := os.OpenFile(path, flags|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	size, err := sizeOf(f)
	if err != nil {
		_ = f.Close()
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	return f, size, nil
}

// sizeOf is the size of a file or block device, bytes.
func sizeOf(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	switch mode := st.Mode(); {
	case mode.IsRegular():
		return st.Size(), nil
	case mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0:
		return f.Seek(0, io.SeekEnd)
	}
	return 0, ErrNotDisk
}

// Size of the disk, bytes.
func (s *Source) Size() int64 { return s.size }

// Close closes the file.
func (s *Source) Close() error { return s.f.Close() }

// ReadAt reads as io.ReaderAt. A file that got shorter since it was opened is
// io.ErrUnexpectedEOF.
func (s *Source) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.f.ReadAt(p, off)
	if err == io.EOF && off+int64(n) < s.size {
		err = fmt.Errorf("%s: got shorter: %w", s.f.Name(), io.ErrUnexpectedEOF)
	}
	return n, err
}

// Extents walks the holes of the file (lseek(2), SEEK_DATA). File systems and
// devices that know no holes answer that all is data.
func (s *Source) Extents(ctx context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		for at := int64(0); at < s.size; {
			if ctx.Err() != nil {
				yield(disk.Extent{}, context.Cause(ctx))
				return
			}
			data, hole, err := s.next(at)
			if err != nil {
				yield(disk.Extent{}, fmt.Errorf("%s: find data: %w", s.f.Name(), err))
				return
			}
			if data > at && !yield(disk.Extent{Offset: at, Length: data - at, Kind: disk.Zero}, nil) {
				return
			}
			if hole > data && !yield(disk.Extent{Offset: data, Length: hole - data, Kind: disk.Data}, nil) {
				return
			}
			at = hole
		}
	}
}

// next finds the first range of data at or after at.
func (s *Source) next(at int64) (data, hole int64, err error) {
	fd := int(s.f.Fd())
	data, err = unix.Seek(fd, at, unix.SEEK_DATA)
	switch {
	case err == unix.ENXIO:
		return s.trailing()
	case err == unix.EINVAL: // no such thing here
		return at, s.size, nil
	case err != nil:
		return 0, 0, err
	case data < at:
		return 0, 0, fmt.Errorf("data at %d, asked from %d", data, at)
	}
	if data >= s.size {
		return s.size, s.size, nil
	}
	hole, err = unix.Seek(fd, data, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, err
	}
	if hole <= data {
		return 0, 0, fmt.Errorf("hole at %d, asked from %d", hole, data)
	}
	return data, min(hole, s.size), nil
}

// trailing is the answer where there is no more data: a hole to the end,
// unless the file got shorter, which SEEK_DATA tells in the same way.
func (s *Source) trailing() (data, hole int64, err error) {
	size, err := sizeOf(s.f)
	if err != nil {
		return 0, 0, err
	}
	if size < s.size {
		return 0, 0, fmt.Errorf("got shorter: %w", io.ErrUnexpectedEOF)
	}
	return s.size, s.size, nil
}
