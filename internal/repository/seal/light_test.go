package seal

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzDecompressLight: what is no MinLZ block of the length that is asked for is
// damage, whatever it is, and nothing is written behind it.
func FuzzDecompressLight(f *testing.F) {
	plain := bytes.Repeat([]byte("holdfast "), 300)
	packed, ok := compressLight(nil, plain)
	if !ok {
		f.Fatal("not compressed")
	}
	f.Add(packed, len(plain))
	f.Add(packed, len(plain)-1)
	f.Add(packed[:len(packed)/2], len(plain))
	f.Add([]byte{0, 0, 'x'}, 1)      // stored literally
	f.Add([]byte{3, 8, 'a', 'b'}, 3) // Snappy
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		n &= 1<<20 - 1
		room := bytes.Repeat([]byte{0xa5}, n+64)
		err := decompressLight(room[:n:n], b)
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("not called damage: %v", err)
		}
		if bytes.Contains(b, packed) && len(b) == len(packed) && n == len(plain) && !bytes.Equal(room[:n], plain) {
			t.Error("other content")
		}
		if !bytes.Equal(room[n:], bytes.Repeat([]byte{0xa5}, 64)) {
			t.Error("written behind the end")
		}
	})
}
