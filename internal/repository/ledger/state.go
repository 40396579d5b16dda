package ledger

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/internal/repository/index"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
)

// The reasons why a record cannot follow a state.
var (
	ErrBusy        = errors.New("another session holds this series")
	ErrFenced      = errors.New("session has been fenced off")
	ErrPointExists = errors.New("point exists already")
	ErrNoPoint     = errors.New("no such point")
	// ErrChanged means that segments this record builds on have gone; the
	// caller builds it anew on the newer state.
	ErrChanged = errors.New("the index has changed meanwhile")
)

// OpenSession is a session that has begun and not ended.
type OpenSession struct {
	Session  Session     `json:"session"`
	Kind     SessionKind `json:"kind"`
	Series   string      `json:"series"`
	Owner    string      `json:"owner"`
	Instance string      `json:"instance"`
	Begun    uint64      `json:"begun"` // seq of its begin
}

// LivePoint is a committed point that has not been deleted, or one deleted
// after it was committed beside a condemnation that is not yet decided.
type LivePoint struct {
	Point
	Committed uint64 `json:"committed"`         // seq of its commit
	Deleted   uint64 `json:"deleted,omitempty"` // seq of its delete
}

// DeadPack is a pack that no new session uses.
type DeadPack struct {
	Condemned uint64 `json:"condemned"`       // seq of the condemn
	Swept     uint64 `json:"swept,omitempty"` // seq of the sweep: it may be deleted
}

// State is the repository as of one record. It is changed only by Apply.
type State struct {
	Seq      uint64               `json:"seq"`
	Sum      string               `json:"sum"` // hex of the checksum of record Seq's box
	Points   []LivePoint          `json:"points"`
	Sessions []OpenSession        `json:"sessions"`
	Segments []index.ID           `json:"segments"`
	Dead     map[pack.ID]DeadPack `json:"dead,omitempty"`
	Damaged  map[pack.ID][]uint32 `json:"damaged,omitempty"` // nil ordinals: all of it
	Marked   uint64               `json:"marked,omitempty"`  // Seen of the newest condemn
	// Retention is how long the store shall hold each new object; Retained until
	// when all that was needed as of the newest extension is held.
	Retention Seconds   `json:"retention,omitzero"`
	Retained  time.Time `json:"retained,omitzero"`
}

// NewState is the state before the first record.
func NewState() *State {
	return &State{Dead: map[pack.ID]DeadPack{}, Damaged: map[pack.ID][]uint32{}}
}

// Clone is a copy that Apply can change without changing s.
func (s *State) Clone() *State {
	c := *s
	c.Points = slices.Clone(s.Points)
	c.Sessions = slices.Clone(s.Sessions)
	c.Segments = slices.Clone(s.Segments)
	c.Dead = make(map[pack.ID]DeadPack, len(s.Dead))
	for k, v := range s.Dead {
		c.Dead[k] = v
	}
	c.Damaged = make(map[pack.ID][]uint32, len(s.Damaged))
	for k, v := range s.Damaged {
		c.Damaged[k] = slices.Clone(v)
	}
	return &c
}

// Point finds a live point by id, the newest first.
func (s *State) Point(id string) (LivePoint, bool) {
	for i := len(s.Points) - 1; i >= 0; i-- {
		if p := &s.Points[i]; p.ID == id && p.Deleted == 0 {
			return *p, true
		}
	}
	return LivePoint{}, false
}

// Named finds live points by their ids, or fails with ErrNoPoint.
func (s *State) Named(ids []string) ([]LivePoint, error) {
	at, err := s.named(ids)
	points := make([]LivePoint, len(at))
	for i, k := range at {
		points[i] = s.Points[k]
	}
	return points, err
}

// named answers where in Points the live points of these ids are.
func (s *State) named(ids []string) ([]int, error) {
	live := make(map[string]int, len(s.Points))
	for i, p := range s.Points {
		if p.Deleted == 0 {
			live[p.ID] = i
		}
	}
	at := make([]int, len(ids))
	for i, id := range ids {
		k, ok := live[id]
		if !ok {
			return nil, fmt.Errorf("%w: %s", ErrNoPoint, id)
		}
		at[i] = k
	}
	return at, nil
}

// Session finds an open session.
func (s *State) Session(id Session) (OpenSession, bool) {
	i := slices.IndexFunc(s.Sessions, func(o OpenSession) bool { return o.Session == id })
	if i < 0 {
		return OpenSession{}, false
	}
	return s.Sessions[i], true
}

// Holder finds the open session that excludes a new one of this kind and
// series.
func (s *State) Holder(kind SessionKind, series string) (OpenSession, bool) {
	i := slices.IndexFunc(s.Sessions, func(o OpenSession) bool {
		return o.Kind == kind && (kind == Collector || (series != "" && o.Series == series))
	})
	if i < 0 {
		return OpenSession{}, false
	}
	return s.Sessions[i], true
}

// IsDead reports whether a pack must not be used by sessions that begin now.
func (s *State) IsDead(id pack.ID) bool {
	_, dead := s.Dead[id]
	return dead
}

// IsDamaged reports whether a blob is known to be damaged.
func (s *State) IsDamaged(id pack.ID, ordinal uint32) bool {
	ords, hurt := s.Damaged[id]
	return hurt && (len(ords) == 0 || slices.Contains(ords, ordinal))
}

// Apply checks that r may follow s and folds it in. On an error s is
// unchanged. sum is the checksum of r's box.
func (s *State) Apply(r *Record, sum string) error {
	if r.Seq != s.Seq+1 {
		return fmt.Errorf("ledger record %d cannot follow state %d", r.Seq, s.Seq)
	}
	if s.Sum != "" && r.Prev != s.Sum {
		return seal.Damaged("ledger record %d does not belong to the chain", r.Seq)
	}
	if err := s.apply(r); err != nil {
		return err
	}
	s.Seq, s.Sum = r.Seq, sum
	return nil
}

func (s *State) apply(r *Record) error {
	switch r.Op {
	case Begin:
		return s.begin(r)
	case Index:
		return s.during(r, func() error { return s.segments(r) })
	case Commit:
		return s.during(r, func() error { return s.commit(r) })
	case End:
		return s.during(r, func() error {
			if err := s.segments(r); err != nil {
				return err
			}
			s.end(r.Session)
			return nil
		})
	case Fence:
		if _, open := s.Session(r.Session); !open {
			return ErrFenced
		}
		s.end(r.Session)
		return nil
	case Delete:
		return s.delete(r)
	case Condemn:
		return s.during(r, func() error { return s.condemn(r) })
	case Sweep:
		return s.during(r, func() error { return s.sweep(r) })
	case Forget:
		return s.during(r, func() error { return s.forget(r) })
	case Damage:
		s.damage(r)
		return nil
	case Lost:
		s.lost(r)
		return nil
	case Retain:
		return s.retain(r)
	default:
		return fmt.Errorf("%w: ledger record %d does %q", seal.ErrVersion, r.Seq, r.Op)
	}
}

// during runs f if r's session is open.
func (s *State) during(r *Record, f func() error) error {
	if _, open := s.Session(r.Session); !open {
		return fmt.Errorf("%w: session %s", ErrFenced, r.Session)
	}
	return f()
}
