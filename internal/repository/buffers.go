package repository

import (
	"sync"

	"holdfast/internal/repository/chunk"
)

// buffers lends byte slices of one length, so that work after work does not
// make and clear them anew. What it lends is not cleared.
type buffers struct {
	size int
	pool sync.Pool
}

func (b *buffers) get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, b.size)
}

func (b *buffers) put(p []byte) {
	if cap(p) == b.size {
		p = p[:b.size]
		b.pool.Put(&p)
	}
}

const frameBytes = frameChunks * chunk.Size

var (
	readBuffers    = buffers{size: 2 * frameBytes}            // a frame's chunks and as much that was read
	packedBuffers  = buffers{size: frameBytes + frameBytes/8} // and compressed
	scratchBuffers = buffers{size: 2*frameBytes + frameBytes/4}
	chunkPackBufs  = buffers{size: chunkPackSize}
	nodePackBufs   = buffers{size: nodePackSize}
)
