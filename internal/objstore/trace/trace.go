// Package trace wraps a store so that its calls and bytes are counted, and can
// be watched one by one.
//
// Counts go to anyone who asks (metrics, the test that an idle repository makes
// no request); Options.Done gets each ended call (logs, spans). It sees calls of
// the wrapped store: put inside of package retry it counts every try, outside
// only what the repository asked for.
package trace

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"sync"
	"time"

	"holdfast/internal/objstore"
)

// Verbs of the contract, as in Call.Verb and Counts.
const (
	Put    = "put"
	Get    = "get"
	Stat   = "stat"
	List   = "list"
	Delete = "delete"
	Retain = "retain"
)

// Call is one ended call.
type Call struct {
	Verb    string
	Name    string // or prefix
	Bytes   int64  // written or read
	Objects int64  // listed
	Began   time.Time
	Took    time.Duration // of a Get or List, until the caller was done reading
	Err     error
}

// Count is what the calls of one verb come to. Failed ones count as calls too;
// errors that are answers (absent, exists) count as failed.
type Count struct {
	Calls   int64
	Failed  int64
	Bytes   int64
	Objects int64
	Took    time.Duration
	Running int64 // under way now
}

// Counts are the counts by verb.
type Counts map[string]Count

// Calls returns the number of calls of all verbs.
func (c Counts) Calls() (n int64) {
	for _, v := range c {
		n += v.Calls
	}
	return n
}

// Options changes a Store.
type Options struct {
	Done func(ctx context.Context, c Call) // called after each call; nil = not
	Now  func() time.Time                  // nil = time.Now
}

// Store is a store that counts.
type Store struct {
	inner objstore.Store
	opt   Options

	mu     sync.Mutex
	counts Counts
}

var _ objstore.Store = (*Store)(nil)

// New wraps inner.
func New(inner objstore.Store, opt Options) *Store {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &Store{inner: inner, opt: opt, counts: Counts{}}
}

// Log returns an Options.Done that logs each call at level.
func Log(l *slog.Logger, level slog.Level) func(context.Context, Call) {
	return func(ctx context.Context, c Call) {
		attrs := []slog.Attr{slog.String("verb", c.Verb), slog.String("name", c.Name), slog.Int64("bytes", c.Bytes),
			slog.Int64("objects", c.Objects), slog.Duration("took", c.Took)}
		if c.Err != nil {
			attrs = append(attrs, slog.String("error", c.Err.Error()))
		}
		l.LogAttrs(ctx, level, "object store", attrs...)
	}
}

// Counts returns the counts so far.
func (s *Store) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := Counts{}
	for verb, n := range s.counts {
		c[verb] = n
	}
	return c
}

// begin counts a call and returns what ends it.
func (s *Store) begin(ctx context.Context, verb, name string) func(bytes, objects int64, err error) {
	c := Call{Verb: verb, Name: name, Began: s.opt.Now()}
	s.mu.Lock()
	n := s.counts[verb]
	n.Calls++
	n.Running++
	s.counts[verb] = n
	s.mu.Unlock()
	return func(bytes, objects int64, err error) {
		c.Bytes, c.Objects, c.Err, c.Took = bytes, objects, err, s.opt.Now().Sub(c.Began)
		s.end(c)
		if s.opt.Done != nil {
			s.opt.Done(ctx, c)
		}
	}
}

func (s *Store) end(c Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.counts[c.Verb]
	n.Running--
	n.Bytes += c.Bytes
	n.Objects += c.Objects
	n.Took += c.Took
	if c.Err != nil {
		n.Failed++
	}
	s.counts[c.Verb] = n
}

func (s *Store) Put(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
	end := s.begin(ctx, Put, name)
	err := s.inner.Put(ctx, name, body, opt)
	written := body.Size()
	if err != nil {
		written = 0
	}
	end(written, 0, err)
	return err
}

func (s *Store) Get(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	end := s.begin(ctx, Get, name)
	r, err := s.inner.Get(ctx, name, off, length)
	if err != nil {
		end(0, 0, err)
		return nil, err
	}
	return &reader{ReadCloser: r, end: end}, nil
}

func (s *Store) Stat(ctx context.Context, name string) (objstore.Info, error) {
	end := s.begin(ctx, Stat, name)
	info, err := s.inner.Stat(ctx, name)
	end(0, 0, err)
	return info, err
}

func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		end := s.begin(ctx, List, prefix)
		var listed int64
		var failed error
		defer func() { end(0, listed, failed) }()
		for info, err := range s.inner.List(ctx, prefix, after) {
			if failed = err; err == nil {
				listed++
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

func (s *Store) Delete(ctx context.Context, name string) error {
	end := s.begin(ctx, Delete, name)
	err := s.inner.Delete(ctx, name)
	end(0, 0, err)
	return err
}

func (s *Store) Retain(ctx context.Context, name string, until time.Time) error {
	end := s.begin(ctx, Retain, name)
	err := s.inner.Retain(ctx, name, until)
	end(0, 0, err)
	return err
}

func (s *Store) Features() objstore.Features { return s.inner.Features() }

func (s *Store) String() string { return s.inner.String() }

// Unwrap returns the wrapped store.
func (s *Store) Unwrap() objstore.Store { return s.inner }

// reader counts what is read until it's closed.
type reader struct {
	io.ReadCloser
	end  func(bytes, objects int64, err error)
	read int64
	err  error
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.read += int64(n)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

func (r *reader) Close() error {
	err := r.ReadCloser.Close()
	if r.end != nil {
		r.end(r.read, 0, r.err)
		r.end = nil
	}
	return err
}
