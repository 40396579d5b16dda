package repository

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast/internal/clock"
	"holdfast/internal/objstore"
	"holdfast/internal/repository/ledger"

	"golang.org/x/sync/errgroup"
)

// ErrNoRetention is the refusal to hold objects in a store that cannot.
var ErrNoRetention = errors.New("the store cannot hold objects against deletion")

// SetRetention makes the store itself refuse, for this long, to delete or change
// what is put from now on, whoever asks. What is there already is held from the
// next Collect on, which also extends what comes to its end (retention.md). 0
// ends it for what is put from now on; what is held stays so until its time. It
// fails with ErrNoRetention if the store has no object lock.
func (r *Repository) SetRetention(ctx context.Context, d time.Duration) error {
	d = d.Round(time.Second)
	switch {
	case d < 0 || d > ledger.MaxRetention:
		return fmt.Errorf("set retention: %v is not between 0 and %d days", d, ledger.MaxRetention/(24*time.Hour))
	case d > 0 && !r.store.Features().Retention:
		return fmt.Errorf("set retention: %w: %s", ErrNoRetention, r.store)
	}
	_, err := r.log.Append(ctx, func(*ledger.State) (*ledger.Record, error) {
		return &ledger.Record{Op: ledger.Retain, Retention: &ledger.Seconds{Duration: d}}, nil
	})
	if err != nil {
		return fmt.Errorf("set retention: %w", err)
	}
	return nil
}

// margin is how much longer than promised an object is held, so that not every
// collection has to extend everything.
func margin(retention time.Duration) time.Duration { return retention / 4 }

// held is a store that holds each object put for as long as the repository's
// retention says. Heartbeats are not held: they come and go.
type held struct {
	objstore.Store
	clock     clock.Clock
	retention func() time.Duration
}

func (h *held) Put(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
	if d := h.retention(); d > 0 && !strings.HasPrefix(name, leasePrefix) {
		opt.RetainUntil = h.clock().Add(d + margin(d))
	}
	return h.Store.Put(ctx, name, body, opt)
}

// extend holds all that the marked state needs for another retention, if what is
// left of the last extension is short.
func (c *collection) extend(ctx context.Context) error {
	d := c.v.state.Retention.Duration
	now := c.r.opt.Clock()
	if d == 0 || c.v.state.Retained.Sub(now) >= d+margin(d)/2 {
		return nil
	}
	until := now.Add(d + margin(d))
	names, err := c.needs(ctx)
	if err != nil {
		return err
	}
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i, name := range names {
		if inner.Err() != nil {
			break
		}
		c.progress("hold", int64(i), int64(len(names)))
		g.Go(func() error {
			err := c.r.store.Retain(inner, name, until)
			if errors.Is(err, objstore.ErrNotExist) {
				return nil // trimmed meanwhile; check names what is missing
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("extend the retention: %w", err)
	}
	c.stats.Extended = len(names)
	_, err = c.r.log.Append(ctx, func(*ledger.State) (*ledger.Record, error) {
		return &ledger.Record{Op: ledger.Retain, Until: until}, nil
	})
	return err
}

// needs names every object without which a point of the marked state would be
// hurt.
func (c *collection) needs(ctx context.Context) ([]string, error) {
	var names []string
	for id, p := range c.m.packs {
		if p.count() > 0 {
			names = append(names, id.Object())
		}
	}
	for _, id := range c.v.state.Segments {
		names = append(names, id.Object())
	}
	for _, p := range c.v.state.Points {
		if p.Deleted == 0 {
			names = append(names, p.Object())
		}
	}
	for _, prefix := range []string{configObject, keysPrefix, "ledger/", "state/"} {
		for info, err := range c.r.store.List(ctx, prefix, "") {
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", prefix, err)
			}
			names = append(names, info.Name)
		}
	}
	return names, nil
}
