package tree_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/tree"
)

// randomNode has zero, repeated and single children in some packs.
func randomNode(rng *rand.Rand) *tree.Node {
	n := &tree.Node{Level: uint8(1 + rng.IntN(4))}
	ordinal := rng.Uint32N(1 << 20)
	for i := 0; i < tree.Fanout; {
		run := min(1+rng.IntN(9), tree.Fanout-i)
		ref := tree.Ref{ID: chunk.ID{byte(rng.Uint32()), byte(rng.Uint32()), 1}, Pack: pack.NewID([12]byte{3}, rng.Uint32N(3)), Ordinal: ordinal}
		for range run {
			switch rng.IntN(3) {
			case 0:
				n.Kids[i] = ref
			case 1:
				ordinal++
				n.Kids[i] = tree.Ref{ID: chunk.ID{byte(ordinal), byte(ordinal >> 8), 2}, Pack: ref.Pack, Ordinal: ordinal}
			}
			i++
		}
		if rng.IntN(3) == 0 {
			ordinal += 5
		}
	}
	return n
}

// sameLocations makes children of one run share a place, as the form demands.
func sameLocations(n *tree.Node) {
	for i := 1; i < tree.Fanout; i++ {
		if n.Kids[i].ID == n.Kids[i-1].ID {
			n.Kids[i] = n.Kids[i-1]
		}
	}
}

// Decode is the inverse of Encode, and the id doesn't depend on places.
func TestEncodeDecode(t *testing.T) {
	t.Parallel()
	namer := chunk.NewNamer([32]byte{1}, [32]byte{2})
	rng := rand.New(rand.NewPCG(1, 1))
	longest := 0
	for range 20000 {
		n := randomNode(rng)
		sameLocations(n)
		b := tree.Encode(n)
		longest = max(longest, len(b))
		got, err := tree.Decode(b)
		if err != nil || *got != *n {
			t.Fatalf("%v: %+v is not %+v", err, got, n)
		}
		moved := *n
		for i := range moved.Kids {
			if !moved.Kids[i].IsZero() {
				moved.Kids[i].Pack, moved.Kids[i].Ordinal = pack.ID{9}, uint32(i)
			}
		}
		if moved.ID(namer) != n.ID(namer) {
			t.Fatal("the id depends on places")
		}
	}
	t.Logf("longest node: %d bytes", longest)
}

func TestShape(t *testing.T) {
	t.Parallel()
	for size, level := range map[int64]uint8{0: 1, 1: 1, 4 << 20: 1, 4<<20 + 1: 2, 256 << 20: 2, 256<<20 + 1: 3, 16 << 30: 3, 32 << 40: 5, 64 << 40: 5} {
		if got := (tree.Shape{Size: size}).Level(); got != level {
			t.Errorf("a disk of %d bytes has level %d, not %d", size, got, level)
		}
	}
}

// What decodes, encodes to the same bytes.
func FuzzDecode(f *testing.F) {
	rng := rand.New(rand.NewPCG(2, 2))
	for range 5 {
		f.Add(tree.Encode(randomNode(rng)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := tree.Decode(b)
		if err == nil && !bytes.Equal(tree.Encode(n), b) {
			t.Error("encode of what was decoded differs")
		}
	})
}
