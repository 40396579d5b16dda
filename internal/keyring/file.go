package keyring

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
)

const fileMagic = "HOLDFAST-KEY-1 "

type fileKey struct{ secret Secret }

// GenerateFile makes a new random key file, readable by its owner alone, and
// returns its Key. It fails if the file exists. The file is synced to disk
// before GenerateFile returns.
func GenerateFile(path string) (Key, error) {
	var s Secret
	if _, err := rand.Read(s[:]); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make key file: %w", err)
	}
	_, err = fmt.Fprintf(f, "%s%x\n", fileMagic, s[:])
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return nil, fmt.Errorf("make key file: %w", err)
	}
	return fileKey{s}, nil
}

// File is the Key in a key file.
func File(path string) (Key, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	s, err := parseFile(b)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return fileKey{s}, nil
}

// LayerKey is a key for a second layer of encryption (objstore/encrypt), of a key file.
func LayerKey(k Key) ([32]byte, error) {
	f, ok := k.(fileKey)
	if !ok {
		return [32]byte{}, fmt.Errorf("a %s key has no layer", k.Kind())
	}
	return Derive(f.secret, "second layer"), nil
}

// Raw is the Key of 32 bytes that the caller keeps itself.
func Raw(secret Secret) Key { return fileKey{secret} }

func parseFile(b []byte) (Secret, error) {
	var s Secret
	text, ok := bytes.CutPrefix(bytes.TrimSpace(b), []byte(fileMagic))
	if !ok {
		return s, fmt.Errorf("does not begin with %q", fileMagic)
	}
	raw, err := hex.DecodeString(string(text))
	if err != nil || len(raw) != len(s) {
		return s, fmt.Errorf("key is not %d hex digits", 2*len(s))
	}
	copy(s[:], raw)
	return s, nil
}

func (fileKey) Kind() string { return KindFile }

func (k fileKey) Wrap(_ context.Context, s *Slot, secret []byte) error {
	s.Salt = make([]byte, 16)
	if _, err := rand.Read(s.Salt); err != nil {
		return err
	}
	return wrapWith(Derive(k.secret, "key file", s.Salt), s, secret)
}

func (k fileKey) Unwrap(_ context.Context, s Slot) ([]byte, error) {
	return unwrapWith(Derive(k.secret, "key file", s.Salt), s)
}
