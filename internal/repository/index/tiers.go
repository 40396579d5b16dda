package index

import "slices"

// tierWidth is how many segments of about one size, a tier, are too many. Each
// tier's segments have up to tierWidth times the entries of the one below.
const tierWidth = 4

// WriterTiers is below which tier writers merge: what they make of segments has
// at most some 3 million entries. Bigger ones are the collector's.
const WriterTiers = 7

// tier is the size class of a segment: 0 for one page of entries at most.
func tier(entries uint64) (t int) {
	for most := uint64(perPage); entries > most; most *= tierWidth {
		t++
	}
	return t
}

// Crowded answers how many of the smallest segments, of these numbers of
// entries, are to be merged into one, together with add entries that are new,
// so that no tier below top has tierWidth segments or more; 0 if it is well as it
// is. A tier that has too many is merged as a whole, with those below. So each
// entry is written anew about once a tier, and lookups ask a number of segments
// that grows with the logarithm of the entries.
func Crowded(entries []uint64, add uint64, top int) (k int) {
	sorted := slices.Sorted(slices.Values(entries))
	var count [65]int // by tier
	for _, n := range sorted {
		count[tier(n)]++
	}
	sum := add
	for {
		all := count
		if sum > 0 {
			all[tier(sum)]++
		}
		t := slices.IndexFunc(all[:top], func(n int) bool { return n >= tierWidth })
		if t < 0 {
			return k
		}
		for ; k < len(sorted) && tier(sorted[k]) <= t; k++ {
			count[tier(sorted[k])]--
			sum += sorted[k]
		}
	}
}
