package ledger

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/clock"
	"holdfast/internal/objstore"
	"holdfast/internal/repository/index"
	"holdfast/internal/repository/seal"
)

const (
	recordPrefix = "ledger/"
	statePrefix  = "state/"
	// StateEvery is how many records lie between two folded states.
	StateEvery = 128
)

// ObjectOf is the name of record seq in the store.
func ObjectOf(seq uint64) string { return recordPrefix + fmt.Sprintf("%016x", seq) }

// StateObject is the name of the state folded up to seq.
func StateObject(seq uint64) string { return statePrefix + fmt.Sprintf("%016x", seq) }

// SeqOf is the number in the name of a record or state, 0 if there is none.
func SeqOf(object string) uint64 {
	_, digits, _ := strings.Cut(object, "/")
	n, err := strconv.ParseUint(digits, 16, 64)
	if err != nil || len(digits) != 16 {
		return 0
	}
	return n
}

// Log reads and appends records. It is safe for concurrent use.
type Log struct {
	store objstore.Store
	keys  *seal.Keys
	clock clock.Clock
	// Adopt finds, when the last record is lost, what it may have committed:
	// the whole points of these sessions, and their segments.
	Adopt func(ctx context.Context, open []OpenSession) ([]Point, []index.ID, error)
	// Refuse, if set, is why nothing may be appended.
	Refuse error

	mu    sync.Mutex
	state *State // never changed once published
	last  []byte // content of record state.Seq without Last; nil if unknown
	hurt  map[string]error
	begun bool

	retention atomic.Int64 // that of state
}

// New makes the Log of a store.
func New(store objstore.Store, keys *seal.Keys, c clock.Clock) *Log {
	return &Log{store: store, keys: keys, clock: c, state: NewState(), hurt: map[string]error{}}
}

// Hurt are the records and states that were found damaged, with why.
func (l *Log) Hurt() map[string]error {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]error, len(l.hurt))
	for k, v := range l.hurt {
		out[k] = v
	}
	return out
}

// Retention is how long the store shall hold what is put, as of the newest state
// read; 0 is not at all. It doesn't wait for a record that is under way.
func (l *Log) Retention() time.Duration { return time.Duration(l.retention.Load()) }

// set takes a state for the present one.
func (l *Log) set(s *State, last []byte) {
	l.state, l.last = s, last
	l.retention.Store(int64(s.Retention.Duration))
}

// Read answers the newest state. The caller must not change it.
func (l *Log) Read(ctx context.Context) (*State, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.refresh(ctx); err != nil {
		return nil, err
	}
	return l.state, nil
}

// Append adds the record that build makes of the newest state. If another
// record wins the number, build is asked again with the state after that one;
// an error of build, or of the rules (ErrBusy, ErrFenced, …), ends it. The
// state answered includes the record.
func (l *Log) Append(ctx context.Context, build func(*State) (*Record, error)) (*State, error) {
	if l.Refuse != nil {
		return nil, l.Refuse
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var nonce [12]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, err
	}
	for {
		lost, err := l.refresh(ctx)
		if err != nil {
			return nil, err
		}
		if lost != 0 {
			if err := l.bridge(ctx, lost); err != nil {
				return nil, err
			}
			continue
		}
		r, err := build(l.state)
		if err != nil {
			return nil, err
		}
		r.Seq, r.Prev, r.Last = l.state.Seq+1, l.state.Sum, l.last
		r.Nonce, r.Time = hex.EncodeToString(nonce[:]), l.clock().UTC()
		won, err := l.put(ctx, r)
		if err != nil {
			return nil, err
		}
		if won {
			return l.state, nil
		}
	}
}

// put tries to store r and fold it. It answers false when another record took
// its number.
func (l *Log) put(ctx context.Context, r *Record) (bool, error) {
	next := l.state.Clone()
	if err := next.Apply(r, ""); err != nil {
		return false, err
	}
	content, err := json.Marshal(r)
	if err != nil {
		return false, err
	}
	name := ObjectOf(r.Seq)
	box, err := l.keys.Box(seal.Ledger, name, content)
	if err != nil {
		return false, err
	}
	if err := objstorePut(ctx, l.store, name, box); err != nil {
		mine, readErr := l.isMine(context.WithoutCancel(ctx), name, r.Nonce)
		if readErr != nil || (!mine && !errors.Is(err, objstore.ErrExist)) {
			return false, fmt.Errorf("append to the ledger: %w", err)
		}
		if !mine {
			return false, nil
		}
	}
	sum := seal.BoxSum(box)
	next.Sum = hex.EncodeToString(sum[:])
	joined, err := l.joined(context.WithoutCancel(ctx), r.Seq, next.Sum)
	if err != nil {
		return false, fmt.Errorf("append to the ledger: %w", err)
	}
	if !joined {
		_ = l.store.Delete(context.WithoutCancel(ctx), name) // a stray record; Trim deletes it otherwise
		l.begun = false
		return false, nil
	}
	l.set(next, withoutLast(r))
	l.fold(ctx)
	return true, nil
}

// isMine reports whether the record called name is the one with this nonce: an
// unclear failure may have been a success.
func (l *Log) isMine(ctx context.Context, name, nonce string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	raw, err := Fetch(ctx, l.store, name)
	if errors.Is(err, objstore.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r, err := l.decode(name, raw)
	if errors.Is(err, seal.ErrDamaged) {
		return false, nil
	}
	return err == nil && r.Nonce == nonce, err
}

// bridge appends the record that says that record seq, the last, is lost.
func (l *Log) bridge(ctx context.Context, seq uint64) error {
	prior, last := l.state, l.last
	var points []Point
	var segments []index.ID
	if l.Adopt != nil {
		var err error
		if points, segments, err = l.Adopt(ctx, prior.Sessions); err != nil {
			return err
		}
	}
	l.state = l.state.Clone()
	l.state.Seq, l.state.Sum = seq, ""
	l.last = nil
	r := &Record{Seq: seq + 1, Op: Lost, Lost: seq, Adopt: points, Add: segments, Nonce: fmt.Sprintf("lost-%d", seq), Time: l.clock().UTC()}
	if won, err := l.put(ctx, r); !won || err != nil {
		l.state, l.last = prior, last
		return err
	}
	return nil
}

// fold stores the state at every StateEvery-th record, and takes away what that
// makes needless, so that a reading never lists more than a few hundred names.
// The state is derived: failing to store it, or to trim, costs only time, so
// errors are left to the next fold. What the store's retention holds is left to
// collections, which come less often.
func (l *Log) fold(ctx context.Context) {
	if l.state.Seq%StateEvery != 0 || l.foldNow(ctx) != nil {
		return
	}
	if l.state.Retention.Duration == 0 {
		_ = l.trim(ctx)
	}
}

func (l *Log) foldNow(ctx context.Context) error {
	content, err := json.Marshal(l.state)
	if err != nil {
		return err
	}
	name := StateObject(l.state.Seq)
	box, err := l.keys.Box(seal.State, name, content)
	if err != nil {
		return err
	}
	return objstorePut(ctx, l.store, name, box)
}

func (l *Log) decode(name string, raw []byte) (*Record, error) {
	content, err := l.keys.OpenBox(seal.Ledger, name, raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r := &Record{}
	if err := json.Unmarshal(content, r); err != nil {
		return nil, fmt.Errorf("%s: %w", name, seal.Damaged("%v", err))
	}
	return r, nil
}

func withoutLast(r *Record) []byte {
	c := *r
	c.Last = nil
	b, err := json.Marshal(c)
	if err != nil {
		return nil
	}
	return b
}

// Fetch reads a whole object.
func Fetch(ctx context.Context, store objstore.Store, name string) ([]byte, error) {
	rc, err := store.Get(ctx, name, 0, -1)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}
