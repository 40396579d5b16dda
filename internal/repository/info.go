package repository

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/index"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
)

// SessionInfo is a session that is open.
type SessionInfo struct {
	Session  string `json:"session"`
	Kind     string `json:"kind"` // writer or collector
	Series   string `json:"series,omitempty"`
	Owner    string `json:"owner,omitempty"`
	Instance string `json:"instance,omitempty"`
}

// Info is what a repository holds, by its ledger and index.
type Info struct {
	ID      string    `json:"id"`
	Format  int       `json:"format"`
	Created time.Time `json:"created"`
	Points  int       `json:"points"`
	Series  int       `json:"series"`
	Keys    int       `json:"keys"`
	Packs   int       `json:"packs"`
	Stored  int64     `json:"stored"` // bytes of packs, those not yet collected too
	Blobs   int64     `json:"blobs"`
	Damaged int       `json:"damaged"` // packs with known damage
	// Retention is for how many seconds the store is asked to hold what is put;
	// Held, until when all that is needed is held for sure.
	Retention int64         `json:"retentionSeconds,omitempty"`
	Held      time.Time     `json:"heldUntil,omitzero"`
	Sessions  []SessionInfo `json:"sessions,omitempty"`
}

// Info answers what the repository holds.
func (r *Repository) Info(ctx context.Context) (Info, error) {
	in := Info{ID: r.config.ID, Format: r.config.Format, Created: r.config.Created}
	state, err := r.log.Read(ctx)
	if err != nil {
		return in, err
	}
	v, err := r.viewNow(ctx, state)
	if err != nil {
		return in, err
	}
	slots, err := r.Keys(ctx)
	if err != nil {
		return in, err
	}
	in.Keys, in.Damaged = len(slots), len(v.state.Damaged)
	in.Retention, in.Held = int64(v.state.Retention.Seconds()), v.state.Retained
	series := map[string]bool{}
	for _, p := range v.state.Points {
		if p.Deleted == 0 {
			in.Points++
			series[p.Series] = true
		}
	}
	in.Series = len(series)
	for id, p := range newMarks(v).packs {
		if d, dead := v.state.Dead[id]; !dead || d.Swept == 0 {
			in.Packs++
			in.Stored += int64(p.info.Stored)
			in.Blobs += int64(p.info.Blobs)
		}
	}
	for _, s := range v.state.Sessions {
		in.Sessions = append(in.Sessions, SessionInfo{s.Session.String(), string(s.Kind), s.Series, s.Owner, s.Instance})
	}
	return in, nil
}

// Dump opens one object of the store for people: its JSON, or what its trailer
// says. It shows no key.
func (r *Repository) Dump(ctx context.Context, object string) (any, error) {
	raw, err := ledger.Fetch(ctx, r.store, object)
	if err != nil {
		return nil, err
	}
	switch kind, _, _ := strings.Cut(object, "/"); kind {
	case "packs":
		return r.dumpPack(ctx, object)
	case "index":
		return r.dumpSegment(ctx, object)
	case "keys":
		return plainJSON(seal.KeySlot, raw)
	case "ledger":
		return r.boxJSON(seal.Ledger, object, raw)
	case "state":
		return r.boxJSON(seal.State, object, raw)
	case "points":
		return r.boxJSON(seal.Point, object, raw)
	}
	if strings.HasPrefix(object, configObject) {
		return plainJSON(seal.Config, raw)
	}
	return nil, fmt.Errorf("dump %s: not a kind of object that a repository has", object)
}

func plainJSON(m seal.Magic, raw []byte) (any, error) {
	b, err := seal.OpenPlainBox(m, raw)
	return json.RawMessage(b), err
}

func (r *Repository) boxJSON(m seal.Magic, object string, raw []byte) (any, error) {
	b, err := r.keys.OpenBox(m, object, raw)
	return json.RawMessage(b), err
}

// dumpedPack is what a pack's trailer says.
type dumpedPack struct {
	Pack   string     `json:"pack"`
	Kind   pack.Kind  `json:"kind"`
	Size   int64      `json:"size"`
	Frames []pack.Row `json:"frames"`
	Blobs  []chunk.ID `json:"blobs"`
}

func (r *Repository) dumpPack(ctx context.Context, object string) (any, error) {
	id, ok := packOf(object)
	if !ok {
		return nil, errors.New("not the name of a pack")
	}
	p, ids, err := r.blobs.directory(ctx, id)
	if err != nil {
		return nil, err
	}
	return dumpedPack{id.String(), p.Kind(), p.Size(), p.Rows(), ids}, nil
}

func (r *Repository) dumpSegment(ctx context.Context, object string) (any, error) {
	var id index.ID
	if err := id.UnmarshalText([]byte(strings.TrimPrefix(object, "index/"))); err != nil {
		return nil, err
	}
	s, err := r.shelf.get(ctx, id)
	if err != nil {
		return nil, err
	}
	var entries []index.Entry
	for e, err := range s.Entries() {
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return struct {
		Packs   []index.PackInfo `json:"packs"`
		Entries []index.Entry    `json:"entries"`
	}{s.Packs(), entries}, nil
}
