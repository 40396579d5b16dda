package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"holdfast/internal/objstore"
	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
	"holdfast/internal/repository/tree"
)

// The bounds of what is kept of packs for reading, in bytes.
const (
	trailersKept = 16 << 20
	framesKept   = 24 << 20
)

// blobs reads chunks and nodes out of stored packs.
type blobs struct {
	r        *Repository
	trailers *lru[pack.ID, *pack.Reader]
	frames   *lru[frameKey, []byte]
	codecs   sync.Pool
	bad      badBlobs

	// scanned are the packs in trailers that were damaged when they were read,
	// and may have been put right since (another mount, a copy put back).
	scanMu  sync.Mutex
	scanned []pack.ID
}

type frameKey struct {
	pack   pack.ID
	number uint32
}

func newBlobs(r *Repository) *blobs {
	return &blobs{r: r, trailers: newLRU[pack.ID, *pack.Reader](trailersKept), frames: newLRU[frameKey, []byte](framesKept),
		codecs: sync.Pool{New: func() any { return seal.NewCodec() }}}
}

// finder finds the place of content when the hint in a Ref doesn't help. It
// opens the index only then.
type finder struct {
	r *Repository

	mu    sync.Mutex
	state *ledger.State
	view  *view
}

// newFinder begins one operation: damaged packs are looked at anew.
func (r *Repository) newFinder(ctx context.Context) (*finder, error) {
	r.blobs.reconsider()
	state, err := r.log.Read(ctx)
	return &finder{r: r, state: state}, err
}

// now is the state that the finder works with.
func (f *finder) now() *ledger.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

func (f *finder) find(ctx context.Context, id chunk.ID, refused func(tree.Ref) bool) (tree.Ref, bool, error) {
	f.mu.Lock()
	if f.view == nil {
		v, err := f.r.viewNow(ctx, f.state)
		if err != nil {
			f.mu.Unlock()
			return tree.Ref{}, false, err
		}
		f.view = v
	}
	v := f.view
	f.mu.Unlock()
	return v.find(id, refused)
}

// renew takes a newer state, if there is one.
func (f *finder) renew(ctx context.Context) (bool, error) {
	state, err := f.r.log.Read(ctx)
	if err != nil {
		return false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if state.Seq == f.state.Seq {
		return false, nil
	}
	f.state, f.view = state, nil
	return true, nil
}

// get reads the blob of ref and proves its id: first where the hint says, then
// wherever the index knows a copy. level is 0 for a chunk. It fails with
// ErrDamaged only when every copy was read and is wrong.
func (b *blobs) get(ctx context.Context, f *finder, ref tree.Ref, level uint8) ([]byte, error) {
	for {
		blob, err := b.getOnce(ctx, f, ref, level)
		if err == nil || !errors.Is(err, ErrDamaged) {
			return blob, err
		}
		newer, e := f.renew(ctx)
		if e != nil {
			return nil, e
		}
		if !newer {
			return nil, err
		}
	}
}

func (b *blobs) getOnce(ctx context.Context, f *finder, ref tree.Ref, level uint8) ([]byte, error) {
	state := f.now()
	tried := map[tree.Ref]bool{}
	var damage error
	try := func(at tree.Ref) ([]byte, error) {
		tried[at] = true
		blob, err := b.read(ctx, at, level)
		if errors.Is(err, ErrDamaged) {
			damage = err
			b.bad.add(at, state.IsDamaged(at.Pack, at.Ordinal))
		}
		return blob, err
	}
	if !state.IsDead(ref.Pack) && !state.IsDamaged(ref.Pack, ref.Ordinal) {
		if blob, err := try(ref); err == nil || !errors.Is(err, ErrDamaged) {
			return blob, err
		}
	}
	for {
		at, ok, err := f.find(ctx, ref.ID, func(at tree.Ref) bool { return tried[at] })
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		if blob, err := try(at); err == nil || !errors.Is(err, ErrDamaged) {
			return blob, err
		}
	}
	if !tried[ref] { // condemned but perhaps still there, or wrongly accused
		if blob, err := try(ref); err == nil || !errors.Is(err, ErrDamaged) {
			return blob, err
		}
	}
	return nil, damage
}

// read reads the blob at exactly this place.
func (b *blobs) read(ctx context.Context, at tree.Ref, level uint8) ([]byte, error) {
	p, err := b.trailer(ctx, at.Pack)
	if err != nil {
		return nil, err
	}
	row, err := p.Frame(at.Ordinal)
	if err != nil {
		return nil, err
	}
	payload, err := b.frame(ctx, p, row)
	if err != nil {
		return nil, err
	}
	blob, err := p.Blob(row, payload, at.Ordinal)
	if err != nil {
		return nil, err
	}
	return blob, b.prove(p, blob, at, level)
}

// prove checks that blob has the id of its ref.
func (b *blobs) prove(p *pack.Reader, blob []byte, at tree.Ref, level uint8) error {
	if level == 0 {
		if p.Kind() != pack.Chunks || b.r.namer.Chunk(blob) != at.ID {
			return seal.Damaged("blob %d of pack %s is not chunk %s", at.Ordinal, at.Pack, at.ID)
		}
		return nil
	}
	if p.Kind() != pack.Nodes {
		return seal.Damaged("pack %s doesn't hold nodes", at.Pack)
	}
	return nil // node checks the id after decoding
}

// node reads the tree node of ref, which has this level.
func (b *blobs) node(ctx context.Context, f *finder, ref tree.Ref, level uint8) (*tree.Node, error) {
	blob, err := b.get(ctx, f, ref, level)
	if err != nil {
		return nil, err
	}
	n, err := tree.Decode(blob)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", ref.ID, err)
	}
	if n.Level != level || n.ID(b.r.namer) != ref.ID {
		b.bad.add(ref, f.now().IsDamaged(ref.Pack, ref.Ordinal))
		return nil, seal.Damaged("blob %d of pack %s is not node %s", ref.Ordinal, ref.Pack, ref.ID)
	}
	return n, nil
}

// trailer opens a pack, from memory if it is there.
func (b *blobs) trailer(ctx context.Context, id pack.ID) (*pack.Reader, error) {
	if p, ok := b.trailers.get(id); ok {
		return p, nil
	}
	info, err := b.r.store.Stat(ctx, id.Object())
	if err != nil {
		return nil, gone(id, err)
	}
	p, err := pack.Open(b.r.keys, id, objectAt{ctx, b.r.store, id.Object()}, info.Size)
	if errors.Is(err, ErrDamaged) {
		p, err = b.scan(ctx, id, err)
		b.scanMu.Lock()
		b.scanned = append(b.scanned, id)
		b.scanMu.Unlock()
	}
	if err != nil {
		return nil, gone(id, err)
	}
	b.trailers.put(id, p, p.Cost())
	return p, nil
}

// reconsider forgets the packs that were damaged.
func (b *blobs) reconsider() {
	b.scanMu.Lock()
	defer b.scanMu.Unlock()
	for _, id := range b.scanned {
		b.trailers.remove(id)
	}
	b.scanned = nil
}

// scan reads a pack whose trailer is damaged by its frames.
func (b *blobs) scan(ctx context.Context, id pack.ID, why error) (*pack.Reader, error) {
	raw, err := ledger.Fetch(ctx, b.r.store, id.Object())
	if err != nil {
		return nil, err
	}
	p, _, err := pack.Scan(b.r.keys, b.r.namer, id, raw, b.nodeID)
	if errors.Is(err, ErrDamaged) {
		return nil, why
	}
	return p, err
}

func (b *blobs) nodeID(blob []byte) (chunk.ID, error) { return tree.IDOf(b.r.namer, blob) }

// gone makes of the absence of a pack what it is: damage.
func gone(id pack.ID, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, objstore.ErrNotExist) {
		return seal.Damaged("pack %s is missing", id)
	}
	return fmt.Errorf("pack %s: %w", id, err)
}

// frame reads and opens one frame, from memory if it is there.
func (b *blobs) frame(ctx context.Context, p *pack.Reader, row pack.Row) ([]byte, error) {
	key := frameKey{p.ID(), row.Number}
	if payload, ok := b.frames.get(key); ok {
		return payload, nil
	}
	raw := make([]byte, row.Size())
	if err := readFull(objectAt{ctx, b.r.store, p.ID().Object()}, raw, int64(row.Offset)); err != nil {
		return nil, gone(p.ID(), err)
	}
	c := b.codecs.Get().(*seal.Codec)
	payload, err := p.OpenFrame(row, raw, c, nil)
	b.codecs.Put(c)
	if err != nil {
		return nil, err
	}
	b.frames.put(key, payload, int64(cap(payload)))
	return payload, nil
}

// forget drops what is kept of a pack.
func (b *blobs) forget(id pack.ID) {
	b.trailers.remove(id)
	b.frames.removeIf(func(k frameKey) bool { return k.pack == id })
}

// objectAt is an object as an io.ReaderAt.
type objectAt struct {
	ctx   context.Context
	store objstore.Store
	name  string
}

func (o objectAt) ReadAt(p []byte, off int64) (int, error) {
	rc, err := o.store.Get(o.ctx, o.name, off, int64(len(p)))
	if errors.Is(err, objstore.ErrInvalid) {
		return 0, seal.Damaged("%s is shorter than it was", o.name)
	}
	if err != nil {
		return 0, err
	}
	defer rc.Close()
	return io.ReadFull(rc, p)
}

func readFull(r io.ReaderAt, b []byte, off int64) error {
	if n, err := r.ReadAt(b, off); n < len(b) {
		return err
	}
	return nil
}
