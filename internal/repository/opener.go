package repository

import (
	"context"
	"errors"

	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
)

// fetchBytes is how much is fetched from a pack in one request, at most, and
// fetchGap how many unwanted bytes may lie between two wanted frames of it.
const (
	fetchBytes = 4 << 20
	fetchGap   = 128 << 10
)

// frameOpener fetches frames of packs in bulk and opens them one by one. It
// owns its buffers: one goroutine uses it.
type frameOpener struct {
	r       *Repository
	codec   *seal.Codec
	fetched []byte
	scratch []byte
}

func newFrameOpener(r *Repository) *frameOpener {
	return &frameOpener{r: r, codec: seal.NewCodec(), scratch: scratchBuffers.get()}
}

func (o *frameOpener) close() {
	o.codec.Close()
	scratchBuffers.put(o.scratch)
}

// wanted is a frame and the pieces in it.
type wanted struct {
	row    pack.Row
	pieces []piece
}

// each opens the frames that hold the pieces, which lie in one pack, proves
// every wanted chunk and calls use for each frame. It answers the pieces that
// were read and are wrong, so that they are looked for elsewhere.
func (o *frameOpener) each(ctx context.Context, pieces []piece, use func(*pack.Reader, pack.Row, []byte, []piece) error) (rest []piece, err error) {
	p, err := o.r.blobs.trailer(ctx, pieces[0].ref.Pack)
	if errors.Is(err, ErrDamaged) {
		return pieces, nil
	}
	if err != nil {
		return nil, err
	}
	frames, rest := byFrame(p, pieces)
	for len(frames) > 0 {
		n := run(frames)
		bad, err := o.run(ctx, p, frames[:n], use)
		if err != nil {
			return nil, err
		}
		rest = append(rest, bad...)
		frames = frames[n:]
	}
	return rest, nil
}

// byFrame groups neighbouring pieces by their frame.
func byFrame(p *pack.Reader, pieces []piece) (frames []wanted, rest []piece) {
	for _, x := range pieces {
		row, err := p.Frame(x.ref.Ordinal)
		if err != nil {
			rest = append(rest, x)
			continue
		}
		if n := len(frames); n > 0 && frames[n-1].row.Number == row.Number {
			frames[n-1].pieces = append(frames[n-1].pieces, x)
			continue
		}
		frames = append(frames, wanted{row, []piece{x}})
	}
	return frames, rest
}

// run is how many of the frames, from the first on, are fetched in one request.
func run(frames []wanted) int {
	start := int64(frames[0].row.Offset)
	n := 1
	for ; n < len(frames); n++ {
		last, next := frames[n-1].row, frames[n].row
		end := int64(last.Offset) + last.Size()
		if int64(next.Offset) < end || int64(next.Offset)-end > fetchGap || int64(next.Offset)+next.Size()-start > fetchBytes {
			break
		}
	}
	return n
}

func (o *frameOpener) run(ctx context.Context, p *pack.Reader, frames []wanted, use func(*pack.Reader, pack.Row, []byte, []piece) error) (rest []piece, err error) {
	start := int64(frames[0].row.Offset)
	last := frames[len(frames)-1].row
	size := int(int64(last.Offset) + last.Size() - start)
	if cap(o.fetched) < size {
		o.fetched = make([]byte, size)
	}
	raw := o.fetched[:size]
	err = readFull(objectAt{ctx, o.r.store, p.ID().Object()}, raw, start)
	if err = gone(p.ID(), err); err != nil {
		if !errors.Is(err, ErrDamaged) {
			return nil, err
		}
		o.r.blobs.forget(p.ID())
		for _, f := range frames {
			rest = append(rest, f.pieces...)
		}
		return rest, nil
	}
	for _, f := range frames {
		frame := raw[int64(f.row.Offset)-start:][:f.row.Size()]
		payload, err := o.open(p, f, frame)
		if errors.Is(err, ErrDamaged) {
			rest = append(rest, f.pieces...)
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := use(p, f.row, payload, f.pieces); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// open opens a frame and proves the wanted chunks in it.
func (o *frameOpener) open(p *pack.Reader, f wanted, frame []byte) ([]byte, error) {
	payload, err := p.OpenFrame(f.row, frame, o.codec, o.scratch)
	if err != nil {
		return nil, err
	}
	if p.Kind() != pack.Chunks || len(payload) != int(f.row.Count)*chunk.Size {
		return nil, seal.Damaged("frame %d of pack %s does not hold chunks", f.row.Number, p.ID())
	}
	for _, x := range f.pieces {
		i := int(x.ref.Ordinal - f.row.First)
		if o.r.namer.Chunk(payload[i*chunk.Size:(i+1)*chunk.Size]) != x.ref.ID {
			return nil, seal.Damaged("blob %d of pack %s is not chunk %s", x.ref.Ordinal, p.ID(), x.ref.ID)
		}
	}
	return payload, nil
}
