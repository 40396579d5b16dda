package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// ErrSize marks a Target that is too small for its Source.
var ErrSize = errors.New("disk: target is smaller than source")

// CopyOptions of Copy. The zero value is good.
type CopyOptions struct {
	// Workers is how many pieces are under way at once; 0 means 8. Memory is
	// Workers times Piece.
	Workers int
	// Piece is the longest read and write, bytes; 0 means 1 MiB.
	Piece int64
	// SkipSame leaves ranges of kind Same alone: the Target holds the base
	// already. Otherwise they are read and written as Data.
	SkipSame bool
	// Progress, if set, is called with the bytes that are settled (copied,
	// zeroed or skipped) of Source.Size. Calls come from many goroutines.
	Progress func(done, total int64)
}

// CopyStats is what Copy did, in bytes. The sum is the Source's size.
type CopyStats struct {
	Written int64 // bytes that were written
	Zeroed  int64 // bytes that read as zeroes, zeroed or left alone on a fresh Target
	Skipped int64 // bytes of kind Same that were left alone
}

// grain is the unit in which data that turns out to be zero is not written:
// the cluster of a qcow2 image and the grain of a QEMU dirty bitmap.
const grain = 64 << 10

// Copy makes dst read as src and syncs it. Zero ranges, and data that turns
// out to be zero, stay unallocated where dst can do that. What dst has beyond
// the size of src is made zero. On an error, dst holds some of each: it must
// not be used.
func Copy(ctx context.Context, dst Target, src Source, o CopyOptions) (CopyStats, error) {
	if dst.Size() < src.Size() {
		return CopyStats{}, fmt.Errorf("%w: %d bytes, %d are needed", ErrSize, dst.Size(), src.Size())
	}
	if o.Workers <= 0 {
		o.Workers = 8
	}
	if o.Piece <= 0 {
		o.Piece = 1 << 20
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &copier{dst: dst, src: src, o: o, fail: cancel, pieces: make(chan Extent)}
	var wg sync.WaitGroup
	for range o.Workers {
		wg.Go(c.work)
	}
	err := c.feed(ctx)
	close(c.pieces)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause // what a worker met, or the caller's end
	}
	if err != nil {
		return c.stats(), err
	}
	if rest := dst.Size() - src.Size(); rest > 0 && !dst.Fresh() {
		if err := dst.Zero(src.Size(), rest); err != nil {
			return c.stats(), fmt.Errorf("disk: zero beyond the source: %w", err)
		}
	}
	if err := dst.Sync(); err != nil {
		return c.stats(), fmt.Errorf("disk: sync: %w", err)
	}
	return c.stats(), nil
}

type copier struct {
	dst    Target
	src    Source
	o      CopyOptions
	fail   context.CancelCauseFunc
	pieces chan Extent // of kind Data; closed at the end

	written, zeroed, skipped atomic.Int64
}

func (c *copier) stats() CopyStats {
	return CopyStats{Written: c.written.Load(), Zeroed: c.zeroed.Load(), Skipped: c.skipped.Load()}
}

// settle counts bytes as done.
func (c *copier) settle(counter *atomic.Int64, n int64) {
	counter.Add(n)
	if c.o.Progress != nil {
		c.o.Progress(c.written.Load()+c.zeroed.Load()+c.skipped.Load(), c.src.Size())
	}
}

// feed walks the map: it settles what needs no reading and hands the rest to
// the workers.
func (c *copier) feed(ctx context.Context) error {
	at := int64(0)
	for e, err := range c.src.Extents(ctx) {
		switch {
		case err != nil:
			return fmt.Errorf("disk: map of the source: %w", err)
		case e.Offset != at || e.Length <= 0 || e.Length > c.src.Size()-at:
			return fmt.Errorf("disk: map of the source has %d bytes at %d, expected at %d of %d", e.Length, e.Offset, at, c.src.Size())
		}
		at = e.End()
		switch {
		case e.Kind == Zero:
			err = c.zero(e.Offset, e.Length)
		case e.Kind == Same && c.o.SkipSame:
			c.settle(&c.skipped, e.Length)
		default:
			err = c.cut(ctx, e)
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if at != c.src.Size() {
		return fmt.Errorf("disk: map of the source ends at %d of %d", at, c.src.Size())
	}
	return nil
}

// cut hands an extent to the workers in pieces that end on multiples of Piece.
func (c *copier) cut(ctx context.Context, e Extent) error {
	for off := e.Offset; off < e.End(); {
		n := min(c.o.Piece-off%c.o.Piece, e.End()-off)
		select {
		case c.pieces <- Extent{Offset: off, Length: n}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		off += n
	}
	return nil
}

func (c *copier) zero(off, n int64) error {
	if !c.dst.Fresh() {
		if err := c.dst.Zero(off, n); err != nil {
			return fmt.Errorf("disk: zero %d bytes at %d: %w", n, off, err)
		}
	}
	c.settle(&c.zeroed, n)
	return nil
}

// work copies pieces until there are no more. After an error it only drains.
func (c *copier) work() {
	buf := make([]byte, c.o.Piece)
	failed := false
	for e := range c.pieces {
		if failed {
			continue
		}
		if err := c.piece(buf[:e.Length], e.Offset); err != nil {
			failed = true
			c.fail(err)
		}
	}
}

func (c *copier) piece(p []byte, off int64) error {
	if n, err := c.src.ReadAt(p, off); n < len(p) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("disk: read %d bytes at %d: %w", len(p), off, err)
	}
	for run, zero := range zeroRuns(p, off) {
		if zero {
			if err := c.zero(run.Offset, run.Length); err != nil {
				return err
			}
			continue
		}
		part := p[run.Offset-off:][:run.Length]
		if _, err := c.dst.WriteAt(part, run.Offset); err != nil {
			return fmt.Errorf("disk: write %d bytes at %d: %w", len(part), run.Offset, err)
		}
		c.settle(&c.written, run.Length)
	}
	return nil
}
