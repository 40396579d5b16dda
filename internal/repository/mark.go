package repository

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/index"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/links"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
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
	// links are those of nodes that were read by an earlier walk; read counts
	// the nodes that were read by this one.
	links *links.File
	read  int64
	dir   pack.ID // of which ids is the directory
	ids   []chunk.ID
	// lost is called for a subtree or chunk that cannot be found or read.
	lost func(level uint8, err error) error
}

// disk marks everything that a disk refers to.
func (k *marker) disk(ctx context.Context, d ledger.Disk) error {
	if d.Root == nil {
		return nil
	}
	_, _, err := k.visit(ctx, *d.Root, d.Level)
	return err
}

// visit marks the blob of ref and, if it is a node seen for the first time,
// what is below it. It answers where the blob lies; false if it is lost.
func (k *marker) visit(ctx context.Context, ref tree.Ref, level uint8) (tree.Ref, bool, error) {
	at, ok, err := k.place(ref)
	if err != nil {
		return at, false, err
	}
	if !ok {
		return at, false, k.lost(level, fmt.Errorf("%w: no pack holds %s", ErrDamaged, ref.ID))
	}
	if !k.m.set(at.Pack, at.Ordinal) || level == 0 {
		return at, true, nil
	}
	ok, err = k.below(ctx, at, level)
	return at, ok, err
}

// below marks what is below the node at a place: by its links if they serve, else
// by reading it. It answers false if the node is lost.
func (k *marker) below(ctx context.Context, at tree.Ref, level uint8) (bool, error) {
	n, packs := k.links.Node(at)
	if !k.serves(n, packs, level) {
		return k.node(ctx, at, level)
	}
	for _, r := range n.Runs {
		for i := range r.Count {
			kid := tree.Ref{Pack: packs[r.Pack], Ordinal: r.First + i}
			if !k.m.set(kid.Pack, kid.Ordinal) || level == 1 {
				continue
			}
			if _, err := k.below(ctx, kid, level-1); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// serves reports whether the links of a node, which is to have this level, can be
// relied on now: all that they name lies in packs that live and are not known to
// be damaged.
func (k *marker) serves(n links.Node, packs []pack.ID, level uint8) bool {
	if n.Level != level {
		return false
	}
	for _, r := range n.Runs {
		id := packs[r.Pack]
		_, hurt := k.v.state.Damaged[id]
		if p := k.m.packs[id]; p == nil || p.info.Blobs < r.First+r.Count || hurt || k.v.state.IsDead(id) {
			return false
		}
	}
	return true
}

// node marks what is below the node at a place, which it reads, and notes its
// links. It answers false if the node is lost.
func (k *marker) node(ctx context.Context, at tree.Ref, level uint8) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	k.read++
	at, err := k.named(ctx, at)
	var n *tree.Node
	if err == nil {
		n, err = k.r.blobs.node(ctx, k.f, at, level)
	}
	if errors.Is(err, ErrDamaged) {
		return false, k.lost(level, err)
	}
	if err != nil {
		return false, err
	}
	whole := true
	places := make([]tree.Ref, 0, tree.Fanout)
	for _, kid := range n.Kids {
		if kid.IsZero() {
			continue
		}
		place, ok, err := k.visit(ctx, kid, level-1)
		if err != nil {
			return false, err
		}
		whole, places = whole && ok, append(places, place)
	}
	if whole {
		k.links.Set(at, level, places)
	}
	return true, nil
}

// named adds its id to a place that was reached by links: what is read there is
// proved by it.
func (k *marker) named(ctx context.Context, at tree.Ref) (tree.Ref, error) {
	if !at.IsZero() {
		return at, nil
	}
	if k.dir != at.Pack {
		_, ids, err := k.r.blobs.directory(ctx, at.Pack)
		if err != nil {
			return at, err
		}
		k.dir, k.ids = at.Pack, ids
	}
	if int(at.Ordinal) >= len(k.ids) {
		return at, seal.Damaged("pack %s has %d blobs, not %d", at.Pack, len(k.ids), at.Ordinal+1)
	}
	at.ID = k.ids[at.Ordinal]
	return at, nil
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
