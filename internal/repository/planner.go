package repository

import (
	"context"
	"errors"
	"fmt"

	"holdfast/internal/disk"
	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/tree"
)

// unset marks a chunk of which nothing has been said yet.
const unset disk.Kind = 255

// leafPlan is what is to be done for each chunk of one leaf.
type leafPlan struct {
	index int64
	kinds [tree.Fanout]disk.Kind
	node  *tree.Node // the result
}

// leafJob is some leaves that one worker makes.
type leafJob struct {
	leaves []leafPlan
	bytes  int64 // to be read
	done   chan struct{}
}

// The bounds of a leafJob.
const (
	jobBytes  = 4 << 20
	jobLeaves = 64
)

// planner turns the extents of a source into steps.
type planner struct {
	ctx  context.Context
	j    *diskJob
	end  int64 // leaves of the tree's full capacity
	cur  *leafPlan
	job  *leafJob
	fill step // run of leaves without work that may still grow
}

func newPlanner(ctx context.Context, j *diskJob) *planner {
	top := tree.Shape{Size: j.src.Size()}.Level()
	return &planner{ctx: ctx, j: j, end: tree.Span(top) / tree.Span(1)}
}

func (p *planner) run() error {
	at, size := int64(0), p.j.src.Size()
	for e, err := range p.j.src.Extents(p.ctx) {
		if err != nil {
			return fmt.Errorf("extents of the source: %w", err)
		}
		if e.Offset != at || e.Length <= 0 || e.End() > size {
			return fmt.Errorf("extents of the source: [%d, %d) does not follow %d of %d", e.Offset, e.End(), at, size)
		}
		if err := p.extent(e); err != nil {
			return err
		}
		at = e.End()
	}
	if at != size {
		return fmt.Errorf("extents of the source end at %d of %d", at, size)
	}
	// Behind the disk all is zero, as it was behind a base of the same size.
	tail := disk.Extent{Offset: size, Length: p.end*tree.Span(1) - size, Kind: disk.Zero}
	if p.j.base != nil && p.j.base.size == size {
		tail.Kind = disk.Same
	}
	if tail.Length > 0 {
		if err := p.add(tail); err != nil {
			return err
		}
	}
	if err := p.flushJob(); err != nil {
		return err
	}
	return p.flushFill()
}

// extent checks a Same extent against the base, and reads what lies behind it.
func (p *planner) extent(e disk.Extent) error {
	if e.Kind != disk.Same {
		return p.add(e)
	}
	if p.j.base == nil {
		return errors.New("the source has unchanged extents but there is no base")
	}
	if same := p.j.base.size - e.Offset; same < e.Length {
		if same > 0 {
			if err := p.add(disk.Extent{Offset: e.Offset, Length: same, Kind: disk.Same}); err != nil {
				return err
			}
			e.Offset, e.Length = e.Offset+same, e.Length-same
		}
		e.Kind = disk.Data
	}
	return p.add(e)
}

// add cuts an extent at leaves; whole leaves of one kind go on as runs.
func (p *planner) add(e disk.Extent) error {
	span := tree.Span(1)
	for e.Length > 0 {
		leaf := e.Offset / span
		if e.Offset%span == 0 && e.Length >= span && e.Kind != disk.Data {
			n := e.Length / span
			if err := p.addRun(e.Kind, leaf, leaf+n); err != nil {
				return err
			}
			e.Offset, e.Length = e.Offset+n*span, e.Length-n*span
			continue
		}
		n := min(e.Length, (leaf+1)*span-e.Offset)
		p.mark(leaf, e.Offset-leaf*span, n, e.Kind)
		e.Offset, e.Length = e.Offset+n, e.Length-n
		if e.Offset == (leaf+1)*span {
			if err := p.endLeaf(); err != nil {
				return err
			}
		}
	}
	return nil
}

// mark says the kind of n bytes from off in a leaf. A chunk of which different
// things are said must be read.
func (p *planner) mark(leaf, off, n int64, kind disk.Kind) {
	if p.cur == nil {
		p.cur = &leafPlan{index: leaf}
		for i := range p.cur.kinds {
			p.cur.kinds[i] = unset
		}
	}
	for i := off / chunk.Size; i <= (off+n-1)/chunk.Size; i++ {
		k := &p.cur.kinds[i]
		switch {
		case *k == unset:
			*k = kind
		case *k != kind:
			*k = disk.Data
		}
	}
}

// endLeaf sends the finished leaf on: as a run if it is all of one kind that
// needs no reading.
func (p *planner) endLeaf() error {
	l := p.cur
	p.cur = nil
	first := l.kinds[0]
	for _, k := range l.kinds {
		if k != first || k == disk.Data {
			return p.addLeaf(*l)
		}
	}
	return p.addRun(first, l.index, l.index+1)
}

// addRun adds leaves without work. When damage is about, the base's leaves are
// looked at one by one.
func (p *planner) addRun(kind disk.Kind, from, to int64) error {
	if kind == disk.Same && p.j.expand {
		return p.lookAt(from, to)
	}
	if p.fill.to == from && p.fill.kind == kind && p.fill.from < p.fill.to {
		p.fill.to = to
		return nil
	}
	if err := p.flushJob(); err != nil {
		return err
	}
	if err := p.flushFill(); err != nil {
		return err
	}
	p.fill = step{kind: kind, from: from, to: to}
	return nil
}

// lookAt plans unchanged leaves of a base that may be hurt: zero subtrees as
// they are, all else leaf by leaf.
func (p *planner) lookAt(from, to int64) error {
	for from < to {
		n, err := p.j.base.skipZero(p.ctx, from)
		if err != nil {
			return err
		}
		if n > 0 {
			n = min(n, to-from)
			if err := p.addRun(disk.Zero, from, from+n); err != nil {
				return err
			}
			from += n
			continue
		}
		l := leafPlan{index: from}
		for i := range l.kinds {
			l.kinds[i] = disk.Same
		}
		if err := p.addLeaf(l); err != nil {
			return err
		}
		from++
	}
	return nil
}

func (p *planner) addLeaf(l leafPlan) error {
	if err := p.flushFill(); err != nil {
		return err
	}
	if p.job == nil {
		p.job = &leafJob{done: make(chan struct{})}
	}
	p.job.leaves = append(p.job.leaves, l)
	for _, k := range l.kinds {
		if k == disk.Data {
			p.job.bytes += chunk.Size
		}
	}
	if p.job.bytes >= jobBytes || len(p.job.leaves) >= jobLeaves {
		return p.flushJob()
	}
	return nil
}

func (p *planner) flushJob() error {
	if p.job == nil {
		return nil
	}
	job := p.job
	p.job = nil
	if err := p.send(step{job: job}); err != nil {
		return err
	}
	select {
	case p.j.work <- job:
		return nil
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
}

func (p *planner) flushFill() error {
	s := p.fill
	p.fill = step{}
	if s.from == s.to {
		return nil
	}
	return p.send(s)
}

func (p *planner) send(s step) error {
	select {
	case p.j.queue <- s:
		return nil
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
}
