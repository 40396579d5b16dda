// Package keyring holds a repository's data keys and the keys that wrap them.
//
// A [Ring] is made of random keys once, at the birth of a repository; all that
// is stored is sealed under keys derived from it. A [Key] is what a person or
// service holds (passphrase, key file, KMS); it wraps the whole ring into a
// [Slot]. Several slots may wrap one ring, and changing them rewrites no data.
//
// The package promises that a wrong key is told apart from a damaged slot as
// far as cryptography can: [ErrWrongKey] for a slot that is whole but does not
// open. It keeps no passphrase and logs nothing. It does not store slots: the
// repository does.
package keyring

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/blake3"
)

// ErrWrongKey means that the key given opens none of the repository's slots.
var ErrWrongKey = errors.New("wrong key for this repository")

// Secret is 32 random bytes. It prints as nothing.
type Secret [32]byte

// String hides the secret from logs.
func (Secret) String() string { return "[secret]" }

// GoString hides the secret from logs.
func (Secret) GoString() string { return "[secret]" }

// MarshalText is base64, for the ring's own encoding only.
func (s Secret) MarshalText() ([]byte, error) {
	return []byte(base64.StdEncoding.EncodeToString(s[:])), nil
}

// UnmarshalText reads what MarshalText wrote.
func (s *Secret) UnmarshalText(text []byte) error {
	b, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil || len(b) != len(s) {
		return errors.New("secret is not 32 bytes of base64")
	}
	copy(s[:], b)
	return nil
}

// DataKey seals what is stored. The highest number seals what is new.
type DataKey struct {
	Number uint32 `json:"number"`
	Key    Secret `json:"key"`
}

// Ring is the repository's secret: the key that names content and the keys
// that seal it.
type Ring struct {
	Repository string    `json:"repository"` // id of the repository it belongs to
	ID         Secret    `json:"id"`
	Data       []DataKey `json:"data"`
}

// NewRing makes the ring of a new repository from random.
func NewRing(repository string, random io.Reader) (*Ring, error) {
	r := &Ring{Repository: repository, Data: []DataKey{{Number: 1}}}
	for _, s := range []*Secret{&r.ID, &r.Data[0].Key} {
		if _, err := io.ReadFull(random, s[:]); err != nil {
			return nil, fmt.Errorf("random keys: %w", err)
		}
	}
	return r, nil
}

// Newest is the data key that seals what is new.
func (r *Ring) Newest() DataKey {
	newest := r.Data[0]
	for _, k := range r.Data[1:] {
		if k.Number > newest.Number {
			newest = k
		}
	}
	return newest
}

// Key finds a data key by number.
func (r *Ring) Key(number uint32) (Secret, bool) {
	for _, k := range r.Data {
		if k.Number == number {
			return k.Key, true
		}
	}
	return Secret{}, false
}

func (r *Ring) encode() ([]byte, error) { return json.Marshal(r) }

func decodeRing(b []byte) (*Ring, error) {
	r := &Ring{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	if len(r.Data) == 0 || r.Repository == "" {
		return nil, errors.New("ring holds no data key or no repository id")
	}
	return r, nil
}

// Derive makes a key for one purpose and context (repository-format.md, Keys).
func Derive(key Secret, purpose string, context ...[]byte) [32]byte {
	h := blake3.NewDeriveKey("holdfast repository v1 " + purpose)
	_, _ = h.Write(key[:]) // never fails
	for _, c := range context {
		_, _ = h.Write(c)
	}
	var out [32]byte
	h.Sum(out[:0])
	return out
}
