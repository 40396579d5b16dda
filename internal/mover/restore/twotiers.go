package restore

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"

	"holdfast/internal/disk"
)

// openDisk opens a disk of the point to be read here and there; what the instant
// tier cannot read is read from the vault, if the point may be in both.
func (r *run) openDisk(ctx context.Context, target string) (disk.Source, error) {
	src, err := r.repo.OpenDisk(ctx, r.point, target)
	if err != nil || !r.vaultToo {
		return src, err
	}
	return &twoTiers{Source: src, open: func() (disk.Source, error) {
		repo, err := r.mover.Repositories(ctx, r.args.Repository)
		if err != nil {
			return nil, err
		}
		p, err := repo.Point(ctx, r.args.PointID)
		if err != nil {
			return nil, err
		}
		return repo.OpenDisk(ctx, p, target)
	}}, nil
}

// twoTiers is a disk that another one stands in for where it cannot be read.
type twoTiers struct {
	disk.Source
	open func() (disk.Source, error)

	mu    sync.Mutex
	other disk.Source // once it was needed
}

// second is the other disk. One that could not be opened is tried again.
func (s *twoTiers) second() (disk.Source, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.other == nil {
		other, err := s.open()
		if err != nil {
			return nil, err
		}
		s.other = other
	}
	return s.other, nil
}

// ReadAt reads. It fails with what is wrong with the first disk.
func (s *twoTiers) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.Source.ReadAt(p, off)
	if err == nil || err == io.EOF || errors.Is(err, context.Canceled) {
		return n, err
	}
	other, openErr := s.second()
	if openErr != nil {
		return n, err
	}
	return other.ReadAt(p, off)
}

// Extents yields the first disk's extents and, from where they cannot be told, the
// other's.
func (s *twoTiers) Extents(ctx context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		var told int64
		var failed error
		for e, err := range s.Source.Extents(ctx) {
			if failed = err; err != nil {
				break
			}
			if told = e.Offset + e.Length; !yield(e, nil) {
				return
			}
		}
		if failed == nil {
			return
		}
		other, err := s.second()
		if err != nil || ctx.Err() != nil {
			yield(disk.Extent{}, failed)
			return
		}
		for e, err := range other.Extents(ctx) {
			if end := e.Offset + e.Length; err == nil && end <= told {
				continue
			}
			if err == nil && e.Offset < told {
				e.Offset, e.Length = told, e.Offset+e.Length-told
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}
