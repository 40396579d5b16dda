package repository

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"holdfast/internal/disk"
	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/tree"
)

// Diff yields how disk b differs from disk a of the same repository, as extents
// of b: Same where the content is equal, Zero where b is zero and a is not,
// Data elsewhere. It costs what differs, not what the disks hold.
func (r *Repository) Diff(ctx context.Context, a, b Disk) iter.Seq2[disk.Extent, error] {
	return r.diff(ctx, a, b)
}

func (r *Repository) diff(ctx context.Context, a, b Disk) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		f, err := r.newFinder(ctx)
		if err != nil {
			yield(disk.Extent{}, fmt.Errorf("compare disks: %w", err))
			return
		}
		w := &diffWalk{ctx: ctx, old: r.readTree(f, a), now: r.readTree(f, b), size: b.Size, out: joiner{size: b.Size, yield: yield}}
		err = w.visit(b.level, 0)
		if err == nil {
			err = w.out.flush()
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(disk.Extent{}, fmt.Errorf("compare disks: %w", err))
		}
	}
}

type diffWalk struct {
	ctx      context.Context
	old, now *treeReader
	size     int64
	out      joiner
}

// visit compares the at-th node of a level of both trees.
func (w *diffWalk) visit(level uint8, at int64) error {
	off, span := at*tree.Span(level), tree.Span(level)
	if off >= w.size {
		return nil
	}
	now, err := w.now.ref(w.ctx, level, at)
	if err != nil {
		return err
	}
	old, comparable, err := w.before(level, at)
	if err != nil {
		return err
	}
	switch {
	case comparable && old.ID == now.ID && off+span <= max(w.old.size, off):
		return w.out.add(disk.Same, off, span)
	case comparable && old.ID == now.ID && w.old.size == w.size:
		return w.out.add(disk.Same, off, span)
	case now.IsZero():
		return w.out.add(disk.Zero, off, span)
	case level == 0:
		return w.out.add(disk.Data, off, chunk.Size)
	}
	for i := range int64(tree.Fanout) {
		if err := w.visit(level-1, at*tree.Fanout+i); err != nil {
			return err
		}
	}
	return w.ctx.Err()
}

// before answers the older tree's ref; above its root there is none to compare.
func (w *diffWalk) before(level uint8, at int64) (tree.Ref, bool, error) {
	if level > w.old.level {
		return tree.Ref{}, false, nil
	}
	ref, err := w.old.ref(w.ctx, level, at)
	if errors.Is(err, ErrDamaged) {
		return ref, false, nil
	}
	return ref, true, err
}

// joiner yields extents with neighbours of one kind joined, cut at size.
type joiner struct {
	size  int64
	cur   disk.Extent
	yield func(disk.Extent, error) bool
}

func (j *joiner) add(kind disk.Kind, off, length int64) error {
	length = min(length, j.size-off)
	if length <= 0 {
		return nil
	}
	if j.cur.Length > 0 && j.cur.Kind == kind {
		j.cur.Length += length
		return nil
	}
	err := j.flush()
	j.cur = disk.Extent{Offset: off, Length: length, Kind: kind}
	return err
}

func (j *joiner) flush() error {
	if j.cur.Length > 0 && !j.yield(j.cur, nil) {
		return errStop
	}
	return nil
}
