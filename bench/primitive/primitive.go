// Package primitive measures the building blocks that a backup is made of
// (hash, compressor, cipher) on the real bytes of a disk image, one thread at
// a time, in processor time. It says what a choice would cost before the
// choice is built in.
//
// Its figures are upper bounds: a backup also reads, plans and writes.
package primitive

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/DataDog/zstd"
	kzstd "github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"
	"golang.org/x/crypto/blake2b"
	"golang.org/x/sys/unix"
)

// Figure is the speed of one building block on pieces of one size.
type Figure struct {
	Name  string  `json:"name"`
	Piece int     `json:"piece"` // bytes handed over at once
	Speed float64 `json:"speed"` // MB of plain data per second of one processor
	Ratio float64 `json:"ratio"` // output/input; 1 where nothing shrinks
}

const (
	block = 4 << 20 // what is taken from one place of the image
	holes = 64 << 10
)

// Sample reads up to size bytes of the image's data, in blocks of 4 MiB spread
// over the whole of it. Zero chunks are left out, as a backup leaves them out.
func Sample(path string, size int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// Most images are more hole than data; look at three times as many places.
	step := max(st.Size()/(3*size/block), block)
	var data []byte
	buffer, zero := make([]byte, block), make([]byte, holes)
	for off := int64(0); off < st.Size() && int64(len(data)) < size; off += step {
		n, err := f.ReadAt(buffer, off)
		if err != nil && err != io.EOF {
			return nil, err
		}
		for at := 0; at+holes <= n; at += holes {
			if piece := buffer[at : at+holes]; string(piece) != string(zero) {
				data = append(data, piece...)
			}
		}
	}
	if len(data) < block {
		return nil, fmt.Errorf("%s holds too little data to measure with", path)
	}
	return data, nil
}

// step is one building block: it answers the length of what it made of src.
type step struct {
	name   string
	pieces []int
	run    func(src []byte) int
}

// Measure runs every building block over the data and hands each figure to
// got.
func Measure(data []byte, got func(Figure)) error {
	steps, err := steps()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, s := range steps {
		for _, piece := range s.pieces {
			in, out := 0, 0
			start := threadSeconds()
			for rest := data; len(rest) >= piece; rest = rest[piece:] {
				in, out = in+piece, out+s.run(rest[:piece])
			}
			spent := threadSeconds() - start
			got(Figure{Name: s.name, Piece: piece, Speed: float64(in) / 1e6 / spent, Ratio: float64(out) / float64(in)})
		}
	}
	return nil
}

// threadSeconds is the processor time of this thread.
func threadSeconds() float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		panic("getrusage of the own thread: " + err.Error()) // has no reason to fail
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

var (
	chunkOnly = []int{64 << 10}
	frames    = []int{64 << 10, 256 << 10, 1 << 20, 4 << 20}
)

func steps() ([]step, error) {
	list := hashes()
	aead, err := gcm()
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, 0, block+aead.Overhead())
	nonce := make([]byte, aead.NonceSize())
	list = append(list, step{"aes-256-gcm", frames[2:3], func(src []byte) int {
		aead.Seal(sealed, nonce, src, nil)
		return len(src)
	}})
	for level := 1; level <= 5; level++ {
		ctx, dst := zstd.NewCtx(), make([]byte, zstd.CompressBound(block))
		list = append(list, step{fmt.Sprintf("zstd cgo %d", level), frames, func(src []byte) int {
			out, err := ctx.CompressLevel(dst, src, level)
			if err != nil || len(out) > len(src) {
				return len(src)
			}
			return len(out)
		}})
	}
	for _, level := range []kzstd.EncoderLevel{kzstd.SpeedFastest, kzstd.SpeedDefault, kzstd.SpeedBetterCompression} {
		enc, err := kzstd.NewWriter(nil, kzstd.WithEncoderLevel(level), kzstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		dst := make([]byte, 0, zstd.CompressBound(block))
		list = append(list, step{"zstd go " + level.String(), frames, func(src []byte) int {
			return min(len(enc.EncodeAll(src, dst)), len(src))
		}})
	}
	return append(list, unpack()...), nil
}

func hashes() []step {
	key := make([]byte, 32)
	keyed, err := blake3.NewKeyed(key)
	if err != nil {
		panic("blake3 refuses a 32-byte key: " + err.Error())
	}
	var sum [32]byte
	return []step{
		{"blake3 keyed", chunkOnly, func(src []byte) int {
			keyed.Reset()
			_, _ = keyed.Write(src) // never fails
			keyed.Sum(sum[:0])
			return len(src)
		}},
		{"sha-256", chunkOnly, func(src []byte) int { sha256.Sum256(src); return len(src) }},
		{"blake2b-256", chunkOnly, func(src []byte) int { blake2b.Sum256(src); return len(src) }},
	}
}

func gcm() (cipher.AEAD, error) {
	b, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

// unpack measures decompression. The piece is packed and unpacked, so its
// figure holds the packing too: compare it with the same level's packing alone.
func unpack() []step {
	ctx, packed, plain := zstd.NewCtx(), make([]byte, zstd.CompressBound(block)), make([]byte, block)
	return []step{{"zstd cgo 1 and back", frames[2:3], func(src []byte) int {
		out, err := ctx.CompressLevel(packed, src, 1)
		if err != nil {
			return len(src)
		}
		if _, err := ctx.DecompressInto(plain[:len(src)], out); err != nil {
			panic("zstd does not open what it made: " + err.Error())
		}
		return len(out)
	}}}
}
