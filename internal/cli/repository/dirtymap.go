package repository

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"

	"holdfast/internal/disk"
	"holdfast/internal/repository"
)

// dirtyRange is one entry of a dirty map. Type and Description are those of
// nbdinfo --map=qemu:dirty-bitmap:NAME: 0 is clean, 1 dirty. In the map that
// nbdinfo prints of no bitmap (base:allocation) 0 is data, so that the two must
// never be taken for each other.
type dirtyRange struct {
	Offset      int64  `json:"offset"`
	Length      int64  `json:"length"`
	Type        *int   `json:"type"`
	Description string `json:"description"`
}

// check refuses what is no entry of a dirty map of a disk.
func (e dirtyRange) check(size int64) error {
	switch {
	case e.Offset < 0 || e.Length <= 0 || e.Offset > size || e.Length > size-e.Offset:
		return fmt.Errorf("dirty map: offset %d, length %d is not a range of a disk of %d bytes", e.Offset, e.Length, size)
	case e.Description != "" && e.Description != "dirty" && e.Description != "clean",
		e.Type != nil && (*e.Type < 0 || *e.Type > 1):
		return fmt.Errorf("dirty map: the entry at %d says %q: this is a map of what is allocated, not of what has changed; ask for a bitmap's: nbdinfo --map=qemu:dirty-bitmap:NAME --json URI", e.Offset, e.Description)
	}
	return nil
}

// parseDirtyMap reads a dirty map: JSON objects one after the other, or arrays
// of them. It answers the dirty ranges in order, joined where they touch.
func parseDirtyMap(r io.Reader, size int64) ([]repository.Range, error) {
	var found []repository.Range
	empty := true
	d := json.NewDecoder(bufio.NewReader(r))
	for {
		var raw json.RawMessage
		err := d.Decode(&raw)
		if errors.Is(err, io.EOF) && empty {
			return nil, errors.New("dirty map: it is empty; a map that says that nothing has changed is []")
		}
		if errors.Is(err, io.EOF) {
			return joinRanges(found), nil
		}
		empty = false
		if err != nil {
			return nil, fmt.Errorf("dirty map: %w", err)
		}
		var list []dirtyRange
		if raw[0] == '[' {
			err = json.Unmarshal(raw, &list)
		} else {
			list = make([]dirtyRange, 1)
			err = json.Unmarshal(raw, &list[0])
		}
		if err != nil {
			return nil, fmt.Errorf("dirty map: %w", err)
		}
		for _, e := range list {
			if err := e.check(size); err != nil {
				return nil, err
			}
			if e.Type == nil || *e.Type&1 != 0 {
				found = append(found, repository.Range{Offset: e.Offset, Length: e.Length})
			}
		}
	}
}

func joinRanges(rs []repository.Range) []repository.Range {
	slices.SortFunc(rs, func(a, b repository.Range) int { return int(min(max(a.Offset-b.Offset, -1), 1)) })
	var out []repository.Range
	for _, r := range rs {
		if n := len(out); n > 0 && r.Offset <= out[n-1].Offset+out[n-1].Length {
			out[n-1].Length = max(out[n-1].Length, r.Offset+r.Length-out[n-1].Offset)
			continue
		}
		out = append(out, r)
	}
	return out
}

// changed is a source of which only some ranges have changed since its base.
type changed struct {
	disk.Source
	dirty []repository.Range // in order, not touching
	base  int64              // size of the base: behind it all is new
}

// withDirtyMap puts the dirty map in file over src.
func withDirtyMap(src disk.Source, file string, base *repository.Disk) (disk.Source, error) {
	in := os.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("dirty map: %w", err)
		}
		defer f.Close()
		in = f
	}
	dirty, err := parseDirtyMap(in, src.Size())
	if err != nil {
		return nil, err
	}
	return &changed{src, dirty, base.Size}, nil
}

// Extents yields what the image says of dirty ranges and of what lies behind
// the base, and Same for the rest.
func (c *changed) Extents(ctx context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		dirty := c.dirty
		if c.Size() > c.base {
			dirty = joinRanges(append(slices.Clone(dirty), repository.Range{Offset: c.base, Length: c.Size() - c.base}))
		}
		for e, err := range c.Source.Extents(ctx) {
			if err != nil {
				yield(e, err)
				return
			}
			for e.Length > 0 {
				for len(dirty) > 0 && dirty[0].Offset+dirty[0].Length <= e.Offset {
					dirty = dirty[1:]
				}
				part := cutAt(e, dirty)
				if !yield(part, nil) {
					return
				}
				e.Offset, e.Length = part.End(), e.End()-part.End()
			}
		}
	}
}

// cutAt answers the first part of e that is all dirty or all clean.
func cutAt(e disk.Extent, dirty []repository.Range) disk.Extent {
	switch {
	case len(dirty) == 0 || dirty[0].Offset >= e.End():
		e.Kind = disk.Same
	case dirty[0].Offset > e.Offset:
		e.Length, e.Kind = dirty[0].Offset-e.Offset, disk.Same
	default:
		e.Length = min(e.Length, dirty[0].Offset+dirty[0].Length-e.Offset)
	}
	return e
}
