//go:build cgo

package seal

import (
	"github.com/DataDog/zstd"
)

// Codec compresses and decompresses with zstd. It is not safe for concurrent
// use: each goroutine has its own.
type Codec struct {
	// Effort is what Compress spends; it may be changed between calls.
	Effort Effort
	ctx    zstd.Ctx
}

// levels are the zstd levels of the efforts (measurements.md).
var levels = map[Effort]int{Small: 3, Fast: 1}

// NewCodec makes a Codec that compresses well.
func NewCodec() *Codec { return &Codec{ctx: zstd.NewCtx()} }

// Close ends the Codec.
func (c *Codec) Close() {}

// Compress answers src compressed in dst's space if that
// is big enough, and false if src does not get smaller by at least 1/32.
func (c *Codec) Compress(dst, src []byte) ([]byte, bool) {
	if len(src) == 0 {
		return nil, false
	}
	if n := zstd.CompressBound(len(src)); cap(dst) < n {
		dst = make([]byte, n)
	}
	out, err := c.ctx.CompressLevel(dst[:cap(dst)], src, levels[c.Effort])
	if err != nil || len(out) > len(src)-len(src)/32 {
		return nil, false
	}
	return out, true
}

// Decompress fills dst, whose length is the exact plain length, from src.
func (c *Codec) Decompress(dst, src []byte) error {
	n, err := c.ctx.DecompressInto(dst, src)
	if err != nil {
		return Damaged("zstd: %v", err)
	}
	if n != len(dst) {
		return Damaged("zstd answers %d bytes, not %d", n, len(dst))
	}
	return nil
}
