package ledger

import (
	"fmt"
	"slices"
	"time"

	"holdfast/internal/repository/index"
)

func (s *State) begin(r *Record) error {
	if h, held := s.Holder(r.Kind, r.Series); held {
		return fmt.Errorf("%w: session %s of %s (%s)", ErrBusy, h.Session, h.Owner, h.Instance)
	}
	s.Sessions = append(s.Sessions, OpenSession{r.Session, r.Kind, r.Series, r.Owner, r.Instance, r.Seq})
	return nil
}

func (s *State) end(id Session) {
	s.Sessions = slices.DeleteFunc(slices.Clone(s.Sessions), func(o OpenSession) bool { return o.Session == id })
}

// segments folds Add and Drop: every dropped segment must still be there.
func (s *State) segments(r *Record) error {
	for _, d := range r.Drop {
		if !slices.Contains(s.Segments, d) {
			return fmt.Errorf("%w: segment %s", ErrChanged, d)
		}
	}
	kept := slices.DeleteFunc(slices.Clone(s.Segments), func(id index.ID) bool { return slices.Contains(r.Drop, id) })
	s.Segments = append(kept, r.Add...)
	return nil
}

func (s *State) commit(r *Record) error {
	if r.Point == nil {
		return fmt.Errorf("ledger record %d commits no point", r.Seq)
	}
	if _, exists := s.Point(r.Point.ID); exists {
		return fmt.Errorf("%w: %s", ErrPointExists, r.Point.ID)
	}
	if err := s.segments(r); err != nil {
		return err
	}
	s.Points = append(s.Points, LivePoint{Point: *r.Point, Committed: r.Seq})
	s.end(r.Session)
	return nil
}

// delete marks points deleted. A point committed after the newest mark of a
// collection that has not yet decided stays in the state until it has
// (locking.md): its references may have to be kept alive.
func (s *State) delete(r *Record) error {
	at, err := s.named(r.Points)
	if err != nil {
		return err
	}
	for _, i := range at {
		s.Points[i].Deleted = r.Seq
	}
	s.drop()
	return nil
}

// drop forgets deleted points that no undecided condemnation needs.
func (s *State) drop() {
	undecided := s.undecided()
	s.Points = slices.DeleteFunc(slices.Clone(s.Points), func(p LivePoint) bool {
		return p.Deleted != 0 && !(undecided && p.Committed > s.Marked)
	})
}

// undecided reports whether packs are condemned and not yet swept.
func (s *State) undecided() bool {
	for _, d := range s.Dead {
		if d.Swept == 0 {
			return true
		}
	}
	return false
}

func (s *State) condemn(r *Record) error {
	if s.undecided() {
		return fmt.Errorf("%w: an earlier condemnation is not yet decided", ErrChanged)
	}
	if err := s.segments(r); err != nil {
		return err
	}
	for _, p := range r.Packs {
		s.Dead[p] = DeadPack{Condemned: r.Seq}
	}
	s.Marked = r.Seen
	return nil
}

// Older finds the open writers that began before the undecided condemnation.
func (s *State) Older() (older []OpenSession) {
	var condemned uint64
	for _, d := range s.Dead {
		if d.Swept == 0 {
			condemned = d.Condemned
		}
	}
	for _, o := range s.Sessions {
		if o.Kind == Writer && o.Begun < condemned {
			older = append(older, o)
		}
	}
	return older
}

func (s *State) sweep(r *Record) error {
	if older := s.Older(); len(older) > 0 {
		return fmt.Errorf("%w: session %s began before the condemnation", ErrBusy, older[0].Session)
	}
	for _, p := range r.Keep {
		delete(s.Dead, p)
	}
	for _, p := range r.Packs {
		if d, ok := s.Dead[p]; ok && d.Swept == 0 {
			s.Dead[p] = DeadPack{d.Condemned, r.Seq}
		}
	}
	s.drop()
	return nil
}

func (s *State) forget(r *Record) error {
	if err := s.segments(r); err != nil {
		return err
	}
	for _, p := range r.Packs {
		if d, ok := s.Dead[p]; ok && d.Swept != 0 {
			delete(s.Dead, p)
			delete(s.Damaged, p)
		}
	}
	return nil
}

func (s *State) damage(r *Record) {
	for _, b := range r.Blobs {
		old, hurt := s.Damaged[b.Pack]
		switch {
		case hurt && len(old) == 0: // all of it already
		case len(b.Ordinals) == 0:
			s.Damaged[b.Pack] = nil
		default:
			s.Damaged[b.Pack] = union(old, b.Ordinals)
		}
	}
	for _, b := range r.Healed {
		left := slices.DeleteFunc(slices.Clone(s.Damaged[b.Pack]), func(o uint32) bool { return slices.Contains(b.Ordinals, o) })
		if len(b.Ordinals) == 0 || len(left) == 0 {
			delete(s.Damaged, b.Pack)
			continue
		}
		s.Damaged[b.Pack] = left
	}
}

func union(a, b []uint32) []uint32 {
	u := slices.Concat(a, b)
	slices.Sort(u)
	return slices.Compact(u)
}

// lost ends every session: the unreadable record may have said anything, but
// nobody can have built on it. Condemned packs stay dead, for the record may
// have been their sweep; the next collection decides about them again. Points
// that were about to be committed are adopted with their segments.
func (s *State) lost(r *Record) {
	s.Sessions = nil
	for _, p := range r.Adopt {
		if _, exists := s.Point(p.ID); !exists {
			s.Points = append(s.Points, LivePoint{Point: p, Committed: r.Seq})
		}
	}
	s.Segments = append(slices.Clone(s.Segments), r.Add...)
}

// retain sets how long new objects are held, or notes until when the old ones
// are. A new retention asks for an extension of all.
func (s *State) retain(r *Record) error {
	switch {
	case r.Retention != nil:
		if *r.Retention != s.Retention {
			s.Retention, s.Retained = *r.Retention, time.Time{}
		}
	case r.Until.After(s.Retained):
		s.Retained = r.Until
	}
	return nil
}
