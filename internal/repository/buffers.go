package repository

import (
	"sync"
	"weak"

	"holdfast/internal/repository/chunk"
)

// buffers lends byte slices of one length, so that work after work does not
// make and clear them anew. What it lends is not cleared. Those that nobody has
// are gone with Go's next collection, and do not count for the one after it: a
// sync.Pool keeps them through two, and one more for each processor.
type buffers struct {
	size int
	mu   sync.Mutex
	idle []weak.Pointer[[]byte]
}

func (b *buffers) get() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n := len(b.idle); n > 0; n-- {
		p := b.idle[n-1].Value()
		if b.idle = b.idle[:n-1]; p != nil {
			return *p
		}
	}
	return make([]byte, b.size)
}

func (b *buffers) put(p []byte) {
	if cap(p) != b.size {
		return
	}
	p = p[:b.size]
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.idle) == cap(b.idle) { // those that are gone need no place
		kept := b.idle[:0]
		for _, w := range b.idle {
			if w.Value() != nil {
				kept = append(kept, w)
			}
		}
		b.idle = kept
	}
	b.idle = append(b.idle, weak.Make(&p))
}

const frameBytes = frameChunks * chunk.Size

var (
	readBuffers    = buffers{size: 2 * frameBytes}            // a frame's chunks and as much that was read
	packedBuffers  = buffers{size: frameBytes + frameBytes/8} // and compressed
	scratchBuffers = buffers{size: 2*frameBytes + frameBytes/4}
	chunkPackBufs  = buffers{size: chunkPackSize}
	nodePackBufs   = buffers{size: nodePackSize}
)
