package repository

import (
	"context"
	"errors"

	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/tree"
)

// hurtWalk finds the ranges of a disk of which no whole copy is known.
type hurtWalk struct {
	r    *Repository
	f    *finder
	m    *marks
	size int64
	out  map[string][]Range // by the object that should hold them
}

// hurts answers the ranges of a disk that cannot be read, by the pack that
// should hold them. It reads the tree, not the chunks: those are judged by what
// the ledger and this process know.
func (r *Repository) hurts(ctx context.Context, f *finder, m *marks, d ledger.Disk) (map[string][]Range, error) {
	w := &hurtWalk{r: r, f: f, m: m, size: d.Size, out: map[string][]Range{}}
	if d.Root == nil {
		return w.out, nil
	}
	_, err := w.visit(ctx, *d.Root, d.Level, 0)
	return w.out, err
}

// visit answers whether everything below ref is whole. A subtree that is, is
// marked, so that points that share it visit it once.
func (w *hurtWalk) visit(ctx context.Context, ref tree.Ref, level uint8, at int64) (bool, error) {
	if ref.IsZero() {
		return true, nil
	}
	if level == 0 {
		ok, err := w.whole(ctx, ref)
		if !ok {
			w.lose(ref, at*chunk.Size, chunk.Size)
		}
		return ok, err
	}
	if p := w.m.packs[ref.Pack]; p != nil && p.has(ref.Ordinal) {
		return true, nil
	}
	n, err := w.r.blobs.node(ctx, w.f, ref, level)
	if errors.Is(err, ErrDamaged) {
		w.lose(ref, at*tree.Span(level), tree.Span(level))
		return false, nil
	}
	if err != nil {
		return false, err
	}
	clean := true
	for i, kid := range n.Kids {
		ok, err := w.visit(ctx, kid, level-1, at*tree.Fanout+int64(i))
		if err != nil {
			return false, err
		}
		clean = clean && ok
	}
	if p := w.m.packs[ref.Pack]; clean && p != nil {
		w.m.set(ref.Pack, ref.Ordinal)
	}
	return clean, ctx.Err()
}

// whole reports whether some copy of a chunk is not known to be damaged.
func (w *hurtWalk) whole(ctx context.Context, ref tree.Ref) (bool, error) {
	state := w.f.now()
	bad := func(at tree.Ref) bool { return w.m.gone[at.Pack] || w.r.blobs.bad.has(at) }
	_, known := w.m.packs[ref.Pack]
	if known && !state.IsDead(ref.Pack) && !state.IsDamaged(ref.Pack, ref.Ordinal) && !bad(ref) {
		return true, nil
	}
	_, ok, err := w.f.find(ctx, ref.ID, bad)
	return ok, err
}

func (w *hurtWalk) lose(ref tree.Ref, off, length int64) {
	if length = min(length, w.size-off); length > 0 {
		o := ref.Pack.Object()
		w.out[o] = addRange(w.out[o], Range{off, length})
	}
}
