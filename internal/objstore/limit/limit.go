// Package limit wraps a store so that it uses at most so many bytes a second
// each way, and so many calls at once.
//
// Bytes are counted as they are read from a Put's body and from a Get's reader,
// in pieces, so that the rate is even. A call waits for its turn and for its
// bytes only as long as its context lives.
package limit

import (
	"context"
	"io"
	"iter"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"holdfast/internal/objstore"
)

// Options are the limits; 0 means none.
type Options struct {
	Write int64 // bytes a second into the store
	Read  int64 // bytes a second out of the store
	Calls int64 // calls at once; an open reader of a Get is one, a listing isn't
}

// piece is the most that is read at one go: a tenth of a second's worth, from
// 4 KiB to 1 MiB.
func piece(bytesPerSecond int64) int { return int(max(4<<10, min(bytesPerSecond/10, 1<<20))) }

// Store is a store with limits.
type Store struct {
	inner       objstore.Store
	write, read *rate.Limiter // nil = no limit
	calls       *semaphore.Weighted
}

var _ objstore.Store = (*Store)(nil)

// New wraps inner.
func New(inner objstore.Store, opt Options) *Store {
	s := &Store{inner: inner, write: limiter(opt.Write), read: limiter(opt.Read)}
	if opt.Calls > 0 {
		s.calls = semaphore.NewWeighted(opt.Calls)
	}
	return s
}

func limiter(bytesPerSecond int64) *rate.Limiter {
	if bytesPerSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(bytesPerSecond), piece(bytesPerSecond))
}

// enter waits for the call's turn and returns what ends it.
func (s *Store) enter(ctx context.Context) (leave func(), err error) {
	if s.calls == nil {
		return func() {}, nil
	}
	if err := s.calls.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return func() { s.calls.Release(1) }, nil
}

func (s *Store) Put(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if s.write != nil {
		body = pacedBody{body, ctx, s.write}
	}
	return s.inner.Put(ctx, name, body, opt)
}

func (s *Store) Get(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	r, err := s.inner.Get(ctx, name, off, length)
	if err != nil {
		leave()
		return nil, err
	}
	return &pacedReader{r, ctx, s.read, leave}, nil
}

func (s *Store) Stat(ctx context.Context, name string) (objstore.Info, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return objstore.Info{}, err
	}
	defer leave()
	return s.inner.Stat(ctx, name)
}

// List isn't counted as a call: what is done between two of its objects is
// often a call itself, which would wait for the listing's end.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return s.inner.List(ctx, prefix, after)
}

func (s *Store) Delete(ctx context.Context, name string) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return s.inner.Delete(ctx, name)
}

func (s *Store) Retain(ctx context.Context, name string, until time.Time) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return s.inner.Retain(ctx, name, until)
}

func (s *Store) Features() objstore.Features { return s.inner.Features() }

func (s *Store) String() string { return s.inner.String() }

// Unwrap returns the wrapped store.
func (s *Store) Unwrap() objstore.Store { return s.inner }

// pacedBody is read at the limiter's rate.
type pacedBody struct {
	objstore.Body
	ctx     context.Context
	limiter *rate.Limiter
}

func (b pacedBody) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		part := p[done:min(len(p), done+b.limiter.Burst())]
		if err := b.limiter.WaitN(b.ctx, len(part)); err != nil {
			return done, err
		}
		n, err := b.Body.ReadAt(part, off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// pacedReader is read at the limiter's rate, if there is one.
type pacedReader struct {
	io.ReadCloser
	ctx     context.Context
	limiter *rate.Limiter
	leave   func()
}

func (r *pacedReader) Read(p []byte) (int, error) {
	if r.limiter == nil {
		return r.ReadCloser.Read(p)
	}
	p = p[:min(len(p), r.limiter.Burst())]
	n, err := r.ReadCloser.Read(p)
	if werr := r.limiter.WaitN(r.ctx, n); werr != nil && err == nil {
		err = werr
	}
	return n, err
}

func (r *pacedReader) Close() error {
	err := r.ReadCloser.Close()
	if r.leave != nil {
		r.leave()
		r.leave = nil
	}
	return err
}
