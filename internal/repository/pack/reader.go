package pack

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"
	"sort"

	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/seal"
)

// TrailerGuess is how much to read from a pack's end to have its trailer in
// one request nearly always, in bytes.
const TrailerGuess = 64 << 10

// Reader knows where the blobs of one stored pack lie. It is immutable and safe
// for concurrent use.
type Reader struct {
	head  header
	aead  cipher.AEAD
	rows  []Row
	blobs uint32
	dir   []byte // sealed directory
	size  int64
}

// Open reads the trailer of the stored pack id through r.
func Open(keys *seal.Keys, id ID, r io.ReaderAt, size int64) (*Reader, error) {
	if size < headerSize+footerSize || size > maxSize {
		return nil, seal.Damaged("pack %s has an impossible length of %d bytes", id, size)
	}
	tail := make([]byte, min(size, TrailerGuess))
	if err := readFull(r, tail, size-int64(len(tail))); err != nil {
		return nil, err
	}
	f, err := parseFooter(tail[len(tail)-footerSize:], size)
	if err != nil {
		return nil, err
	}
	if need := size - int64(f.directory); need > int64(len(tail)) {
		tail = make([]byte, need)
		if err := readFull(r, tail, int64(f.directory)); err != nil {
			return nil, err
		}
	}
	return parse(keys, id, tail, f, size)
}

func parse(keys *seal.Keys, id ID, tail []byte, f footer, size int64) (*Reader, error) {
	trailer := tail[int64(len(tail))-(size-int64(f.directory)):]
	rest, foot := trailer[:len(trailer)-footerSize], trailer[len(trailer)-footerSize:]
	if seal.Hash(rest, foot[:footerSize-32]) != f.sum {
		return nil, seal.Damaged("trailer of pack %s has a wrong checksum", id)
	}
	if f.id != id {
		return nil, seal.Damaged("object of pack %s holds pack %s", id, f.id)
	}
	rows, err := parseTable(rest[f.table-f.directory:], f.frames, f.blobs, f.directory)
	if err != nil {
		return nil, err
	}
	p := &Reader{head: f.header, rows: rows, blobs: f.blobs, dir: rest[:f.table-f.directory], size: size}
	if keys != nil {
		if p.aead, err = keys.Pack(f.number, id); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// readFull reads exactly len(b) bytes; a short object is damage, any other
// failure is passed on.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		return seal.Damaged("pack is cut short")
	}
	return err
}

// ID names the pack.
func (p *Reader) ID() ID { return p.head.id }

// Kind is what the pack holds.
func (p *Reader) Kind() Kind { return p.head.kind }

// Size is the length of the whole pack in bytes.
func (p *Reader) Size() int64 { return p.size }

// Blobs is how many blobs the pack holds.
func (p *Reader) Blobs() int { return int(p.blobs) }

// Rows are the frames in order. They must not be changed.
func (p *Reader) Rows() []Row { return p.rows }

// Cost is about how much memory the Reader takes, in bytes.
func (p *Reader) Cost() int64 { return int64(len(p.rows)*56 + len(p.dir) + 256) }

// Frame finds the frame that holds the blob with this ordinal.
func (p *Reader) Frame(ordinal uint32) (Row, error) {
	if ordinal >= p.blobs {
		return Row{}, seal.Damaged("pack %s has no blob %d", p.head.id, ordinal)
	}
	i := sort.Search(len(p.rows), func(i int) bool { return p.rows[i].First > ordinal })
	return p.rows[i-1], nil
}

// IDs opens the directory: the content ids in order of ordinal.
func (p *Reader) IDs() ([]chunk.ID, error) {
	b, err := p.aead.Open(nil, seal.Nonce(0, dirNonce), p.dir, p.head.id[:])
	if err != nil || len(b) != int(p.blobs)*idSize {
		return nil, seal.Damaged("directory of pack %s does not open", p.head.id)
	}
	ids := make([]chunk.ID, p.blobs)
	for i := range ids {
		copy(ids[i][:], b[i*idSize:])
	}
	return ids, nil
}

// Trailer is the stored form of the pack's trailer: directory, table, footer.
func (p *Reader) Trailer() []byte {
	b := bytes.Clone(p.dir)
	directory := uint32(headerSize)
	for _, r := range p.rows {
		b = r.append(b)
		directory = r.Offset + uint32(r.Size())
	}
	f := footer{frames: uint32(len(p.rows)), blobs: p.blobs, directory: directory, table: directory + uint32(len(p.dir)),
		length: uint32(p.size), header: p.head}
	return append(b, f.encode(b)...)
}

// OpenFrame opens the stored frame of row and answers its payload, in
// scratch's space if that is big enough.
func (p *Reader) OpenFrame(row Row, frame []byte, c *seal.Codec, scratch []byte) ([]byte, error) {
	plain, err := seal.OpenFrame(p.aead, p.head.id, row.FrameHeader, frame, c, scratch)
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", p.head.id, err)
	}
	return plain, nil
}

// TakeOver opens a stored frame without decompressing it, to seal it again in
// another pack.
func (p *Reader) TakeOver(row Row, frame []byte) (seal.Payload, error) {
	return seal.TakeOver(p.aead, p.head.id, row.FrameHeader, frame)
}

// CheckHeader finds damage in the first bytes of the pack. Nothing else needs
// them: they say again what the footer says.
func (p *Reader) CheckHeader(raw []byte) error {
	if len(raw) < headerSize || string(raw[:headerSize]) != string(p.head.encode()) {
		return seal.Damaged("header of pack %s", p.head.id)
	}
	return nil
}

// CheckFrame finds damage in a stored frame without a key.
func (p *Reader) CheckFrame(row Row, frame []byte) error {
	if sum := seal.Hash(frame); !bytes.Equal(sum[:20], row.Sum[:]) {
		return seal.Damaged("frame %d of pack %s has a wrong checksum", row.Number, p.head.id)
	}
	return nil
}

// Blob cuts the blob with this ordinal out of the payload of its frame.
func (p *Reader) Blob(row Row, payload []byte, ordinal uint32) ([]byte, error) {
	return cut(p.head.kind, row.FrameHeader, payload, int(ordinal-row.First))
}

// cut answers blob i of a payload of h.Count blobs.
func cut(kind Kind, h seal.FrameHeader, payload []byte, i int) ([]byte, error) {
	n := int(h.Count)
	if kind == Chunks {
		if len(payload)%n != 0 || i >= n {
			return nil, seal.Damaged("frame %d does not divide into %d chunks", h.Number, n)
		}
		size := len(payload) / n
		return payload[i*size : (i+1)*size : (i+1)*size], nil
	}
	if len(payload) < 4*n {
		return nil, seal.Damaged("frame %d is shorter than its lengths", h.Number)
	}
	off := int64(4 * n)
	for j := range n {
		size := int64(binary.LittleEndian.Uint32(payload[4*j:]))
		if off+size > int64(len(payload)) {
			break
		}
		if j == i {
			return payload[off : off+size : off+size], nil
		}
		off += size
	}
	return nil, seal.Damaged("frame %d is shorter than its nodes", h.Number)
}

// Join makes the payload of a frame of blobs.
func Join(kind Kind, blobs [][]byte) []byte {
	if kind == Nodes {
		return NodePayload(blobs)
	}
	return bytes.Join(blobs, nil)
}

// NodePayload makes the payload of a frame of nodes.
func NodePayload(nodes [][]byte) []byte {
	var b []byte
	for _, n := range nodes {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(n)))
	}
	for _, n := range nodes {
		b = append(b, n...)
	}
	return b
}
