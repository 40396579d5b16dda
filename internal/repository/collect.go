package repository

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"holdfast/internal/objstore"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/links"
	"holdfast/internal/repository/pack"
)

// CollectOptions says how a collection goes about. The zero value is the usual
// case.
type CollectOptions struct {
	// Thin is the share of live blobs below which a pack is written anew with
	// the live ones only; 0 means 0.5, negative never.
	Thin float64
	// Rate limits moving blobs out of thin packs, bytes read per second, so that
	// backups beside it have the store for themselves; 0 = no limit.
	Rate int64
	// Progress, if set, is told what is being done and how far it is.
	Progress func(phase string, done, total int64)
}

// CollectStats is what a collection found and did.
type CollectStats struct {
	Packs     int   `json:"packs"`     // that the index knows
	Live      int64 `json:"live"`      // blobs that points need
	Dead      int64 `json:"dead"`      // blobs that no point needs
	Condemned int   `json:"condemned"` // packs that no new session uses from now on
	Moved     int64 `json:"moved"`     // bytes of live blobs written into new packs
	Kept      int   `json:"kept"`      // condemned packs that a point came to need
	Deleted   int   `json:"deleted"`   // packs deleted from the store
	Orphans   int   `json:"orphans"`   // of those, left by sessions that never ended
	Freed     int64 `json:"freed"`     // bytes
	Read      int64 `json:"read"`      // nodes of trees that were read; where others lead was known
	Held      int   `json:"held"`      // packs that the store's retention still holds
	Extended  int   `json:"extended"`  // objects that the store was asked to hold longer
	// Waiting are sessions that began before the packs were condemned: until
	// they end nothing is deleted. The next collection goes on.
	Waiting []string `json:"waiting,omitempty"`
}

// collection is one run of the collector.
type collection struct {
	r     *Repository
	s     *session
	opt   CollectOptions
	stats CollectStats
	v     *view
	m     *marks
	sizes map[pack.ID]int64
	links *links.File
}

// Collect frees what no point needs. It runs beside backups, takes up what an
// interrupted collection left, and uses one bit of memory a stored blob. With an
// Options.CacheDir it reads from the store only what is new since the last one.
// At most one runs at a time: the second fails with ErrBusy.
func (r *Repository) Collect(ctx context.Context, opt CollectOptions) (CollectStats, error) {
	if opt.Thin == 0 {
		opt.Thin = 0.5
	}
	s, err := r.begin(ctx, ledger.Collector, "", nil)
	if err != nil {
		return CollectStats{}, fmt.Errorf("collect: %w", err)
	}
	defer s.abort()
	c := &collection{r: r, s: s, opt: opt, sizes: map[pack.ID]int64{}}
	if dir := r.opt.CacheDir; dir != "" {
		c.links = links.Open(filepath.Join(dir, "links-"+r.config.ID), r.keys)
	}
	defer c.keepLinks()
	if err := c.run(ctx); err != nil {
		return c.stats, fmt.Errorf("collect: %w", err)
	}
	return c.stats, nil
}

func (c *collection) run(ctx context.Context) error {
	// The end of an earlier collection comes first: what it condemned may be
	// decided by now.
	if err := c.decide(ctx); err != nil {
		return err
	}
	if len(c.stats.Waiting) == 0 {
		if err := c.condemn(ctx); err != nil {
			return err
		}
		if err := c.decide(ctx); err != nil {
			return err
		}
	}
	if err := c.sweep(ctx); err != nil {
		return err
	}
	if err := c.forget(ctx); err != nil {
		return err
	}
	if err := c.tidy(ctx); err != nil {
		return err
	}
	return c.r.log.Trim(ctx)
}

// keepLinks writes what was learnt beside the server. It is only a saving of work.
func (c *collection) keepLinks() {
	_ = c.links.Close(func(id pack.ID) bool {
		return c.m == nil || c.m.packs[id] != nil && !c.v.state.IsDead(id)
	})
}

func (c *collection) progress(phase string, done, total int64) {
	if c.opt.Progress != nil {
		c.opt.Progress(phase, done, total)
	}
}

// condemn marks what the points need, moves it out of thin packs and condemns
// the packs that hold nothing else.
func (c *collection) condemn(ctx context.Context) error {
	// List before the state is read: then a pack of which the state knows no
	// session is garbage for sure (write-order.md).
	var listed []pack.ID
	for info, err := range c.r.store.List(ctx, "packs/", "") {
		if err != nil {
			return fmt.Errorf("list packs: %w", err)
		}
		if id, ok := packOf(info.Name); ok {
			listed = append(listed, id)
			c.sizes[id] = info.Size
		}
	}
	if err := c.mark(ctx); err != nil {
		return err
	}
	if err := c.extend(ctx); err != nil {
		return err
	}
	var gone, thin []pack.ID
	for id, p := range c.m.packs {
		if c.v.state.IsDead(id) || c.open(id) || p.info.Blobs == 0 {
			continue
		}
		c.stats.Packs++
		live := p.count()
		c.stats.Live += int64(live)
		c.stats.Dead += int64(p.info.Blobs) - int64(live)
		switch {
		case live == 0:
			gone = append(gone, id)
		case float64(live) < c.opt.Thin*float64(p.info.Blobs) || c.hurt(id):
			thin = append(thin, id)
		}
	}
	for _, id := range listed {
		if p := c.m.packs[id]; p == nil && !c.open(id) {
			gone = append(gone, id)
			c.stats.Orphans++
		}
	}
	slices.SortFunc(thin, func(a, b pack.ID) int { return slices.Compare(a[:], b[:]) })
	add, moved, err := c.repack(ctx, thin)
	if errors.Is(err, objstore.ErrFull) && len(gone) > 0 {
		add, moved, err = nil, nil, nil // what goes makes the room for it
	}
	if err != nil {
		return err
	}
	dead := append(gone, moved...)
	if len(dead) == 0 {
		return nil
	}
	slices.SortFunc(dead, func(a, b pack.ID) int { return slices.Compare(a[:], b[:]) })
	_, err = c.r.log.Append(ctx, func(*ledger.State) (*ledger.Record, error) {
		return &ledger.Record{Op: ledger.Condemn, Session: c.s.id, Packs: dead, Add: add, Seen: c.v.state.Seq}, nil
	})
	c.stats.Condemned = len(dead)
	return err
}

// mark finds out what the points of the newest state need.
func (c *collection) mark(ctx context.Context) error {
	state, err := c.r.log.Read(ctx)
	if err != nil {
		return err
	}
	c.s.state = state
	if c.v, err = c.s.wholeView(ctx); err != nil {
		return err
	}
	c.m = newMarks(c.v)
	return c.markPoints(ctx, c.v.state.Points)
}

func (c *collection) markPoints(ctx context.Context, points []ledger.LivePoint) error {
	k := &marker{r: c.r, f: &finder{r: c.r, state: c.v.state, view: c.v}, v: c.v, m: c.m, links: c.links}
	defer func() { c.stats.Read += k.read }()
	for i, p := range points {
		c.progress("mark", int64(i), int64(len(points)))
		for _, d := range p.Disks {
			k.lost = func(level uint8, err error) error {
				if level == 0 {
					return nil // a lost chunk keeps nothing else alive
				}
				return fmt.Errorf("the tree of disk %s of point %s cannot be followed, so nothing is condemned: %w", d.Name, p.ID, err)
			}
			if err := k.disk(ctx, d); err != nil {
				return err
			}
		}
	}
	return nil
}

// hurt reports whether a pack is known to be damaged: what can be read of it is
// moved, if that is all that lives.
func (c *collection) hurt(id pack.ID) bool {
	_, hurt := c.v.state.Damaged[id]
	return hurt && c.opt.Thin > 0
}

// open reports whether the session that made a pack is still at work.
func (c *collection) open(id pack.ID) bool {
	_, open := c.v.state.Session(id.Session())
	return open
}

// decide ends an undecided condemnation once every writer that began before it
// has ended: what points committed meanwhile need lives again, the rest is
// swept.
func (c *collection) decide(ctx context.Context) error {
	c.stats.Waiting = nil
	state, err := c.r.log.Read(ctx)
	if err != nil {
		return err
	}
	var condemned []pack.ID
	for id, d := range state.Dead {
		if d.Swept == 0 {
			condemned = append(condemned, id)
		}
	}
	if len(condemned) == 0 {
		return nil
	}
	for _, o := range state.Older() {
		dead, err := c.r.isDead(ctx, o)
		if err != nil {
			return err
		}
		if dead {
			if err := c.r.Fence(ctx, o.Session.String()); err != nil && !errors.Is(err, ErrFenced) {
				return err
			}
			continue
		}
		c.stats.Waiting = append(c.stats.Waiting, o.Session.String())
	}
	if len(c.stats.Waiting) > 0 {
		return nil
	}
	keep, err := c.needed(ctx, condemned)
	if err != nil {
		return err
	}
	sweep := slices.DeleteFunc(condemned, func(id pack.ID) bool { p := c.m.packs[id]; return p != nil && p.count() > 0 })
	c.stats.Kept += len(keep)
	_, err = c.r.log.Append(ctx, func(*ledger.State) (*ledger.Record, error) {
		return &ledger.Record{Op: ledger.Sweep, Session: c.s.id, Packs: sweep, Keep: keep}, nil
	})
	return err
}

// needed answers which condemned packs hold what points committed since the
// mark refer to and nothing else holds.
func (c *collection) needed(ctx context.Context, condemned []pack.ID) ([]pack.ID, error) {
	state, err := c.r.log.Read(ctx)
	if err != nil {
		return nil, err
	}
	c.s.state = state
	if c.v, err = c.s.wholeView(ctx); err != nil {
		return nil, err
	}
	c.m = newMarks(c.v)
	var since []ledger.LivePoint
	for _, p := range c.v.state.Points {
		if p.Committed > c.v.state.Marked {
			since = append(since, p)
		}
	}
	if err := c.markPoints(ctx, since); err != nil {
		return nil, err
	}
	var keep []pack.ID
	for _, id := range condemned {
		if p := c.m.packs[id]; p != nil && p.count() > 0 {
			keep = append(keep, id)
		}
	}
	return keep, nil
}

// sweep deletes swept packs. What the store's retention holds stays swept and
// is tried again by the next collection.
func (c *collection) sweep(ctx context.Context) error {
	state, err := c.r.log.Read(ctx)
	if err != nil {
		return err
	}
	n := 0
	for id, d := range state.Dead {
		if d.Swept == 0 {
			continue
		}
		n++
		c.progress("delete", int64(n), int64(len(state.Dead)))
		err := c.r.store.Delete(ctx, id.Object())
		switch {
		case err == nil:
			c.stats.Deleted++
			c.stats.Freed += c.sizes[id]
			c.r.blobs.forget(id)
		case errors.Is(err, objstore.ErrNotExist):
		case errors.Is(err, objstore.ErrHeld):
			c.stats.Held++
		default:
			return fmt.Errorf("delete pack %s: %w", id, err)
		}
	}
	return nil
}

func packOf(object string) (pack.ID, bool) {
	var id pack.ID
	if len(object) < 32 || id.UnmarshalText([]byte(object[len(object)-32:])) != nil || id.Object() != object {
		return id, false
	}
	return id, true
}
