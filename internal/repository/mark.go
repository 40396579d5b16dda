package repository

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"holdfast/internal/repository/index"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/tree"
)

// marks is which blobs of which packs are referred to: one bit a blob.
type marks struct {
	packs map[pack.ID]*packMark
	// gone are packs that the index knows and the store doesn't have, or not
	// whole: no copy of a blob in one of them counts.
	gone map[pack.ID]bool
}

type packMark struct {
	info index.PackInfo
	live []uint64 // bits, by ordinal
}

func (p *packMark) has(ordinal uint32) bool {
	return int(ordinal/64) < len(p.live) && p.live[ordinal/64]&(1<<(ordinal%64)) != 0
}

func (p *packMark) count() (n int) {
	for _, w := range p.live {
		n += bits.OnesCount64(w)
	}
	return n
}

// countIn is how many blobs of one frame are marked.
func (p *packMark) countIn(row pack.Row) (n int) {
	for o := row.First; o < row.First+uint32(row.Count); o++ {
		if p.has(o) {
			n++
		}
	}
	return n
}

// newMarks knows all packs of the index, dead ones too.
func newMarks(v *view) *marks {
	m := &marks{packs: map[pack.ID]*packMark{}, gone: map[pack.ID]bool{}}
	for _, s := range v.segments {
		for _, p := range s.Packs() {
			if m.packs[p.ID] == nil {
				m.packs[p.ID] = &packMark{info: p, live: make([]uint64, (p.Blobs+63)/64)}
			}
		}
	}
	return m
}

// addStored adds the packs that are in the store and that the index, of which
// something is damaged or gone, doesn't know.
func (m *marks) addStored(ctx context.Context, r *Repository, v *view) error {
	if len(v.hurt) == 0 {
		return nil
	}
	for info, err := range r.store.List(ctx, "packs/", "") {
		if err != nil {
			return fmt.Errorf("list packs: %w", err)
		}
		id, ours := packOf(info.Name)
		_, open := v.state.Session(id.Session())
		if ours && !open && m.packs[id] == nil {
			m.packs[id] = &packMark{info: index.PackInfo{ID: id, Stored: uint32(info.Size)}}
		}
	}
	return nil
}

// lose says that a pack is not in the store, or not whole.
func (m *marks) lose(id pack.ID) {
	delete(m.packs, id)
	m.gone[id] = true
}

// set marks a blob and answers whether it was not marked before. A pack that
// the index doesn't know is kept track of all the same.
func (m *marks) set(id pack.ID, ordinal uint32) bool {
	p := m.packs[id]
	if p == nil {
		p = &packMark{info: index.PackInfo{ID: id}}
		m.packs[id] = p
	}
	for int(ordinal/64) >= len(p.live) {
		p.live = append(p.live, 0)
	}
	first := !p.has(ordinal)
	p.live[ordinal/64] |= 1 << (ordinal % 64)
	return first
}

// marker walks trees and marks what they refer to.
type marker struct {
	r *Repository
	f *finder
	v *view
	m *marks
	// lost is called for a subtree or chunk that cannot be found or read.
	lost func(level uint8, index int64, err error) error
}

// disk marks everything that a disk refers to.
func (k *marker) disk(ctx context.Context, d ledger.Disk) error {
	if d.Root == nil {
		return nil
	}
	return k.visit(ctx, *d.Root, d.Level, 0)
}

// visit marks the blob of ref and, if it is a node seen for the first time,
// what is below it.
func (k *marker) visit(ctx context.Context, ref tree.Ref, level uint8, at int64) error {
	if ref.IsZero() {
		return nil
	}
	place, ok, err := k.place(ref)
	if err != nil {
		return err
	}
	if !ok {
		return k.lost(level, at, fmt.Errorf("%w: no pack holds %s", ErrDamaged, ref.ID))
	}
	if !k.m.set(place.Pack, place.Ordinal) || level == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	n, err := k.r.blobs.node(ctx, k.f, place, level)
	if err != nil {
		if errors.Is(err, ErrDamaged) {
			return k.lost(level, at, err)
		}
		return err
	}
	for i, kid := range n.Kids {
		if err := k.visit(ctx, kid, level-1, at*tree.Fanout+int64(i)); err != nil {
			return err
		}
	}
	return nil
}

// place answers where the blob of ref is kept: where the hint says if that pack
// lives, else where the index says. A condemned pack is the last resort.
func (k *marker) place(ref tree.Ref) (tree.Ref, bool, error) {
	state := k.v.state
	_, known := k.m.packs[ref.Pack]
	if known && !state.IsDead(ref.Pack) && !state.IsDamaged(ref.Pack, ref.Ordinal) {
		return ref, true, nil
	}
	at, ok, err := k.v.find(ref.ID, nil)
	if ok || err != nil {
		return at, ok, err
	}
	d, dead := state.Dead[ref.Pack]
	return ref, known && (!dead || d.Swept == 0), nil
}
