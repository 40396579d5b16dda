// Package mem is an object store in memory, for tests and for simulations. It
// keeps the whole contract but durability, and can model retention against an
// injected clock.
package mem

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
	"time"

	"holdfast/internal/objstore"
)

// Options changes a Store. The zero value is the usual case.
type Options struct {
	Retention bool             // objects can be locked
	Now       func() time.Time // what locks are compared with; nil = time.Now
	Limit     int64            // bytes of objects held at most, then ErrFull; 0 = no limit
}

// Store is an objstore.Store in memory.
type Store struct {
	opt Options

	mu      sync.RWMutex
	names   []string // ordered
	objects map[string]object
	used    int64
}

type object struct {
	data  []byte // never changed once stored
	until time.Time
}

var _ objstore.Store = (*Store)(nil)

// New returns an empty store.
func New(opt Options) *Store {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &Store{opt: opt, objects: map[string]object{}}
}

// Clone returns an independent store with the same objects and options.
func (s *Store) Clone() *Store {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := New(s.opt)
	c.names = slices.Clone(s.names)
	c.used = s.used
	for n, o := range s.objects {
		c.objects[n] = o
	}
	return c
}

// Used returns the number of bytes of the objects held.
func (s *Store) Used() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.used
}

func (s *Store) Put(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
	if err := begin(ctx, "put", name); err != nil {
		return err
	}
	if !opt.RetainUntil.IsZero() && !s.opt.Retention {
		return fail("put", name, fmt.Errorf("%w: this store has no retention", objstore.ErrInvalid))
	}
	data := make([]byte, body.Size())
	if n, err := body.ReadAt(data, 0); n < len(data) {
		return fail("put", name, fmt.Errorf("read body: %w", err))
	}
	if err := ctx.Err(); err != nil { // reading can take long
		return fail("put", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := slices.BinarySearch(s.names, name)
	if found {
		return fail("put", name, objstore.ErrExist)
	}
	if limit := s.opt.Limit; limit > 0 {
		if opt.LeaveRoom {
			limit -= objstore.LastRoom(limit)
		}
		if s.used+int64(len(data)) > limit {
			return fail("put", name, objstore.ErrFull)
		}
	}
	s.names = slices.Insert(s.names, i, name)
	s.objects[name] = object{data, opt.RetainUntil}
	s.used += int64(len(data))
	return nil
}

func (s *Store) Get(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	o, err := s.find(ctx, "get", name)
	if err != nil {
		return nil, err
	}
	n, err := objstore.CheckRange(int64(len(o.data)), off, length)
	if err != nil {
		return nil, fail("get", name, err)
	}
	return objstore.NewReader(ctx, io.NopCloser(bytes.NewReader(o.data[off:off+n])), n), nil
}

func (s *Store) Stat(ctx context.Context, name string) (objstore.Info, error) {
	o, err := s.find(ctx, "stat", name)
	if err != nil {
		return objstore.Info{}, err
	}
	return objstore.Info{Name: name, Size: int64(len(o.data)), RetainUntil: o.until}, nil
}

func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		if err := objstore.ValidPrefix(prefix); err != nil {
			yield(objstore.Info{}, fail("list", prefix, err))
			return
		}
		for {
			if err := ctx.Err(); err != nil {
				yield(objstore.Info{}, fail("list", prefix, err))
				return
			}
			info, ok := s.next(prefix, after)
			if !ok || !yield(info, nil) {
				return
			}
			after = info.Name
		}
	}
}

// next returns the first object with prefix whose name is greater than after.
func (s *Store) next(prefix, after string) (objstore.Info, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, found := slices.BinarySearch(s.names, max(prefix, after))
	if found && s.names[i] == after {
		i++
	}
	if i == len(s.names) || len(s.names[i]) < len(prefix) || s.names[i][:len(prefix)] != prefix {
		return objstore.Info{}, false
	}
	o := s.objects[s.names[i]]
	return objstore.Info{Name: s.names[i], Size: int64(len(o.data)), RetainUntil: o.until}, true
}

func (s *Store) Delete(ctx context.Context, name string) error {
	if err := begin(ctx, "delete", name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := slices.BinarySearch(s.names, name)
	if !found {
		return fail("delete", name, objstore.ErrNotExist)
	}
	o := s.objects[name]
	if s.opt.Now().Before(o.until) {
		return fail("delete", name, fmt.Errorf("%w until %s", objstore.ErrHeld, o.until.UTC().Format(time.RFC3339)))
	}
	s.names = slices.Delete(s.names, i, i+1)
	delete(s.objects, name)
	s.used -= int64(len(o.data))
	return nil
}

func (s *Store) Retain(ctx context.Context, name string, until time.Time) error {
	if err := begin(ctx, "retain", name); err != nil {
		return err
	}
	if !s.opt.Retention {
		return fail("retain", name, fmt.Errorf("%w: this store has no retention", objstore.ErrInvalid))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, found := s.objects[name]
	if !found {
		return fail("retain", name, objstore.ErrNotExist)
	}
	if until.After(o.until) {
		o.until = until
		s.objects[name] = o
	}
	return nil
}

func (s *Store) Features() objstore.Features {
	return objstore.Features{Retention: s.opt.Retention}
}

func (s *Store) String() string { return "mem:" }

func (s *Store) find(ctx context.Context, verb, name string) (object, error) {
	if err := begin(ctx, verb, name); err != nil {
		return object{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, ok := s.objects[name]
	if !ok {
		return object{}, fail(verb, name, objstore.ErrNotExist)
	}
	return o, nil
}

func begin(ctx context.Context, verb, name string) error {
	if err := objstore.ValidName(name); err != nil {
		return fail(verb, name, err)
	}
	if err := ctx.Err(); err != nil {
		return fail(verb, name, err)
	}
	return nil
}

func fail(verb, name string, err error) error {
	return fmt.Errorf("mem: %s %q: %w", verb, name, err)
}
