package index_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"holdfast/internal/repository/index"
	"holdfast/internal/repository/pack"
)

// Whatever sizes of segments come one after the other, there are never many of
// them, and each entry is written anew a few times only.
func TestCrowded(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(*rand.Rand) uint64{
		"equal":  func(*rand.Rand) uint64 { return 17 },
		"random": func(rng *rand.Rand) uint64 { return 1 + rng.Uint64N(1<<rng.IntN(18)) },
		"big":    func(*rand.Rand) uint64 { return 256 << 10 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(1, 2))
			var have []uint64
			var all, written uint64
			most := 0
			for range 10_000 {
				n := next(rng)
				slices.Sort(have)
				k := index.Crowded(have, n, 64)
				all += n
				for _, m := range have[:k] {
					n += m
				}
				written += n
				have = append(slices.Clone(have[k:]), n)
				most = max(most, len(have))
			}
			t.Logf("%d entries written %.1f times, %d segments at most", all, float64(written)/float64(all), most)
			if most > 3*16 || written > 12*all {
				t.Errorf("%d segments at most, %d entries written %d times", most, all, written/all)
			}
		})
	}
	if k := index.Crowded([]uint64{10, 20, 30}, 0, 64); k != 0 {
		t.Errorf("three segments: %d are merged", k)
	}
	big := slices.Repeat([]uint64{1 << 30}, 50)
	if k := index.Crowded(append(big, 5, 6), 7, index.WriterTiers); k != 0 {
		t.Errorf("a writer merges %d, with huge ones", k)
	}
	if k := index.Crowded(slices.Repeat([]uint64{9}, 5000), 9, index.WriterTiers); k < 4990 {
		t.Errorf("of 5,000 small segments %d are merged", k)
	}
}

// A merge that lost, changed or invented an entry does not pass its proof.
func TestProve(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	open := func(id index.ID, raw []byte) *index.Reader {
		r, err := index.Open(testKeys(), id, bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	var from []*index.Reader
	var all []index.Entry
	var packs []index.PackInfo
	for i := range byte(3) {
		es, ps := entries(rng, 400)
		raw, err := index.Build(testKeys(), index.ID{i + 1}, slices.Clone(es), ps)
		if err != nil {
			t.Fatal(err)
		}
		from, all, packs = append(from, open(index.ID{i + 1}, raw)), append(all, es...), append(packs, ps...)
	}
	keep := func(pack.ID) bool { return true }
	other := all[7]
	other.Ordinal++
	for what, es := range map[string][]index.Entry{"right": all, "lost": all[1:], "invented": append(slices.Clone(all), other),
		"changed": append(slices.Clone(all[:len(all)-1]), other)} {
		raw, err := index.Build(testKeys(), index.ID{9}, slices.Clone(es), packs)
		if err != nil {
			t.Fatal(err)
		}
		if err := index.Prove(open(index.ID{9}, raw), from, keep); (err == nil) != (what == "right") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
