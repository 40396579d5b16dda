package repository

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/objstore"
	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
	"holdfast/internal/repository/tree"
)

// The sizes of packs being filled and how many of them may be in memory at
// once, being filled or stored.
const (
	chunkPackSize = 32 << 20
	nodePackSize  = 8 << 20
	chunkPacks    = 3
	nodePacks     = 2
)

// packer fills packs of one kind and stores them in the background. It is safe
// for concurrent use.
type packer struct {
	ctx    context.Context
	s      *session
	kind   pack.Kind
	stored func(*pack.Builder, int64) // after a pack is durable
	bufs   *buffers
	free   chan struct{} // a token for each buffer that may be in use
	idle   chan []byte   // buffers that were used and are not now

	now func() time.Time

	mu      sync.Mutex
	cur     *pack.Builder
	buf     []byte
	began   time.Time // of the present pack
	behind  atomic.Bool
	uploads sync.WaitGroup

	failOnce sync.Once
	failed   chan struct{}
	err      error
}

func newPacker(ctx context.Context, s *session, kind pack.Kind, stored func(*pack.Builder, int64)) *packer {
	bufs, n := &chunkPackBufs, chunkPacks
	if kind == pack.Nodes {
		bufs, n = &nodePackBufs, nodePacks
	}
	return &packer{ctx: ctx, s: s, kind: kind, stored: stored, bufs: bufs, now: time.Now,
		free: make(chan struct{}, n), idle: make(chan []byte, n), failed: make(chan struct{})}
}

// fail keeps the first failure of a background store.
func (p *packer) fail(err error) {
	p.failOnce.Do(func() {
		p.err = err
		close(p.failed)
	})
}

// add seals a payload of the blobs ids into a pack and answers the place of the
// first; the others follow it.
func (p *packer) add(payload seal.Payload, ids []chunk.ID, c *seal.Codec, scratch []byte) (tree.Ref, error) {
	place, id, err := p.reserve(payload, ids)
	if err != nil {
		return tree.Ref{}, err
	}
	if err := place.Fill(payload, c, scratch); err != nil {
		return tree.Ref{}, err
	}
	return tree.Ref{ID: ids[0], Pack: id, Ordinal: place.First()}, nil
}

// effort is how hard to compress now: speed counts, unless the store is what
// everything waits for; then there is time to make packs smaller.
func (p *packer) effort() seal.Effort {
	switch {
	case p.behind.Load():
		return seal.Small
	case p.s.r.opt.Quick && p.s.r.config.MinReader > 1:
		return seal.Light
	}
	return seal.Fast
}

// frameChunks is how many chunks make a frame full now.
func (p *packer) frameChunks() int {
	if p.effort() == seal.Light {
		return lightFrameChunks
	}
	return frameChunks
}

func (p *packer) reserve(payload seal.Payload, ids []chunk.ID) (pack.Place, pack.ID, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.cur != nil {
			if place, ok := p.cur.Reserve(payload, ids); ok {
				return place, p.cur.ID(), nil
			}
			p.rotate()
		}
		if err := p.start(); err != nil {
			return pack.Place{}, pack.ID{}, err
		}
	}
}

// next answers the place that the first blob of the next frame will have, if
// that frame takes at most room bytes and nobody else adds one before.
func (p *packer) next(room int) (tree.Ref, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cur != nil && !p.cur.Fits(room) {
		p.rotate()
	}
	if p.cur == nil {
		if err := p.start(); err != nil {
			return tree.Ref{}, err
		}
	}
	return tree.Ref{Pack: p.cur.ID(), Ordinal: uint32(p.cur.Blobs())}, nil
}

// start waits for a buffer and begins a pack. The store is behind if that took
// an eighth of the time that the last pack took altogether.
func (p *packer) start() error {
	asked := p.now()
	select {
	case <-p.failed:
		return p.err
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	case p.free <- struct{}{}:
	}
	now := p.now()
	p.behind.Store(!p.began.IsZero() && now.Sub(asked) > now.Sub(p.began)/8)
	p.began = now
	buf := p.buffer()
	b, err := pack.NewBuilder(p.s.r.keys, p.kind, p.s.packID(), buf[:0])
	if err != nil {
		return err
	}
	p.cur, p.buf = b, buf
	return nil
}

// buffer is one of this packer's own if there is one: a pool, which keeps what
// it holds apart for each processor, would make more of them.
func (p *packer) buffer() []byte {
	select {
	case buf := <-p.idle:
		return buf
	default:
		return p.bufs.get()
	}
}

// rotate stores the present pack in the background.
func (p *packer) rotate() {
	b, buf := p.cur, p.buf
	p.cur, p.buf = nil, nil
	if b == nil {
		return
	}
	p.uploads.Add(1)
	go func() {
		defer p.uploads.Done()
		raw := b.Finish()
		if err := p.put(b.ID().Object(), raw); err != nil {
			p.fail(err) // the buffer is given up: a failed put may still read it
		} else {
			p.stored(b, int64(len(raw)))
			p.idle <- buf
		}
		<-p.free
	}()
}

// put stores a pack. What a collection moves may take the last room: it makes more.
func (p *packer) put(object string, raw []byte) error {
	opt := objstore.PutOptions{LeaveRoom: p.s.kind == ledger.Writer}
	if err := p.s.r.store.Put(p.ctx, object, bytes.NewReader(raw), opt); err != nil {
		return fmt.Errorf("store %s: %w", object, err)
	}
	return nil
}

// flush stores the present pack, waits until all are durable and gives the
// buffers back.
func (p *packer) flush() error {
	p.mu.Lock()
	p.rotate()
	p.mu.Unlock()
	p.uploads.Wait()
	for len(p.idle) > 0 {
		p.bufs.put(<-p.idle)
	}
	select {
	case <-p.failed:
		return p.err
	default:
		return nil
	}
}
