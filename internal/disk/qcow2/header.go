// Package qcow2 reads qcow2 images and writes fresh ones, without QEMU in
// between.
//
// [Open] reads versions 2 and 3: plain, zero and compressed (zlib, zstd)
// clusters. What it does not read (backing files, encryption, external data
// files, extended L2 entries, features it has not heard of) it refuses with
// [ErrUnsupported] naming the feature; nothing is guessed. [Create] writes
// version 3 with 64 KiB clusters.
//
// It promises that every offset in an image is checked before it is used, and
// memory that does not grow with the image but for its L1 table (8 bytes for
// each 512 MiB of disk at 64 KiB clusters) and at most 16 MiB of unpacked
// clusters. It does not repair images, and it
// does not write images that exist.
//
// Facts come from QEMU's docs/interop/qcow2.txt.
package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

var (
	// ErrNotQcow2 marks a file without the format's magic.
	ErrNotQcow2 = errors.New("qcow2: not a qcow2 image")
	// ErrUnsupported marks an image that uses what this package does not read.
	ErrUnsupported = errors.New("qcow2: not supported")
	// ErrCorrupt marks an image that contradicts itself, or that QEMU has
	// marked as corrupt.
	ErrCorrupt = errors.New("qcow2: image is corrupt")
	// ErrEncrypted marks an encrypted image. It is also ErrUnsupported.
	ErrEncrypted = fmt.Errorf("%w: encryption", ErrUnsupported)
)

const (
	magic       = 0x514649fb // "QFI\xfb"
	headerV2    = 72         // bytes
	headerV3    = 104        // bytes, at least
	maxHeader   = 2 << 20    // header and extensions fit one cluster, bytes
	maxL1       = 32 << 20   // bytes; QEMU's own limit (QCOW_MAX_L1_SIZE)
	offsetMask  = 0x00fffffffffffe00
	flagCopied  = 1 << 63
	flagPacked  = 1 << 62 // compressed cluster
	flagZero    = 1 << 0  // version 3
	sectorBytes = 512
)

// Incompatible feature bits.
const (
	featureDirty       = 1 << 0 // reference counts may be wrong; the map is right
	featureCorrupt     = 1 << 1
	featureDataFile    = 1 << 2
	featureCompression = 1 << 3
	featureExtendedL2  = 1 << 4
)

// Compression types.
const (
	compressionZlib = 0
	compressionZstd = 1
)

// Extensions of the header that are looked at.
const extensionBitmaps = 0x23852875

// Header is the part of an image's header that matters to a reader.
type Header struct {
	Version     uint32
	Size        int64 // virtual size, bytes
	ClusterBits uint32
	Backing     string // backing file as written in the image; "" is none
	DataFile    bool   // the bytes are in another file
	Encrypted   bool
	Corrupt     bool // QEMU has found damage and said so
	ExtendedL2  bool
	Compression uint8
	Unknown     uint64 // incompatible features beyond those above
	Bitmaps     int    // persistent dirty bitmaps; 0 where there are none

	l1Offset  int64
	l1Entries int64
}

// ClusterSize is the unit of allocation, bytes.
func (h *Header) ClusterSize() int64 { return 1 << h.ClusterBits }

// ReadHeader reads and checks the header of an image of fileSize bytes.
// Errors: ErrNotQcow2, ErrCorrupt, ErrUnsupported (an unknown version), or
// what reading said. Features are reported, not refused.
func ReadHeader(r io.ReaderAt, fileSize int64) (*Header, error) {
	b := make([]byte, headerV3+8)
	n, err := r.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("qcow2: read header: %w", err)
	}
	b = b[:n]
	if n < 8 || binary.BigEndian.Uint32(b) != magic {
		return nil, ErrNotQcow2
	}
	h, err := parseHeader(b)
	if err != nil {
		return nil, err
	}
	if err := h.check(fileSize); err != nil {
		return nil, err
	}
	return h, h.readRest(r, b)
}

// parseHeader takes the fixed fields.
func parseHeader(b []byte) (*Header, error) {
	if len(b) < headerV2 {
		return nil, fmt.Errorf("%w: header of %d bytes", ErrCorrupt, len(b))
	}
	be := binary.BigEndian
	h := &Header{Version: be.Uint32(b[4:]), ClusterBits: be.Uint32(b[20:]), Encrypted: be.Uint32(b[32:]) != 0,
		l1Entries: int64(be.Uint32(b[36:])), l1Offset: int64(be.Uint64(b[40:]))}
	size := be.Uint64(b[24:])
	switch {
	case h.Version != 2 && h.Version != 3:
		return nil, fmt.Errorf("%w: version %d", ErrUnsupported, h.Version)
	case h.ClusterBits < 9 || h.ClusterBits > 21:
		return nil, fmt.Errorf("%w: cluster bits %d", ErrCorrupt, h.ClusterBits)
	case size > 1<<62:
		return nil, fmt.Errorf("%w: size %d", ErrCorrupt, size)
	}
	h.Size = int64(size)
	if h.Version == 2 {
		return h, nil
	}
	if len(b) < headerV3 || be.Uint32(b[100:]) < headerV3 {
		return nil, fmt.Errorf("%w: version 3 header of %d bytes", ErrCorrupt, len(b))
	}
	features := be.Uint64(b[72:])
	h.Corrupt = features&featureCorrupt != 0
	h.DataFile = features&featureDataFile != 0
	h.ExtendedL2 = features&featureExtendedL2 != 0
	h.Unknown = features &^ (featureDirty | featureCorrupt | featureDataFile | featureCompression | featureExtendedL2)
	if be.Uint32(b[100:]) > headerV3 && len(b) > headerV3 {
		h.Compression = b[headerV3]
	}
	if (h.Compression != compressionZlib) != (features&featureCompression != 0) {
		return nil, fmt.Errorf("%w: compression type %d against its feature bit", ErrCorrupt, h.Compression)
	}
	return h, nil
}

// check holds the fields against each other and the file.
func (h *Header) check(fileSize int64) error {
	entrySize := int64(8)
	if h.ExtendedL2 {
		entrySize = 16
	}
	perL2 := h.ClusterSize() / entrySize * h.ClusterSize() // bytes of disk under one L1 entry
	need := (h.Size + perL2 - 1) / perL2
	switch {
	case h.l1Entries < need:
		return fmt.Errorf("%w: L1 table of %d entries, %d bytes of disk need %d", ErrCorrupt, h.l1Entries, h.Size, need)
	case need*8 > maxL1:
		return fmt.Errorf("%w: L1 table of %d bytes", ErrUnsupported, need*8)
	case need > 0 && (h.l1Offset <= 0 || h.l1Offset%h.ClusterSize() != 0 || h.l1Offset > fileSize-need*8):
		return fmt.Errorf("%w: L1 table at %d of a file of %d bytes", ErrCorrupt, h.l1Offset, fileSize)
	}
	h.l1Entries = need
	return nil
}

// readRest reads the backing file's name and the extensions.
func (h *Header) readRest(r io.ReaderAt, b []byte) error {
	be := binary.BigEndian
	if off, n := be.Uint64(b[8:]), be.Uint32(b[16:]); off != 0 {
		if n > 1023 || off > uint64(h.ClusterSize()) {
			return fmt.Errorf("%w: backing file name of %d bytes at %d", ErrCorrupt, n, off)
		}
		name := make([]byte, n)
		if _, err := r.ReadAt(name, int64(off)); err != nil {
			return fmt.Errorf("%w: backing file name: %w", ErrCorrupt, err)
		}
		h.Backing = string(name)
	}
	if h.Version == 2 {
		return nil
	}
	at, end := int64(be.Uint32(b[100:])), min(h.ClusterSize(), maxHeader)
	for range 64 {
		var e [12]byte
		if at > end-8 {
			return nil
		}
		if n, err := r.ReadAt(e[:], at); n < 8 {
			return fmt.Errorf("%w: header extension at %d: %w", ErrCorrupt, at, err)
		}
		kind, n := be.Uint32(e[:]), int64(be.Uint32(e[4:]))
		switch {
		case kind == 0:
			return nil
		case n > end-at-8:
			return fmt.Errorf("%w: header extension of %d bytes at %d", ErrCorrupt, n, at)
		case kind == extensionBitmaps && n >= 4:
			h.Bitmaps = int(min(be.Uint32(e[8:]), 1<<16))
		}
		at += 8 + (n+7)/8*8
	}
	return fmt.Errorf("%w: more than 64 header extensions", ErrCorrupt)
}
