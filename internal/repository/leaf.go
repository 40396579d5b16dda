package repository

import (
	"context"
	"errors"
	"fmt"
	"io"

	"holdfast/internal/disk"
	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/seal"
	"holdfast/internal/repository/tree"
)

// frameChunks is how many neighbouring chunks are compressed and sealed
// together, at most.
const frameChunks = 16

// lightFrameChunks is the same for a frame that is compressed lightly: what it
// opens to stays in a processor's cache until it is proved and written
// (measurements.md).
const lightFrameChunks = 4

// leafWorker makes leaves. It owns its buffers.
type leafWorker struct {
	j       *diskJob
	codec   *seal.Codec
	frame   []byte // new chunks, one for each of ids; behind them what was just read
	packed  []byte // frame, compressed
	scratch []byte // for the proof that a frame opens
	ids     []chunk.ID
	waiting []waiting
	taken   map[int64]taken // of the job, if its source is a disk of a repository
}

// waiting is a child whose place is known when chunk i of the frame is sealed.
type waiting struct {
	kid *tree.Ref
	i   int
}

func (j *diskJob) worker(ctx context.Context) error {
	w := &leafWorker{j: j, codec: seal.NewCodec(), frame: readBuffers.get(),
		packed: packedBuffers.get(), scratch: scratchBuffers.get()}
	defer w.close()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case job, ok := <-j.work:
			if !ok {
				return nil
			}
			if err := w.takeOver(ctx, job); err != nil {
				return err
			}
			for i := range job.leaves {
				if err := w.leaf(ctx, &job.leaves[i]); err != nil {
					return err
				}
			}
			if err := w.seal(); err != nil {
				return err
			}
			close(job.done)
		}
	}
}

func (w *leafWorker) close() {
	w.codec.Close()
	readBuffers.put(w.frame)
	packedBuffers.put(w.packed)
	scratchBuffers.put(w.scratch)
}

// leaf fills the node of one leaf: what is unchanged from the base, what is
// data from the source.
func (w *leafWorker) leaf(ctx context.Context, l *leafPlan) error {
	l.node = &tree.Node{Level: 1}
	base, err := w.baseLeaf(ctx, l)
	if err != nil {
		return err
	}
	for i := 0; i < tree.Fanout; {
		if l.kinds[i] == disk.Same {
			w.j.stats.reused.Add(chunk.Size)
			l.node.Kids[i] = base.Kids[i]
			w.j.w.trusts()
		}
		if l.kinds[i] != disk.Data {
			i++
			continue
		}
		n := 1
		for i+n < tree.Fanout && n < frameChunks && l.kinds[i+n] == disk.Data {
			n++
		}
		if err := w.data(ctx, l, base, i, n); err != nil {
			return err
		}
		i += n
	}
	return nil
}

// baseLeaf answers the base's leaf, empty if there is none. What the base has
// lost is planned as data.
func (w *leafWorker) baseLeaf(ctx context.Context, l *leafPlan) (*tree.Node, error) {
	empty := &tree.Node{Level: 1}
	if w.j.base == nil {
		return empty, nil
	}
	base, err := w.j.base.node(ctx, 1, l.index)
	if errors.Is(err, ErrDamaged) {
		w.lose(l, func(int) bool { return true })
		return empty, nil
	}
	if err != nil || base == nil {
		return empty, err
	}
	if !w.j.base.suspicious() {
		return base, nil
	}
	kept := *base
	for i, ref := range base.Kids {
		ok, err := w.j.base.usable(ctx, ref)
		if err != nil {
			return nil, err
		}
		if !ok {
			kept.Kids[i] = tree.Ref{}
			w.lose(l, func(k int) bool { return k == i })
		}
	}
	return &kept, nil
}

// lose plans unchanged chunks as data, because the base no longer has them.
func (w *leafWorker) lose(l *leafPlan, which func(int) bool) {
	for i, k := range l.kinds {
		if k == disk.Same && which(i) {
			l.kinds[i] = disk.Data
		}
	}
}

// data reads n chunks from slot first on, behind the frame's so that most need
// no copying, and gives each its ref.
func (w *leafWorker) data(ctx context.Context, l *leafPlan, base *tree.Node, first, n int) error {
	if w.taken != nil {
		return w.dataTaken(ctx, l, base, first, n)
	}
	off := l.index*tree.Span(1) + int64(first)*chunk.Size
	buf := w.frame[len(w.ids)*chunk.Size:][:n*chunk.Size]
	if err := w.readSource(ctx, buf, off); err != nil {
		return err
	}
	for i := range n {
		c := buf[i*chunk.Size : (i+1)*chunk.Size]
		if chunk.IsZero(c) {
			continue
		}
		id := w.j.w.s.r.namer.Chunk(c)
		kid := &l.node.Kids[first+i]
		if same, err := w.isBase(base.Kids[first+i], id, kid); err != nil {
			return err
		} else if same {
			continue
		}
		if err := w.keep(id, c, kid); err != nil {
			return err
		}
	}
	return nil
}

// isBase refers to a chunk of the base if it is the one that was read from the
// source, and can be read.
func (w *leafWorker) isBase(base tree.Ref, id chunk.ID, kid *tree.Ref) (bool, error) {
	if base.ID != id {
		return false, nil
	}
	ok, err := w.j.w.sound(base)
	if ok {
		*kid = base
		w.j.stats.reused.Add(chunk.Size)
	}
	return ok, err
}

// readSource fills buf from the source; behind its end there are zeros.
func (w *leafWorker) readSource(ctx context.Context, buf []byte, off int64) error {
	n := int(max(0, min(int64(len(buf)), w.j.src.Size()-off)))
	clear(buf[n:])
	if n == 0 {
		return nil
	}
	if w.j.limiter != nil {
		if err := w.j.limiter.WaitN(ctx, n); err != nil {
			return err
		}
	}
	got, err := w.j.src.ReadAt(buf[:n], off)
	if got < n {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read the source at %d: %w", off, err)
	}
	w.j.stats.read.Add(int64(n))
	return nil
}

// keep refers to a chunk that the repository has, or puts it into the frame. If c
// lies in the frame's buffer, it lies at its new place or behind it.
func (w *leafWorker) keep(id chunk.ID, c []byte, kid *tree.Ref) error {
	for i, have := range w.ids {
		if have == id {
			w.waiting = append(w.waiting, waiting{kid, i})
			w.j.stats.reused.Add(chunk.Size)
			return nil
		}
	}
	ref, ok, err := w.j.w.find(id)
	if err != nil {
		return err
	}
	if ok {
		*kid = ref
		w.j.stats.reused.Add(chunk.Size)
		return nil
	}
	w.waiting = append(w.waiting, waiting{kid, len(w.ids)})
	if at := w.frame[len(w.ids)*chunk.Size:][:chunk.Size]; &at[0] != &c[0] {
		copy(at, c)
	}
	w.ids = append(w.ids, id)
	w.j.stats.fresh.Add(chunk.Size)
	if len(w.ids) >= w.j.w.chunks.frameChunks() {
		return w.seal()
	}
	return nil
}

// seal makes the frame and gives the waiting children their places.
func (w *leafWorker) seal() error {
	if len(w.ids) == 0 {
		return nil
	}
	w.codec.Effort = w.j.w.chunks.effort()
	payload := w.codec.Payload(w.frame[:len(w.ids)*chunk.Size], w.packed)
	w.j.w.s.r.compressed.Add(1)
	at, err := w.j.w.chunks.add(payload, w.ids, w.codec, w.scratch)
	if err != nil {
		return err
	}
	w.j.stats.stored.Add(int64(payload.SealedSize()))
	for _, x := range w.waiting {
		*x.kid = tree.Ref{ID: w.ids[x.i], Pack: at.Pack, Ordinal: at.Ordinal + uint32(x.i)}
	}
	for i, id := range w.ids {
		w.j.w.note(id, at, uint32(i))
	}
	w.ids, w.waiting = w.ids[:0], w.waiting[:0]
	return nil
}
