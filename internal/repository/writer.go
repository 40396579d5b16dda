package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/index"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
	"holdfast/internal/repository/tree"
)

// PointSpec says which point is to be made.
type PointSpec struct {
	ID      string    // unique in the repository, chosen by the caller
	Series  string    // joins the points of one protected thing; one writer at a time
	Created time.Time // for people and policy
}

// Manifest is what Commit adds to the disks.
type Manifest struct {
	Time       time.Time       // the moment that the point shows
	Attributes json.RawMessage // the mover's own, sealed like the rest
	// Disks are attributes of single disks, by name.
	Disks map[string]json.RawMessage
}

// Writer makes one point. Disk may be called for several disks, one after the
// other or at once. A Writer ends with Commit or Abort.
type Writer struct {
	spec   PointSpec
	s      *session
	cancel context.CancelCauseFunc
	chunks *packer
	nodes  *nodes
	view   *view // index as of the begin
	finder *finder

	stored atomic.Int64 // bytes made durable or on their way
	work   context.Context
	proved *lru[frameKey, struct{}] // frames of others that were read
	unread atomic.Bool              // something of a base was taken over unread
	lost   int                      // packs that were found to be lost at the begin
	before int                      // damage that had been met by then

	mu      sync.Mutex
	own     map[chunk.ID]tree.Ref // made by this session and in no segment yet
	done    []donePack            // durable and in no segment yet
	durable int                   // entries in done
	disks   []ledger.Disk
	names   map[string]bool
	hurt    map[frameKey]bool // frames that were met
	over    bool
}

// donePack is a pack that is durable but not yet in the index.
type donePack struct {
	info index.PackInfo
	ids  []chunk.ID
}

// checkpointEntries is how many new blobs are kept in memory before they are
// written to the index, which bounds memory and is what an interrupted backup
// finds again.
const checkpointEntries = 256 << 10

// Begin starts a point. It fails with ErrPointExists, with ErrBusy while a
// living session writes to the same series, and with the store's errors.
func (r *Repository) Begin(ctx context.Context, spec PointSpec) (*Writer, error) {
	if spec.ID == "" {
		return nil, fmt.Errorf("begin point: the id is empty")
	}
	s, err := r.begin(ctx, ledger.Writer, spec.Series, func(st *ledger.State) error {
		if _, exists := st.Point(spec.ID); exists {
			return fmt.Errorf("%w: %s", ErrPointExists, spec.ID)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("begin point %s: %w", spec.ID, err)
	}
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	w := &Writer{spec: spec, s: s, cancel: cancel, own: map[chunk.ID]tree.Ref{}, names: map[string]bool{},
		before: r.blobs.bad.met(), work: work, proved: newLRU[frameKey, struct{}](soundKept)}
	if w.view, err = s.wholeView(ctx); err == nil {
		s.state = w.view.state
		err = w.lookAround(ctx)
	}
	if err != nil {
		cancel(err)
		s.abort()
		return nil, fmt.Errorf("begin point %s: %w", spec.ID, err)
	}
	w.finder = &finder{r: r, state: s.state, view: w.view}
	w.chunks = newPacker(work, s, pack.Chunks, w.packStored)
	w.nodes = newNodes(w, newPacker(work, s, pack.Nodes, w.packStored))
	return w, nil
}

// packStored notes a durable pack.
func (w *Writer) packStored(b *pack.Builder, size int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = append(w.done, donePack{index.PackInfo{ID: b.ID(), Blobs: uint32(b.Blobs()), Stored: uint32(size), Kind: b.Kind()}, b.IDs()})
	w.durable += b.Blobs()
	w.stored.Add(size)
}

// note makes new content known to this session.
func (w *Writer) note(id chunk.ID, first tree.Ref, i uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.own[id] = tree.Ref{ID: id, Pack: first.Pack, Ordinal: first.Ordinal + i}
}

// find answers a place of content that this session may refer to. What others have
// stored is looked at before (sound).
func (w *Writer) find(id chunk.ID) (tree.Ref, bool, error) {
	w.mu.Lock()
	ref, ok := w.own[id]
	v := w.view
	w.mu.Unlock()
	if ok {
		return ref, true, nil
	}
	for {
		ref, ok, err := v.find(id, w.s.r.blobs.bad.has)
		if err != nil || !ok {
			return ref, ok, err
		}
		if ok, err := w.sound(ref); ok || err != nil {
			return ref, ok, err
		}
	}
}

// checkpoint writes the index of the packs that are durable if they are many,
// so that memory is bounded and an interrupted backup is not in vain.
func (w *Writer) checkpoint(ctx context.Context) error {
	w.mu.Lock()
	due := w.durable >= checkpointEntries
	w.mu.Unlock()
	if !due {
		return nil
	}
	x, err := w.index(ctx)
	if err != nil {
		return err
	}
	if _, err := w.publish(ctx, x, ledger.Record{Op: ledger.Index, Session: w.s.id}); err != nil {
		return err
	}
	// The view stays that of the begin, with our own segment added: what
	// others condemned since then is ours to use until we end.
	seg, err := w.s.r.shelf.get(ctx, x.add[0])
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	next := *w.view
	next.segments = append(slices.DeleteFunc(slices.Clone(next.segments), func(r *index.Reader) bool { return slices.Contains(x.drop, r.ID()) }), seg)
	w.view = &next
	for _, d := range x.done {
		for _, id := range d.ids {
			if w.own[id].Pack == d.info.ID {
				delete(w.own, id)
			}
		}
	}
	return nil
}

// newIndex is what the index comes to know of a writer's packs: a segment of its
// own, or that merged with small older ones.
type newIndex struct {
	done      []donePack
	id        index.ID
	raw       []byte // the segment id, which is stored only if it is in add
	add, drop []index.ID
}

// index stores an index segment of the durable packs, merged with those of the
// view that are too many.
func (w *Writer) index(ctx context.Context) (*newIndex, error) {
	w.mu.Lock()
	x := &newIndex{done: w.done, id: w.s.segmentID()}
	w.done, w.durable = nil, 0
	segments := w.view.segments
	w.mu.Unlock()
	var entries []index.Entry
	packs := make([]index.PackInfo, 0, len(x.done))
	for _, d := range x.done {
		packs = append(packs, d.info)
		for i, c := range d.ids {
			entries = append(entries, index.Entry{ID: c, Pack: d.info.ID, Ordinal: uint32(i)})
		}
	}
	var err error
	if x.raw, err = index.Build(w.s.r.keys, x.id, entries, packs); err != nil {
		return nil, err
	}
	own, err := index.Open(w.s.r.keys, x.id, bytes.NewReader(x.raw), int64(len(x.raw)))
	if err != nil {
		return nil, err
	}
	old := smallest(segments, own.Len(), index.WriterTiers)
	if len(old) == 0 {
		return x, w.storeOwn(ctx, x)
	}
	x.add, err = w.s.merge(ctx, append(old[:len(old):len(old)], own), func(pack.ID) bool { return true })
	if errors.Is(err, ErrDamaged) { // of an old one; Check names it
		return x, w.storeOwn(ctx, x)
	}
	for _, s := range old {
		x.drop = append(x.drop, s.ID())
	}
	return x, err
}

// storeOwn stores the writer's own segment, to be added alone.
func (w *Writer) storeOwn(ctx context.Context, x *newIndex) error {
	if err := put(ctx, w.s.r.store, x.id.Object(), x.raw); err != nil {
		return err
	}
	x.add, x.drop = []index.ID{x.id}, nil
	w.s.r.shelf.add(x.id, x.raw)
	w.stored.Add(int64(len(x.raw)))
	return nil
}

// publish appends the record that makes x known, and then discards the segments
// that it replaces. If another session has replaced one of them meanwhile, the
// writer's own segment goes in alone.
func (w *Writer) publish(ctx context.Context, x *newIndex, r ledger.Record) (*ledger.State, error) {
	try := func() (*ledger.State, error) {
		return w.s.r.log.Append(ctx, func(*ledger.State) (*ledger.Record, error) {
			mine := r
			mine.Add, mine.Drop = x.add, x.drop
			return &mine, nil
		})
	}
	state, err := try()
	if errors.Is(err, ledger.ErrChanged) {
		if err := w.storeOwn(ctx, x); err != nil {
			return nil, err
		}
		state, err = try()
	}
	if err != nil {
		return nil, err
	}
	w.s.r.shelf.drop(x.drop)
	objects := make([]string, len(x.drop))
	for i, id := range x.drop {
		objects[i] = id.Object()
	}
	w.s.r.discard(ctx, objects)
	return state, nil
}

// Commit makes the point visible. Only when it has returned nil does the point
// exist, and then all of it is durable. After an error the Writer is over.
func (w *Writer) Commit(ctx context.Context, m Manifest) (Point, error) {
	if !w.finish() {
		return Point{}, fmt.Errorf("commit point %s: the writer is over", w.spec.ID)
	}
	p, err := w.commit(ctx, m)
	if err != nil {
		w.cancel(err)
		w.s.abort()
		return Point{}, fmt.Errorf("commit point %s: %w", w.spec.ID, err)
	}
	w.cancel(nil)
	w.s.close()
	return p, nil
}

func (w *Writer) commit(ctx context.Context, m Manifest) (Point, error) {
	stop := context.AfterFunc(ctx, func() { w.cancel(context.Cause(ctx)) })
	defer stop()
	if err := errors.Join(w.judge(), w.flush()); err != nil {
		return Point{}, err
	}
	x := &newIndex{}
	if len(w.done) > 0 {
		var err error
		if x, err = w.index(ctx); err != nil {
			return Point{}, err
		}
	}
	lp := ledger.Point{ID: w.spec.ID, Series: w.spec.Series, Session: w.s.id, Created: w.spec.Created.UTC(), Time: m.Time.UTC(), Disks: w.disks}
	full := body{lp, m.Attributes}
	full.Disks = slices.Clone(w.disks)
	for i, d := range full.Disks {
		full.Disks[i].Attributes = m.Disks[d.Name]
	}
	content, err := json.Marshal(full)
	if err != nil {
		return Point{}, err
	}
	box, err := w.s.r.keys.Box(seal.Point, lp.Object(), content)
	if err != nil {
		return Point{}, err
	}
	if err := put(ctx, w.s.r.store, lp.Object(), box); err != nil {
		return Point{}, err
	}
	state, err := w.publish(ctx, x, ledger.Record{Op: ledger.Commit, Session: w.s.id, Point: &lp})
	if err != nil {
		return Point{}, err
	}
	live, _ := state.Point(lp.ID)
	p := fromLedger(live)
	p.Attributes = m.Attributes
	for i := range p.Disks {
		p.Disks[i].Attributes = full.Disks[i].Attributes
	}
	return p, nil
}

// flush makes all data durable: chunks and nodes side by side.
func (w *Writer) flush() error {
	var wg sync.WaitGroup
	var chunksErr error
	wg.Go(func() { chunksErr = w.chunks.flush() })
	err := w.nodes.flush()
	wg.Wait()
	if chunksErr != nil {
		return chunksErr
	}
	return err
}

// Abort gives the point up. It may be called at any time and more than once,
// also after Commit, and leaves only garbage for Collect.
func (w *Writer) Abort() {
	if w.finish() {
		w.cancel(context.Canceled)
		w.chunks.uploads.Wait()
		w.nodes.p.uploads.Wait()
		w.s.abort()
	}
}

// finish answers true once.
func (w *Writer) finish() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := !w.over
	w.over = true
	return first
}
