// Package seal compresses and encrypts: frames of packs, pages of index
// segments, and boxes (the envelope of every small object).
//
// It promises that nothing opens that was altered, moved to another place or
// sealed under another repository's keys, and that every box can be checked
// for damage without a key. Each object has its own derived key, so nonces are
// plain numbers inside one object. The layout is in
// docs/design/repository-format.md.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"

	"holdfast/internal/keyring"

	"github.com/zeebo/blake3"
)

// ErrDamaged means that bytes were read and are wrong. It is never used for
// bytes that could not be read.
var ErrDamaged = errors.New("damaged")

// ErrVersion means that an artifact was made by a newer release.
var ErrVersion = errors.New("made by a newer version of holdfast")

// Damaged makes an ErrDamaged with its reason.
func Damaged(format string, a ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, a...)...)
}

// NonceSize and Overhead are those of AES-GCM, in bytes.
const (
	NonceSize = 12
	Overhead  = 16
)

// Keys derives the key of each object from a ring. It is safe for concurrent
// use.
type Keys struct {
	ring   *keyring.Ring
	newest keyring.DataKey
}

// NewKeys prepares a ring for use.
func NewKeys(ring *keyring.Ring) *Keys { return &Keys{ring, ring.Newest()} }

// Newest is the number of the data key that seals what is new.
func (k *Keys) Newest() uint32 { return k.newest.Number }

// Pack is the cipher of one pack.
func (k *Keys) Pack(number uint32, id [16]byte) (cipher.AEAD, error) {
	return k.derive(number, "pack", id[:])
}

// Segment is the cipher of one index segment.
func (k *Keys) Segment(number uint32, id [16]byte) (cipher.AEAD, error) {
	return k.derive(number, "index", id[:])
}

// IDKeys are the two keys that name chunks and nodes.
func (k *Keys) IDKeys() (chunks, nodes [32]byte) {
	return keyring.Derive(k.ring.ID, "chunk id"), keyring.Derive(k.ring.ID, "node id")
}

func (k *Keys) derive(number uint32, purpose string, context ...[]byte) (cipher.AEAD, error) {
	data, ok := k.ring.Key(number)
	if !ok {
		return nil, Damaged("sealed with data key %d, which the repository doesn't have", number)
	}
	key := keyring.Derive(data, purpose, context...)
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// Nonce is section (BE) ‖ 0 ‖ piece (BE): the nonce of one message inside an
// object that has its own key.
func Nonce(section, piece uint32) []byte {
	n := make([]byte, NonceSize)
	binary.BigEndian.PutUint32(n, section)
	binary.BigEndian.PutUint32(n[8:], piece)
	return n
}

// Hash is unkeyed BLAKE3 of the parts: the check that needs no key.
func Hash(parts ...[]byte) (sum [32]byte) {
	h := blake3.New()
	for _, p := range parts {
		_, _ = h.Write(p) // never fails
	}
	h.Sum(sum[:0])
	return sum
}
