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

// reindex replaces the segments that are damaged or gone by one made from the
// trailers of the packs that no whole segment knows.
func (s *session) reindex(ctx context.Context, v *view) (*ledger.State, error) {
	known := map[pack.ID]bool{}
	for _, seg := range v.segments {
		for _, p := range seg.Packs() {
			known[p.ID] = true
		}
	}
	var entries []index.Entry
	var packs []index.PackInfo
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
		if err != nil {
			return nil, err
		}
		packs = append(packs, index.PackInfo{ID: id, Blobs: uint32(len(ids)), Stored: uint32(p.Size()), Kind: p.Kind()})
		for i, c := range ids {
			entries = append(entries, index.Entry{ID: c, Pack: id, Ordinal: uint32(i)})
		}
	}
	seg := s.segmentID()
	raw, err := index.Build(s.r.keys, seg, entries, packs)
	if err != nil {
		return nil, err
	}
	if err := put(ctx, s.r.store, seg.Object(), raw); err != nil {
		return nil, err
	}
	drop := make([]index.ID, 0, len(v.hurt))
	for id := range v.hurt {
		drop = append(drop, id)
	}
	return s.r.log.Append(ctx, func(*ledger.State) (*ledger.Record, error) {
		return &ledger.Record{Op: ledger.Index, Session: s.id, Add: []index.ID{seg}, Drop: drop}, nil
	})
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
