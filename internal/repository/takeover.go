package repository

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"holdfast/internal/disk"
	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
	"holdfast/internal/repository/tree"
)

// A disk that is copied out of another repository is compressed already. Its
// chunks get new ids, for those depend on the repository's key, but a frame of
// which the target lacks enough is sealed again as it is, without a compressor:
// the costliest part of a backup.

// stored is a source that is a disk of a repository.
type stored interface{ stored() *DiskReader }

func (d *DiskReader) stored() *DiskReader { return d }

// taken is what is known of a chunk before its leaf is made.
type taken struct {
	id    chunk.ID // in the target
	fresh bool     // taken over just now
	plain []byte   // its content, unless it was taken over
}

// needed is a chunk that a job needs of one frame.
type needed struct {
	index int64 // of the chunk in the disk
	ref   tree.Ref
}

// takeOver looks at all chunks of a job by the frames that hold them, and takes
// over the frames that are worth it. What it cannot find or prove is left to the
// reading of single chunks, which knows how to look for other copies.
func (w *leafWorker) takeOver(ctx context.Context, job *leafJob) error {
	w.taken = nil
	if w.j.stored == nil {
		return nil
	}
	frames, err := w.framesOf(ctx, job)
	if err != nil {
		return err
	}
	w.taken = map[int64]taken{}
	for _, f := range frames {
		err := w.takeFrame(ctx, f)
		if err != nil && !errors.Is(err, ErrDamaged) {
			return err
		}
	}
	return nil
}

// neededFrame is a frame of the source and what is needed of it.
type neededFrame struct {
	p      *pack.Reader
	row    pack.Row
	chunks []needed
}

// framesOf groups the data of a job by the frames of the source, in order of the
// disk.
func (w *leafWorker) framesOf(ctx context.Context, job *leafJob) ([]*neededFrame, error) {
	src := w.j.stored
	byKey := map[frameKey]*neededFrame{}
	var order []*neededFrame
	for _, l := range job.leaves {
		node, err := src.tree.node(ctx, 1, l.index)
		if errors.Is(err, ErrDamaged) || err == nil && node == nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		for i, ref := range node.Kids {
			if l.kinds[i] != disk.Data || ref.IsZero() {
				continue
			}
			p, err := src.r.blobs.trailer(ctx, ref.Pack)
			if errors.Is(err, ErrDamaged) {
				continue // gone or moved: the index knows where to
			}
			if err != nil {
				return nil, err
			}
			row, err := p.Frame(ref.Ordinal)
			if err != nil {
				continue
			}
			key := frameKey{ref.Pack, row.Number}
			if byKey[key] == nil {
				byKey[key] = &neededFrame{p: p, row: row}
				order = append(order, byKey[key])
			}
			f := byKey[key]
			f.chunks = append(f.chunks, needed{l.index*tree.Fanout + int64(i), ref})
		}
	}
	slices.SortStableFunc(order, func(a, b *neededFrame) int { return cmp.Compare(a.chunks[0].index, b.chunks[0].index) })
	return order, nil
}

// takeFrame proves what is needed of a frame, names it by the target's key, and
// seals the frame into the target if that lacks half of it or more and all its
// readers know how the frame is compressed.
func (w *leafWorker) takeFrame(ctx context.Context, f *neededFrame) error {
	raw := make([]byte, f.row.Size())
	src := w.j.stored.r
	if err := readFull(objectAt{ctx, src.store, f.p.ID().Object()}, raw, int64(f.row.Offset)); err != nil {
		return gone(f.p.ID(), err)
	}
	plain, err := f.p.OpenFrame(f.row, raw, w.codec, nil)
	if err != nil {
		return err
	}
	ids := make([]chunk.ID, f.row.Count)
	for i := range ids {
		blob, err := f.p.Blob(f.row, plain, f.row.First+uint32(i))
		if err != nil {
			return err
		}
		ids[i] = w.j.w.s.r.namer.Chunk(blob)
	}
	missing := map[uint32]bool{}
	for _, c := range f.chunks {
		blob, err := f.p.Blob(f.row, plain, c.ref.Ordinal)
		if err == nil {
			err = src.blobs.prove(f.p, blob, c.ref, 0)
		}
		if err != nil {
			return err
		}
		t := taken{id: ids[c.ref.Ordinal-f.row.First], plain: blob}
		if _, have, err := w.j.w.find(t.id); err != nil {
			return err
		} else if !have {
			missing[c.ref.Ordinal] = true
		}
		w.taken[c.index] = t
		w.j.stats.read.Add(chunk.Size)
	}
	if 2*len(missing) < len(ids) || f.row.OldestReader() > w.j.w.s.r.config.MinReader {
		return nil
	}
	payload, err := f.p.TakeOver(f.row, raw)
	if err != nil {
		return err
	}
	return w.addTaken(f, payload, ids, missing)
}

// addTaken seals a frame into the target and forgets the content of its chunks,
// which are found there from now on.
func (w *leafWorker) addTaken(f *neededFrame, payload seal.Payload, ids []chunk.ID, missing map[uint32]bool) error {
	at, err := w.j.w.chunks.add(payload, ids, w.codec, w.scratch)
	if err != nil {
		return err
	}
	w.j.stats.stored.Add(int64(payload.SealedSize()))
	w.j.stats.fresh.Add(int64(len(missing)) * chunk.Size)
	for i, id := range ids {
		w.j.w.note(id, at, uint32(i))
	}
	for _, c := range f.chunks {
		t := w.taken[c.index]
		w.taken[c.index] = taken{id: t.id, fresh: missing[c.ref.Ordinal]}
	}
	return nil
}

// fromTaken gives a chunk that takeOver has looked at its ref. It answers false
// for one that must be read.
func (w *leafWorker) fromTaken(index int64, base tree.Ref, kid *tree.Ref) (bool, error) {
	t, ok := w.taken[index]
	if !ok {
		return false, nil
	}
	if same, err := w.isBase(base, t.id, kid); same || err != nil {
		return same, err
	}
	if t.plain != nil {
		return true, w.keep(t.id, t.plain, kid)
	}
	ref, ok, err := w.j.w.find(t.id)
	if err != nil || !ok {
		return false, err
	}
	*kid = ref
	if !t.fresh {
		w.j.stats.reused.Add(chunk.Size)
	}
	return true, nil
}

// dataTaken is data for a source that takeOver has looked at: only what that
// left is read, chunk by chunk.
func (w *leafWorker) dataTaken(ctx context.Context, l *leafPlan, base *tree.Node, first, n int) error {
	for i := first; i < first+n; i++ {
		index, kid := l.index*tree.Fanout+int64(i), &l.node.Kids[i]
		done, err := w.fromTaken(index, base.Kids[i], kid)
		if err != nil {
			return err
		}
		if done {
			continue
		}
		c := w.frame[len(w.ids)*chunk.Size:][:chunk.Size]
		if err := w.readSource(ctx, c, index*chunk.Size); err != nil {
			return err
		}
		if chunk.IsZero(c) {
			continue
		}
		if err := w.keep(w.j.w.s.r.namer.Chunk(c), c, kid); err != nil {
			return err
		}
	}
	return nil
}
