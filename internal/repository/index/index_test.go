package index_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"holdfast/internal/keyring"
	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/index"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
)

func testKeys() *seal.Keys {
	return seal.NewKeys(&keyring.Ring{Repository: "r", ID: keyring.Secret{1}, Data: []keyring.DataKey{{Number: 1, Key: keyring.Secret{2}}}})
}

func randomID(rng *rand.Rand) (id chunk.ID) {
	for i := 0; i < len(id); i += 4 {
		binary.LittleEndian.PutUint32(id[i:], rng.Uint32())
	}
	return id
}

// entries makes n entries in some packs; some ids are in two.
func entries(rng *rand.Rand, n int) ([]index.Entry, []index.PackInfo) {
	var packs []index.PackInfo
	for i := range uint32(1 + n/100) {
		packs = append(packs, index.PackInfo{ID: pack.NewID([12]byte{byte(rng.Uint32())}, i), Blobs: 1000, Stored: 5, Kind: pack.Chunks})
	}
	var es []index.Entry
	for range n {
		e := index.Entry{ID: randomID(rng), Pack: packs[rng.IntN(len(packs))].ID, Ordinal: rng.Uint32N(1000)}
		es = append(es, e)
		if rng.IntN(10) == 0 {
			e.Pack = packs[rng.IntN(len(packs))].ID
			e.Ordinal++
			es = append(es, e)
		}
	}
	return es, packs
}

// Every entry is found with all its places, nothing else is found, and the
// filter keeps nearly all misses from reading.
func TestLookup(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{0, 1, 150, 151, 152, 5000, 40000} {
		es, packs := entries(rng, n)
		places := map[chunk.ID]map[index.Entry]bool{}
		for _, e := range es {
			if places[e.ID] == nil {
				places[e.ID] = map[index.Entry]bool{}
			}
			places[e.ID][e] = true
		}
		raw, err := index.Build(testKeys(), index.ID{1}, es, packs)
		if err != nil {
			t.Fatal(err)
		}
		reads := &countingReader{b: raw}
		r, err := index.Open(testKeys(), index.ID{1}, reads, int64(len(raw)))
		if err != nil {
			t.Fatal(err)
		}
		for id, want := range places {
			got := 0
			_, err := r.Lookup(id, func(p pack.ID, o uint32) bool {
				if !want[index.Entry{ID: id, Pack: p, Ordinal: o}] {
					t.Errorf("wrong place for %s", id)
				}
				got++
				return false
			})
			if err != nil || got != len(want) {
				t.Fatalf("%d entries: %s has %d places, not %d; %v", n, id, got, len(want), err)
			}
		}
		reads.n = 0
		for range 10000 {
			if ok, err := r.Lookup(randomID(rng), func(pack.ID, uint32) bool { return true }); ok || err != nil {
				t.Fatalf("found what isn't there: %v", err)
			}
		}
		if reads.n > 300 {
			t.Errorf("%d entries: %d reads for 10000 misses", n, reads.n)
		}
	}
}

type countingReader struct {
	b []byte
	n int
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	c.n++
	return bytes.NewReader(c.b).ReadAt(p, off)
}

// A merge holds what its sources held, but for the packs that are refused.
func TestMerge(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(2, 2))
	want := map[index.Entry]bool{}
	var from []*index.Reader
	var refused pack.ID
	for i := range 5 {
		es, packs := entries(rng, 1000*i)
		raw, err := index.Build(testKeys(), index.ID{byte(i)}, es, packs)
		if err != nil {
			t.Fatal(err)
		}
		r, err := index.Open(testKeys(), index.ID{byte(i)}, bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			t.Fatal(err)
		}
		from = append(from, r, r)
		refused = packs[0].ID
		for _, e := range es {
			want[e] = true
		}
	}
	for e := range want {
		if e.Pack == refused {
			delete(want, e)
		}
	}
	var buf bytes.Buffer
	n, err := index.Merge(&buf, testKeys(), index.ID{77}, from, func(p pack.ID) bool { return p != refused })
	if err != nil || n != uint64(len(want)) {
		t.Fatalf("%d entries, not %d; %v", n, len(want), err)
	}
	if err := index.Check(index.ID{77}, bytes.NewReader(buf.Bytes()), int64(buf.Len())); err != nil {
		t.Error(err)
	}
	r, err := index.Open(testKeys(), index.ID{77}, bytes.NewReader(buf.Bytes()), int64(buf.Len()))
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range r.Entries() {
		if err != nil || !want[e] {
			t.Fatalf("%v, %v", e, err)
		}
	}
}

// Every flipped bit and every cut of a segment is found without a key.
func TestEveryBit(t *testing.T) {
	t.Parallel()
	es, packs := entries(rand.New(rand.NewPCG(3, 3)), 3)
	raw, err := index.Build(testKeys(), index.ID{1}, es, packs)
	if err != nil {
		t.Fatal(err)
	}
	step := 1
	if testing.Short() {
		step = 31
	}
	n := 0
	for i := 0; i < 8*len(raw); i += step {
		raw[i/8] ^= 1 << (i % 8)
		if index.Check(index.ID{1}, bytes.NewReader(raw), int64(len(raw))) == nil {
			t.Fatalf("bit %d is not noticed", i)
		}
		raw[i/8] ^= 1 << (i % 8)
		n++
	}
	for cut := range raw {
		if index.Check(index.ID{1}, bytes.NewReader(raw[:cut]), int64(cut)) == nil {
			t.Fatalf("a cut at %d is not noticed", cut)
		}
	}
	t.Logf("%d bits, %d cuts", n, len(raw))
}

// What Open takes from any bytes can be read to its end or is damaged, and is
// encoded to the same bytes.
func FuzzOpen(f *testing.F) {
	es, packs := entries(rand.New(rand.NewPCG(3, 3)), 3)
	raw, err := index.Build(testKeys(), index.ID{1}, es, packs)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := index.Open(testKeys(), index.ID{1}, bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		var got []index.Entry
		for e, err := range r.Entries() {
			if err != nil {
				return
			}
			got = append(got, e)
		}
		again, err := index.Build(testKeys(), index.ID{1}, got, r.Packs())
		if err == nil && index.Check(index.ID{1}, bytes.NewReader(b), int64(len(b))) == nil && !bytes.Equal(again, b) {
			t.Error("encode of what was parsed differs")
		}
	})
}
