// Package pack bundles blobs (chunks or tree nodes) into the objects that are
// stored: some tens of MiB each, with a trailer from which everything about
// them can be told.
//
// A [Builder] fills one pack in memory, from many goroutines; a [Reader] opens
// blobs of a stored one with two kinds of ranged reads, the trailer and frames.
// The package promises that every bit of a pack is under a checksum that needs
// no key ([Check]), and that a pack whose trailer is lost can still be read
// ([Scan]). It does not name content and does not talk to a store. The layout
// is in docs/design/repository-format.md.
package pack

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"holdfast/internal/repository/seal"
)

// Kind is what a pack holds.
type Kind uint8

// The two kinds of pack.
const (
	Chunks Kind = 1
	Nodes  Kind = 2
)

// ID names a pack: the session that made it and a counter.
type ID [16]byte

// String is the id in hex.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Object is the name of the pack in the store.
func (id ID) Object() string { return "packs/" + id.String()[:2] + "/" + id.String() }

// Session is the session that made the pack.
func (id ID) Session() (s [12]byte) { return [12]byte(id[:12]) }

// MarshalText is the id in hex.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(id) {
		return fmt.Errorf("pack id %q is not 32 hex digits", text)
	}
	copy(id[:], b)
	return nil
}

// NewID makes the id of the n-th object of a session.
func NewID(session [12]byte, n uint32) (id ID) {
	copy(id[:], session[:])
	binary.BigEndian.PutUint32(id[12:], n)
	return id
}

const (
	version    = 1
	headerSize = 64
	rowSize    = 40
	footerSize = 88
	magic      = "HFPACK\x00\x00"
	endMagic   = "HFPKEND\x00"
	idSize     = 20
	// dirNonce is the piece number of the directory, which no frame has.
	dirNonce = 0xFFFFFFFF
	// maxSize bounds a pack, in bytes: offsets are 32 bits.
	maxSize = 1 << 31
)

type header struct {
	kind   Kind
	number uint32 // data key
	id     ID
}

func (h header) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	binary.LittleEndian.PutUint16(b[8:], version)
	b[10] = byte(h.kind)
	binary.LittleEndian.PutUint32(b[12:], h.number)
	copy(b[16:], h.id[:])
	binary.LittleEndian.PutUint32(b[60:], seal.CRC(b[:60]))
	return b
}

// Row is one frame in a pack's table.
type Row struct {
	Offset uint32 // of the frame's header in the pack, bytes
	seal.FrameHeader
	Sum [20]byte // BLAKE3-160 of the frame, header included
}

// Size is the length of the stored frame, header included, in bytes.
func (r Row) Size() int64 { return seal.FrameHeaderSize + int64(r.Sealed) }

func (r Row) append(b []byte) []byte {
	for _, v := range [...]uint32{r.Offset, r.Sealed, r.Plain, r.First} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = binary.LittleEndian.AppendUint16(b, r.Count)
	b = append(b, r.Codec, 0)
	return append(b, r.Sum[:]...)
}

// parseTable reads the rows and demands that they are gapless.
func parseTable(b []byte, frames, blobs, directory uint32) ([]Row, error) {
	rows := make([]Row, 0, frames)
	offset, first := uint64(headerSize), uint32(0)
	for n := uint32(0); n < frames; n, b = n+1, b[rowSize:] {
		r := Row{Offset: binary.LittleEndian.Uint32(b), FrameHeader: seal.FrameHeader{
			Number: n,
			Sealed: binary.LittleEndian.Uint32(b[4:]),
			Plain:  binary.LittleEndian.Uint32(b[8:]),
			First:  binary.LittleEndian.Uint32(b[12:]),
			Count:  binary.LittleEndian.Uint16(b[16:]),
			Codec:  b[18],
		}, Sum: [20]byte(b[20:40])}
		if uint64(r.Offset) != offset || r.First != first || r.Count == 0 || r.Codec > seal.LastCodec || b[19] != 0 || r.Plain > maxSize {
			return nil, seal.Damaged("row %d of the pack's table is malformed", n)
		}
		offset, first = offset+uint64(r.Size()), first+uint32(r.Count)
		rows = append(rows, r)
	}
	if offset != uint64(directory) || first != blobs {
		return nil, seal.Damaged("the pack's table does not agree with its footer")
	}
	return rows, nil
}

type footer struct {
	frames, blobs, directory, table, length uint32
	header
	sum [32]byte
}

// encode makes the footer that follows directory ‖ table.
func (f footer) encode(dirAndTable []byte) []byte {
	b := make([]byte, 0, footerSize)
	b = append(b, endMagic...)
	b = binary.LittleEndian.AppendUint16(b, version)
	b = append(b, 0, 0)
	for _, v := range [...]uint32{f.frames, f.blobs, f.directory, f.table, f.length, uint32(f.kind), f.number} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = append(b, f.id[:]...)
	sum := seal.Hash(dirAndTable, b)
	return append(b, sum[:]...)
}

func parseFooter(b []byte, size int64) (footer, error) {
	if len(b) != footerSize || string(b[:8]) != endMagic {
		return footer{}, seal.Damaged("pack has no footer")
	}
	if v := binary.LittleEndian.Uint16(b[8:]); v != version {
		return footer{}, seal.Damaged("pack footer has version %d", v)
	}
	le := binary.LittleEndian
	f := footer{le.Uint32(b[12:]), le.Uint32(b[16:]), le.Uint32(b[20:]), le.Uint32(b[24:]), le.Uint32(b[28:]),
		header{Kind(b[32]), le.Uint32(b[36:]), ID(b[40:56])}, [32]byte(b[56:88])}
	dir := int64(f.blobs)*idSize + seal.Overhead
	end := int64(f.table) + int64(f.frames)*rowSize + footerSize
	if b[10] != 0 || b[11] != 0 || [3]byte(b[33:36]) != [3]byte{} || (f.kind != Chunks && f.kind != Nodes) || int64(f.length) != size ||
		int64(f.directory)+dir != int64(f.table) || end != size || f.directory < headerSize {
		return footer{}, seal.Damaged("pack footer is malformed")
	}
	return f, nil
}
