package repository

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/objstore"
	"holdfast/internal/repository/index"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/seal"
)

// CheckOptions says how a repository is checked.
type CheckOptions struct {
	// Repair writes anew what can be made from what is whole: second copies of
	// config and keys, the folded state, the index.
	Repair bool
	// Progress, if set, is told what is being looked at.
	Progress func(phase string, done, total int64)
}

// Finding is one thing that a check found.
type Finding struct {
	Artifact string `json:"artifact"` // object in the store
	Problem  string `json:"problem"`
	// Harmless: nothing is lost, for another copy or a rebuild stands in.
	Harmless bool `json:"harmless"`
	// Unread: it could not be read, which says nothing of what it holds.
	Unread   bool   `json:"unread,omitempty"`
	Repaired bool   `json:"repaired,omitempty"`
	Points   []Hurt `json:"points,omitempty"` // whom it hurts
}

// Report is what a check found. It looks at everything but the content of
// chunks: Verify reads those.
type Report struct {
	Repository string `json:"repository"`
	Format     int    `json:"format"`
	Points     int    `json:"points"`
	Series     int    `json:"series"`
	Packs      int    `json:"packs"`
	Bytes      int64  `json:"bytes"`   // of packs in the store
	Blobs      int64  `json:"blobs"`   // that the index knows
	Orphans    int    `json:"orphans"` // packs that no record names; Collect deletes them
	// Unnamed are point bodies that no record of the ledger names: of work that was
	// broken off, or of points whose records are lost.
	Unnamed  []string  `json:"unnamed,omitempty"`
	Segments int       `json:"segments"`
	Records  uint64    `json:"records"` // ever written
	Sessions []string  `json:"sessions,omitempty"`
	Findings []Finding `json:"findings,omitempty"`
	// Lost is whether some point has lost something.
	Lost bool `json:"lost"`
}

type checker struct {
	r   *Repository
	opt CheckOptions
	rep Report
}

// Check looks at the whole structure of the repository: both copies of config
// and keys, ledger and states, index, packs against the index, point bodies
// and every tree. It fails only if it cannot look; what it finds is in the
// Report.
func (r *Repository) Check(ctx context.Context, opt CheckOptions) (Report, error) {
	if err := r.writable(); opt.Repair && err != nil {
		return Report{}, fmt.Errorf("check: %w", err)
	}
	c := &checker{r: r, opt: opt, rep: Report{Repository: r.config.ID, Format: r.config.Format}}
	for _, step := range []func(context.Context) error{c.doubles, c.ledger, c.content} {
		if err := step(ctx); err != nil {
			return c.rep, fmt.Errorf("check: %w", err)
		}
	}
	slices.SortStableFunc(c.rep.Findings, func(a, b Finding) int { return cmp.Compare(a.Artifact, b.Artifact) })
	return c.rep, nil
}

func (c *checker) found(f Finding) {
	for _, h := range f.Points {
		c.rep.Lost = c.rep.Lost || len(h.Ranges) > 0 || h.Attributes
	}
	// What several points miss of one object, or why, is one finding.
	for i := range c.rep.Findings {
		if have := &c.rep.Findings[i]; have.Artifact == f.Artifact && len(f.Points) > 0 && !have.Unread {
			have.Points = append(have.Points, f.Points...)
			return
		}
	}
	c.rep.Findings = append(c.rep.Findings, f)
}

func (c *checker) progress(phase string, done, total int) {
	if c.opt.Progress != nil {
		c.opt.Progress(phase, int64(done), int64(total))
	}
}

// doubles looks at what is stored twice.
func (c *checker) doubles(ctx context.Context) error {
	if err := c.double(ctx, seal.Config, configObject); err != nil {
		return err
	}
	slots, err := readSlots(ctx, c.r.store)
	if err != nil {
		return err
	}
	for _, s := range slots {
		if err := c.double(ctx, seal.KeySlot, keysPrefix+s.ID); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) double(ctx context.Context, m seal.Magic, name string) error {
	good, err := fetchTwice(ctx, c.r.store, m, name)
	if err != nil {
		return err
	}
	for _, suffix := range copies {
		raw, err := ledger.Fetch(ctx, c.r.store, name+suffix)
		absent := errors.Is(err, objstore.ErrNotExist)
		if err != nil && !absent {
			c.found(Finding{Artifact: name + suffix, Problem: err.Error(), Unread: true, Harmless: true})
			continue
		}
		content, err := seal.OpenPlainBox(m, raw)
		if !absent && err == nil && bytes.Equal(content, good) {
			continue
		}
		f := Finding{Artifact: name + suffix, Problem: "this copy is missing or damaged; the other is whole", Harmless: true}
		if c.opt.Repair {
			var err error
			if f.Repaired, err = renew(ctx, c.r.store, name+suffix, absent, seal.PlainBox(m, good)); err != nil {
				return err
			}
			if !f.Repaired {
				f.Problem += "; the store's retention holds it, so it cannot be repaired yet"
			}
		}
		c.found(f)
	}
	return nil
}

// renew puts box in the place of a copy that is damaged or absent. It answers
// false while the store holds what is there.
func renew(ctx context.Context, store objstore.Store, name string, absent bool, box []byte) (bool, error) {
	if !absent {
		err := store.Delete(ctx, name)
		if errors.Is(err, objstore.ErrHeld) {
			return false, nil
		}
		if err != nil && !errors.Is(err, objstore.ErrNotExist) {
			return false, err
		}
	}
	return true, put(ctx, store, name, box)
}

func (c *checker) ledger(ctx context.Context) error {
	fresh := ledger.New(c.r.store, c.r.keys, c.r.opt.Clock)
	bad, err := fresh.Check(ctx)
	if err != nil {
		return err
	}
	state, err := fresh.Read(ctx)
	if err != nil {
		return err
	}
	repaired := false
	if len(bad) > 0 && c.opt.Repair {
		if err := fresh.Renew(ctx); err != nil && !errors.Is(err, objstore.ErrExist) {
			return err
		}
		repaired = true
	}
	for name, err := range bad {
		f := Finding{Artifact: name, Problem: err.Error(), Harmless: true, Repaired: repaired}
		if ledger.SeqOf(name) > state.Seq {
			f.Problem += "; it is the newest record: what it said is not known; a point it committed is not to be seen, and comes back with the next import or collection if its body is whole"
			f.Harmless, f.Repaired = false, false
		}
		c.found(f)
	}
	c.rep.Records = state.Seq
	for _, s := range state.Sessions {
		c.rep.Sessions = append(c.rep.Sessions, fmt.Sprintf("%s %s series %q owner %q", s.Kind, s.Session, s.Series, s.Owner))
	}
	return nil
}

func (c *checker) content(ctx context.Context) error {
	state, err := c.r.log.Read(ctx)
	if err != nil {
		return err
	}
	v, err := c.r.viewNow(ctx, state)
	if err != nil {
		return err
	}
	c.rep.Segments = len(v.state.Segments)
	if err := c.segments(ctx, v); err != nil {
		return err
	}
	m := newMarks(v)
	if err := m.addStored(ctx, c.r, v); err != nil {
		return err
	}
	if err := c.packs(ctx, v, m); err != nil {
		return err
	}
	series := map[string]bool{}
	f := &finder{r: c.r, state: v.state, view: v}
	for i, p := range v.state.Points {
		if p.Deleted != 0 {
			continue
		}
		c.progress("points", i, len(v.state.Points))
		c.rep.Points++
		series[p.Series] = true
		if err := c.point(ctx, f, m, p); err != nil {
			return err
		}
	}
	c.rep.Series = len(series)
	return c.unnamed(ctx)
}

// unnamed looks for whole points that the ledger does not name. It lists what is
// stored before it reads the ledger: a writer is named there before it stores.
func (c *checker) unnamed(ctx context.Context) error {
	var stored []ledger.Session
	for info, err := range c.r.store.List(ctx, "points/", "") {
		if err != nil {
			return err
		}
		var s ledger.Session
		if s.UnmarshalText([]byte(strings.TrimPrefix(info.Name, "points/"))) == nil {
			stored = append(stored, s)
		}
	}
	state, err := c.r.log.Read(ctx)
	if err != nil {
		return err
	}
	named := map[ledger.Session]bool{}
	for _, p := range state.Points {
		named[p.Session] = true
	}
	for _, o := range state.Sessions {
		named[o.Session] = true
	}
	for _, s := range stored {
		if named[s] {
			continue
		}
		switch _, err := c.r.body(ctx, ledger.Point{Session: s}); {
		case err == nil:
			c.rep.Unnamed = append(c.rep.Unnamed, "points/"+s.String())
		case !errors.Is(err, ErrDamaged): // damaged or, since, deleted: no whole point
			return err
		}
	}
	return nil
}

func (c *checker) segments(ctx context.Context, v *view) error {
	for _, s := range v.segments {
		c.rep.Blobs += int64(s.Len())
		err := c.r.checkSegment(ctx, s.ID())
		switch {
		case err == nil:
		case errors.Is(err, ErrDamaged):
			v.hurt[s.ID()] = err
		default:
			c.found(Finding{Artifact: s.ID().Object(), Problem: err.Error(), Unread: true, Harmless: true})
		}
	}
	if err := c.r.stillHurt(ctx, v); err != nil || len(v.hurt) == 0 {
		return err
	}
	repaired := false
	if c.opt.Repair {
		if err := c.r.rebuildIndex(ctx, v); err != nil {
			return err
		}
		repaired = true
	}
	for id, err := range v.hurt {
		c.found(Finding{Artifact: id.Object(), Problem: err.Error() + "; the index is rebuilt from the packs", Harmless: true, Repaired: repaired})
	}
	return nil
}

// checkSegment reads a stored segment whole; ErrDamaged if it is damaged or gone.
func (r *Repository) checkSegment(ctx context.Context, id index.ID) error {
	info, err := r.store.Stat(ctx, id.Object())
	if errors.Is(err, objstore.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return err
	}
	return index.Check(id, objectAt{ctx, r.store, id.Object()}, info.Size)
}

// stillHurt takes out of v.hurt what a writer or collector has replaced
// meanwhile: that is gone for a good reason.
func (r *Repository) stillHurt(ctx context.Context, v *view) error {
	if len(v.hurt) == 0 {
		return nil
	}
	state, err := r.log.Read(ctx)
	for id := range v.hurt {
		if err == nil && !slices.Contains(state.Segments, id) {
			delete(v.hurt, id)
		}
	}
	return err
}

// packs compares the packs that are there with those that the index knows.
func (c *checker) packs(ctx context.Context, v *view, m *marks) error {
	there := 0
	seen := map[string]bool{}
	for info, err := range c.r.store.List(ctx, "packs/", "") {
		if err != nil {
			return fmt.Errorf("list packs: %w", err)
		}
		id, ours := packOf(info.Name)
		if !ours {
			c.found(Finding{Artifact: info.Name, Problem: "not an object of this repository", Harmless: true})
			continue
		}
		there++
		c.rep.Bytes += info.Size
		seen[info.Name] = true
		p := m.packs[id]
		_, open := v.state.Session(id.Session())
		switch {
		case p == nil && !open && !v.state.IsDead(id) && len(v.hurt) == 0:
			c.rep.Orphans++
		case p != nil && int64(p.info.Stored) != info.Size:
			c.r.blobs.forget(id)
			c.found(Finding{Artifact: info.Name, Problem: fmt.Sprintf("has %d bytes, not %d", info.Size, p.info.Stored)})
			m.lose(id)
		}
	}
	c.rep.Packs = there
	// What a collection took away meanwhile is not missing.
	state, err := c.r.log.Read(ctx)
	if err != nil {
		return err
	}
	newest, err := c.r.viewNow(ctx, state)
	if err != nil {
		return err
	}
	now := newMarks(newest)
	for id := range m.packs {
		if !seen[id.Object()] && !newest.state.IsDead(id) && (now.packs[id] != nil || len(newest.hurt) > 0) {
			c.r.blobs.forget(id)
			c.found(Finding{Artifact: id.Object(), Problem: "is missing"})
			m.lose(id)
		}
	}
	return nil
}

func (c *checker) point(ctx context.Context, f *finder, m *marks, p ledger.LivePoint) error {
	if _, err := c.r.body(ctx, p.Point); errors.Is(err, ErrDamaged) {
		c.found(Finding{Artifact: p.Object(), Problem: err.Error(), Points: []Hurt{{Point: p.ID, Attributes: true}}})
	} else if err != nil {
		c.found(Finding{Artifact: p.Object(), Problem: err.Error(), Unread: true})
	}
	for _, d := range p.Disks {
		hurts, err := c.r.hurts(ctx, f, m, d)
		if err != nil {
			return err
		}
		for object, ranges := range hurts {
			c.found(Finding{Artifact: object, Problem: "does not hold what the tree refers to", Points: []Hurt{{Point: p.ID, Disk: d.Name, Ranges: ranges}}})
		}
	}
	return nil
}

// rebuildIndex replaces damaged segments in a session of its own.
func (r *Repository) rebuildIndex(ctx context.Context, v *view) error {
	s, err := r.begin(ctx, ledger.Writer, "", nil)
	if err != nil {
		return err
	}
	defer s.abort()
	_, err = s.reindex(ctx, v)
	return err
}
