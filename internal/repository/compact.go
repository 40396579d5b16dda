package repository

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"holdfast/internal/objstore"
	"holdfast/internal/repository/index"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/pack"
)

// forget merges segments: those that mention deleted packs so much that it
// pays, and the smallest when there are many of a size. Deleted packs that no
// segment mentions any more are forgotten. A writer may merge beside us: what it
// took is looked at again.
func (c *collection) forget(ctx context.Context) error {
	for {
		err := c.forgetOnce(ctx)
		if !errors.Is(err, ledger.ErrChanged) {
			return err
		}
	}
}

func (c *collection) forgetOnce(ctx context.Context) error {
	state, err := c.r.log.Read(ctx)
	if err != nil {
		return err
	}
	c.s.state = state
	v, err := c.s.wholeView(ctx)
	if err != nil {
		return err
	}
	gone, err := c.gone(ctx, v.state)
	if err != nil {
		return err
	}
	old := worthMerging(v.segments, gone)
	r := &ledger.Record{Op: ledger.Forget, Session: c.s.id}
	mentioned := map[pack.ID]bool{}
	for _, s := range v.segments {
		if slices.Contains(old, s) {
			r.Drop = append(r.Drop, s.ID())
			continue
		}
		for _, p := range s.Packs() {
			mentioned[p.ID] = true
		}
	}
	for id := range gone {
		if !mentioned[id] {
			r.Packs = append(r.Packs, id)
		}
	}
	slices.SortFunc(r.Packs, func(a, b pack.ID) int { return slices.Compare(a[:], b[:]) })
	if len(r.Drop) == 0 && len(r.Packs) == 0 {
		return nil
	}
	if len(r.Drop) > 0 {
		r.Add, err = c.s.merge(ctx, old, func(p pack.ID) bool { return !gone[p] })
		if errors.Is(err, ErrDamaged) {
			return c.rebuild(ctx, v, old, err)
		}
		if err != nil {
			return err
		}
	}
	_, err = c.r.log.Append(ctx, func(*ledger.State) (*ledger.Record, error) { return r, nil })
	if err == nil {
		c.r.shelf.drop(r.Drop)
	}
	return err
}

// rebuild makes anew what is damaged of these segments, of which one did not read
// well, and answers ErrChanged then: the index is another one.
func (c *collection) rebuild(ctx context.Context, v *view, segments []*index.Reader, why error) error {
	for _, s := range segments {
		err := c.r.checkSegment(ctx, s.ID())
		if err != nil && !errors.Is(err, ErrDamaged) {
			return err
		}
		if err != nil {
			v.hurt[s.ID()] = err
		}
	}
	if len(v.hurt) == 0 {
		return why // the store's copies are whole
	}
	if _, err := c.s.reindex(ctx, v); err != nil {
		return err
	}
	return ledger.ErrChanged
}

// gone answers which swept packs the store doesn't have any more.
func (c *collection) gone(ctx context.Context, state *ledger.State) (map[pack.ID]bool, error) {
	gone := map[pack.ID]bool{}
	for id, d := range state.Dead {
		if d.Swept == 0 {
			continue
		}
		if _, err := c.r.store.Stat(ctx, id.Object()); errors.Is(err, objstore.ErrNotExist) {
			gone[id] = true
		} else if err != nil {
			return nil, err
		}
	}
	return gone, nil
}

// allTiers is Crowded's top for a collector: it merges segments of any size.
const allTiers = 64

// worthMerging chooses segments to be written anew.
func worthMerging(segments []*index.Reader, gone map[pack.ID]bool) (chosen []*index.Reader) {
	var rest []*index.Reader
	for _, s := range segments {
		var dead uint64
		for _, p := range s.Packs() {
			if gone[p.ID] {
				dead += uint64(p.Blobs)
			}
		}
		if dead > 0 && (dead*4 >= s.Len() || s.Len() < checkpointEntries) {
			chosen = append(chosen, s)
		} else {
			rest = append(rest, s)
		}
	}
	return append(chosen, smallest(rest, 0, allTiers)...)
}

// smallest are the segments that have to be merged, with as many new entries as
// add says, so that there are few of each size.
func smallest(segments []*index.Reader, add uint64, top int) []*index.Reader {
	sorted := slices.SortedStableFunc(slices.Values(segments), func(a, b *index.Reader) int { return cmp.Compare(a.Len(), b.Len()) })
	lens := make([]uint64, len(sorted))
	for i, s := range sorted {
		lens[i] = s.Len()
	}
	return sorted[:index.Crowded(lens, add, top)]
}

// merge stores one segment of several; none if nothing of them is left.
func (s *session) merge(ctx context.Context, old []*index.Reader, keep func(pack.ID) bool) ([]index.ID, error) {
	if dir := s.r.opt.CacheDir; dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	f, err := os.CreateTemp(s.r.opt.CacheDir, "holdfast-merge-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	id := s.segmentID()
	w := bufio.NewWriterSize(f, 64<<10)
	n, err := index.Merge(w, s.r.keys, id, old, keep)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return nil, fmt.Errorf("merge index segments: %w", err)
	}
	if n == 0 {
		return nil, nil
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if err := index.Check(id, f, size); err != nil {
		return nil, fmt.Errorf("the merged index segment does not read back: %w", err)
	}
	m, err := index.Open(s.r.keys, id, f, size)
	if err == nil {
		err = index.Prove(m, old, keep)
	}
	if err != nil {
		return nil, fmt.Errorf("the merged index segment does not read back: %w", err)
	}
	if err := s.r.store.Put(ctx, id.Object(), io.NewSectionReader(f, 0, size), objstore.PutOptions{}); err != nil {
		return nil, fmt.Errorf("store %s: %w", id.Object(), err)
	}
	return []index.ID{id}, nil
}

// tidy deletes what no record names: segments, bodies and heartbeats that
// ended sessions left.
func (c *collection) tidy(ctx context.Context) error {
	var names []string
	for _, prefix := range []string{"index/", "points/", leasePrefix} {
		for info, err := range c.r.store.List(ctx, prefix, "") {
			if err != nil {
				return fmt.Errorf("list %s: %w", prefix, err)
			}
			names = append(names, info.Name)
		}
	}
	// Read after listing, as in condemn.
	state, err := c.r.log.Read(ctx)
	if err != nil {
		return err
	}
	needed := map[string]bool{}
	for _, id := range state.Segments {
		needed[id.Object()] = true
	}
	for _, p := range state.Points {
		needed[p.Object()] = needed[p.Object()] || p.Deleted == 0
	}
	for _, name := range names {
		_, rest, _ := strings.Cut(name, "/")
		var s ledger.Session
		if needed[name] || len(rest) < 24 || s.UnmarshalText([]byte(rest[:24])) != nil {
			continue
		}
		if _, open := state.Session(s); open {
			continue
		}
		err := c.r.store.Delete(ctx, name)
		if err != nil && !errors.Is(err, objstore.ErrNotExist) && !errors.Is(err, objstore.ErrHeld) {
			return fmt.Errorf("delete %s: %w", name, err)
		}
	}
	return nil
}
