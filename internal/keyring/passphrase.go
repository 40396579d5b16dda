package keyring

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"
)

// Argon2id parameters of new slots: the second recommended option of RFC 9106
// section 4 (64 MiB, three passes, four lanes).
const (
	argonTime    = 3
	argonMemory  = 64 << 10 // KiB
	argonThreads = 4
	// argonMemoryMax bounds what a slot read from a store can make us spend.
	argonMemoryMax = 1 << 20 // KiB
	argonTimeMax   = 64
)

type passphrase struct {
	text         string
	time, memory uint32
}

// Passphrase is a Key that a person remembers. It is stretched by Argon2id.
func Passphrase(text string) Key { return passphrase{text, argonTime, argonMemory} }

// WeakPassphrase is Passphrase with the least stretching, for tests that open
// repositories by the thousand.
func WeakPassphrase(text string) Key { return passphrase{text, 1, 8} }

func (passphrase) Kind() string { return KindPassphrase }

func (p passphrase) Wrap(_ context.Context, s *Slot, secret []byte) error {
	if p.text == "" {
		return errors.New("the passphrase is empty")
	}
	s.Salt = make([]byte, 16)
	if _, err := rand.Read(s.Salt); err != nil {
		return err
	}
	s.Time, s.Memory, s.Threads = p.time, p.memory, argonThreads
	return wrapWith(p.kek(*s), s, secret)
}

func (p passphrase) Unwrap(_ context.Context, s Slot) ([]byte, error) {
	if s.Time == 0 || s.Time > argonTimeMax || s.Memory > argonMemoryMax || s.Threads == 0 || len(s.Salt) < 8 {
		return nil, fmt.Errorf("key slot %s: Argon2id parameters out of bounds", s.ID)
	}
	return unwrapWith(p.kek(s), s)
}

func (p passphrase) kek(s Slot) [32]byte {
	return [32]byte(argon2.IDKey([]byte(p.text), s.Salt, s.Time, s.Memory, s.Threads, 32))
}
