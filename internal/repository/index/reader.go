package index

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"sort"
	"sync"

	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"

	"github.com/zeebo/blake3"
)

// Reader answers lookups from one stored segment. It is safe for concurrent
// use.
type Reader struct {
	r      io.ReaderAt
	head   header
	data   []byte
	at     layout
	aead   cipher.AEAD
	firsts []uint64
	filter []byte
	packs  []PackInfo
}

// Open loads the filter, the page index and the pack table of segment id.
func Open(keys *seal.Keys, id ID, r io.ReaderAt, size int64) (*Reader, error) {
	data := make([]byte, headerSize)
	if err := readFull(r, data, 0); err != nil {
		return nil, err
	}
	head, err := parseHeader(data)
	if err != nil {
		return nil, err
	}
	s := &Reader{r: r, head: head, data: data, at: head.layout()}
	if s.at.size != size || head.id != id {
		return nil, seal.Damaged("index segment %s has a wrong length or id", id)
	}
	if s.aead, err = keys.Segment(head.number, head.id); err != nil {
		return nil, err
	}
	foot := make([]byte, len(endMagic))
	if err := readFull(r, foot, s.at.footer); err != nil {
		return nil, err
	}
	if string(foot) != endMagic {
		return nil, seal.Damaged("index segment %s has no footer", id)
	}
	return s, s.load()
}

func (s *Reader) load() error {
	rows, err := s.section(sectionPacks, s.at.packs, int(s.head.packs)*packRow, packsPiece*packRow)
	if err != nil {
		return err
	}
	for ; len(rows) > 0; rows = rows[packRow:] {
		s.packs = append(s.packs, PackInfo{pack.ID(rows[:16]), binary.LittleEndian.Uint32(rows[16:]),
			binary.LittleEndian.Uint32(rows[20:]), pack.Kind(rows[24])})
	}
	firsts, err := s.section(sectionFirsts, s.at.firsts, int(s.head.pages)*8, firstsPiece*8)
	if err != nil {
		return err
	}
	s.firsts = make([]uint64, s.head.pages)
	for i := range s.firsts {
		s.firsts[i] = binary.LittleEndian.Uint64(firsts[8*i:])
	}
	s.filter, err = s.section(sectionFilter, s.at.filter, int(s.head.groups)*filterSize, filterSize)
	return err
}

// section opens a whole section of total plain bytes in pieces of size.
func (s *Reader) section(section uint32, off int64, total, size int) ([]byte, error) {
	out := make([]byte, 0, total+seal.Overhead)
	buf := make([]byte, size+seal.Overhead)
	for i := uint32(0); len(out) < total; i++ {
		n := min(size, total-len(out)) + seal.Overhead
		if err := readFull(s.r, buf[:n], off); err != nil {
			return nil, err
		}
		var err error
		if out, err = s.aead.Open(out, seal.Nonce(section, i), buf[:n], s.data); err != nil {
			return nil, seal.Damaged("index segment %s does not open", s.head.id)
		}
		off += int64(n)
	}
	return out, nil
}

func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		return seal.Damaged("index segment is cut short")
	}
	return err
}

// ID names the segment.
func (s *Reader) ID() ID { return s.head.id }

// Len is the number of entries.
func (s *Reader) Len() uint64 { return s.head.entries }

// Packs are the packs that the entries lie in. They must not be changed.
func (s *Reader) Packs() []PackInfo { return s.packs }

// Memory is about what the open segment costs, in bytes.
func (s *Reader) Memory() int64 {
	return int64(len(s.filter)) + int64(len(s.firsts))*8 + int64(len(s.packs))*packRow
}

type pageBuffer [pageSize + seal.Overhead]byte

var pageBuffers = sync.Pool{New: func() any { return new(pageBuffer) }}

// Lookup calls found with each place of id until found answers true; it
// answers whether found did.
func (s *Reader) Lookup(id chunk.ID, found func(pack.ID, uint32) bool) (bool, error) {
	key := prefix(&id)
	// The first page that may hold id: the one before the first page whose
	// first prefix is not below key (equal ids may straddle pages).
	p := sort.Search(len(s.firsts), func(i int) bool { return s.firsts[i] >= key })
	p = max(p-1, 0)
	var buf *pageBuffer // most lookups end at the filter and need none
	defer func() {
		if buf != nil {
			pageBuffers.Put(buf)
		}
	}()
	for ; p < len(s.firsts) && s.firsts[p] <= key; p++ {
		if !s.mayHold(p, &id) {
			continue
		}
		if buf == nil {
			buf = pageBuffers.Get().(*pageBuffer)
		}
		plain, err := s.page(uint32(p), buf[:])
		if err != nil {
			return false, err
		}
		n := len(plain) / entrySize
		i := sort.Search(n, func(i int) bool { return string(plain[i*entrySize:][:chunk.IDSize]) >= string(id[:]) })
		for ; i < n && string(plain[i*entrySize:][:chunk.IDSize]) == string(id[:]); i++ {
			e, err := s.entry(plain[i*entrySize:])
			if err != nil {
				return false, err
			}
			if found(e.Pack, e.Ordinal) {
				return true, nil
			}
		}
	}
	return false, nil
}

func (s *Reader) mayHold(page int, id *chunk.ID) bool {
	f := s.filter[page/groupPages*filterSize:][:filterSize]
	return probes(id, func(bit uint64) bool { return f[bit/8]&(1<<(bit%8)) != 0 })
}

// page opens page p and answers its entries without padding.
func (s *Reader) page(p uint32, buf []byte) ([]byte, error) {
	sealed := buf[:pageSize+seal.Overhead]
	if err := readFull(s.r, sealed, s.at.pages+int64(p)*int64(len(sealed))); err != nil {
		return nil, err
	}
	plain, err := s.aead.Open(sealed[:0], seal.Nonce(sectionPages, p), sealed, s.data)
	if err != nil {
		return nil, seal.Damaged("page %d of index segment %s does not open", p, s.head.id)
	}
	n := min(s.head.entries-uint64(p)*perPage, perPage)
	return plain[:n*entrySize], nil
}

func (s *Reader) entry(b []byte) (Entry, error) {
	row := binary.LittleEndian.Uint32(b[chunk.IDSize:])
	if row >= uint32(len(s.packs)) {
		return Entry{}, seal.Damaged("index segment %s names pack %d of %d", s.head.id, row, len(s.packs))
	}
	o := uint32(b[24]) | uint32(b[25])<<8 | uint32(b[26])<<16
	return Entry{chunk.ID(b[:chunk.IDSize]), s.packs[row].ID, o}, nil
}

// Entries streams all entries in order, page by page.
func (s *Reader) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		buf := make([]byte, pageSize+seal.Overhead)
		for p := range s.head.pages {
			plain, err := s.page(p, buf)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for ; len(plain) > 0; plain = plain[entrySize:] {
				e, err := s.entry(plain)
				if !yield(e, err) || err != nil {
					return
				}
			}
		}
	}
}

// Check finds damage in a stored segment without a key.
func Check(id ID, r io.ReaderAt, size int64) error {
	data := make([]byte, headerSize)
	if err := readFull(r, data, 0); err != nil {
		return err
	}
	head, err := parseHeader(data)
	if err != nil {
		return err
	}
	if at := head.layout(); at.size != size || head.id != id {
		return seal.Damaged("index segment %s has a wrong length or id", id)
	}
	h := blake3.New()
	if _, err := io.CopyBuffer(h, io.NewSectionReader(r, 0, size-footerSize), make([]byte, min(size, 1<<20))); err != nil {
		return fmt.Errorf("read index segment %s: %w", id, err)
	}
	foot := make([]byte, footerSize)
	if err := readFull(r, foot, size-footerSize); err != nil {
		return err
	}
	if string(h.Sum([]byte(endMagic))) != string(foot) {
		return seal.Damaged("index segment %s has a wrong checksum", id)
	}
	return nil
}
