package keyring

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"time"
)

// The kinds of a Slot.
const (
	KindPassphrase = "passphrase"
	KindFile       = "file"
	KindKMS        = "kms"
)

// Slot is a ring wrapped by one Key. It holds no secret in the clear.
type Slot struct {
	ID      string    `json:"slot"`            // 8 hex digits
	Kind    string    `json:"kind"`            // KindPassphrase, KindFile or KindKMS
	Label   string    `json:"label,omitempty"` // for people
	Created time.Time `json:"created"`
	Salt    []byte    `json:"salt,omitempty"`
	Time    uint32    `json:"time,omitempty"`    // Argon2id passes
	Memory  uint32    `json:"memory,omitempty"`  // Argon2id KiB
	Threads uint8     `json:"threads,omitempty"` // Argon2id lanes
	URL     string    `json:"url,omitempty"`     // of the key service, without secrets
	Sealed  []byte    `json:"sealed,omitempty"`  // the wrapping key, as the key service encrypted it
	Wrapped []byte    `json:"wrapped"`
}

// Key is what a person or a service holds to open a repository.
type Key interface {
	// Kind is the kind of the slots it makes and opens.
	Kind() string
	// Wrap fills the slot's parameters and Wrapped with secret sealed to the slot.
	Wrap(ctx context.Context, slot *Slot, secret []byte) error
	// Unwrap opens the slot, or fails with ErrWrongKey. Another error means
	// that the key could not be tried, as when a KMS is out of reach.
	Unwrap(ctx context.Context, slot Slot) ([]byte, error)
}

// Wrap makes a new slot of the ring for key.
func Wrap(ctx context.Context, r *Ring, key Key, label string, now time.Time) (Slot, error) {
	var id [4]byte
	if _, err := rand.Read(id[:]); err != nil {
		return Slot{}, err
	}
	s := Slot{ID: fmt.Sprintf("%x", id), Kind: key.Kind(), Label: label, Created: now.UTC()}
	secret, err := r.encode()
	if err != nil {
		return Slot{}, err
	}
	if err := key.Wrap(ctx, &s, secret); err != nil {
		return Slot{}, fmt.Errorf("wrap the repository's keys: %w", err)
	}
	return s, nil
}

// Unlock opens the ring from the first slot that the key fits. It answers
// ErrWrongKey when the key fits none, and the first failure to try when one
// slot could not be tried and none opened.
func Unlock(ctx context.Context, key Key, slots []Slot) (*Ring, Slot, error) {
	var failed error
	for _, s := range slots {
		if s.Kind != key.Kind() {
			continue
		}
		secret, err := key.Unwrap(ctx, s)
		if errors.Is(err, ErrWrongKey) {
			continue
		}
		if err != nil {
			if failed == nil {
				failed = fmt.Errorf("key slot %s: %w", s.ID, err)
			}
			continue
		}
		r, err := decodeRing(secret)
		return r, s, err
	}
	if failed != nil {
		return nil, Slot{}, failed
	}
	return nil, Slot{}, fmt.Errorf("%w: it fits none of %d key slots (this key is a %s)", ErrWrongKey, len(slots), key.Kind())
}

// wrapWith seals secret under kek, bound to the slot's id.
func wrapWith(kek [32]byte, slot *Slot, secret []byte) error {
	aead, err := newGCM(kek)
	if err != nil {
		return err
	}
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return err
	}
	slot.Wrapped = aead.Seal(nonce, nonce, secret, slotData(slot.ID))
	return nil
}

func unwrapWith(kek [32]byte, slot Slot) ([]byte, error) {
	aead, err := newGCM(kek)
	if err != nil {
		return nil, err
	}
	n := aead.NonceSize()
	if len(slot.Wrapped) < n {
		return nil, fmt.Errorf("key slot %s: wrapped key is cut short", slot.ID)
	}
	secret, err := aead.Open(nil, slot.Wrapped[:n], slot.Wrapped[n:], slotData(slot.ID))
	if err != nil {
		return nil, ErrWrongKey
	}
	return secret, nil
}

func slotData(id string) []byte { return []byte("holdfast keyring" + id) }

func newGCM(key [32]byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
