package repository

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"holdfast/internal/disk"
)

// CopyOptions says how a point is copied. The zero value is the usual case.
type CopyOptions struct {
	// Series is the one that the copy belongs to; "" is that of the point.
	Series string
	// Progress, if set, is told how much of the point's disks is done.
	Progress func(done, total int64)
}

// Copy copies a point from one repository to another, with its attributes. It
// is a backup whose source is the stored disk: what the target has already is
// not stored again, and what is stored is sealed again without being compressed
// again, but for frames of which the target lacks less than half. An earlier point
// that both have saves reading, unless it is damaged. It fails with ErrPointExists
// if the target has the point.
func Copy(ctx context.Context, from, to *Repository, id string, opt CopyOptions) (Point, error) {
	p, err := from.Point(ctx, id)
	if err != nil {
		return Point{}, fmt.Errorf("copy: %w", err)
	}
	if opt.Series == "" {
		opt.Series = p.Series
	}
	c, err := copyPoint(ctx, from, to, p, opt, true)
	if errors.Is(err, ErrDamaged) {
		c, err = copyPoint(ctx, from, to, p, opt, false)
	}
	return c, err
}

// copyPoint copies a point in one session, with the help of earlier ones or not.
func copyPoint(ctx context.Context, from, to *Repository, p Point, opt CopyOptions, based bool) (Point, error) {
	w, err := to.Begin(ctx, PointSpec{ID: p.ID, Series: opt.Series, Created: p.Created})
	if err != nil {
		return Point{}, fmt.Errorf("copy: %w", err)
	}
	defer w.Abort()
	var done, total int64
	for _, d := range p.Disks {
		total += d.Size
	}
	m := Manifest{Time: p.Time, Attributes: p.Attributes, Disks: map[string]json.RawMessage{}}
	for _, d := range p.Disks {
		m.Disks[d.Name] = d.Attributes
		progress := func(n, _ int64) {
			if opt.Progress != nil {
				opt.Progress(done+n, total)
			}
		}
		series := opt.Series
		if !based {
			series = ""
		}
		if err := copyDisk(ctx, from, w, p, d, series, progress); err != nil {
			return Point{}, fmt.Errorf("copy disk %s of point %s: %w", d.Name, p.ID, err)
		}
		done += d.Size
	}
	return w.Commit(ctx, m)
}

// copyDisk stores a disk of p in w's repository. If both repositories have an
// earlier point of the series ("": of none), only what differs from that is read.
func copyDisk(ctx context.Context, from *Repository, w *Writer, p Point, d Disk, series string, progress func(done, total int64)) error {
	src, err := from.OpenDisk(ctx, p, d.Name)
	if err != nil {
		return err
	}
	old, base, err := commonBase(ctx, from, w, p, d.Name, series)
	if err != nil {
		return err
	}
	spec := DiskSpec{Name: d.Name, Base: base, Progress: progress}
	if base == nil {
		_, err = w.Disk(ctx, spec, src)
		return err
	}
	_, err = w.Disk(ctx, spec, &changedSince{src, from, *old, d})
	return err
}

// commonBase finds the newest point before p of which both repositories have
// the disk: as the source has it, and as the target has it in its series.
func commonBase(ctx context.Context, from *Repository, w *Writer, p Point, name, series string) (old, base *Disk, err error) {
	if series == "" {
		return nil, nil, nil
	}
	points, err := from.Points(ctx, p.Series)
	if err != nil {
		return nil, nil, err
	}
	for _, q := range points {
		if q.Order >= p.Order {
			continue
		}
		l, ok := w.s.state.Point(q.ID)
		if !ok || l.Series != series || !l.Created.Equal(q.Created) {
			continue
		}
		there := fromLedger(l)
		a, b := q.Disk(name), there.Disk(name)
		if a != nil && b != nil && a.Size == b.Size {
			old, base = a, b
		}
	}
	return old, base, nil
}

// changedSince is a stored disk as a Source against an older one of the same
// repository.
type changedSince struct {
	*DiskReader
	r        *Repository
	old, now Disk
}

// Extents yields what differs between the two trees.
func (c *changedSince) Extents(ctx context.Context) iter.Seq2[disk.Extent, error] {
	return c.r.diff(ctx, c.old, c.now)
}
