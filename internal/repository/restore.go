package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"holdfast/internal/disk"
	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/tree"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// RestoreOptions says how a disk is brought back. The zero value is the usual
// case.
type RestoreOptions struct {
	// Compare reads the target before writing and writes only what differs. It
	// needs a Target that is an io.ReaderAt. It also resumes a restore that was
	// broken off.
	Compare bool
	// SkipDamaged leaves ranges that are lost untouched (or zero) and goes on;
	// RestoreStats.Damaged names them.
	SkipDamaged bool
	// WriteRate limits writing, bytes per second; 0 = no limit.
	WriteRate int64
	// Progress, if set, is told how much of the disk is done, in bytes of it.
	// It is called from one goroutine at a time.
	Progress func(done, total int64)
}

// RestoreStats is what a restore did, in bytes of the disk.
type RestoreStats struct {
	Written int64   `json:"written"`
	Zeroed  int64   `json:"zeroed"` // asked of the target; a fresh one is left alone
	Same    int64   `json:"same"`   // found right already
	Damaged []Range `json:"damaged,omitempty"`
}

// piece is one chunk and where it belongs.
type piece struct {
	ref tree.Ref
	off int64 // on the disk
}

// taskPieces is how many chunks are fetched together, at most.
const taskPieces = 64

type restoreJob struct {
	r       *Repository
	f       *finder
	point   string
	disk    Disk
	t       disk.Target
	read    io.ReaderAt // the target, if it is to be compared
	opt     RestoreOptions
	limiter *rate.Limiter
	work    chan []piece

	written, zeroed, same atomic.Int64
	mu                    sync.Mutex
	done                  int64
	damaged               []Range
}

// Restore writes a disk of a point to t, in parallel and out of order, and
// syncs it. Every byte is proved before it is written. Damage is a
// *DamageError that names the ranges; t may then be filled in part.
func (r *Repository) Restore(ctx context.Context, p Point, name string, t disk.Target, opt RestoreOptions) (RestoreStats, error) {
	stats, err := r.restore(ctx, p, name, t, opt)
	if err != nil {
		return stats, fmt.Errorf("restore disk %s of point %s: %w", name, p.ID, err)
	}
	return stats, nil
}

func (r *Repository) restore(ctx context.Context, p Point, name string, t disk.Target, opt RestoreOptions) (RestoreStats, error) {
	j, err := r.newRestore(ctx, p, name, opt)
	if err != nil {
		return RestoreStats{}, err
	}
	if t.Size() < j.disk.Size {
		return RestoreStats{}, fmt.Errorf("the target has %d bytes, the disk %d", t.Size(), j.disk.Size)
	}
	j.t = t
	if opt.Compare {
		at, ok := t.(io.ReaderAt)
		if !ok {
			return RestoreStats{}, errors.New("the target cannot be read back for comparing")
		}
		j.read = at
	}
	g, gctx := errgroup.WithContext(ctx)
	for range r.opt.Workers + 1 {
		g.Go(func() error { return j.worker(gctx) })
	}
	g.Go(func() error {
		defer close(j.work)
		return j.plan(gctx)
	})
	err = g.Wait()
	if err == nil && !t.Fresh() && t.Size() > j.disk.Size {
		err = j.zero(j.disk.Size, t.Size()-j.disk.Size)
	}
	if err == nil {
		err = t.Sync()
	}
	stats := RestoreStats{Written: j.written.Load(), Zeroed: j.zeroed.Load(), Same: j.same.Load(), Damaged: j.damaged}
	return stats, err
}

func (r *Repository) newRestore(ctx context.Context, p Point, name string, opt RestoreOptions) (*restoreJob, error) {
	d := p.Disk(name)
	if d == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoDisk, name)
	}
	f, err := r.newFinder(ctx)
	if err != nil {
		return nil, err
	}
	j := &restoreJob{r: r, f: f, point: p.ID, disk: *d, opt: opt, work: make(chan []piece, r.opt.Workers)}
	if opt.WriteRate > 0 {
		j.limiter = rate.NewLimiter(rate.Limit(opt.WriteRate), int(max(opt.WriteRate, frameChunks*chunk.Size)))
	}
	return j, nil
}

// plan walks the tree in order and hands out chunks by the pack they lie in.
func (j *restoreJob) plan(ctx context.Context) error {
	t := j.r.readTree(j.f, j.disk)
	leaves := tree.Shape{Size: j.disk.Size}.Leaves()
	task := taskBuilder{ctx: ctx, j: j, tasks: map[pack.ID][]piece{}}
	for leaf := int64(0); leaf < leaves; {
		n, err := t.skipZero(ctx, leaf)
		if err != nil {
			return err
		}
		if n > 0 {
			if err := j.zeroRange(leaf*tree.Span(1), n*tree.Span(1)); err != nil {
				return err
			}
			leaf += n
			continue
		}
		node, err := t.node(ctx, 1, leaf)
		if err != nil {
			if err := j.lost(leaf*tree.Span(1), tree.Span(1), err); err != nil {
				return err
			}
			leaf++
			continue
		}
		for i, ref := range node.Kids {
			off := leaf*tree.Span(1) + int64(i)*chunk.Size
			if off >= j.disk.Size {
				break
			}
			if err := task.add(ref, off); err != nil {
				return err
			}
		}
		leaf++
	}
	return task.flush()
}

// openTasks is how many packs pieces are gathered of at once: a disk that was
// changed day by day takes its chunks from many packs in turn, and a frame is to
// be opened once for all that is wanted of it.
const openTasks = 64

// taskBuilder gathers pieces that lie near each other in one pack.
type taskBuilder struct {
	ctx   context.Context
	j     *restoreJob
	tasks map[pack.ID][]piece
	order []pack.ID // of the tasks, oldest first
}

func (b *taskBuilder) add(ref tree.Ref, off int64) error {
	if ref.IsZero() {
		return b.j.zeroRange(off, chunk.Size)
	}
	if b.j.f.now().IsDead(ref.Pack) { // moved by a collection
		at, ok, err := b.j.f.find(b.ctx, ref.ID, nil)
		if err != nil {
			return err
		}
		if ok {
			ref = at
		}
	}
	task, open := b.tasks[ref.Pack]
	if !open {
		if len(b.order) == openTasks {
			if err := b.send(b.order[0]); err != nil {
				return err
			}
		}
		b.order = append(b.order, ref.Pack)
	}
	b.tasks[ref.Pack] = append(task, piece{ref, off})
	if len(b.tasks[ref.Pack]) == taskPieces {
		return b.send(ref.Pack)
	}
	return nil
}

// send hands out what was gathered of a pack.
func (b *taskBuilder) send(id pack.ID) error {
	task := b.tasks[id]
	delete(b.tasks, id)
	b.order = slices.DeleteFunc(b.order, func(o pack.ID) bool { return o == id })
	select {
	case b.j.work <- task:
		return nil
	case <-b.ctx.Done():
		return context.Cause(b.ctx)
	}
}

func (b *taskBuilder) flush() error {
	for len(b.order) > 0 {
		if err := b.send(b.order[0]); err != nil {
			return err
		}
	}
	return nil
}

// lost deals with a range that every copy of is damaged.
func (j *restoreJob) lost(off, length int64, err error) error {
	if !errors.Is(err, ErrDamaged) {
		return err
	}
	r := Range{off, min(length, j.disk.Size-off)}
	if !j.opt.SkipDamaged {
		return &DamageError{Artifact: "content", Cause: err, Points: []Hurt{{Point: j.point, Disk: j.disk.Name, Ranges: []Range{r}}}}
	}
	j.mu.Lock()
	j.damaged = addRange(j.damaged, r)
	j.mu.Unlock()
	j.progress(r.Length)
	return nil
}

func (j *restoreJob) zeroRange(off, length int64) error {
	length = min(length, j.disk.Size-off)
	if length <= 0 {
		return nil
	}
	j.progress(length)
	if j.t.Fresh() {
		return nil
	}
	return j.zero(off, length)
}

func (j *restoreJob) zero(off, length int64) error {
	j.zeroed.Add(length)
	if err := j.t.Zero(off, length); err != nil {
		return fmt.Errorf("zero the target at %d: %w", off, err)
	}
	return nil
}

func (j *restoreJob) progress(n int64) {
	if j.opt.Progress == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.done += n
	j.opt.Progress(j.done, j.disk.Size)
}

func (j *restoreJob) worker(ctx context.Context) error {
	o := newFrameOpener(j.r)
	defer o.close()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case task, ok := <-j.work:
			if !ok {
				return nil
			}
			if err := j.task(ctx, o, task); err != nil {
				return err
			}
		}
	}
}

// task restores pieces of one pack, frame by frame; what cannot be had there is
// looked for elsewhere.
func (j *restoreJob) task(ctx context.Context, o *frameOpener, task []piece) error {
	rest, err := o.each(ctx, task, func(p *pack.Reader, row pack.Row, payload []byte, pieces []piece) error {
		return j.pieces(ctx, p, row, payload, pieces)
	})
	if err != nil {
		return err
	}
	for _, x := range rest {
		blob, err := j.r.blobs.get(ctx, j.f, x.ref, 0)
		if err != nil {
			if err := j.lost(x.off, chunk.Size, err); err != nil {
				return err
			}
			continue
		}
		if err := j.write(ctx, blob, x.off); err != nil {
			return err
		}
	}
	return nil
}

// pieces writes pieces of one opened frame, neighbours together.
func (j *restoreJob) pieces(ctx context.Context, p *pack.Reader, row pack.Row, payload []byte, pieces []piece) error {
	for i := 0; i < len(pieces); {
		n := 1
		for i+n < len(pieces) && pieces[i+n].ref.Ordinal == pieces[i].ref.Ordinal+uint32(n) &&
			pieces[i+n].off == pieces[i].off+int64(n)*chunk.Size {
			n++
		}
		from := int(pieces[i].ref.Ordinal-row.First) * chunk.Size
		if err := j.write(ctx, payload[from:from+n*chunk.Size], pieces[i].off); err != nil {
			return err
		}
		i += n
	}
	return nil
}

// write writes proved bytes, up to the end of the disk.
func (j *restoreJob) write(ctx context.Context, b []byte, off int64) error {
	b = b[:min(int64(len(b)), j.disk.Size-off)]
	defer j.progress(int64(len(b)))
	if j.read != nil {
		have := make([]byte, len(b))
		if n, err := j.read.ReadAt(have, off); n == len(have) && bytes.Equal(have, b) {
			j.same.Add(int64(len(b)))
			return nil
		} else if n < len(have) && err != nil && err != io.EOF {
			return fmt.Errorf("read the target at %d: %w", off, err)
		}
	}
	if j.limiter != nil {
		if err := j.limiter.WaitN(ctx, len(b)); err != nil {
			return err
		}
	}
	if _, err := j.t.WriteAt(b, off); err != nil {
		return fmt.Errorf("write the target at %d: %w", off, err)
	}
	j.written.Add(int64(len(b)))
	return nil
}
