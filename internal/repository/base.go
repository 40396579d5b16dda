package repository

import (
	"context"
	"errors"

	"holdfast/internal/repository/tree"
)

// treeReader walks the tree of one disk by position.
type treeReader struct {
	blobs  *blobs
	finder *finder
	level  uint8
	root   tree.Ref
	size   int64
	kept   *lru[treePos, *tree.Node]
}

// treePos is the index-th node of a level, counted from the disk's start.
type treePos struct {
	level uint8
	index int64
}

func (r *Repository) readTree(f *finder, d Disk) *treeReader {
	return &treeReader{blobs: r.blobs, finder: f, level: d.level, root: d.root, size: d.Size, kept: newLRU[treePos, *tree.Node](512)}
}

// ref answers the ref of the index-th node of a level (0: chunk). Beyond the
// tree everything is zero.
func (t *treeReader) ref(ctx context.Context, level uint8, index int64) (tree.Ref, error) {
	if level >= t.level {
		if level == t.level && index == 0 {
			return t.root, nil
		}
		return tree.Ref{}, nil
	}
	n, err := t.node(ctx, level+1, index/tree.Fanout)
	if err != nil || n == nil {
		return tree.Ref{}, err
	}
	return n.Kids[index%tree.Fanout], nil
}

// node answers the index-th node of a level, nil if it is zero.
func (t *treeReader) node(ctx context.Context, level uint8, index int64) (*tree.Node, error) {
	pos := treePos{level, index}
	if n, ok := t.kept.get(pos); ok {
		return n, nil
	}
	ref, err := t.ref(ctx, level, index)
	if err != nil || ref.IsZero() {
		return nil, err
	}
	n, err := t.blobs.node(ctx, t.finder, ref, level)
	if err != nil {
		return nil, err
	}
	t.kept.put(pos, n, 1)
	return n, nil
}

// usable reports whether a chunk that the base refers to can still be relied
// on: it is not known to be damaged, or another copy is there.
func (t *treeReader) usable(ctx context.Context, ref tree.Ref) (bool, error) {
	bad := func(at tree.Ref) bool { return t.blobs.bad.has(at) }
	if ref.IsZero() {
		return true, nil
	}
	state := t.finder.now()
	if !bad(ref) && !state.IsDamaged(ref.Pack, ref.Ordinal) && !state.IsDead(ref.Pack) {
		return true, nil
	}
	_, ok, err := t.finder.find(ctx, ref.ID, bad)
	return ok, err
}

// suspicious reports whether any damage is known, so that what the base refers
// to must be looked at before it is reused.
func (t *treeReader) suspicious() bool {
	return len(t.finder.now().Damaged) > 0 || t.blobs.bad.any()
}

// skipZero answers how many leaves from leaf on are zero as a whole subtree,
// 0 if the leaf is not zero or the tree cannot be read there.
func (t *treeReader) skipZero(ctx context.Context, leaf int64) (int64, error) {
	for level := t.level; level >= 1; level-- {
		leaves := tree.Span(level) / tree.Span(1)
		ref, err := t.ref(ctx, level, leaf/leaves)
		if errors.Is(err, ErrDamaged) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		if ref.IsZero() {
			return leaves - leaf%leaves, nil
		}
	}
	return 0, nil
}
