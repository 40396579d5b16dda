package snapshot

import (
	"context"

	"holdfast/internal/disk"
)

// Range is a half-open byte range [Offset, Offset+Length) of a disk.
type Range struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

func (r Range) end() int64 { return r.Offset + r.Length }

// maxRanges bounds what a checkpoint carries for one disk; what is more is
// made coarser, which costs reading and no truth.
const maxRanges = 4096

// changed collects what a source does not call unchanged, in order, at most
// most ranges of them.
func changed(ctx context.Context, src disk.Source, most int) ([]Range, error) {
	var all []Range
	grain := int64(1)
	for e, err := range src.Extents(ctx) {
		if err != nil {
			return nil, err
		}
		if e.Kind == disk.Same {
			continue
		}
		all = widen(all, Range{e.Offset, e.Length}, grain)
		for len(all) > most {
			grain *= 2
			coarse := all[:0]
			for _, r := range all {
				coarse = widen(coarse, r, grain)
			}
			all = coarse
		}
	}
	return all, nil
}

// widen appends a range, its ends on multiples of grain, and joins it with the
// last one when they touch.
func widen(all []Range, r Range, grain int64) []Range {
	from, to := r.Offset/grain*grain, (r.end()+grain-1)/grain*grain
	if n := len(all); n > 0 && all[n-1].end() >= from {
		all[n-1].Length = max(to, all[n-1].end()) - all[n-1].Offset
		return all
	}
	return append(all, Range{from, to - from})
}

// doubts says where a bitmap is not believed: past the end of the base, and in
// also, ordered ranges that are known to have changed.
type doubts struct {
	base int64
	also []Range
}

// apply gives an extent in parts, with Data for Same where it is doubted.
// Extents come in order; ranges that end before this one are dropped.
func (d *doubts) apply(e disk.Extent) []disk.Extent {
	if e.Kind != disk.Same {
		return []disk.Extent{e}
	}
	var parts []disk.Extent
	put := func(from, to int64, kind disk.Kind) {
		if from < to {
			parts = append(parts, disk.Extent{Offset: from, Length: to - from, Kind: kind})
		}
	}
	at, limit := e.Offset, max(e.Offset, min(e.End(), d.base))
	for at < limit {
		for len(d.also) > 0 && d.also[0].end() <= at {
			d.also = d.also[1:]
		}
		if len(d.also) == 0 || d.also[0].Offset >= limit {
			break
		}
		from, to := max(at, d.also[0].Offset), min(limit, d.also[0].end())
		put(at, from, disk.Same)
		put(from, to, disk.Data)
		at = to
	}
	put(at, limit, disk.Same)
	put(limit, e.End(), disk.Data)
	return parts
}
