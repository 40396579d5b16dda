package repository

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"holdfast/internal/disk"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/tree"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// DiskSpec says how a disk is stored.
type DiskSpec struct {
	Name string
	// Base is the disk of an earlier point that the Source's Same extents refer
	// to; without Same extents it only saves looking things up. It must be of a
	// point that is still there.
	Base *Disk
	// ReadRate limits reading from the source, bytes per second; 0 = no limit.
	ReadRate int64
	// Progress, if set, is told how much of the disk is done, in bytes of it.
	// It is called from one goroutine at a time.
	Progress func(done, total int64)
}

// diskJob is one run over one disk.
type diskJob struct {
	w       *Writer
	spec    DiskSpec
	src     disk.Source
	stored  *DiskReader // the source, if it is a disk of a repository
	base    *treeReader // nil without a base
	expand  bool        // look at every leaf of the base before reusing it
	limiter *rate.Limiter
	stats   struct{ read, fresh, stored, reused atomic.Int64 }
	work    chan *leafJob
	queue   chan step
}

// step is what the tree is told next, in order of the disk: a run of leaves
// that need no work, or a job under way.
type step struct {
	kind     disk.Kind // Zero or Same, if job is nil
	from, to int64     // leaves
	job      *leafJob
}

// Disk stores one disk of the point. What it answers counts only after Commit.
func (w *Writer) Disk(ctx context.Context, spec DiskSpec, src disk.Source) (DiskStats, error) {
	fail := func(err error) (DiskStats, error) {
		return DiskStats{}, fmt.Errorf("store disk %s: %w", spec.Name, err)
	}
	if err := w.claim(spec, src); err != nil {
		return fail(err)
	}
	j := &diskJob{w: w, spec: spec, src: src}
	if s, ok := src.(stored); ok {
		j.stored = s.stored()
	}
	if spec.ReadRate > 0 {
		j.limiter = rate.NewLimiter(rate.Limit(spec.ReadRate), int(max(spec.ReadRate, tree.Span(1))))
	}
	if spec.Base != nil {
		if _, ok := w.s.state.Point(spec.Base.point); !ok {
			return fail(fmt.Errorf("base: %w: %s", ErrNoPoint, spec.Base.point))
		}
		j.base = w.s.r.readTree(w.finder, *spec.Base)
		j.expand = j.base.suspicious()
	}
	root, err := j.run(ctx)
	if errors.Is(err, ErrDamaged) && j.base != nil && !j.expand {
		// The base is hurt where nobody knew: look at all of it, and read again
		// from the source what it lost.
		j.expand = true
		root, err = j.run(ctx)
	}
	if err != nil {
		return fail(err)
	}
	stats := DiskStats{Read: j.stats.read.Load(), New: j.stats.fresh.Load(), Stored: j.stats.stored.Load(), Reused: j.stats.reused.Load()}
	d := ledger.Disk{Name: spec.Name, Size: src.Size(), Level: tree.Shape{Size: src.Size()}.Level(), Stats: stats}
	if !root.IsZero() {
		d.Root = &root
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.disks = append(w.disks, d)
	return stats, nil
}

func (w *Writer) claim(spec DiskSpec, src disk.Source) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.over:
		return errors.New("the writer is over")
	case spec.Name == "":
		return errors.New("the disk's name is empty")
	case w.names[spec.Name]:
		return errors.New("the point has a disk of this name already")
	case src.Size() < 0:
		return fmt.Errorf("the disk has a size of %d bytes", src.Size())
	}
	w.names[spec.Name] = true
	return nil
}

// run stores the disk once through and answers the root of its tree.
func (j *diskJob) run(ctx context.Context) (tree.Ref, error) {
	workers := j.w.s.r.opt.Workers
	j.work = make(chan *leafJob)
	j.queue = make(chan step, 4*workers)
	g, ctx := errgroup.WithContext(ctx)
	for range workers {
		g.Go(func() error { return j.worker(ctx) })
	}
	g.Go(func() error {
		defer close(j.work)
		defer close(j.queue)
		return newPlanner(ctx, j).run()
	})
	var root tree.Ref
	g.Go(func() (err error) {
		root, err = j.build(ctx)
		return err
	})
	return root, g.Wait()
}

// build makes the tree from the steps, in order.
func (j *diskJob) build(ctx context.Context) (tree.Ref, error) {
	b := newTreeBuilder(ctx, j)
	for s := range j.queue {
		if s.job == nil {
			if err := b.fill(s.kind, s.from, s.to); err != nil {
				return tree.Ref{}, err
			}
			j.progress(s.to)
			continue
		}
		select {
		case <-s.job.done:
		case <-ctx.Done():
			return tree.Ref{}, context.Cause(ctx)
		}
		for _, l := range s.job.leaves {
			if err := b.leaf(l.index, l.node); err != nil {
				return tree.Ref{}, err
			}
			j.progress(l.index + 1)
		}
		if err := j.w.checkpoint(ctx); err != nil {
			return tree.Ref{}, err
		}
	}
	if err := ctx.Err(); err != nil {
		return tree.Ref{}, context.Cause(ctx)
	}
	return b.root, nil
}

func (j *diskJob) progress(leaves int64) {
	if j.spec.Progress != nil {
		size := j.src.Size()
		j.spec.Progress(min(leaves*tree.Span(1), size), size)
	}
}

// treeBuilder puts leaves and runs of leaves, given in order and without gaps,
// together to a tree.
type treeBuilder struct {
	ctx   context.Context
	j     *diskJob
	top   uint8
	nodes [tree.MaxLevel + 1]tree.Node // being filled, by level
	root  tree.Ref
}

func newTreeBuilder(ctx context.Context, j *diskJob) *treeBuilder {
	return &treeBuilder{ctx: ctx, j: j, top: tree.Shape{Size: j.src.Size()}.Level()}
}

// leaf adds a leaf node; a zero node needs no storing.
func (b *treeBuilder) leaf(index int64, n *tree.Node) error {
	ref, err := b.store(n)
	if err != nil {
		return err
	}
	return b.place(1, index, ref)
}

func (b *treeBuilder) store(n *tree.Node) (tree.Ref, error) {
	if n.IsZero() {
		return tree.Ref{}, nil
	}
	return b.j.w.nodes.add(n)
}

// place sets the index-th node of a level, and stores its parent when that is
// complete.
func (b *treeBuilder) place(level uint8, index int64, ref tree.Ref) error {
	if level == b.top {
		b.root = ref
		return nil
	}
	n := &b.nodes[level+1]
	n.Level = level + 1
	n.Kids[index%tree.Fanout] = ref
	if index%tree.Fanout != tree.Fanout-1 {
		return nil
	}
	up, err := b.store(n)
	if err != nil {
		return err
	}
	*n = tree.Node{}
	return b.place(level+1, index/tree.Fanout, up)
}

// fill adds the leaves [from, to), all zero or all as in the base, in the
// biggest subtrees that fit.
func (b *treeBuilder) fill(kind disk.Kind, from, to int64) error {
	for from < to {
		level, leaves := uint8(1), int64(1)
		for level < b.top && from%(leaves*tree.Fanout) == 0 && from+leaves*tree.Fanout <= to &&
			(kind == disk.Zero || level < b.j.base.level) {
			level, leaves = level+1, leaves*tree.Fanout
		}
		var ref tree.Ref
		if kind == disk.Same {
			var err error
			if ref, err = b.j.base.ref(b.ctx, level, from/leaves); err != nil {
				return err
			}
			b.j.w.trusts()
			b.j.stats.reused.Add(min(leaves*tree.Span(1), max(0, b.j.src.Size()-from*tree.Span(1))))
		}
		if err := b.place(level, from/leaves, ref); err != nil {
			return err
		}
		from += leaves
	}
	return nil
}
