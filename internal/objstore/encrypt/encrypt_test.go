package encrypt

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"io"
	"math"
	"testing"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/objstore/objstoretest"
)

func layered(t testing.TB, inner objstore.Store, key byte) *Store {
	t.Helper()
	s, err := New(inner, [32]byte{key})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestContract: a store with the layer is a store.
func TestContract(t *testing.T) {
	objstoretest.Run(t, func(t *testing.T) objstore.Store { return layered(t, mem.New(mem.Options{}), 1) })
}

func get(t *testing.T, s objstore.Store, off, length int64) []byte {
	t.Helper()
	r, err := s.Get(t.Context(), "x", off, length)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestLayer: nothing of an object is in the store, every range of it comes back, and
// another key gives something else.
func TestLayer(t *testing.T) {
	t.Parallel()
	inner := mem.New(mem.Options{})
	s := layered(t, inner, 1)
	plain := bytes.Repeat([]byte("what the guest wrote, sixteen"), 40)
	if err := s.Put(t.Context(), "x", bytes.NewReader(plain), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{0, 1, 15, 16, 17, 500, int64(len(plain)) - 1, int64(len(plain))} {
		for _, length := range []int64{-1, 0, 1, 16, 33} {
			want := plain[off:]
			if length >= 0 && length <= int64(len(want)) {
				want = want[:length]
			} else if length >= 0 {
				continue
			}
			if got := get(t, s, off, length); !bytes.Equal(got, want) {
				t.Errorf("%d bytes from %d: %q, want %q", length, off, got, want)
			}
		}
	}
	stored := get(t, inner, 0, -1)
	if bytes.Contains(stored, []byte("guest")) || len(stored) != len(plain)+int(header) {
		t.Errorf("stored are %d bytes: %q", len(stored), stored)
	}
	if got := get(t, layered(t, inner, 2), 0, -1); bytes.Contains(got, []byte("guest")) {
		t.Error("another key opens it")
	}
	// The same content is another ciphertext each time.
	if err := s.Delete(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "x", bytes.NewReader(plain), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(get(t, inner, header, 64), stored[header:header+64]) {
		t.Error("the key stream was used twice")
	}
}

// TestForeign: what this layer has not written is refused.
func TestForeign(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"", "short", "HFLAYER2 and all that a later version has written"} {
		inner := mem.New(mem.Options{})
		if err := inner.Put(t.Context(), "x", bytes.NewReader([]byte(content)), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := layered(t, inner, 1).Get(t.Context(), "x", 0, -1); !errors.Is(err, ErrLayer) {
			t.Errorf("%q: %v", content, err)
		}
	}
}

// FuzzStream: the key stream from any offset is that of the whole object, also where
// the counter wraps.
func FuzzStream(f *testing.F) {
	f.Add([]byte("counter"), uint16(0))
	f.Add(bytes.Repeat([]byte{0xff}, aes.BlockSize), uint16(33))
	f.Fuzz(func(t *testing.T, counter []byte, off uint16) {
		var first [aes.BlockSize]byte
		copy(first[:], counter)
		block, err := aes.NewCipher(make([]byte, 32))
		if err != nil {
			t.Fatal(err)
		}
		whole := make([]byte, math.MaxUint16+64)
		cipher.NewCTR(block, first[:]).XORKeyStream(whole, whole)
		part := make([]byte, 64)
		stream(block, first, int64(off)).XORKeyStream(part, part)
		if !bytes.Equal(part, whole[off:int(off)+64]) {
			t.Errorf("from %d it differs", off)
		}
	})
}

func BenchmarkGet(b *testing.B) {
	inner := mem.New(mem.Options{})
	s := layered(b, inner, 1)
	content := make([]byte, 16<<20)
	_, _ = rand.Read(content)
	if err := s.Put(b.Context(), "x", bytes.NewReader(content), objstore.PutOptions{}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		r, err := s.Get(b.Context(), "x", 0, -1)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
}
