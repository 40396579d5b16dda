package verify

import (
	"bytes"
	"errors"
	"testing"
)

func FuzzReadPPM(f *testing.F) {
	f.Add([]byte("P6\n2 1\n255\n\x01\x02\x03\x04\x05\x06"))
	f.Add([]byte("P6\n2 2\n255\n\x01\x02\x03"))
	f.Add([]byte("P6\n-1 99999999\n255\n"))
	f.Add([]byte("P5\n1 1\n255\n\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := readPPM(b)
		if err != nil {
			if !errors.Is(err, errPPM) {
				t.Error(err)
			}
			return
		}
		r, g, bl, _ := p.At(0, 0).RGBA()
		at := len(b) - 3*p.Bounds().Dx()*p.Bounds().Dy()
		if got := []byte{byte(r >> 8), byte(g >> 8), byte(bl >> 8)}; !bytes.Equal(got, b[at:at+3]) {
			t.Errorf("the first pixel is %v", got)
		}
	})
}
