package nbd

import (
	"context"
	"fmt"
	"io"
	"iter"
	"syscall"

	"holdfast/internal/disk"
)

// ContextAllocation is the metadata context that tells holes and zeroes.
const ContextAllocation = "base:allocation"

// DirtyContext is the name of the metadata context of a QEMU dirty bitmap.
func DirtyContext(bitmap string) string { return contextPrefix + bitmap }

// SourceOptions of NewSource. The zero value makes a Source without a base.
type SourceOptions struct {
	// DirtyContext names the context of the bitmap that has recorded every
	// write since the base ("qemu:dirty-bitmap:NAME"): clean ranges become
	// disk.Same. It must have been negotiated, else NewSource fails with
	// ErrNoContext: a full read is the caller's decision, never a fallback.
	DirtyContext string
}

// Source is an export as a disk.Source. It does not own its Client.
//
// Extents: clean is Same (whatever the allocation says), dirty or unknown and
// reading as zeroes is Zero, all else is Data. The allocation's "hole" bit
// alone means nothing: a hole need not read as zeroes (proto.md,
// "base:allocation"). Without base:allocation nothing is Zero.
type Source struct {
	client   *Client
	contexts []string
	dirty    bool // contexts[0] is the dirty bitmap
	alloc    bool // the last of contexts is base:allocation
}

// NewSource makes the Source of an export that does not change.
func NewSource(c *Client, o SourceOptions) (*Source, error) {
	s := &Source{client: c}
	if o.DirtyContext != "" {
		if !c.HasContext(o.DirtyContext) {
			return nil, fmt.Errorf("%w: %q", ErrNoContext, o.DirtyContext)
		}
		s.contexts, s.dirty = append(s.contexts, o.DirtyContext), true
	}
	if c.HasContext(ContextAllocation) {
		s.contexts, s.alloc = append(s.contexts, ContextAllocation), true
	}
	return s, nil
}

// Size of the disk, bytes.
func (s *Source) Size() int64 { return s.client.Size() }

// ReadAt reads any range, of any kind.
func (s *Source) ReadAt(p []byte, off int64) (int, error) { return s.client.ReadAt(p, off) }

// Extents streams the map from the server. Data is told at once, so that reading
// need not wait for what follows; all else as one extent as long as it lasts.
func (s *Source) Extents(ctx context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		if len(s.contexts) == 0 {
			if s.Size() > 0 {
				yield(disk.Extent{Length: s.Size()}, nil)
			}
			return
		}
		var last disk.Extent // never Data
		for st, err := range s.client.BlockStatus(ctx, s.contexts...) {
			if err != nil {
				yield(disk.Extent{}, err)
				return
			}
			e := disk.Extent{Offset: st.Offset, Length: st.Length, Kind: s.kind(st)}
			if last.Length > 0 && e.Kind == last.Kind {
				last.Length += e.Length
				continue
			}
			if last.Length > 0 && !yield(last, nil) {
				return
			}
			last = disk.Extent{}
			if e.Kind != disk.Data {
				last = e
			} else if !yield(e, nil) {
				return
			}
		}
		if last.Length > 0 {
			yield(last, nil)
		}
	}
}

func (s *Source) kind(st Status) disk.Kind {
	switch {
	case s.dirty && st.Flags[0]&statusDirty == 0:
		return disk.Same
	case s.alloc && st.Flags[len(s.contexts)-1]&statusZero != 0:
		return disk.Zero
	}
	return disk.Data
}

// TargetOptions of NewTarget.
type TargetOptions struct {
	// Fresh promises that the export reads as zeroes everywhere.
	Fresh bool
}

// Target is an export as a disk.Target. It does not own its Client.
type Target struct {
	client *Client
	fresh  bool
}

// NewTarget makes the Target of an export. An export that is read-only, or
// whose server cannot flush (so that nothing could ever be called durable),
// is refused with ErrUnsupported.
func NewTarget(c *Client, o TargetOptions) (*Target, error) {
	switch info := c.Info(); {
	case info.ReadOnly:
		return nil, errUnwritable
	case !info.CanFlush:
		return nil, fmt.Errorf("%w: flush, without which nothing is durable", ErrUnsupported)
	}
	return &Target{client: c, fresh: o.Fresh}, nil
}

// Size of the disk, bytes.
func (t *Target) Size() int64 { return t.client.Size() }

// Fresh says whether the disk was empty at the start.
func (t *Target) Fresh() bool { return t.fresh }

// WriteAt writes p at off.
func (t *Target) WriteAt(p []byte, off int64) (int, error) { return t.client.WriteAt(p, off) }

// Sync returns when all that was written is durable.
func (t *Target) Sync() error { return t.client.Flush() }

// zeroes is what is written where the server cannot zero by itself.
var zeroes [256 << 10]byte

// Zero makes a range read as zeroes, unmapped where the server can.
func (t *Target) Zero(off, length int64) error {
	if t.client.Info().CanZero {
		err := t.client.Zero(off, length, 0)
		if e, ok := err.(*Error); !ok || e.Errno != syscall.ENOTSUP {
			return err
		}
	}
	for length > 0 {
		n, err := t.client.WriteAt(zeroes[:min(length, int64(len(zeroes)))], off)
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		off, length = off+int64(n), length-int64(n)
	}
	return nil
}
