package seal

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// FrameHeaderSize is the length of a frame's header in bytes.
const FrameHeaderSize = 32

const (
	frameMagic = "HFFR"
	codecNone  = 0
	codecZstd  = 1
	codecMinLZ = 2 // since format 2

	LastCodec = codecMinLZ // that this release knows
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CRC is CRC-32C, the checksum of fixed headers.
func CRC(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// FrameHeader describes one frame of a pack; it is stored before the frame in
// the clear.
type FrameHeader struct {
	Number uint32 // of the frame in its pack, from 0
	First  uint32 // ordinal of its first blob
	Count  uint16 // blobs, > 0
	Codec  uint8  // 0 none, 1 zstd, 2 MinLZ
	Plain  uint32 // bytes of the payload before compression
	Sealed uint32 // bytes that follow the header
}

// Append appends the stored form of h.
func (h FrameHeader) Append(b []byte) []byte {
	start := len(b)
	b = append(b, frameMagic...)
	b = binary.LittleEndian.AppendUint32(b, h.Number)
	b = binary.LittleEndian.AppendUint32(b, h.First)
	b = binary.LittleEndian.AppendUint16(b, h.Count)
	b = append(b, h.Codec, 0)
	b = binary.LittleEndian.AppendUint32(b, h.Plain)
	b = binary.LittleEndian.AppendUint32(b, h.Sealed)
	b = append(b, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(b, CRC(b[start:]))
}

// ParseFrameHeader reads what Append wrote.
func ParseFrameHeader(b []byte) (FrameHeader, error) {
	if len(b) < FrameHeaderSize {
		return FrameHeader{}, Damaged("frame header is cut short")
	}
	b = b[:FrameHeaderSize]
	if string(b[:4]) != frameMagic || binary.LittleEndian.Uint32(b[28:]) != CRC(b[:28]) {
		return FrameHeader{}, Damaged("frame header has a wrong magic or checksum")
	}
	h := FrameHeader{
		Number: binary.LittleEndian.Uint32(b[4:]),
		First:  binary.LittleEndian.Uint32(b[8:]),
		Count:  binary.LittleEndian.Uint16(b[12:]),
		Codec:  b[14],
		Plain:  binary.LittleEndian.Uint32(b[16:]),
		Sealed: binary.LittleEndian.Uint32(b[20:]),
	}
	if b[15] != 0 || binary.LittleEndian.Uint32(b[24:]) != 0 || h.Codec > LastCodec ||
		h.Count == 0 || h.Sealed < Overhead || h.Plain > BoxMax {
		return FrameHeader{}, Damaged("frame header is malformed")
	}
	return h, nil
}

// Effort is how hard to compress.
type Effort uint8

// The efforts: Small where time is to spare, Fast where it is not, Light where
// what is stored is soon stored again elsewhere. Light needs readers of format 2.
const (
	Small Effort = iota
	Fast
	Light
)

// OldestReader is the oldest format whose readers know the frame's codec.
func (h FrameHeader) OldestReader() int {
	if h.Codec == codecMinLZ {
		return 2
	}
	return 1
}

// Payload is a frame's payload, compressed if that is worth it and not yet
// sealed: the frame's place in a pack is still to be given.
type Payload struct {
	plain []byte // as given; nil if the body was taken over as it is
	body  []byte // what will be sealed
	codec uint8
	size  int // of the plain payload
}

// Payload prepares a payload. Neither plain nor the buffer may be changed
// until the payload is sealed. The buffer is reused if it is big enough.
func (c *Codec) Payload(plain, buffer []byte) Payload {
	codec, compress := uint8(codecZstd), c.Compress
	if c.Effort == Light {
		codec, compress = codecMinLZ, compressLight
	}
	if z, ok := compress(buffer, plain); ok {
		return Payload{plain, z, codec, len(plain)}
	}
	return Payload{plain, plain, codecNone, len(plain)}
}

// SealedSize is the length of the frame, header included, in bytes.
func (p Payload) SealedSize() int { return FrameHeaderSize + len(p.body) + Overhead }

// Seal writes the whole frame into dst, which has exactly SealedSize bytes,
// and proves that it opens to the bytes that were given.
func (p Payload) Seal(dst []byte, aead cipher.AEAD, pack [16]byte, h FrameHeader, c *Codec, scratch []byte) error {
	h.Codec, h.Plain, h.Sealed = p.codec, uint32(p.size), uint32(len(p.body)+Overhead)
	head := h.Append(dst[:0])
	aead.Seal(head[:FrameHeaderSize], Nonce(0, h.Number), p.body, frameData(pack, head))
	if p.plain == nil {
		back, err := TakeOver(aead, pack, h, dst)
		if err != nil || !bytes.Equal(back.body, p.body) {
			return fmt.Errorf("a frame that was just sealed does not open again (bad memory?): %v", err)
		}
		return nil
	}
	back, err := OpenFrame(aead, pack, h, dst, c, scratch)
	if err != nil || !bytes.Equal(back, p.plain) {
		return fmt.Errorf("a frame that was just sealed does not open again (bad memory?): %v", err)
	}
	return nil
}

// OpenFrame opens frame (header and sealed payload, as stored) and answers its
// payload. want is what the caller knows of it; scratch is reused if it is big
// enough, so the answer is valid until scratch is used again.
func OpenFrame(aead cipher.AEAD, pack [16]byte, want FrameHeader, frame []byte, c *Codec, scratch []byte) ([]byte, error) {
	h, err := ParseFrameHeader(frame)
	if err != nil {
		return nil, err
	}
	if h != want || len(frame) != FrameHeaderSize+int(h.Sealed) {
		return nil, Damaged("frame header does not agree with the pack's table")
	}
	need := int(h.Plain)
	if h.Codec != codecNone {
		need += int(h.Sealed)
	}
	if cap(scratch) < need {
		scratch = make([]byte, need)
	}
	scratch = scratch[:cap(scratch)]
	into := scratch[:0:need]
	if h.Codec != codecNone {
		into = scratch[h.Plain:h.Plain:need]
	}
	body, err := aead.Open(into, Nonce(0, h.Number), frame[FrameHeaderSize:], frameData(pack, frame[:FrameHeaderSize]))
	if err != nil {
		return nil, Damaged("frame %d does not open under this repository's key", h.Number)
	}
	if h.Codec == codecNone {
		if len(body) != int(h.Plain) {
			return nil, Damaged("frame %d has a wrong length", h.Number)
		}
		return body, nil
	}
	decompress := c.Decompress
	if h.Codec == codecMinLZ {
		decompress = decompressLight
	}
	plain := scratch[:h.Plain]
	return plain, decompress(plain, body)
}

// TakeOver opens a stored frame without decompressing it, to seal it again in
// another pack.
func TakeOver(aead cipher.AEAD, pack [16]byte, want FrameHeader, frame []byte) (Payload, error) {
	h, err := ParseFrameHeader(frame)
	if err != nil {
		return Payload{}, err
	}
	if h != want || len(frame) != FrameHeaderSize+int(h.Sealed) {
		return Payload{}, Damaged("frame header does not agree with the pack's table")
	}
	body, err := aead.Open(nil, Nonce(0, h.Number), frame[FrameHeaderSize:], frameData(pack, frame[:FrameHeaderSize]))
	if err != nil {
		return Payload{}, Damaged("frame %d does not open under this repository's key", h.Number)
	}
	return Payload{nil, body, h.Codec, int(h.Plain)}, nil
}

func frameData(pack [16]byte, header []byte) []byte {
	return append(append(make([]byte, 0, 16+FrameHeaderSize), pack[:]...), header...)
}
