package repository

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/keyring"
	"holdfast/internal/objstore"
	"holdfast/internal/repository/index"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
)

// Recovery is what Recover found and made anew.
type Recovery struct {
	Config bool `json:"config"` // the config was rebuilt from the keys
	Ledger bool `json:"ledger"` // the ledger was rebuilt from points and packs
	Points int  `json:"points"` // that are there now
	Packs  int  `json:"packs"`  // that were read for it
	// Unreadable are objects that could be of no use.
	Unreadable []string `json:"unreadable,omitempty"`
	Check      Report   `json:"check"`
}

// Recover brings a repository back that may not open any more, from its packs,
// point bodies and a key: a lost config, a lost ledger, a lost index. No other
// process may use it meanwhile. Points that were deleted while their body could
// not be may come back. It writes nothing over and deletes only broken copies.
func Recover(ctx context.Context, store objstore.Store, key keyring.Key, opt Options) (*Repository, Recovery, error) {
	opt = opt.withDefaults()
	var rec Recovery
	slots, err := readSlots(ctx, store)
	if err != nil {
		return nil, rec, fmt.Errorf("recover: %w", err)
	}
	ring, slot, err := keyring.Unlock(ctx, key, slots)
	if err != nil {
		return nil, rec, fmt.Errorf("recover: %w", err)
	}
	cfg, err := readConfig(ctx, store)
	if errors.Is(err, ErrNotRepository) || errors.Is(err, ErrDamaged) {
		rec.Config = true
		cfg, err = rewriteConfig(ctx, store, ring, opt)
	}
	if err == nil {
		err = cfg.writable()
	}
	if err != nil {
		return nil, rec, fmt.Errorf("recover: %w", err)
	}
	r, err := open(ctx, store, cfg, ring, slot, opt)
	if errors.Is(err, ErrDamaged) {
		rec.Ledger = true
		if err = rebuildLedger(ctx, store, ring, opt, &rec); err == nil {
			r, err = open(ctx, store, cfg, ring, slot, opt)
		}
	}
	if err != nil {
		return nil, rec, fmt.Errorf("recover: %w", err)
	}
	rec.Check, err = r.Check(ctx, CheckOptions{Repair: true})
	rec.Points = rec.Check.Points
	return r, rec, err
}

func rewriteConfig(ctx context.Context, store objstore.Store, ring *keyring.Ring, opt Options) (Config, error) {
	cfg := newConfig(ring.Repository, opt.Clock())
	content, err := json.Marshal(cfg)
	if err != nil {
		return cfg, err
	}
	for _, c := range copies {
		// A copy that the store holds stays as it is: the keys say the same.
		if _, err := renew(ctx, store, configObject+c, false, seal.PlainBox(seal.Config, content)); err != nil {
			return cfg, err
		}
	}
	return cfg, nil
}

// rebuildLedger makes a state from the point bodies and pack trailers, numbered
// behind every record and state that is there.
func rebuildLedger(ctx context.Context, store objstore.Store, ring *keyring.Ring, opt Options, rec *Recovery) error {
	keys := seal.NewKeys(ring)
	r := bare(store, ring, keys, opt)
	state := ledger.NewState()
	state.Seq = 1 // 0 is the state before the first record, which nobody stores
	for _, prefix := range []string{"ledger/", "state/"} {
		for info, err := range store.List(ctx, prefix, "") {
			if err != nil {
				return err
			}
			state.Seq = max(state.Seq, ledger.SeqOf(info.Name)+1)
		}
	}
	err := r.allBodies(ctx, state, rec)
	if err != nil {
		return err
	}
	if state.Segments, err = r.allPacks(ctx, rec); err != nil {
		return err
	}
	return r.log.Restart(ctx, state)
}

func (r *Repository) allBodies(ctx context.Context, state *ledger.State, rec *Recovery) error {
	for info, err := range r.store.List(ctx, "points/", "") {
		if err != nil {
			return err
		}
		var s ledger.Session
		if s.UnmarshalText([]byte(strings.TrimPrefix(info.Name, "points/"))) != nil {
			continue
		}
		b, err := r.body(ctx, ledger.Point{Session: s})
		if errors.Is(err, ErrDamaged) {
			rec.Unreadable = append(rec.Unreadable, info.Name)
			continue
		}
		if err != nil {
			return err
		}
		for i := range b.Disks {
			b.Disks[i].Attributes = nil
		}
		state.Points = append(state.Points, ledger.LivePoint{Point: b.Point})
	}
	slices.SortFunc(state.Points, func(a, b ledger.LivePoint) int { return a.Time.Compare(b.Time) })
	for i := range state.Points {
		state.Points[i].Committed = uint64(i + 1)
	}
	return nil
}

// allPacks makes index segments of every pack that can be read.
func (r *Repository) allPacks(ctx context.Context, rec *Recovery) ([]index.ID, error) {
	session, n := newSession(), uint32(0)
	made := segmenter{r: r, id: func() index.ID { n++; return index.ID(pack.NewID(session, n)) }}
	for id, err := range r.packs(ctx) {
		if err != nil {
			return nil, err
		}
		p, ids, err := r.blobs.directory(ctx, id)
		if errors.Is(err, ErrDamaged) {
			rec.Unreadable = append(rec.Unreadable, id.Object())
			continue
		}
		if err == nil {
			err = made.add(ctx, p, ids)
		}
		if err != nil {
			return nil, err
		}
		rec.Packs++
	}
	err := made.flush(ctx)
	return made.ids, err
}
