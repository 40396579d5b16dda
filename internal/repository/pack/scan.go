package pack

import (
	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/seal"
)

// Check finds damage in a whole stored pack without a key. It answers the
// numbers of the broken frames, or an error if the trailer itself is broken.
func Check(id ID, raw []byte) (broken []uint32, err error) {
	p, err := Open(nil, id, bytesAt(raw), int64(len(raw)))
	if err != nil {
		return nil, err
	}
	if err := p.CheckHeader(raw); err != nil {
		return nil, err
	}
	for _, r := range p.rows {
		if p.CheckFrame(r, raw[r.Offset:int64(r.Offset)+r.Size()]) != nil {
			broken = append(broken, r.Number)
		}
	}
	return broken, nil
}

// Scan rebuilds a Reader and the content ids of a pack whose trailer is
// broken, from its frames front to back. It stops at the first frame that is
// not whole; what lies behind it is lost (header damage is overcome: the id
// comes from the object's name, and kind and key are tried).
func Scan(keys *seal.Keys, namer *chunk.Namer, id ID, raw []byte, nodeID func([]byte) (chunk.ID, error)) (*Reader, []chunk.ID, error) {
	var best *Reader
	var bestIDs []chunk.ID
	for number := keys.Newest(); number >= 1; number-- {
		aead, err := keys.Pack(number, id)
		if err != nil {
			continue
		}
		for _, kind := range []Kind{Chunks, Nodes} {
			p := &Reader{head: header{kind, number, id}, aead: aead, size: int64(len(raw))}
			ids := p.scan(namer, raw, nodeID)
			if best == nil || len(ids) > len(bestIDs) {
				best, bestIDs = p, ids
			}
		}
	}
	if len(bestIDs) == 0 {
		return nil, nil, seal.Damaged("no frame of pack %s can be read", id)
	}
	return best, bestIDs, nil
}

func (p *Reader) scan(namer *chunk.Namer, raw []byte, nodeID func([]byte) (chunk.ID, error)) (ids []chunk.ID) {
	c := seal.NewCodec()
	defer c.Close()
	for off := headerSize; off+seal.FrameHeaderSize <= len(raw); {
		h, err := seal.ParseFrameHeader(raw[off:])
		end := off + seal.FrameHeaderSize + int(h.Sealed)
		if err != nil || end > len(raw) || h.Number != uint32(len(p.rows)) || h.First != uint32(len(ids)) {
			return ids
		}
		payload, err := seal.OpenFrame(p.aead, p.head.id, h, raw[off:end], c, nil)
		if err != nil {
			return ids
		}
		found, err := name(p.head.kind, h, payload, namer, nodeID)
		if err != nil {
			return ids
		}
		sum := seal.Hash(raw[off:end])
		p.rows = append(p.rows, Row{Offset: uint32(off), FrameHeader: h, Sum: [20]byte(sum[:20])})
		ids = append(ids, found...)
		p.blobs = uint32(len(ids))
		off = end
	}
	return ids
}

// name computes the ids of all blobs in a payload.
func name(kind Kind, h seal.FrameHeader, payload []byte, namer *chunk.Namer, nodeID func([]byte) (chunk.ID, error)) ([]chunk.ID, error) {
	ids := make([]chunk.ID, 0, h.Count)
	for i := range int(h.Count) {
		blob, err := cut(kind, h, payload, i)
		if err != nil {
			return nil, err
		}
		if kind == Chunks {
			if len(blob) != chunk.Size {
				return nil, seal.Damaged("frame %d does not hold chunks", h.Number)
			}
			ids = append(ids, namer.Chunk(blob))
			continue
		}
		id, err := nodeID(blob)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

type bytesAt []byte

func (b bytesAt) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(b)) {
		return 0, seal.Damaged("read past the end of the pack")
	}
	return copy(p, b[off:]), nil
}
