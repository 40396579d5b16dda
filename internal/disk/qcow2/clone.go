package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Clone gives the disk what another image holds, without copying: its clusters
// share their blocks with that image's (FICLONERANGE: XFS, Btrfs). The image may be
// in use by a guest, so that neither its map nor what lies there need be of one
// moment: Clone is for who then reads the Target and writes all that is not as it
// should be. What cannot be shared stays empty. The image is never written to.
//
// An error says that nothing, or not all, was shared; the Target is good in any
// case. Nothing may have been written to it before.
func (t *Target) Clone(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s, err := newSource(f, size)
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	defer s.Close()
	if s.header.ClusterBits < clusterBits {
		return fmt.Errorf("%w: %s has clusters of %d bytes", ErrUnsupported, path, s.header.ClusterSize())
	}
	if err := t.shares(f); err != nil {
		return err
	}
	t.cloned = true
	unit := s.header.ClusterSize()
	per := unit / 8
	buf := make([]byte, unit)
	for i, table := range s.l1 {
		first := int64(i) * per
		n := min(per, min(t.size, s.Size())/unit-first)
		if table == 0 || n <= 0 {
			continue
		}
		raw, err := s.entries(first, n, buf)
		if err != nil {
			return err
		}
		if err := t.cloneTable(s, f, first, raw); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// shares tries whether the file, which is empty yet, can share blocks with another.
func (t *Target) shares(f *os.File) error {
	err := unix.IoctlFileCloneRange(int(t.f.Fd()), &unix.FileCloneRange{Src_fd: int64(f.Fd()), Src_length: cluster})
	if err != nil {
		return &os.PathError{Op: "clone range", Path: t.f.Name(), Err: err}
	}
	return t.f.Truncate(0)
}

// cloneTable shares the plain clusters of L2 entries, of which the first is that of
// cluster first of the other image; those that lie in a row at once.
func (t *Target) cloneTable(s *Source, f *os.File, first int64, raw []byte) error {
	unit := s.header.ClusterSize()
	for i, n := 0, len(raw)/8; i < n; {
		e, err := s.decode(binary.BigEndian.Uint64(raw[8*i:]))
		run := 1
		for ; err == nil && e.kind == plain && i+run < n; run++ {
			next, err := s.decode(binary.BigEndian.Uint64(raw[8*(i+run):]))
			if err != nil || next.kind != plain || next.offset != e.offset+int64(run)*unit {
				break
			}
		}
		if err == nil && e.kind == plain { // what cannot be decoded is of a table that is being written
			if err := t.cloneRun(f, (first+int64(i))*unit, e.offset, int64(run)*unit); err != nil {
				return err
			}
		}
		i += run
	}
	return nil
}

// cloneRun shares length bytes at host of the other image's file, as the disk's at
// off.
func (t *Target) cloneRun(f *os.File, off, host, length int64) error {
	for length > 0 {
		n := min(length, tableBytes-off%tableBytes)
		to, err := t.mapped(off, n)
		if err != nil {
			return err
		}
		for i := 0; i < len(to); {
			run := 1
			for i+run < len(to) && to[i+run] == to[i]+int64(run)*cluster {
				run++
			}
			err := unix.IoctlFileCloneRange(int(t.f.Fd()), &unix.FileCloneRange{Src_fd: int64(f.Fd()),
				Src_offset: uint64(host + int64(i)*cluster), Src_length: uint64(run * cluster), Dest_offset: uint64(to[i])})
			if err != nil && err != unix.EINVAL { // EINVAL: behind the end of the file, or not in whole blocks
				return &os.PathError{Op: "clone range", Path: t.f.Name(), Err: err}
			}
			i += run
		}
		off, host, length = off+n, host+n, length-n
	}
	return nil
}

// ReadAt reads what was cloned and written.
func (t *Target) ReadAt(p []byte, off int64) (int, error) {
	if err := t.check(off, int64(len(p))); err != nil {
		return 0, err
	}
	for done := 0; done < len(p); {
		at := off + int64(done)
		n := min(int64(len(p)-done), cluster-at%cluster)
		host, err := t.lookup(at)
		part := p[done : done+int(n)]
		k := 0
		if err == nil && host != 0 {
			k, err = t.f.ReadAt(part, host+at%cluster)
		}
		if err != nil && err != io.EOF { // behind the end are zeroes that nobody wrote yet
			return done, fmt.Errorf("qcow2: read %d bytes at %d: %w", n, at, err)
		}
		clear(part[k:])
		done += int(n)
	}
	return len(p), nil
}

// lookup is where the cluster of off is in the file; 0 when it reads as zeroes.
func (t *Target) lookup(off int64) (int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	table := t.l1[off/tableBytes]
	if table == 0 {
		return 0, nil
	}
	var b [8]byte
	if _, err := t.f.ReadAt(b[:], table+off/cluster%perTable*8); err != nil {
		return 0, err
	}
	e := binary.BigEndian.Uint64(b[:])
	if e&flagZero != 0 {
		return 0, nil
	}
	return int64(e & offsetMask), nil
}
