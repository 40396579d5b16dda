package repository

import (
	"context"
	"errors"
	"fmt"

	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
	"holdfast/internal/repository/tree"
)

// A point of a quick repository, which is near the disks that it is filled from,
// is not made of what can be seen to be damaged: at its begin every pack has to be
// there with the length that the index knows, and the stored frame of every blob
// that the point refers to because its content is the same is read first, and
// compared with its checksum. What is met so is written to the ledger and stored
// again. Only what the source calls unchanged is taken over unread; a point that
// has such, and whose writer met damage, is refused: where some is, there may be
// more, so its maker reads the source in full.

// soundKept is how many frames a writer remembers to have read.
const soundKept = 64 << 10

// losses are the packs of a view that are not in the store with the length that
// the index knows.
func (r *Repository) losses(ctx context.Context, v *view) ([]pack.ID, error) {
	sizes := map[pack.ID]int64{}
	for info, err := range r.store.List(ctx, "packs/", "") {
		if err != nil {
			return nil, fmt.Errorf("list packs: %w", err)
		}
		if id, ours := packOf(info.Name); ours {
			sizes[id] = info.Size
		}
	}
	// What a collection took away meanwhile is not missing.
	state, err := r.log.Read(ctx)
	if err != nil {
		return nil, err
	}
	newest, err := r.viewNow(ctx, state)
	if err != nil {
		return nil, err
	}
	now := newMarks(newest)
	var lost []pack.ID
	for id, p := range newMarks(v).packs {
		size, there := sizes[id]
		if there && size == int64(p.info.Stored) || v.state.IsDead(id) || newest.state.IsDead(id) || now.packs[id] == nil {
			continue
		}
		r.blobs.forget(id)
		lost = append(lost, id)
	}
	return lost, nil
}

// lookAround meets the packs that are lost and of which nobody knew.
func (w *Writer) lookAround(ctx context.Context) error {
	if !w.s.r.opt.Quick {
		return nil
	}
	lost, err := w.s.r.losses(ctx, w.view)
	if err != nil {
		return err
	}
	var news []ledger.Blobs
	for _, id := range lost {
		if ords, known := w.s.state.Damaged[id]; !known || len(ords) > 0 {
			news = append(news, ledger.Blobs{Pack: id})
		}
	}
	if len(news) == 0 {
		return nil
	}
	w.lost = len(news)
	if err := w.meet(ctx, news...); err != nil {
		return err
	}
	state, err := w.s.r.log.Read(ctx)
	if err != nil {
		return err
	}
	next := *w.view
	next.state = state
	w.view, w.s.state = &next, state
	return nil
}

// meet writes damage to the ledger.
func (w *Writer) meet(ctx context.Context, blobs ...ledger.Blobs) error {
	_, err := w.s.r.log.Append(ctx, func(*ledger.State) (*ledger.Record, error) {
		return &ledger.Record{Op: ledger.Damage, Blobs: blobs}, nil
	})
	return err
}

// sound reports whether what is stored at a place may be referred to because its
// content is the same.
func (w *Writer) sound(at tree.Ref) (bool, error) {
	r := w.s.r
	if !r.opt.Quick || at.Pack.Session() == w.s.id {
		return true, nil
	}
	row, err := r.blobs.checkFrame(w.work, at, w.proved)
	if !errors.Is(err, ErrDamaged) {
		return err == nil, err
	}
	known := w.s.state.IsDamaged(at.Pack, at.Ordinal)
	hurt := ledger.Blobs{Pack: at.Pack} // all of it
	for o := row.First; o < row.First+uint32(row.Count); o++ {
		hurt.Ordinals = append(hurt.Ordinals, o)
		r.blobs.bad.add(tree.Ref{Pack: at.Pack, Ordinal: o}, known)
	}
	r.blobs.bad.add(at, known)
	if known || !w.first(frameKey{at.Pack, row.Number}) {
		return false, nil
	}
	return false, w.meet(w.work, hurt)
}

// first answers true once for each damaged frame.
func (w *Writer) first(f frameKey) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hurt[f] {
		return false
	}
	if w.hurt == nil {
		w.hurt = map[frameKey]bool{}
	}
	w.hurt[f] = true
	return true
}

// checkFrame reads the stored frame of a place, unless proved has it, and compares
// it with its checksum.
func (b *blobs) checkFrame(ctx context.Context, at tree.Ref, proved *lru[frameKey, struct{}]) (pack.Row, error) {
	p, err := b.trailer(ctx, at.Pack)
	if err != nil {
		return pack.Row{}, err
	}
	row, err := p.Frame(at.Ordinal)
	if err != nil {
		return pack.Row{}, err
	}
	key := frameKey{at.Pack, row.Number}
	if _, done := proved.get(key); done {
		return row, nil
	}
	raw := make([]byte, row.Size())
	if err := readFull(objectAt{ctx, b.r.store, at.Pack.Object()}, raw, int64(row.Offset)); err != nil {
		return row, gone(at.Pack, err)
	}
	if err := p.CheckFrame(row, raw); err != nil {
		return row, err
	}
	proved.put(key, struct{}{}, 1)
	return row, nil
}

// trusts notes that something of the base was taken over unread.
func (w *Writer) trusts() { w.unread.Store(true) }

// judge refuses a point that may be hurt where nobody looked.
func (w *Writer) judge() error {
	bad := w.s.r.blobs.bad.met() - w.before
	if !w.s.r.opt.Quick || !w.unread.Load() || w.lost+bad == 0 {
		return nil
	}
	return seal.Damaged("not all that the point relies on was read, and %d packs were found missing or cut, %d blobs damaged", w.lost, bad)
}

// Damage tells what is known to be wrong with the points that there are, without
// reading packs: what the ledger and this process know, packs that are missing or
// cut, and attributes that do not open. none is that nothing is known.
func (r *Repository) Damage(ctx context.Context) ([]*DamageError, error) {
	state, err := r.log.Read(ctx)
	if err != nil {
		return nil, err
	}
	view, err := r.viewNow(ctx, state)
	if err != nil {
		return nil, err
	}
	lost, err := r.losses(ctx, view)
	if err != nil {
		return nil, err
	}
	v := &verification{r: r, state: view.state, bad: map[pack.ID][]uint32{}, why: map[pack.ID]error{}}
	m := newMarks(view)
	if err := m.addStored(ctx, r, view); err != nil {
		return nil, err
	}
	for _, id := range lost {
		m.lose(id)
		v.bad[id], v.why[id] = nil, seal.Damaged("%s is missing or cut", id.Object())
	}
	if err := v.assess(ctx, view, m); err != nil {
		return nil, err
	}
	for _, p := range view.state.Points {
		if p.Deleted != 0 {
			continue
		}
		if _, err := r.body(ctx, p.Point); errors.Is(err, ErrDamaged) {
			v.stats.Damage = append(v.stats.Damage, &DamageError{Artifact: p.Object(), Cause: err, Points: []Hurt{{Point: p.ID, Attributes: true}}})
		} else if err != nil {
			return nil, err
		}
	}
	return v.stats.Damage, nil
}
