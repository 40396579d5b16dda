// Package fault wraps a store so that chosen calls go wrong. For tests only.
//
// A test says which calls by Rules: the Nth of a verb, those of a name, all
// from the Nth on; and what goes wrong by a Fault. Rules can be added and
// cleared while the store is in use. To sweep over all calls of some work:
//
//	for n := 1; ; n++ {
//		s := fault.New(inner)
//		rule := s.On(fault.Rule{Nth: n}, fault.Fail(err))
//		... work on s, check that nothing was lost
//		if rule.Fired() == 0 {
//			break // the work has fewer than n calls
//		}
//	}
package fault

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"time"

	"holdfast/internal/objstore"
)

// Verb names a verb of the contract.
type Verb string

// The verbs.
const (
	Put    Verb = "put"
	Get    Verb = "get"
	Stat   Verb = "stat"
	List   Verb = "list"
	Delete Verb = "delete"
	Retain Verb = "retain"
)

// Call is one call of a verb.
type Call struct {
	Verb Verb
	Name string // or prefix
}

// Rule chooses calls. The zero value chooses the first call of any verb.
type Rule struct {
	Verb   Verb   // "" = any
	Prefix string // of the name; "" = any
	Nth    int    // the first of the matching calls that is chosen, from 1; 0 = 1
	Times  int    // how many in a row are chosen; 0 = 1; Forever = all
}

// Forever as Rule.Times chooses all calls from the Nth on.
const Forever = -1

// Armed is a Rule in force.
type Armed struct {
	rule  Rule
	fault Fault
	store *Store
	seen  int // matching calls; under store.mu
	fired int
}

// Fired returns how many calls the rule has chosen so far.
func (a *Armed) Fired() int {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	return a.fired
}

// Store is a store that does as its rules say.
type Store struct {
	inner objstore.Store

	mu      sync.Mutex
	rules   []*Armed
	calls   []Call
	changes []change // puts and deletes that took place, for stale lists
}

type change struct {
	name string
	info objstore.Info // before the delete
	put  bool
}

var _ objstore.Store = (*Store)(nil)

// New wraps inner; without rules it changes nothing.
func New(inner objstore.Store) *Store { return &Store{inner: inner} }

// On adds a rule. A call that several rules choose has the faults of all.
func (s *Store) On(r Rule, f Fault) *Armed {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &Armed{rule: r, fault: f, store: s}
	s.rules = append(s.rules, a)
	return a
}

// Clear drops all rules.
func (s *Store) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = nil
}

// Calls returns all calls so far, in the order in which they began.
func (s *Store) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Call(nil), s.calls...)
}

// begin counts the call and returns the faults that it shall have.
func (s *Store) begin(c Call) faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, c)
	var fs faults
	for _, a := range s.rules {
		if a.rule.Verb != "" && a.rule.Verb != c.Verb || !strings.HasPrefix(c.Name, a.rule.Prefix) {
			continue
		}
		a.seen++
		first, times := max(a.rule.Nth, 1), a.rule.Times
		if times == 0 {
			times = 1
		}
		if a.seen >= first && (times == Forever || a.seen < first+times) {
			a.fired++
			fs = append(fs, a.fault)
		}
	}
	return fs
}

func (s *Store) Put(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
	fs := s.begin(Call{Put, name})
	if err := fs.before(ctx); err != nil {
		return err
	}
	err := s.inner.Put(ctx, name, body, opt)
	if err == nil {
		s.changed(change{name: name, put: true})
	}
	return fs.after(err)
}

func (s *Store) Get(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	fs := s.begin(Call{Get, name})
	if err := fs.before(ctx); err != nil {
		return nil, err
	}
	r, err := s.inner.Get(ctx, name, off, length)
	if err != nil {
		return nil, err
	}
	if err := fs.after(nil); err != nil {
		r.Close()
		return nil, err
	}
	return fs.reader(ctx, r), nil
}

func (s *Store) Stat(ctx context.Context, name string) (objstore.Info, error) {
	fs := s.begin(Call{Stat, name})
	if err := fs.before(ctx); err != nil {
		return objstore.Info{}, err
	}
	info, err := s.inner.Stat(ctx, name)
	return info, fs.after(err)
}

func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		fs := s.begin(Call{List, prefix})
		if err := fs.before(ctx); err != nil {
			yield(objstore.Info{}, err)
			return
		}
		hidden, extra := s.past(fs.stale(), prefix, after)
		for info, err := range merge(s.inner.List(ctx, prefix, after), extra) {
			if _, hide := hidden[info.Name]; hide && err == nil {
				continue
			}
			if !yield(info, err) || err != nil {
				return
			}
		}
		if err := fs.after(nil); err != nil {
			yield(objstore.Info{}, err)
		}
	}
}

func (s *Store) Delete(ctx context.Context, name string) error {
	fs := s.begin(Call{Delete, name})
	if err := fs.before(ctx); err != nil {
		return err
	}
	info, _ := s.inner.Stat(ctx, name)
	err := s.inner.Delete(ctx, name)
	if err == nil {
		s.changed(change{name: name, info: info})
	}
	return fs.after(err)
}

func (s *Store) Retain(ctx context.Context, name string, until time.Time) error {
	fs := s.begin(Call{Retain, name})
	if err := fs.before(ctx); err != nil {
		return err
	}
	return fs.after(s.inner.Retain(ctx, name, until))
}

func (s *Store) Features() objstore.Features { return s.inner.Features() }

func (s *Store) String() string { return fmt.Sprintf("fault(%s)", s.inner) }

func (s *Store) changed(c change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes = append(s.changes, c)
}
