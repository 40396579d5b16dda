package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"holdfast/internal/disk"
	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/tree"
)

// DiskReader is a disk of a point as a disk.Source. Its ReadAt is safe for
// concurrent use.
type DiskReader struct {
	ctx  context.Context
	r    *Repository
	f    *finder
	disk Disk
	tree *treeReader
	p    string
}

var _ disk.Source = (*DiskReader)(nil)

// OpenDisk opens a disk of a point for reading. ctx bounds every later read.
func (r *Repository) OpenDisk(ctx context.Context, p Point, name string) (*DiskReader, error) {
	d := p.Disk(name)
	if d == nil {
		return nil, fmt.Errorf("open disk of point %s: %w: %s", p.ID, ErrNoDisk, name)
	}
	f, err := r.newFinder(ctx)
	if err != nil {
		return nil, err
	}
	return &DiskReader{ctx, r, f, *d, r.readTree(f, *d), p.ID}, nil
}

// Size is the length of the disk in bytes.
func (d *DiskReader) Size() int64 { return d.disk.Size }

// Extents yields Data and Zero ranges as the tree knows them: chunk by chunk,
// joined.
func (d *DiskReader) Extents(ctx context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		out := joiner{size: d.disk.Size, yield: yield}
		err := d.walk(ctx, &out)
		if err == nil {
			err = out.flush()
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(disk.Extent{}, err)
		}
	}
}

var errStop = errors.New("stop")

func (d *DiskReader) walk(ctx context.Context, out *joiner) error {
	leaves := tree.Shape{Size: d.disk.Size}.Leaves()
	for leaf := int64(0); leaf < leaves; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := d.tree.skipZero(ctx, leaf)
		if err != nil {
			return err
		}
		if n > 0 {
			if err := out.add(disk.Zero, leaf*tree.Span(1), n*tree.Span(1)); err != nil {
				return err
			}
			leaf += n
			continue
		}
		node, err := d.tree.node(ctx, 1, leaf)
		if err != nil {
			return d.damage(err, leaf*tree.Span(1), tree.Span(1))
		}
		for i, ref := range node.Kids {
			kind := disk.Data
			if ref.IsZero() {
				kind = disk.Zero
			}
			if err := out.add(kind, leaf*tree.Span(1)+int64(i)*chunk.Size, chunk.Size); err != nil {
				return err
			}
		}
		leaf++
	}
	return nil
}

// ReadAt reads proved bytes of the disk.
func (d *DiskReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d", off)
	}
	done := 0
	for done < len(p) && off < d.disk.Size {
		i, in := off/chunk.Size, off%chunk.Size
		n := int(min(chunk.Size-in, d.disk.Size-off, int64(len(p)-done)))
		ref, err := d.tree.ref(d.ctx, 0, i)
		if err != nil {
			return done, d.damage(err, off, int64(n))
		}
		if ref.IsZero() {
			clear(p[done : done+n])
		} else {
			blob, err := d.r.blobs.get(d.ctx, d.f, ref, 0)
			if err != nil {
				return done, d.damage(err, off, int64(n))
			}
			copy(p[done:done+n], blob[in:])
		}
		done, off = done+n, off+int64(n)
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

func (d *DiskReader) damage(err error, off, length int64) error {
	if !errors.Is(err, ErrDamaged) {
		return err
	}
	return &DamageError{Artifact: "content", Cause: err, Points: []Hurt{{Point: d.p, Disk: d.disk.Name,
		Ranges: []Range{{off, min(length, d.disk.Size-off)}}}}}
}
