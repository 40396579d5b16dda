package repository

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
	"holdfast/internal/repository/tree"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// VerifyOptions says how stored data is verified. The zero value reads and
// opens everything.
type VerifyOptions struct {
	// ChecksumsOnly compares ciphertext checksums and opens nothing: faster,
	// and what a server without a key can do.
	ChecksumsOnly bool
	// ReadRate limits reading from the store, bytes per second; 0 = no limit.
	ReadRate int64
	// Resume is a file that keeps which packs have been proved, so that a
	// verification that was broken off goes on where it stopped; it is removed
	// at the end. "" keeps nothing.
	Resume string
	// Progress, if set, is told how many stored bytes are done. It is called
	// from one goroutine at a time.
	Progress func(done, total int64)
}

// VerifyStats is what a verification did and found.
type VerifyStats struct {
	Packs   int   `json:"packs"`
	Bytes   int64 `json:"bytes"`   // read from the store
	Blobs   int64 `json:"blobs"`   // proved
	Skipped int   `json:"skipped"` // packs proved by the run that this one resumes
	// Damage is what this run found, and what earlier ones found that still
	// costs something, with its cost: none if whole copies are elsewhere.
	Damage []*DamageError `json:"damage,omitempty"`
	// Unread are packs that could not be read, which says nothing of them.
	Unread []string `json:"unread,omitempty"`
}

type verification struct {
	r       *Repository
	opt     VerifyOptions
	limiter *rate.Limiter
	state   *ledger.State

	mu     sync.Mutex
	stats  VerifyStats
	total  int64
	bad    map[pack.ID][]uint32 // nil: all of it
	why    map[pack.ID]error
	proved []pack.ID
	resume *os.File
}

// Verify reads every pack that the index knows and proves each blob. What it
// finds is written to the ledger, so that the next backup stores it again where
// the source still has it. It changes nothing because of what it could not
// read. It fails with ErrDamaged if anything is damaged; the stats tell what and whom it
// hurts.
func (r *Repository) Verify(ctx context.Context, opt VerifyOptions) (VerifyStats, error) {
	v := &verification{r: r, opt: opt, bad: map[pack.ID][]uint32{}, why: map[pack.ID]error{}}
	if opt.ReadRate > 0 {
		v.limiter = rate.NewLimiter(rate.Limit(opt.ReadRate), int(max(opt.ReadRate, 2*chunkPackSize)))
	}
	err := v.run(ctx)
	if err == nil && len(v.stats.Damage) > 0 {
		err = v.stats.Damage[0]
	}
	if err != nil {
		err = fmt.Errorf("verify: %w", err)
	}
	return v.stats, err
}

func (v *verification) run(ctx context.Context) error {
	var err error
	if v.state, err = v.r.log.Read(ctx); err != nil {
		return err
	}
	view, err := v.r.viewNow(ctx, v.state)
	if err != nil {
		return err
	}
	v.state = view.state
	done, err := v.openResume()
	if err != nil {
		return err
	}
	defer v.closeResume(false)
	m := newMarks(view)
	if err := m.addStored(ctx, v.r, view); err != nil {
		return err
	}
	var ahead []*packMark
	for id, p := range m.packs {
		if v.state.IsDead(id) {
			continue
		}
		if done[id] {
			v.stats.Skipped++
			continue
		}
		ahead = append(ahead, p)
		v.total += int64(p.info.Stored)
	}
	slices.SortFunc(ahead, func(a, b *packMark) int { return slices.Compare(a.info.ID[:], b.info.ID[:]) })
	if err := v.all(ctx, ahead); err != nil {
		return err
	}
	// What a collection took away meanwhile is not missing.
	if v.state, err = v.r.log.Read(ctx); err != nil {
		return err
	}
	if view, err = v.r.viewNow(ctx, v.state); err != nil {
		return err
	}
	v.state = view.state
	m = newMarks(view)
	if err := m.addStored(ctx, v.r, view); err != nil {
		return err
	}
	for id := range v.bad {
		if m.packs[id] == nil || v.state.IsDead(id) {
			delete(v.bad, id)
		}
	}
	if err := v.record(ctx, m); err != nil {
		return err
	}
	if err := v.assess(ctx, view, m); err != nil {
		return err
	}
	v.closeResume(len(v.stats.Unread) == 0)
	return nil
}

func (v *verification) all(ctx context.Context, ahead []*packMark) error {
	work := make(chan *packMark)
	g, ctx := errgroup.WithContext(ctx)
	for range v.r.opt.Workers {
		g.Go(func() error {
			p := packProver{v: v, codec: seal.NewCodec(), scratch: scratchBuffers.get()}
			defer p.close()
			for m := range work {
				if err := p.prove(ctx, m); err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(work)
		for _, m := range ahead {
			select {
			case work <- m:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	return g.Wait()
}

// packProver proves packs one after the other in its own buffers.
type packProver struct {
	v       *verification
	codec   *seal.Codec
	raw     []byte
	scratch []byte
}

func (p *packProver) close() {
	p.codec.Close()
	scratchBuffers.put(p.scratch)
	chunkPackBufs.put(p.raw)
}

func (p *packProver) prove(ctx context.Context, m *packMark) error {
	id := m.info.ID
	if p.v.limiter != nil {
		if err := p.v.limiter.WaitN(ctx, int(m.info.Stored)); err != nil {
			return err
		}
	}
	raw, err := p.fetch(ctx, id)
	var bad []uint32
	if err == nil {
		bad, err = p.check(m, raw)
	}
	if err != nil && !errors.Is(err, ErrDamaged) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p.v.unread(id)
		return nil
	}
	p.v.note(m, int64(len(raw)), bad, err)
	return nil
}

func (p *packProver) fetch(ctx context.Context, id pack.ID) ([]byte, error) {
	info, err := p.v.r.store.Stat(ctx, id.Object())
	if err != nil {
		return nil, gone(id, err)
	}
	if p.raw == nil {
		p.raw = chunkPackBufs.get()
	}
	if int64(cap(p.raw)) < info.Size {
		p.raw = make([]byte, info.Size)
	}
	raw := p.raw[:info.Size]
	return raw, gone(id, readFull(objectAt{ctx, p.v.r.store, id.Object()}, raw, 0))
}

// trailerOrdinal stands for a pack's own header and trailer in a record of
// damage: its blobs can be read all the same.
const trailerOrdinal = 1<<24 - 1

// check answers the ordinals of damaged blobs of a pack, or an error if it holds
// nothing that can be read.
func (p *packProver) check(m *packMark, raw []byte) (bad []uint32, err error) {
	id := m.info.ID
	t, err := pack.Open(p.v.r.keys, id, memoryAt(raw), int64(len(raw)))
	var ids []chunk.ID
	if err == nil {
		ids, err = t.IDs()
	}
	if err == nil {
		err = t.CheckHeader(raw)
	}
	if errors.Is(err, ErrDamaged) {
		bad = append(bad, trailerOrdinal)
		b := p.v.r.blobs
		var e error
		if t, _, e = pack.Scan(b.r.keys, b.r.namer, id, raw, b.nodeID); e != nil {
			return nil, err
		}
		for o := uint32(t.Blobs()); o < m.info.Blobs; o++ {
			bad = append(bad, o)
		}
		return bad, err
	}
	if err != nil {
		return nil, err
	}
	m.info.Blobs = uint32(t.Blobs()) // the index may not know it
	for _, row := range t.Rows() {
		frame := raw[row.Offset : int64(row.Offset)+row.Size()]
		bad = append(bad, p.frame(t, row, frame, ids)...)
	}
	if len(bad) > 0 {
		return bad, seal.Damaged("%d of %d blobs of pack %s", len(bad), t.Blobs(), id)
	}
	return nil, nil
}

func (p *packProver) frame(t *pack.Reader, row pack.Row, frame []byte, ids []chunk.ID) (bad []uint32) {
	all := func() (o []uint32) {
		for i := range uint32(row.Count) {
			o = append(o, row.First+i)
		}
		return o
	}
	if t.CheckFrame(row, frame) != nil {
		return all()
	}
	if p.v.opt.ChecksumsOnly {
		return nil
	}
	payload, err := t.OpenFrame(row, frame, p.codec, p.scratch)
	if err != nil {
		return all()
	}
	for o := row.First; o < row.First+uint32(row.Count); o++ {
		blob, err := t.Blob(row, payload, o)
		if err == nil {
			err = p.v.r.blobs.is(t.Kind(), blob, ids[o])
		}
		if err != nil {
			bad = append(bad, o)
		}
	}
	return bad
}

// is checks that a blob of a pack of this kind has this id.
func (b *blobs) is(kind pack.Kind, blob []byte, id chunk.ID) error {
	if kind == pack.Chunks {
		if b.r.namer.Chunk(blob) != id {
			return seal.Damaged("a chunk is not %s", id)
		}
		return nil
	}
	got, err := tree.IDOf(b.r.namer, blob)
	if err == nil && got != id {
		err = seal.Damaged("a node is not %s", id)
	}
	return err
}

func (v *verification) unread(id pack.ID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stats.Unread = append(v.stats.Unread, id.Object())
}

func (v *verification) note(m *packMark, size int64, bad []uint32, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stats.Packs++
	v.stats.Bytes += size
	v.stats.Blobs += int64(m.info.Blobs) - int64(len(bad))
	if err != nil {
		slices.Sort(bad)
		v.bad[m.info.ID], v.why[m.info.ID] = bad, err
	} else {
		v.proved = append(v.proved, m.info.ID)
		if v.resume != nil {
			fmt.Fprintln(v.resume, m.info.ID) // losing a line costs reading a pack again
		}
	}
	if v.opt.Progress != nil {
		v.opt.Progress(v.stats.Bytes, v.total)
	}
}

// record writes what was found to the ledger: new damage, and old damage that
// is none.
func (v *verification) record(ctx context.Context, m *marks) error {
	var blobs, healed []ledger.Blobs
	for id, ords := range v.bad {
		blobs = append(blobs, ledger.Blobs{Pack: id, Ordinals: ords})
	}
	for _, id := range v.proved {
		if _, hurt := v.state.Damaged[id]; hurt && !v.opt.ChecksumsOnly {
			healed = append(healed, ledger.Blobs{Pack: id})
		}
	}
	for id := range v.state.Damaged {
		if m.packs[id] == nil { // collected
			healed = append(healed, ledger.Blobs{Pack: id})
		}
	}
	if len(blobs) == 0 && len(healed) == 0 || v.r.writable() != nil {
		return nil
	}
	slices.SortFunc(blobs, func(a, b ledger.Blobs) int { return slices.Compare(a.Pack[:], b.Pack[:]) })
	state, err := v.r.log.Append(ctx, func(*ledger.State) (*ledger.Record, error) {
		return &ledger.Record{Op: ledger.Damage, Blobs: blobs, Healed: healed}, nil
	})
	if err == nil {
		v.state = state
	}
	return err
}

// assess finds out what the damage costs: which ranges of which disks of which
// points have no whole copy any more.
func (v *verification) assess(ctx context.Context, view *view, m *marks) error {
	if len(v.state.Damaged) == 0 && len(view.hurt) == 0 && len(v.bad) == 0 {
		return nil
	}
	now := *view
	now.state = v.state
	byArtifact := map[string]*DamageError{}
	f := &finder{r: v.r, state: v.state, view: &now}
	for _, p := range v.state.Points {
		if p.Deleted != 0 {
			continue
		}
		for _, d := range p.Disks {
			hurts, err := v.r.hurts(ctx, f, m, d)
			if err != nil {
				return err
			}
			for object, ranges := range hurts {
				e := byArtifact[object]
				if e == nil {
					e = &DamageError{Artifact: object, Cause: v.cause(object)}
					byArtifact[object] = e
				}
				e.Points = append(e.Points, Hurt{Point: p.ID, Disk: d.Name, Ranges: ranges})
			}
		}
	}
	for id := range v.bad { // damage that costs no point anything is named too
		if o := id.Object(); byArtifact[o] == nil {
			byArtifact[o] = &DamageError{Artifact: o, Cause: v.cause(o)}
		}
	}
	for _, e := range byArtifact {
		v.stats.Damage = append(v.stats.Damage, e)
	}
	slices.SortFunc(v.stats.Damage, func(a, b *DamageError) int { return cmp.Compare(a.Artifact, b.Artifact) })
	return nil
}

func (v *verification) cause(object string) error {
	if id, ok := packOf(object); ok && v.why[id] != nil {
		return v.why[id]
	}
	return seal.Damaged("found by an earlier verification")
}

func (v *verification) openResume() (map[pack.ID]bool, error) {
	done := map[pack.ID]bool{}
	if v.opt.Resume == "" {
		return done, nil
	}
	f, err := os.OpenFile(v.opt.Resume, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("resume file: %w", err)
	}
	for s := bufio.NewScanner(f); s.Scan(); {
		var id pack.ID
		if id.UnmarshalText(s.Bytes()) == nil {
			done[id] = true
		}
	}
	v.resume = f
	return done, nil
}

func (v *verification) closeResume(finished bool) {
	if v.resume == nil {
		return
	}
	_ = v.resume.Close() // only a saving of work
	if finished {
		_ = os.Remove(v.opt.Resume)
	}
	v.resume = nil
}

// memoryAt is a pack in memory as an io.ReaderAt.
type memoryAt []byte

func (m memoryAt) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, m[min(off, int64(len(m))):])
	if n < len(p) {
		return n, seal.Damaged("read past the end")
	}
	return n, nil
}
