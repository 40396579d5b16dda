//go:build !cgo

package seal

import (
	"sync"

	"github.com/klauspost/compress/zstd"
)

var (
	encoders = map[Effort]*sync.Pool{Small: newEncoders(zstd.SpeedDefault), Fast: newEncoders(zstd.SpeedFastest)}
	decoders = sync.Pool{New: func() any {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(BoxMax))
		if err != nil {
			panic("zstd decoder: " + err.Error())
		}
		return d
	}}
)

func newEncoders(level zstd.EncoderLevel) *sync.Pool {
	return &sync.Pool{New: func() any {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
		if err != nil {
			panic("zstd encoder: " + err.Error())
		}
		return e
	}}
}

// Codec compresses and decompresses with zstd. It is not safe for concurrent
// use: each goroutine has its own.
type Codec struct {
	// Effort is what Compress spends; it may be changed between calls.
	Effort Effort
	dec    *zstd.Decoder
}

// NewCodec makes a Codec that compresses well.
func NewCodec() *Codec { return &Codec{dec: decoders.Get().(*zstd.Decoder)} }

// Close ends the Codec.
func (c *Codec) Close() { decoders.Put(c.dec) }

// Compress answers src compressed in dst's space if that is big enough, and
// false if src does not get smaller by at least 1/32.
func (c *Codec) Compress(dst, src []byte) ([]byte, bool) {
	if len(src) == 0 {
		return nil, false
	}
	enc := encoders[c.Effort].Get().(*zstd.Encoder)
	out := enc.EncodeAll(src, dst[:0])
	encoders[c.Effort].Put(enc)
	if len(out) > len(src)-len(src)/32 {
		return nil, false
	}
	return out, true
}

// Decompress fills dst, whose length is the exact plain length, from src.
func (c *Codec) Decompress(dst, src []byte) error {
	out, err := c.dec.DecodeAll(src, dst[:0])
	if err != nil {
		return Damaged("zstd: %v", err)
	}
	if len(out) != len(dst) || (len(dst) > 0 && &out[0] != &dst[0]) {
		return Damaged("zstd answers %d bytes, not %d", len(out), len(dst))
	}
	return nil
}
