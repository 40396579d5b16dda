package index

import (
	"bytes"
	"cmp"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"

	"github.com/zeebo/blake3"
)

// Builder writes one segment to a stream.
type Builder struct {
	w     io.Writer
	hash  *blake3.Hasher
	head  header
	data  []byte // encoded header, bound to every piece
	aead  cipher.AEAD
	packs []PackInfo
	rows  map[pack.ID]uint32

	page   []byte
	pages  uint32
	added  uint64
	last   Entry
	firsts []byte
	filter []byte // all groups
	err    error
}

// NewBuilder starts the segment id of exactly entries entries, which lie in
// packs.
func NewBuilder(w io.Writer, keys *seal.Keys, id ID, entries uint64, packs []PackInfo) (*Builder, error) {
	head := newHeader(keys.Newest(), id, entries, len(packs))
	aead, err := keys.Segment(head.number, id)
	if err != nil {
		return nil, err
	}
	b := &Builder{w: w, hash: blake3.New(), head: head, data: head.encode(), aead: aead, packs: packs,
		rows: make(map[pack.ID]uint32, len(packs)), page: make([]byte, 0, pageSize),
		filter: make([]byte, int(head.groups)*filterSize)}
	for i, p := range packs {
		b.rows[p.ID] = uint32(i)
	}
	b.write(b.data)
	return b, b.err
}

func (b *Builder) write(p []byte) {
	if b.err != nil {
		return
	}
	_, _ = b.hash.Write(p) // never fails
	_, b.err = b.w.Write(p)
}

func (b *Builder) seal(section, piece uint32, plain []byte) {
	b.write(b.aead.Seal(nil, seal.Nonce(section, piece), plain, b.data))
}

// Compare is the order of entries in a segment.
func Compare(a, b Entry) int {
	if c := bytes.Compare(a.ID[:], b.ID[:]); c != 0 {
		return c
	}
	if c := bytes.Compare(a.Pack[:], b.Pack[:]); c != 0 {
		return c
	}
	return cmp.Compare(a.Ordinal, b.Ordinal)
}

// Add appends an entry; entries must come in the order of Compare.
func (b *Builder) Add(e Entry) error {
	row, ok := b.rows[e.Pack]
	if !ok || e.Ordinal >= 1<<24 || (b.added > 0 && Compare(b.last, e) >= 0) {
		return fmt.Errorf("index segment %s: entry %s of pack %s is out of order or of an unknown pack", b.head.id, e.ID, e.Pack)
	}
	if len(b.page) == 0 {
		b.firsts = binary.LittleEndian.AppendUint64(b.firsts, prefix(&e.ID))
	}
	b.page = append(b.page, e.ID[:]...)
	b.page = binary.LittleEndian.AppendUint32(b.page, row)
	b.page = append(b.page, byte(e.Ordinal), byte(e.Ordinal>>8), byte(e.Ordinal>>16))
	f := b.filter[int(b.pages/groupPages)*filterSize:]
	probes(&e.ID, func(bit uint64) bool { f[bit/8] |= 1 << (bit % 8); return true })
	b.added, b.last = b.added+1, e
	if len(b.page) == perPage*entrySize {
		b.flush()
	}
	return b.err
}

func (b *Builder) flush() {
	b.seal(sectionPages, b.pages, b.page[:pageSize])
	b.pages++
	clear(b.page[:pageSize])
	b.page = b.page[:0]
}

// Finish writes what remains and the footer.
func (b *Builder) Finish() error {
	if b.added != b.head.entries {
		return fmt.Errorf("index segment %s: %d entries, not the %d announced", b.head.id, b.added, b.head.entries)
	}
	if len(b.page) > 0 {
		b.flush()
	}
	rows := make([]byte, 0, len(b.packs)*packRow)
	for _, p := range b.packs {
		rows = append(rows, p.ID[:]...)
		rows = binary.LittleEndian.AppendUint32(rows, p.Blobs)
		rows = binary.LittleEndian.AppendUint32(rows, p.Stored)
		rows = append(rows, byte(p.Kind), 0, 0, 0, 0, 0, 0, 0)
	}
	b.section(sectionPacks, rows, packsPiece*packRow)
	b.section(sectionFirsts, b.firsts, firstsPiece*8)
	b.section(sectionFilter, b.filter, filterSize)
	foot := b.hash.Sum([]byte(endMagic))
	b.write(foot)
	return b.err
}

func (b *Builder) section(section uint32, data []byte, size int) {
	for i := uint32(0); len(data) > 0; i++ {
		n := min(size, len(data))
		b.seal(section, i, data[:n])
		data = data[n:]
	}
}

// Build makes a segment of entries, which it sorts, in memory.
func Build(keys *seal.Keys, id ID, entries []Entry, packs []PackInfo) ([]byte, error) {
	slices.SortFunc(entries, Compare)
	entries = slices.Compact(entries)
	size := newHeader(0, id, uint64(len(entries)), len(packs)).layout().size
	buf := bytes.NewBuffer(make([]byte, 0, size))
	b, err := NewBuilder(buf, keys, id, uint64(len(entries)), packs)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if err := b.Add(e); err != nil {
			return nil, err
		}
	}
	if err := b.Finish(); err != nil {
		return nil, err
	}
	return buf.Bytes(), prove(keys, id, buf.Bytes(), entries)
}

// prove reads a segment that was just built back, entry by entry.
func prove(keys *seal.Keys, id ID, raw []byte, want []Entry) error {
	r, err := Open(keys, id, bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return fmt.Errorf("index segment %s does not open again (bad memory?): %w", id, err)
	}
	i := 0
	for e, err := range r.Entries() {
		if err != nil || i >= len(want) || e != want[i] {
			return fmt.Errorf("index segment %s does not read back as written (bad memory?): %w", id, err)
		}
		i++
	}
	if i != len(want) {
		return fmt.Errorf("index segment %s lost entries (bad memory?)", id)
	}
	return nil
}
