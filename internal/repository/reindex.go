package repository

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/index"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/pack"
)

// wholeView opens the index as of now, and rebuilds before what is damaged or
// gone of it.
func (s *session) wholeView(ctx context.Context) (*view, error) {
	state := s.state
	for {
		v, err := s.r.viewNow(ctx, state)
		if err != nil || len(v.hurt) == 0 {
			return v, err
		}
		state, err = s.reindex(ctx, v)
		if errors.Is(err, ledger.ErrChanged) { // somebody else was faster
			state, err = s.r.log.Read(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("rebuild the index: %w", err)
		}
	}
}

// reindex replaces the segments that are damaged or gone by some made from the
// trailers of the packs that no whole segment knows.
func (s *session) reindex(ctx context.Context, v *view) (*ledger.State, error) {
	known := map[pack.ID]bool{}
	for _, seg := range v.segments {
		if v.hurt[seg.ID()] != nil {
			continue // open here still, but not in the store any more
		}
		for _, p := range seg.Packs() {
			known[p.ID] = true
		}
	}
	made := segmenter{r: s.r, id: s.segmentID}
	for id, err := range s.r.packs(ctx) {
		if err != nil {
			return nil, err
		}
		_, open := v.state.Session(id.Session())
		if known[id] || open {
			continue
		}
		p, ids, err := s.r.blobs.directory(ctx, id)
		if errors.Is(err, ErrDamaged) {
			continue // what it held is lost anyway; Check names it
		}
		if err == nil {
			err = made.add(ctx, p, ids)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := made.flush(ctx); err != nil {
		return nil, err
	}
	drop := make([]index.ID, 0, len(v.hurt))
	for id := range v.hurt {
		drop = append(drop, id)
	}
	return s.r.log.Append(ctx, func(*ledger.State) (*ledger.Record, error) {
		return &ledger.Record{Op: ledger.Index, Session: s.id, Add: made.ids, Drop: drop}, nil
	})
}

// rebuiltEntries is how many entries a segment made of stored packs has, and so
// how many are in memory while an index is rebuilt: some 100 MiB with the segment.
// The last pack of a segment may exceed it. Tests make it smaller.
var rebuiltEntries = 1 << 20

// segmenter makes index segments of stored packs, as many as it takes. Collections
// merge them.
type segmenter struct {
	r       *Repository
	id      func() index.ID // a new one
	ids     []index.ID      // of the segments that are stored
	entries []index.Entry
	packs   []index.PackInfo
}

func (s *segmenter) add(ctx context.Context, p *pack.Reader, ids []chunk.ID) error {
	s.packs = append(s.packs, index.PackInfo{ID: p.ID(), Blobs: uint32(len(ids)), Stored: uint32(p.Size()), Kind: p.Kind()})
	for i, c := range ids {
		s.entries = append(s.entries, index.Entry{ID: c, Pack: p.ID(), Ordinal: uint32(i)})
	}
	if len(s.entries) >= rebuiltEntries {
		return s.flush(ctx)
	}
	return nil
}

// flush stores a segment of what was added since the last.
func (s *segmenter) flush(ctx context.Context) error {
	if len(s.packs) == 0 {
		return nil
	}
	id := s.id()
	raw, err := index.Build(s.r.keys, id, s.entries, s.packs)
	if err != nil {
		return err
	}
	s.ids, s.entries, s.packs = append(s.ids, id), s.entries[:0], s.packs[:0]
	return put(ctx, s.r.store, id.Object(), raw)
}

// packs lists the packs that are in the store, of whatever session.
func (r *Repository) packs(ctx context.Context) func(yield func(pack.ID, error) bool) {
	return func(yield func(pack.ID, error) bool) {
		for info, err := range r.store.List(ctx, "packs/", "") {
			if err != nil {
				yield(pack.ID{}, fmt.Errorf("list packs: %w", err))
				return
			}
			var id pack.ID
			if id.UnmarshalText([]byte(info.Name[strings.LastIndexByte(info.Name, '/')+1:])) != nil || id.Object() != info.Name {
				continue // not ours
			}
			if !yield(id, nil) {
				return
			}
		}
	}
}

// directory answers the content ids of a stored pack, from its frames if its
// trailer is damaged.
func (b *blobs) directory(ctx context.Context, id pack.ID) (*pack.Reader, []chunk.ID, error) {
	info, err := b.r.store.Stat(ctx, id.Object())
	if err != nil {
		return nil, nil, gone(id, err)
	}
	p, err := pack.Open(b.r.keys, id, objectAt{ctx, b.r.store, id.Object()}, info.Size)
	if err == nil {
		ids, err := p.IDs()
		if err == nil || !errors.Is(err, ErrDamaged) {
			return p, ids, err
		}
	} else if !errors.Is(err, ErrDamaged) {
		return nil, nil, gone(id, err)
	}
	raw, err := ledger.Fetch(ctx, b.r.store, id.Object())
	if err != nil {
		return nil, nil, gone(id, err)
	}
	return pack.Scan(b.r.keys, b.r.namer, id, raw, b.nodeID)
}
