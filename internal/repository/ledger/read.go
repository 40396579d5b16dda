package ledger

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"holdfast/internal/objstore"
	"holdfast/internal/repository/seal"
)

func objstorePut(ctx context.Context, store objstore.Store, name string, b []byte) error {
	return store.Put(ctx, name, bytes.NewReader(b), objstore.PutOptions{})
}

// refresh folds what is new. lost is the number of the last record if that is
// damaged: it has no successor to be read from.
func (l *Log) refresh(ctx context.Context) (lost uint64, err error) {
	if !l.begun {
		if err := l.start(ctx); err != nil {
			return 0, err
		}
		l.begun = true
	}
	lost, err = l.catchUp(ctx)
	if !errors.Is(err, seal.ErrDamaged) {
		return lost, err
	}
	// The records since our state may have been trimmed because a newer state
	// stands for them.
	before := l.state.Seq
	if e := l.start(ctx); e != nil {
		return 0, e
	}
	if l.state.Seq == before {
		return 0, err
	}
	return l.catchUp(ctx)
}

// catchUp folds the records behind the present state.
func (l *Log) catchUp(ctx context.Context) (lost uint64, err error) {
	seqs, err := l.list(ctx, recordPrefix, l.state.Seq)
	if err != nil || len(seqs) == 0 {
		return 0, err
	}
	next := l.state.Clone()
	last := l.last
	for i, seq := range seqs {
		r, sum, err := l.load(ctx, seq)
		if errors.Is(err, seal.ErrDamaged) {
			if i == len(seqs)-1 && errors.Is(err, objstore.ErrNotExist) {
				return 0, err // trimmed since it was listed
			}
			if i == len(seqs)-1 {
				lost = seq
				break
			}
			continue // read from its successor, or follow fails
		}
		if err != nil {
			return 0, err
		}
		if last, err = l.follow(next, last, r, sum); err != nil {
			return 0, err
		}
	}
	if lost > next.Seq+1 {
		return 0, seal.Damaged("ledger records %d to %d are lost", next.Seq+1, lost)
	}
	l.set(next, last)
	return lost, nil
}

// follow folds r into s, and before it the record that r carries if that could
// not be read itself.
func (l *Log) follow(s *State, last []byte, r *Record, sum string) ([]byte, error) {
	if r.Seq == s.Seq+2 {
		switch {
		case r.Op == Lost && r.Lost == s.Seq+1:
			s.Seq, s.Sum = r.Lost, r.Prev
		case len(r.Last) > 0:
			before := &Record{}
			if err := json.Unmarshal(r.Last, before); err != nil {
				return nil, seal.Damaged("ledger record %d carries a malformed predecessor", r.Seq)
			}
			if err := s.Apply(before, r.Prev); err != nil {
				return nil, err
			}
		}
	}
	if r.Seq != s.Seq+1 {
		return nil, seal.Damaged("ledger records %d to %d are lost", s.Seq+1, r.Seq-1)
	}
	if err := s.Apply(r, sum); err != nil {
		return nil, fmt.Errorf("ledger record %d: %w", r.Seq, err)
	}
	return withoutLast(r), nil
}

// load reads record seq. A record that is gone between listing and reading is
// taken for damaged: its successor is asked.
func (l *Log) load(ctx context.Context, seq uint64) (*Record, string, error) {
	name := ObjectOf(seq)
	raw, err := Fetch(ctx, l.store, name)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil, "", fmt.Errorf("%w: %w", seal.Damaged("%s is gone", name), objstore.ErrNotExist)
	}
	if err != nil {
		return nil, "", err
	}
	r, err := l.decode(name, raw)
	if err == nil && r.Seq != seq {
		err = seal.Damaged("%s holds record %d", name, r.Seq)
	}
	if err != nil {
		l.note(name, err)
		return nil, "", err
	}
	sum := seal.BoxSum(raw)
	return r, hex.EncodeToString(sum[:]), nil
}

func (l *Log) note(name string, err error) {
	if errors.Is(err, seal.ErrDamaged) {
		l.hurt[name] = err
	}
}

// start takes the newest state that is whole and still joins the records.
func (l *Log) start(ctx context.Context) error {
	seqs, err := l.list(ctx, statePrefix, 0)
	if err != nil {
		return err
	}
	slices.Reverse(seqs)
	for _, seq := range seqs {
		if seq <= l.state.Seq {
			return nil
		}
		s, err := l.loadState(ctx, seq)
		if errors.Is(err, seal.ErrDamaged) || errors.Is(err, objstore.ErrNotExist) {
			l.note(StateObject(seq), err)
			continue
		}
		if err != nil {
			return err
		}
		l.set(s, nil)
		if r, _, err := l.load(ctx, seq); err == nil {
			l.last = withoutLast(r)
		}
		return nil
	}
	return nil
}

func (l *Log) loadState(ctx context.Context, seq uint64) (*State, error) {
	content, err := l.openState(ctx, seq)
	if err != nil {
		return nil, err
	}
	s := NewState()
	if err := json.Unmarshal(content, s); err != nil || s.Seq != seq {
		return nil, fmt.Errorf("%s: %w", StateObject(seq), seal.Damaged("malformed state: %v", err))
	}
	return s, nil
}

func (l *Log) openState(ctx context.Context, seq uint64) ([]byte, error) {
	name := StateObject(seq)
	raw, err := Fetch(ctx, l.store, name)
	if err != nil {
		return nil, err
	}
	content, err := l.keys.OpenBox(seal.State, name, raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return content, nil
}

// list answers the numbers of the objects under prefix that are above seq.
func (l *Log) list(ctx context.Context, prefix string, seq uint64) ([]uint64, error) {
	var seqs []uint64
	for info, err := range l.store.List(ctx, prefix, prefix+fmt.Sprintf("%016x", seq)) {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", prefix, err)
		}
		if n := SeqOf(info.Name); n > seq {
			seqs = append(seqs, n)
		}
	}
	return seqs, nil
}

// Check reads every record and state that is in the store and answers those
// that are damaged, with why.
func (l *Log) Check(ctx context.Context) (map[string]error, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bad := map[string]error{}
	states, err := l.list(ctx, statePrefix, 0)
	if err != nil {
		return nil, err
	}
	for _, seq := range states {
		_, err := l.loadState(ctx, seq)
		if err := damageOnly(bad, StateObject(seq), err); err != nil {
			return nil, err
		}
	}
	records, err := l.list(ctx, recordPrefix, 0)
	if err != nil {
		return nil, err
	}
	next := uint64(1)
	if len(states) > 0 {
		next = states[0] + 1 // older records may have been trimmed
	}
	for _, seq := range records {
		for ; next < seq; next++ {
			bad[ObjectOf(next)] = seal.Damaged("%s is missing", ObjectOf(next))
		}
		next = max(next, seq+1)
		_, _, err := l.load(ctx, seq)
		if err := damageOnly(bad, ObjectOf(seq), err); err != nil {
			return nil, err
		}
	}
	return bad, nil
}

// damageOnly notes damage and passes other failures on.
func damageOnly(bad map[string]error, name string, err error) error {
	if errors.Is(err, objstore.ErrNotExist) {
		return nil // trimmed meanwhile
	}
	if errors.Is(err, seal.ErrDamaged) {
		bad[name] = err
		return nil
	}
	return err
}

// joined reports whether record seq, which we have just created with this
// checksum, is part of the chain. It is not if others had gone past its number
// and trimmed it while we slept: then a state stands for that number already.
func (l *Log) joined(ctx context.Context, seq uint64, sum string) (bool, error) {
	states, err := l.list(ctx, statePrefix, seq-1)
	if err != nil || len(states) == 0 {
		return true, err
	}
	if states[0] == seq {
		s, err := l.loadState(ctx, seq)
		if errors.Is(err, seal.ErrDamaged) {
			return l.precedes(ctx, seq, sum)
		}
		return err == nil && s.Sum == sum, err
	}
	return l.precedes(ctx, seq, sum)
}

// precedes reports whether the record after seq names sum as the one before it.
func (l *Log) precedes(ctx context.Context, seq uint64, sum string) (bool, error) {
	next, _, err := l.load(ctx, seq+1)
	if errors.Is(err, seal.ErrDamaged) {
		return false, nil
	}
	return err == nil && next.Prev == sum, err
}

// Renew stores the present state whatever its number, so that damaged records
// and states before it are no longer needed.
func (l *Log) Renew(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.refresh(ctx); err != nil {
		return err
	}
	return l.foldNow(ctx)
}

// Restart makes state, which was put together from what is left of a lost
// ledger, the present one.
func (l *Log) Restart(ctx context.Context, state *State) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set(state, nil)
	l.begun = true
	return l.foldNow(ctx)
}
