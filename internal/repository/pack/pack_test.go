package pack_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"holdfast/internal/keyring"
	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
)

func testKeys() (*seal.Keys, *chunk.Namer) {
	keys := seal.NewKeys(&keyring.Ring{Repository: "r", ID: keyring.Secret{1}, Data: []keyring.DataKey{{Number: 1, Key: keyring.Secret{2}}}})
	return keys, chunk.NewNamer(keys.IDKeys())
}

// build makes a pack of frames with the given counts of chunks.
func build(t testing.TB, keys *seal.Keys, namer *chunk.Namer, counts ...int) ([]byte, []chunk.ID, [][]byte) {
	t.Helper()
	b, err := pack.NewBuilder(keys, pack.Chunks, pack.NewID([12]byte{7}, 1), make([]byte, 0, 4<<20))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	c := seal.NewCodec()
	defer c.Close()
	var ids []chunk.ID
	var blobs [][]byte
	for _, n := range counts {
		var plain []byte
		var frame []chunk.ID
		for range n {
			blob := bytes.Repeat([]byte{byte(rng.Uint32()), byte(rng.Uint32())}, chunk.Size/2)
			plain, blobs = append(plain, blob...), append(blobs, blob)
			frame = append(frame, namer.Chunk(blob))
		}
		p := c.Payload(plain, nil)
		place, ok := b.Reserve(p, frame)
		if !ok {
			t.Fatal("no room")
		}
		if err := place.Fill(p, c, nil); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, frame...)
	}
	return bytes.Clone(b.Finish()), ids, blobs
}

// What is packed comes out again, found by ordinal.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	keys, namer := testKeys()
	raw, ids, blobs := build(t, keys, namer, 1, 3, 16)
	p, err := pack.Open(keys, pack.NewID([12]byte{7}, 1), bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.IDs()
	if err != nil || !slices.Equal(got, ids) {
		t.Errorf("ids %v, %v", got, err)
	}
	c := seal.NewCodec()
	defer c.Close()
	for o := range uint32(len(ids)) {
		row, err := p.Frame(o)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := p.OpenFrame(row, raw[row.Offset:int64(row.Offset)+row.Size()], c, nil)
		if err != nil {
			t.Fatal(err)
		}
		blob, err := p.Blob(row, payload, o)
		if err != nil || !bytes.Equal(blob, blobs[o]) {
			t.Errorf("blob %d: %v", o, err)
		}
	}
	if _, err := p.Frame(uint32(len(ids))); err == nil {
		t.Error("a blob behind the last")
	}
}

// Every flipped bit and every cut of a pack is found without a key.
func TestEveryBit(t *testing.T) {
	t.Parallel()
	keys, namer := testKeys()
	raw, _, _ := build(t, keys, namer, 1, 2)
	id := pack.NewID([12]byte{7}, 1)
	if broken, err := pack.Check(id, raw); err != nil || broken != nil {
		t.Fatalf("a whole pack: %v, %v", broken, err)
	}
	for i := range 8 * len(raw) {
		raw[i/8] ^= 1 << (i % 8)
		if broken, err := pack.Check(id, raw); err == nil && broken == nil {
			t.Fatalf("bit %d of %d bytes is not noticed", i, len(raw))
		}
		raw[i/8] ^= 1 << (i % 8)
	}
	for n := range raw {
		if broken, err := pack.Check(id, raw[:n]); err == nil && broken == nil {
			t.Fatalf("a cut at %d is not noticed", n)
		}
	}
	t.Logf("%d bits, %d cuts", 8*len(raw), len(raw))
}

// A pack without its trailer is read by its frames.
func TestScan(t *testing.T) {
	t.Parallel()
	keys, namer := testKeys()
	raw, ids, _ := build(t, keys, namer, 2, 2, 2)
	id := pack.NewID([12]byte{7}, 1)
	for cut := 1; cut < 88; cut++ {
		p, got, err := pack.Scan(keys, namer, id, raw[:len(raw)-cut], nil)
		if err != nil || !slices.Equal(got, ids) || p.Blobs() != len(ids) {
			t.Fatalf("cut of %d: %d ids, %v", cut, len(got), err)
		}
	}
}

// What Open takes from any bytes is what a Builder could have written.
func FuzzOpen(f *testing.F) {
	keys, namer := testKeys()
	raw, _, _ := build(f, keys, namer, 1, 2)
	f.Add(raw)
	f.Add(raw[:len(raw)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := pack.Open(keys, pack.NewID([12]byte{7}, 1), bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if !bytes.Equal(p.Trailer(), b[int64(len(b))-int64(len(p.Trailer())):]) {
			t.Error("encode of what was parsed differs")
		}
	})
}
