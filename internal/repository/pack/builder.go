package pack

import (
	"crypto/cipher"
	"sync"

	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/seal"
)

// Builder fills one pack in memory. Add may be called from many goroutines:
// each gets its place under a lock and seals into it outside.
type Builder struct {
	head header
	aead cipher.AEAD

	mu      sync.Mutex
	buf     []byte // cap is fixed: places never move
	rows    []Row
	ids     []chunk.ID
	pending sync.WaitGroup
}

// NewBuilder starts a pack in buf's space; the pack is full when the next
// frame does not fit into cap(buf).
func NewBuilder(keys *seal.Keys, kind Kind, id ID, buf []byte) (*Builder, error) {
	aead, err := keys.Pack(keys.Newest(), id)
	if err != nil {
		return nil, err
	}
	b := &Builder{head: header{kind, keys.Newest(), id}, aead: aead, buf: buf[:0]}
	b.buf = append(b.buf, b.head.encode()...)
	return b, nil
}

// ID names the pack.
func (b *Builder) ID() ID { return b.head.id }

// Blobs is how many blobs have been given a place.
func (b *Builder) Blobs() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.ids)
}

// Fits reports whether a frame of up to room bytes of payload, of any number of
// blobs up to room / 64, still fits.
func (b *Builder) Fits(room int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	blobs := len(b.ids) + room/64
	trailer := blobs*idSize + seal.Overhead + (len(b.rows)+1)*rowSize + footerSize
	return len(b.buf)+seal.FrameHeaderSize+room+seal.Overhead+trailer <= cap(b.buf)
}

// Place is room for one frame in a pack.
type Place struct {
	b     *Builder
	row   int
	space []byte
	head  seal.FrameHeader
}

// First is the ordinal of the frame's first blob.
func (p Place) First() uint32 { return p.head.First }

// Reserve gives room for a payload of the blobs ids, or false if the pack is
// full. Every Place must be filled or given up with Fill or Cancel.
func (b *Builder) Reserve(p seal.Payload, ids []chunk.ID) (Place, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := p.SealedSize()
	trailer := (len(b.ids)+len(ids))*idSize + seal.Overhead + (len(b.rows)+1)*rowSize + footerSize
	if len(b.buf)+n+trailer > cap(b.buf) && len(b.rows) > 0 {
		return Place{}, false
	}
	if len(b.buf)+n > cap(b.buf) { // one frame longer than the whole buffer
		b.buf = append(make([]byte, 0, len(b.buf)+n+trailer), b.buf...)
	}
	off := len(b.buf)
	b.buf = b.buf[:off+n]
	h := seal.FrameHeader{Number: uint32(len(b.rows)), First: uint32(len(b.ids)), Count: uint16(len(ids))}
	b.rows = append(b.rows, Row{Offset: uint32(off), FrameHeader: h})
	b.ids = append(b.ids, ids...)
	b.pending.Add(1)
	return Place{b, len(b.rows) - 1, b.buf[off : off+n : off+n], h}, true
}

// Fill seals the payload into its place. scratch is reused for the proof that
// the frame opens again.
func (p Place) Fill(payload seal.Payload, c *seal.Codec, scratch []byte) error {
	defer p.b.pending.Done()
	if err := payload.Seal(p.space, p.b.aead, p.b.head.id, p.head, c, scratch); err != nil {
		return err
	}
	h, err := seal.ParseFrameHeader(p.space)
	if err != nil {
		return err
	}
	sum := seal.Hash(p.space)
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	row := &p.b.rows[p.row]
	row.FrameHeader, row.Sum = h, [20]byte(sum[:20])
	return nil
}

// Finish waits until every place is filled, writes the trailer and answers the
// whole pack. The caller must not Reserve any more.
func (b *Builder) Finish() []byte {
	b.pending.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	f := footer{frames: uint32(len(b.rows)), blobs: uint32(len(b.ids)), directory: uint32(len(b.buf)), header: b.head}
	ids := make([]byte, 0, len(b.ids)*idSize)
	for _, id := range b.ids {
		ids = append(ids, id[:]...)
	}
	b.buf = b.aead.Seal(b.buf, seal.Nonce(0, dirNonce), ids, b.head.id[:])
	f.table = uint32(len(b.buf))
	for _, r := range b.rows {
		b.buf = r.append(b.buf)
	}
	f.length = uint32(len(b.buf) + footerSize)
	b.buf = append(b.buf, f.encode(b.buf[f.directory:])...)
	return b.buf
}

// IDs are the blobs of the pack in order of ordinal. Valid after Finish.
func (b *Builder) IDs() []chunk.ID { return b.ids }

// Kind is what the pack holds.
func (b *Builder) Kind() Kind { return b.head.kind }

// Plain is the sum of the payloads before compression, in bytes.
func (b *Builder) Plain() (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.rows {
		n += int64(r.Plain)
	}
	return n
}
