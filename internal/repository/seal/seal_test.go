package seal_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"holdfast/internal/keyring"
	"holdfast/internal/repository/seal"
)

func testKeys(data byte) *seal.Keys {
	return seal.NewKeys(&keyring.Ring{Repository: "r", ID: keyring.Secret{1}, Data: []keyring.DataKey{{Number: 1, Key: keyring.Secret{data}}}})
}

// A box opens under its key, kind and name alone, and every flipped bit and cut
// is found with and without a key.
func TestBox(t *testing.T) {
	t.Parallel()
	keys := testKeys(2)
	for _, content := range []string{"", "{}", strings.Repeat("compressible ", 50)} {
		raw, err := keys.Box(seal.Ledger, "ledger/1", []byte(content))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := keys.OpenBox(seal.Ledger, "ledger/1", raw); err != nil || string(got) != content {
			t.Errorf("%q, %v", got, err)
		}
		for what, err := range map[string]error{
			"another name": second(keys.OpenBox(seal.Ledger, "ledger/2", raw)),
			"another kind": second(keys.OpenBox(seal.State, "ledger/1", raw)),
			"another key":  second(testKeys(3).OpenBox(seal.Ledger, "ledger/1", raw)),
		} {
			if !errors.Is(err, seal.ErrDamaged) {
				t.Errorf("%s: %v", what, err)
			}
		}
		for i := range 8 * len(raw) {
			raw[i/8] ^= 1 << (i % 8)
			if seal.CheckBox(raw) == nil {
				t.Fatalf("bit %d is not noticed without a key", i)
			}
			if _, err := keys.OpenBox(seal.Ledger, "ledger/1", raw); err == nil {
				t.Fatalf("bit %d is not noticed", i)
			}
			raw[i/8] ^= 1 << (i % 8)
		}
		for n := range raw {
			if seal.CheckBox(raw[:n]) == nil {
				t.Fatalf("a cut at %d is not noticed", n)
			}
		}
	}
}

func second(_ []byte, err error) error { return err }

// A box of a newer release is not called damaged.
func TestNewerBox(t *testing.T) {
	t.Parallel()
	raw := seal.PlainBox(seal.Config, []byte("{}"))
	raw[8] = 9
	sum := seal.Hash(raw[:len(raw)-32])
	copy(raw[len(raw)-32:], sum[:])
	if _, err := seal.OpenPlainBox(seal.Config, raw); !errors.Is(err, seal.ErrVersion) || errors.Is(err, seal.ErrDamaged) {
		t.Errorf("%v", err)
	}
}

// What incompressible bytes cost is their length.
func TestIncompressible(t *testing.T) {
	t.Parallel()
	c := seal.NewCodec()
	defer c.Close()
	sum := seal.Hash([]byte("x"))
	var random []byte
	for range 2048 {
		sum = seal.Hash(sum[:])
		random = append(random, sum[:]...)
	}
	if n := c.Payload(random, nil).SealedSize(); n != len(random)+seal.FrameHeaderSize+seal.Overhead {
		t.Errorf("%d bytes for %d", n, len(random))
	}
}

func FuzzOpenPlainBox(f *testing.F) {
	f.Add(seal.PlainBox(seal.Config, []byte(`{"id":"x"}`)))
	f.Add([]byte("HFCONFIG"))
	f.Fuzz(func(t *testing.T, b []byte) {
		content, err := seal.OpenPlainBox(seal.Config, b)
		if err == nil && !bytes.Equal(seal.PlainBox(seal.Config, content), b) {
			t.Error("encode of what was parsed differs")
		}
	})
}

func FuzzOpenBox(f *testing.F) {
	keys := testKeys(2)
	raw, err := keys.Box(seal.Ledger, "l", []byte("content"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := keys.OpenBox(seal.Ledger, "l", b); err == nil && string(got) != "content" {
			t.Error("a box was forged")
		}
	})
}

func FuzzParseFrameHeader(f *testing.F) {
	f.Add(seal.FrameHeader{Number: 1, First: 2, Count: 3, Codec: 1, Plain: 4, Sealed: 20}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := seal.ParseFrameHeader(b)
		if err == nil && !bytes.Equal(h.Append(nil), b[:seal.FrameHeaderSize]) {
			t.Error("encode of what was parsed differs")
		}
	})
}
