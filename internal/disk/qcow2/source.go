package qcow2

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"os"

	"holdfast/internal/disk"
)

// Source is an image as a disk.Source. Nobody may write to the image
// meanwhile.
type Source struct {
	f        file
	header   Header
	fileSize int64
	l1       []int64 // host offset of each L2 table; 0 is none
	cache    unpacked
}

// file is what an image is read from.
type file interface {
	io.ReaderAt
	io.Closer
}

// Open opens an image. Errors: ErrNotQcow2, ErrUnsupported (a feature), ErrCorrupt.
func Open(path string) (*Source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd) // block devices too
	var s *Source
	if err == nil {
		s, err = newSource(f, size)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func newSource(f file, size int64) (*Source, error) {
	h, err := ReadHeader(f, size)
	if err != nil {
		return nil, err
	}
	if err := h.Readable(); err != nil {
		return nil, err
	}
	s := &Source{f: f, header: *h, fileSize: size, l1: make([]int64, h.l1Entries)}
	raw := make([]byte, 8*h.l1Entries)
	if n, err := f.ReadAt(raw, h.l1Offset); n < len(raw) {
		return nil, fmt.Errorf("qcow2: read L1 table: %w", err)
	}
	for i := range s.l1 {
		off := int64(binary.BigEndian.Uint64(raw[8*i:]) & offsetMask)
		if off%h.ClusterSize() != 0 || off > size-h.ClusterSize() && off != 0 {
			return nil, fmt.Errorf("%w: L2 table %d at %d of a file of %d bytes", ErrCorrupt, i, off, size)
		}
		s.l1[i] = off
	}
	return s, nil
}

// Readable says what keeps this package from reading an image: nil, or
// ErrUnsupported or ErrCorrupt with the reason.
func (h *Header) Readable() error {
	switch {
	case h.Encrypted:
		return ErrEncrypted
	case h.Corrupt:
		return fmt.Errorf("%w: it is marked so; qemu-img check tells more", ErrCorrupt)
	case h.Unknown != 0:
		return fmt.Errorf("%w: unknown incompatible features %#x", ErrUnsupported, h.Unknown)
	case h.Backing != "":
		return fmt.Errorf("%w: backing file %q", ErrUnsupported, h.Backing)
	case h.DataFile:
		return fmt.Errorf("%w: external data file", ErrUnsupported)
	case h.ExtendedL2:
		return fmt.Errorf("%w: extended L2 entries (subclusters)", ErrUnsupported)
	case h.Compression > compressionZstd:
		return fmt.Errorf("%w: compression type %d", ErrUnsupported, h.Compression)
	}
	return nil
}

// Header is what the image's header says.
func (s *Source) Header() Header { return s.header }

// Size of the disk, bytes.
func (s *Source) Size() int64 { return s.header.Size }

// Close closes the image.
func (s *Source) Close() error { return s.f.Close() }

// entry is what an L2 entry says of one cluster.
type entry struct {
	kind   entryKind
	offset int64 // host; of plain and packed clusters
	length int64 // packed: bytes to read at most
}

type entryKind uint8

const (
	absent entryKind = iota // no cluster, or one that reads as zeroes
	plain
	packed
)

// decode reads an L2 entry.
func (s *Source) decode(e uint64) (entry, error) {
	if e&flagPacked != 0 {
		return s.decodePacked(e)
	}
	if s.header.Version >= 3 && e&flagZero != 0 {
		return entry{}, nil
	}
	off := int64(e & offsetMask)
	if off == 0 {
		return entry{}, nil
	}
	if off%s.header.ClusterSize() != 0 || off >= s.fileSize {
		return entry{}, fmt.Errorf("%w: cluster at %d of a file of %d bytes", ErrCorrupt, off, s.fileSize)
	}
	return entry{kind: plain, offset: off}, nil
}

// decodePacked reads the entry of a compressed cluster: the offset takes the
// low bits, the number of further sectors the rest (qcow2.txt, "Compressed
// Clusters Descriptor").
func (s *Source) decodePacked(e uint64) (entry, error) {
	x := 62 - (s.header.ClusterBits - 8)
	off := int64(e & (1<<x - 1))
	sectors := int64(e&(1<<62-1)>>x) + 1
	if off == 0 || off >= s.fileSize {
		return entry{}, fmt.Errorf("%w: compressed cluster at %d of a file of %d bytes", ErrCorrupt, off, s.fileSize)
	}
	length := sectors*sectorBytes - off%sectorBytes
	return entry{kind: packed, offset: off, length: min(length, s.fileSize-off)}, nil
}

// entries reads the L2 entries of n clusters from cluster first on, all under
// one L2 table. buf holds 8*n bytes.
func (s *Source) entries(first, n int64, buf []byte) ([]byte, error) {
	perL2 := s.header.ClusterSize() / 8
	table := s.l1[first/perL2]
	buf = buf[:8*n]
	if table == 0 {
		clear(buf)
		return buf, nil
	}
	if k, err := s.f.ReadAt(buf, table+first%perL2*8); k < len(buf) {
		return nil, fmt.Errorf("qcow2: read L2 table at %d: %w", table, err)
	}
	return buf, nil
}

// Extents walks the L2 tables, one at a time.
func (s *Source) Extents(ctx context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		var last disk.Extent
		buf := make([]byte, s.header.ClusterSize())
		perL2 := s.header.ClusterSize() / 8
		for i := range s.l1 {
			if ctx.Err() != nil {
				yield(disk.Extent{}, context.Cause(ctx))
				return
			}
			first := int64(i) * perL2
			n := min(perL2, (s.Size()+s.header.ClusterSize()-1)/s.header.ClusterSize()-first)
			for e, err := range s.tableExtents(first, n, buf) {
				if err != nil {
					yield(disk.Extent{}, err)
					return
				}
				if last.Length > 0 && last.Kind == e.Kind {
					last.Length += e.Length
					continue
				}
				if last.Length > 0 && !yield(last, nil) {
					return
				}
				last = e
			}
		}
		if last.Length > 0 {
			yield(last, nil)
		}
	}
}

// tableExtents is the map under one L2 table.
func (s *Source) tableExtents(first, n int64, buf []byte) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		size := s.header.ClusterSize()
		if s.l1[first/(size/8)] == 0 {
			off := first * size
			yield(disk.Extent{Offset: off, Length: min(n*size, s.Size()-off), Kind: disk.Zero}, nil)
			return
		}
		raw, err := s.entries(first, n, buf)
		if err != nil {
			yield(disk.Extent{}, err)
			return
		}
		for i := range n {
			e, err := s.decode(binary.BigEndian.Uint64(raw[8*i:]))
			if err != nil {
				yield(disk.Extent{}, err)
				return
			}
			off := (first + i) * size
			x := disk.Extent{Offset: off, Length: min(size, s.Size()-off), Kind: disk.Data}
			if e.kind == absent {
				x.Kind = disk.Zero
			}
			if !yield(x, nil) {
				return
			}
		}
	}
}
