// Package index finds content: sorted, sealed, immutable segments that map a
// content id to the packs that hold it.
//
// A [Builder] writes a segment as a stream, a [Reader] answers lookups from it
// with a bounded filter in memory and one page read per hit, [Merge] makes one
// segment of several. It promises that memory is about 1.5 bytes an entry and
// that no lookup reads more than a few pages whatever the size. It is derived
// data: all of it can be rebuilt from the packs. The layout is in
// docs/design/repository-format.md.
package index

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
)

// ID names a segment like a pack: session and counter.
type ID [16]byte

// String is the id in hex.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Object is the name of the segment in the store.
func (id ID) Object() string { return "index/" + id.String() }

// MarshalText is the id in hex.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(id) {
		return fmt.Errorf("segment id %q is not 32 hex digits", text)
	}
	copy(id[:], b)
	return nil
}

// Entry says that a blob of a pack has this content.
type Entry struct {
	ID      chunk.ID
	Pack    pack.ID
	Ordinal uint32 // < 2^24
}

// PackInfo is what a segment knows of a pack.
type PackInfo struct {
	ID     pack.ID
	Blobs  uint32
	Stored uint32 // length of the pack in the store, bytes
	Kind   pack.Kind
}

const (
	version    = 1
	headerSize = 64
	footerSize = 40
	magic      = "HFINDEX\x00"
	endMagic   = "HFIXEND\x00"

	pageSize     = 4096
	entrySize    = 27
	perPage      = pageSize / entrySize // 151
	groupPages   = 32
	filterSize   = 6144
	filterBits   = filterSize * 8
	filterHashes = 6
	firstsPiece  = 8192
	packsPiece   = 2048
	packRow      = 32

	sectionPages  = 1
	sectionFirsts = 2
	sectionFilter = 3
	sectionPacks  = 4
)

type header struct {
	number  uint32 // data key
	id      ID
	entries uint64
	pages   uint32
	groups  uint32
	packs   uint32
}

func newHeader(number uint32, id ID, entries uint64, packs int) header {
	pages := (entries + perPage - 1) / perPage
	return header{number, id, entries, uint32(pages), uint32((pages + groupPages - 1) / groupPages), uint32(packs)}
}

func (h header) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	binary.LittleEndian.PutUint16(b[8:], version)
	binary.LittleEndian.PutUint32(b[12:], h.number)
	copy(b[16:], h.id[:])
	binary.LittleEndian.PutUint64(b[32:], h.entries)
	binary.LittleEndian.PutUint32(b[40:], h.pages)
	binary.LittleEndian.PutUint32(b[44:], h.groups)
	binary.LittleEndian.PutUint32(b[48:], h.packs)
	binary.LittleEndian.PutUint32(b[60:], seal.CRC(b[:60]))
	return b
}

func parseHeader(b []byte) (header, error) {
	if len(b) < headerSize || string(b[:8]) != magic || binary.LittleEndian.Uint32(b[60:]) != seal.CRC(b[:60]) {
		return header{}, seal.Damaged("index segment has a wrong magic or checksum")
	}
	if v := binary.LittleEndian.Uint16(b[8:]); v != version {
		return header{}, fmt.Errorf("%w: index segment has version %d, this release knows %d", seal.ErrVersion, v, version)
	}
	le := binary.LittleEndian
	h := newHeader(le.Uint32(b[12:]), ID(b[16:32]), le.Uint64(b[32:]), int(le.Uint32(b[48:])))
	if h.entries > 1<<40 || string(h.encode()) != string(b[:headerSize]) {
		return header{}, seal.Damaged("index segment has a malformed header")
	}
	return h, nil
}

// pieces is how many pieces of size per hold n.
func pieces(n, per uint64) uint64 { return (n + per - 1) / per }

// layout is where the sections begin; all follows from the header.
type layout struct{ pages, packs, firsts, filter, footer, size int64 }

func (h header) layout() layout {
	var l layout
	l.pages = headerSize
	l.packs = l.pages + int64(h.pages)*(pageSize+seal.Overhead)
	l.firsts = l.packs + int64(h.packs)*packRow + int64(pieces(uint64(h.packs), packsPiece))*seal.Overhead
	l.filter = l.firsts + int64(h.pages)*8 + int64(pieces(uint64(h.pages), firstsPiece))*seal.Overhead
	l.footer = l.filter + int64(h.groups)*(filterSize+seal.Overhead)
	l.size = l.footer + footerSize
	return l
}

// probes calls f with each filter bit of id.
func probes(id *chunk.ID, f func(bit uint64) bool) bool {
	h := binary.LittleEndian.Uint64(id[8:16])
	g := binary.LittleEndian.Uint64(id[12:20]) | 1
	for i := range uint64(filterHashes) {
		if !f((h + i*g) % filterBits) {
			return false
		}
	}
	return true
}

func prefix(id *chunk.ID) uint64 { return binary.BigEndian.Uint64(id[:8]) }
