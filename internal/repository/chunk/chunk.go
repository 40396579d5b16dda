// Package chunk names content: the keyed hash that is the identity of every
// chunk and tree node, and the test for chunks that need no storing at all.
//
// It promises that equal bytes have equal ids under one key, and that without
// the key nobody can tell which bytes an id stands for. It knows nothing of
// where bytes are kept.
package chunk

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sync"

	"github.com/zeebo/blake3"
)

// Size is the length of a chunk in bytes in format 1: QEMU's dirty granularity.
const Size = 64 << 10

// IDSize is the length of a content id in bytes.
const IDSize = 20

// ID names content within one repository: keyed BLAKE3 cut to 160 bits.
type ID [IDSize]byte

// String is the id in hex.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText is the id in hex.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != IDSize {
		return fmt.Errorf("content id %q is not %d hex digits", text, 2*IDSize)
	}
	copy(id[:], b)
	return nil
}

// Namer gives ids. It is safe for concurrent use.
type Namer struct {
	chunks, nodes sync.Pool // of *blake3.Hasher
}

// NewNamer makes a Namer from the two id keys.
func NewNamer(chunkKey, nodeKey [32]byte) *Namer {
	pool := func(key [32]byte) func() any {
		return func() any {
			h, err := blake3.NewKeyed(key[:])
			if err != nil {
				panic("blake3 refuses a 32-byte key: " + err.Error())
			}
			return h
		}
	}
	n := &Namer{}
	n.chunks.New = pool(chunkKey)
	n.nodes.New = pool(nodeKey)
	return n
}

// Chunk is the id of a chunk's bytes.
func (n *Namer) Chunk(p []byte) ID { return sum(&n.chunks, p, nil) }

// Node is the id of a tree node: its level and its content part.
func (n *Namer) Node(level byte, content []byte) ID {
	return sum(&n.nodes, []byte{level}, content)
}

func sum(pool *sync.Pool, a, b []byte) ID {
	h := pool.Get().(*blake3.Hasher)
	h.Reset()
	// blake3.Hasher.Write never fails.
	_, _ = h.Write(a)
	if b != nil {
		_, _ = h.Write(b)
	}
	var full [32]byte
	h.Sum(full[:0])
	pool.Put(h)
	return ID(full[:IDSize])
}

// IsZero reports whether every byte of p is zero.
func IsZero(p []byte) bool {
	for len(p) >= 64 {
		a := binary.LittleEndian.Uint64(p) | binary.LittleEndian.Uint64(p[8:]) |
			binary.LittleEndian.Uint64(p[16:]) | binary.LittleEndian.Uint64(p[24:]) |
			binary.LittleEndian.Uint64(p[32:]) | binary.LittleEndian.Uint64(p[40:]) |
			binary.LittleEndian.Uint64(p[48:]) | binary.LittleEndian.Uint64(p[56:])
		if a != 0 {
			return false
		}
		p = p[64:]
	}
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
