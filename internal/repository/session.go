package repository

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/repository/index"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
)

const leasePrefix = "leases/"

// session is one piece of work that the ledger knows of, from its begin to its
// end.
type session struct {
	r      *Repository
	kind   ledger.SessionKind
	id     ledger.Session
	state  *ledger.State // as of the begin
	number atomic.Uint32 // of the next pack or segment
	stop   context.CancelFunc
	beaten chan struct{}
}

// running are the sessions of this process that have not ended. The ledger may
// still hold one open that has: its last record found the store full, or away.
var running sync.Map // ledger.Session → struct{}

// beat is what was last seen of a foreign session.
type beat struct {
	n     uint64
	since time.Time
}

// begin opens a session, taking over from a dead one that stands in the way.
func (r *Repository) begin(ctx context.Context, kind ledger.SessionKind, series string, check func(*ledger.State) error) (*session, error) {
	s := &session{r: r, kind: kind, id: newSession(), beaten: make(chan struct{})}
	running.Store(s.id, struct{}{})
	if err := s.enter(ctx, series, check); err != nil {
		running.Delete(s.id)
		return nil, err
	}
	beating, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	go s.keepBeating(beating)
	return s, nil
}

// enter writes the session's begin to the ledger.
func (s *session) enter(ctx context.Context, series string, check func(*ledger.State) error) error {
	r := s.r
	for {
		var holder ledger.OpenSession
		state, err := r.log.Append(ctx, func(st *ledger.State) (*ledger.Record, error) {
			if check != nil {
				if err := check(st); err != nil {
					return nil, err
				}
			}
			holder, _ = st.Holder(s.kind, series)
			return &ledger.Record{Op: ledger.Begin, Session: s.id, Kind: s.kind, Series: series,
				Owner: r.opt.Owner.ID, Instance: r.opt.Owner.Instance}, nil
		})
		if err == nil {
			s.state = state
			return nil
		}
		if !errors.Is(err, ErrBusy) {
			return err
		}
		dead, e := r.isDead(ctx, holder)
		if e != nil {
			return e
		}
		if !dead {
			return err
		}
		if e := r.Fence(ctx, holder.Session.String()); e != nil && !errors.Is(e, ErrFenced) {
			return e
		}
	}
}

// newSession is a name that no session ever had.
func newSession() (s ledger.Session) {
	if _, err := rand.Read(s[:]); err != nil {
		panic("no randomness: " + err.Error()) // crypto/rand never fails on supported systems
	}
	return s
}

// Fence ends a foreign session for good: whatever it still does leaves only
// garbage. It fails with ErrFenced if the session has ended already.
func (r *Repository) Fence(ctx context.Context, session string) error {
	var victim ledger.Session
	if err := victim.UnmarshalText([]byte(session)); err != nil {
		return err
	}
	_, err := r.log.Append(ctx, func(*ledger.State) (*ledger.Record, error) {
		return &ledger.Record{Op: ledger.Fence, Session: victim}, nil
	})
	return err
}

// isDead reports whether an open session's process is known to have died: by
// its owner's word, or because it has not beaten for LeaseTimeout on our own
// clock.
func (r *Repository) isDead(ctx context.Context, s ledger.OpenSession) (bool, error) {
	me := r.opt.Owner
	if me.ID != "" && s.Owner == me.ID {
		if s.Instance == me.Instance {
			_, runs := running.Load(s.Session)
			return !runs, nil
		}
		return me.Alive == nil || !me.Alive(s.Instance), nil
	}
	var n uint64
	for info, err := range r.store.List(ctx, leasePrefix+s.Session.String()+"-", "") {
		if err != nil {
			return false, err
		}
		_, digits, _ := strings.Cut(info.Name, "-")
		if v, err := strconv.ParseUint(digits, 16, 64); err == nil {
			n = max(n, v)
		}
	}
	now := r.opt.Clock()
	r.watch.Lock()
	defer r.watch.Unlock()
	seen, ok := r.watch.beats[s.Session]
	if !ok || seen.n != n {
		r.watch.beats[s.Session] = beat{n, now}
		return false, nil
	}
	return now.Sub(seen.since) >= r.opt.LeaseTimeout, nil
}

// keepBeating stores a new heartbeat ten times in a LeaseTimeout, so that
// others see that this session lives. A beat that fails is only a beat missed.
func (s *session) keepBeating(ctx context.Context) {
	defer close(s.beaten)
	name := func(n uint64) string { return fmt.Sprintf("%s%s-%016x", leasePrefix, s.id, n) }
	for n := uint64(1); ; n++ {
		select {
		case <-ctx.Done():
			if n > 1 {
				clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
				_ = s.r.store.Delete(clean, name(n-1))
				cancel()
			}
			return
		case <-s.r.opt.After(s.r.opt.LeaseTimeout / 10):
		}
		box, err := s.r.keys.Box(seal.Lease, name(n), []byte(s.r.opt.Owner.Instance))
		if err == nil {
			err = put(ctx, s.r.store, name(n), box)
		}
		if err == nil && n > 1 {
			_ = s.r.store.Delete(ctx, name(n-1))
		}
	}
}

// close stops the heart. It does not end the session in the ledger.
func (s *session) close() {
	s.stop()
	<-s.beaten
	running.Delete(s.id)
}

// abort ends the session in the ledger, as far as the store lets us.
func (s *session) abort() {
	s.close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, _ = s.r.log.Append(ctx, func(*ledger.State) (*ledger.Record, error) {
		return &ledger.Record{Op: ledger.End, Session: s.id}, nil
	})
}

func (s *session) packID() pack.ID     { return pack.NewID(s.id, s.number.Add(1)) }
func (s *session) segmentID() index.ID { return index.ID(pack.NewID(s.id, s.number.Add(1))) }
