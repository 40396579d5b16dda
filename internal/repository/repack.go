package repository

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/time/rate"

	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/index"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
)

// repack moves the live blobs of thin packs into new packs and answers the
// index segment of those, and the packs that were emptied.
func (c *collection) repack(ctx context.Context, thin []pack.ID) (add []index.ID, moved []pack.ID, err error) {
	if len(thin) == 0 {
		return nil, nil, nil
	}
	mv := newMover(ctx, c.s)
	defer mv.codec.Close()
	pace := paced(c.opt.Rate)
	for i, id := range thin {
		c.progress("move", int64(i), int64(len(thin)))
		err := pace(ctx, c.sizes[id])
		if err == nil {
			err = mv.pack(ctx, id, c.m.packs[id])
		}
		if errors.Is(err, ErrDamaged) {
			continue // it stays as it is; Verify names it
		}
		if err != nil {
			mv.drain()
			return nil, nil, err
		}
		moved = append(moved, id)
	}
	seg, err := mv.finish(ctx)
	if err != nil || seg == nil {
		return nil, moved, err
	}
	c.stats.Moved = mv.bytes
	return []index.ID{*seg}, moved, nil
}

// paced waits until so many more bytes may be read at a rate.
func paced(bytesPerSecond int64) func(ctx context.Context, n int64) error {
	if bytesPerSecond <= 0 {
		return func(context.Context, int64) error { return nil }
	}
	l := rate.NewLimiter(rate.Limit(bytesPerSecond), int(bytesPerSecond))
	return func(ctx context.Context, n int64) error {
		for ; n > 0; n -= bytesPerSecond { // a limiter gives no more at once than its burst
			if err := l.WaitN(ctx, int(min(n, bytesPerSecond))); err != nil {
				return err
			}
		}
		return nil
	}
}

// mover writes blobs that exist already into new packs.
type mover struct {
	s       *session
	chunks  *packer
	nodes   *packer
	codec   *seal.Codec
	bytes   int64
	mu      sync.Mutex
	entries []index.Entry
	packs   []index.PackInfo
}

func newMover(ctx context.Context, s *session) *mover {
	m := &mover{s: s, codec: seal.NewCodec()}
	m.chunks = newPacker(ctx, s, pack.Chunks, m.stored)
	m.nodes = newPacker(ctx, s, pack.Nodes, m.stored)
	return m
}

func (m *mover) stored(b *pack.Builder, size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.packs = append(m.packs, index.PackInfo{ID: b.ID(), Blobs: uint32(b.Blobs()), Stored: uint32(size), Kind: b.Kind()})
	for i, id := range b.IDs() {
		m.entries = append(m.entries, index.Entry{ID: id, Pack: b.ID(), Ordinal: uint32(i)})
	}
}

func (m *mover) packer(kind pack.Kind) *packer {
	if kind == pack.Nodes {
		return m.nodes
	}
	return m.chunks
}

// pack moves the live blobs of one pack. Frames that are all alive are sealed
// again without recompressing.
func (m *mover) pack(ctx context.Context, id pack.ID, live *packMark) error {
	raw, err := ledger.Fetch(ctx, m.s.r.store, id.Object())
	if err != nil {
		return gone(id, err)
	}
	p, ids, err := m.s.r.blobs.directory(ctx, id)
	if err != nil {
		return err
	}
	// Prove all that lives before a part of it is moved: a pack of which
	// something living is damaged stays as it is.
	var rows []pack.Row
	found := 0
	for _, row := range p.Rows() {
		n := live.countIn(row)
		if found += n; n == 0 {
			continue
		}
		if err := p.CheckFrame(row, raw[row.Offset:int64(row.Offset)+row.Size()]); err != nil {
			return err
		}
		rows = append(rows, row)
	}
	if found < live.count() {
		return seal.Damaged("pack %s has lost blobs", id)
	}
	for _, row := range rows {
		if err := m.frame(p, row, ids, raw[row.Offset:int64(row.Offset)+row.Size()], live); err != nil {
			return err
		}
	}
	return nil
}

func (m *mover) frame(p *pack.Reader, row pack.Row, ids []chunk.ID, frame []byte, live *packMark) error {
	var want []uint32
	for o := row.First; o < row.First+uint32(row.Count); o++ {
		if live.has(o) {
			want = append(want, o)
		}
	}
	if len(want) == 0 {
		return nil
	}
	if len(want) == int(row.Count) {
		payload, err := p.TakeOver(row, frame)
		if err != nil {
			return err
		}
		return m.add(p.Kind(), payload, ids[row.First:row.First+uint32(row.Count)])
	}
	payload, err := p.OpenFrame(row, frame, m.codec, nil)
	if err != nil {
		return err
	}
	var blobs [][]byte
	var kept []chunk.ID
	for _, o := range want {
		blob, err := p.Blob(row, payload, o)
		if err != nil {
			return err
		}
		blobs, kept = append(blobs, blob), append(kept, ids[o])
	}
	return m.add(p.Kind(), m.codec.Payload(pack.Join(p.Kind(), blobs), nil), kept)
}

func (m *mover) add(kind pack.Kind, payload seal.Payload, ids []chunk.ID) error {
	m.bytes += int64(payload.SealedSize())
	_, err := m.packer(kind).add(payload, ids, m.codec, nil)
	return err
}

// finish makes the new packs and their segment durable; nil if there are none.
func (m *mover) finish(ctx context.Context) (*index.ID, error) {
	if err := m.drain(); err != nil {
		return nil, err
	}
	if len(m.packs) == 0 {
		return nil, nil
	}
	id := m.s.segmentID()
	raw, err := index.Build(m.s.r.keys, id, m.entries, m.packs)
	if err != nil {
		return nil, err
	}
	if err := put(ctx, m.s.r.store, id.Object(), raw); err != nil {
		return nil, err
	}
	m.s.r.shelf.add(id, raw)
	return &id, nil
}

// drain stores what is left and waits for it.
func (m *mover) drain() error {
	err := m.chunks.flush()
	if e := m.nodes.flush(); err == nil {
		err = e
	}
	return err
}
