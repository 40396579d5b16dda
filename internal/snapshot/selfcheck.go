package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/disk"
)

// ErrTracking: a block that the dirty bitmap calls unchanged has changed. The
// bitmap lies, or the base is not what it was: the disk must be read in full,
// and its user must be told.
var ErrTracking = errors.New("the dirty bitmap missed a change")

// sampleBlock is the size of one sample, bytes: the granularity of QEMU's
// bitmaps on images of the usual cluster size.
const sampleBlock = 64 << 10

// sampleReads is how many samples are under way at once: the base may be far away.
const sampleReads = 8

// SelfCheck reads n blocks at random among those that an incremental source
// calls unchanged, and compares them with the base, the disk's content at the
// last point. ErrTracking names the first that differs. It is the standing
// doubt about every bitmap: n blocks of a lie that covers the share p of the
// unchanged ones stay undetected with the probability (1-p)^n.
func SelfCheck(ctx context.Context, src, base disk.Source, n int, random *rand.Rand) error {
	picked, err := sample(ctx, src, n, random)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(sampleReads)
	for _, e := range picked {
		g.Go(func() error { return compare(ctx, src, base, e) })
	}
	return g.Wait()
}

// compare holds one block to the base.
func compare(ctx context.Context, src, base disk.Source, e disk.Extent) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if e.End() > base.Size() {
		return fmt.Errorf("%w: bytes %d to %d are called unchanged, and the base ends at %d", ErrTracking, e.Offset, e.End(), base.Size())
	}
	got, want := make([]byte, e.Length), make([]byte, e.Length)
	if _, err := src.ReadAt(got, e.Offset); err != nil {
		return err
	}
	if _, err := base.ReadAt(want, e.Offset); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: bytes %d to %d", ErrTracking, e.Offset, e.End())
	}
	return nil
}

// sample picks n blocks among the unchanged ones, in one pass over the map and
// without holding it. Each of the n is picked by itself, with the same chance
// for each block; the same block may be picked twice.
func sample(ctx context.Context, src disk.Source, n int, random *rand.Rand) ([]disk.Extent, error) {
	picked := make([]disk.Extent, n)
	var seen int64 // blocks so far
	for e, err := range src.Extents(ctx) {
		if err != nil {
			return nil, err
		}
		if e.Kind != disk.Same {
			continue
		}
		blocks := (e.Length + sampleBlock - 1) / sampleBlock
		for i := range picked {
			// A pick stays with the chance seen/(seen+blocks), else it moves here.
			if at := random.Int64N(seen + blocks); at >= seen {
				picked[i] = block(e, at-seen)
			}
		}
		seen += blocks
	}
	if seen == 0 {
		return nil, nil
	}
	return picked, nil
}

// block is the i-th block of an extent.
func block(e disk.Extent, i int64) disk.Extent {
	off := e.Offset + i*sampleBlock
	return disk.Extent{Offset: off, Length: min(sampleBlock, e.End()-off), Kind: e.Kind}
}

// Full is an incremental disk read in full: what was called unchanged is data.
func Full(src disk.Source) disk.Source { return full{src} }

type full struct{ disk.Source }

// Extents streams the map without disk.Same.
func (f full) Extents(ctx context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		for e, err := range f.Source.Extents(ctx) {
			if e.Kind == disk.Same {
				e.Kind = disk.Data
			}
			if !yield(e, err) {
				return
			}
		}
	}
}
