//go:build cgo

package seal

import (
	"sync"

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

// contexts are those of closed Codecs. One holds up to some megabytes that Go's
// collector doesn't see, so that a new one for each small object would pile up.
var contexts = sync.Pool{New: func() any { return zstd.NewCtx() }}

// NewCodec makes a Codec that compresses well.
func NewCodec() *Codec { return &Codec{ctx: contexts.Get().(zstd.Ctx)} }

// Close ends the Codec.
func (c *Codec) Close() {
	contexts.Put(c.ctx)
	c.ctx = nil
}

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
