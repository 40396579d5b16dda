// Package encrypt wraps a store so that every object is encrypted once more on its
// way into it: the second layer of an operational repository that is to be encrypted
// at rest twice (matrix RPT-28). What it is given is ciphertext of the repository
// already, under another key.
//
// An object is stored as
//
//	0   8   "HFLAYER1": magic and version
//	8   16  random first counter block
//	24  …   the object, AES-256-CTR (NIST SP 800-38A, 6.5; the counter is the whole
//	        block, big endian)
//
// It promises that nothing of an object's content is in the store without the key,
// and that ranges cost no more than they ask for and the 24 bytes. Names and sizes
// show, and a changed byte is not noticed here: the repository's own layer proves
// every frame. Another version is refused with ErrLayer.
package encrypt

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/big"
	"time"

	"holdfast/internal/objstore"
)

const (
	magic  = "HFLAYER1"
	header = int64(len(magic) + aes.BlockSize)
)

// ErrLayer means that an object is not one that this layer has written.
var ErrLayer = errors.New("object has no layer of encryption that is known")

// Store is a store whose objects are encrypted.
type Store struct {
	inner objstore.Store
	block cipher.Block
}

var _ objstore.Store = (*Store)(nil)

// New wraps inner.
func New(inner objstore.Store, key [32]byte) (*Store, error) {
	block, err := aes.NewCipher(key[:])
	return &Store{inner, block}, err
}

// Put encrypts body under a counter of its own. A body that is read again, for a put
// that is repeated, is encrypted alike.
func (s *Store) Put(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
	b := sealed{body, s.block, [header]byte{}}
	copy(b.head[:], magic)
	if _, err := rand.Read(b.head[len(magic):]); err != nil {
		return err
	}
	return s.inner.Put(ctx, name, b, opt)
}

// Get decrypts a range.
func (s *Store) Get(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	if off < 0 {
		return nil, fmt.Errorf("%s at %d: %w", name, off, objstore.ErrInvalid)
	}
	first, err := s.counter(ctx, name)
	if err != nil {
		return nil, err
	}
	r, err := s.inner.Get(ctx, name, header+off, length)
	if err != nil {
		return nil, err
	}
	return opened{cipher.StreamReader{S: stream(s.block, first, off), R: r}, r}, nil
}

// counter reads an object's first counter block.
func (s *Store) counter(ctx context.Context, name string) (first [aes.BlockSize]byte, err error) {
	r, err := s.inner.Get(ctx, name, 0, header)
	if err != nil {
		if errors.Is(err, objstore.ErrInvalid) && objstore.ValidName(name) == nil {
			err = fmt.Errorf("%s: %w", name, ErrLayer) // shorter than a header
		}
		return first, err
	}
	defer r.Close()
	var head [header]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return first, err
	}
	if string(head[:len(magic)]) != magic {
		return first, fmt.Errorf("%s: %w", name, ErrLayer)
	}
	return [aes.BlockSize]byte(head[len(magic):]), nil
}

// stream is the key stream of an object from an offset on.
func stream(block cipher.Block, first [aes.BlockSize]byte, off int64) cipher.Stream {
	n := new(big.Int).SetBytes(first[:])
	n.Add(n, big.NewInt(off/aes.BlockSize))
	n.SetBit(n, 8*aes.BlockSize, 0) // the counter wraps
	var at [aes.BlockSize]byte
	n.FillBytes(at[:])
	s := cipher.NewCTR(block, at[:])
	var skip [aes.BlockSize]byte
	s.XORKeyStream(skip[:off%aes.BlockSize], skip[:off%aes.BlockSize])
	return s
}

// sealed is a body with its layer.
type sealed struct {
	body  objstore.Body
	block cipher.Block
	head  [header]byte
}

func (b sealed) Size() int64 { return header + b.body.Size() }

// ReadAt gives header and ciphertext.
func (b sealed) ReadAt(p []byte, off int64) (n int, err error) {
	if off < header {
		n = copy(p, b.head[off:])
	}
	if n == len(p) {
		return n, nil
	}
	at := off + int64(n) - header
	m, err := b.body.ReadAt(p[n:], at)
	rest := p[n : n+m]
	stream(b.block, [aes.BlockSize]byte(b.head[len(magic):]), at).XORKeyStream(rest, rest)
	return n + m, err
}

// opened is a reader without its layer.
type opened struct {
	cipher.StreamReader
	io.Closer
}

// Stat describes the object as it was put.
func (s *Store) Stat(ctx context.Context, name string) (objstore.Info, error) {
	i, err := s.inner.Stat(ctx, name)
	i.Size -= header
	return i, err
}

// List describes objects as they were put.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for i, err := range s.inner.List(ctx, prefix, after) {
			i.Size -= header
			if !yield(i, err) {
				return
			}
		}
	}
}

func (s *Store) Delete(ctx context.Context, name string) error { return s.inner.Delete(ctx, name) }

func (s *Store) Retain(ctx context.Context, name string, until time.Time) error {
	return s.inner.Retain(ctx, name, until)
}

func (s *Store) Features() objstore.Features { return s.inner.Features() }

func (s *Store) String() string { return s.inner.String() }

// Unwrap returns the wrapped store.
func (s *Store) Unwrap() objstore.Store { return s.inner }
