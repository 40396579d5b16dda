// Package retry wraps a store so that failures that may pass are tried again.
//
// Final are the contract's errors (absent, exists, held, invalid, refused,
// full) and the end of the caller's context. Everything else is repeated, with
// a wait that grows and has chance in it, until Options.For has passed. So:
//
//   - Put: after a failure of which it's unclear whether the object was stored,
//     ErrExist may mean our own earlier success. Then the object is read and
//     compared: nil if it has the very bytes, ErrExist if not. (Someone else's
//     put of the same bytes can't be told from ours.)
//   - Delete: after an unclear failure ErrNotExist means success.
//   - Get: a reader that breaks off goes on where it broke.
//   - List: goes on after the last name.
//   - Stat, Retain: simply again.
package retry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"time"

	"holdfast/internal/objstore"
)

// Options changes how a Store retries. The zero value is the usual case.
type Options struct {
	For  time.Duration // how long a verb is tried again; 0 = 5 minutes
	Wait time.Duration // before the second try, then doubled; 0 = 200 ms
	Max  time.Duration // the longest wait; 0 = 30 s
	Log  *slog.Logger  // told of each failed try; nil = slog.Default
	// Sleep waits for d or the end of ctx; nil = a timer. Now says the time.
	Sleep func(ctx context.Context, d time.Duration) error
	Now   func() time.Time
}

// Store is a store that tries again.
type Store struct {
	inner objstore.Store
	opt   Options
}

var _ objstore.Store = (*Store)(nil)

// New wraps inner.
func New(inner objstore.Store, opt Options) *Store {
	if opt.For == 0 {
		opt.For = 5 * time.Minute
	}
	if opt.Wait == 0 {
		opt.Wait = 200 * time.Millisecond
	}
	if opt.Max == 0 {
		opt.Max = 30 * time.Second
	}
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	if opt.Sleep == nil {
		opt.Sleep = sleep
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &Store{inner, opt}
}

// final says whether trying again can't help.
func final(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return true
	}
	for _, kind := range []error{objstore.ErrNotExist, objstore.ErrExist, objstore.ErrHeld, objstore.ErrFull,
		objstore.ErrPermission, objstore.ErrInvalid} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// attempt is the state of one verb's tries.
type attempt struct {
	s          *Store
	verb, name string
	deadline   time.Time
	tries      int
}

func (s *Store) attempt(verb, name string) *attempt {
	return &attempt{s: s, verb: verb, name: name, deadline: s.opt.Now().Add(s.opt.For)}
}

// again waits after the failure err and returns nil for another try, or it
// returns the error to give up with.
func (a *attempt) again(ctx context.Context, err error) error {
	if cerr := ctx.Err(); cerr != nil && !errors.Is(err, cerr) {
		return fmt.Errorf("%w: %w", cerr, err)
	}
	if final(ctx, err) {
		return err
	}
	a.tries++
	limit := min(a.s.opt.Wait<<min(a.tries-1, 20), a.s.opt.Max)
	d := limit/2 + rand.N(limit/2+1)
	if a.s.opt.Now().Add(d).After(a.deadline) {
		return fmt.Errorf("gave up after %d tries: %w", a.tries, err)
	}
	a.s.opt.Log.LogAttrs(ctx, slog.LevelWarn, "object store: trying again", slog.String("verb", a.verb),
		slog.String("name", a.name), slog.Int("failed", a.tries), slog.Duration("wait", d), slog.String("error", err.Error()))
	if serr := a.s.opt.Sleep(ctx, d); serr != nil {
		return errors.Join(serr, err)
	}
	return nil
}

// progress forgets the earlier failures: the verb has moved on since.
func (a *attempt) progress() {
	a.tries, a.deadline = 0, a.s.opt.Now().Add(a.s.opt.For)
}

func (s *Store) Put(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
	a := s.attempt("put", name)
	watched := &watchedBody{Body: body}
	for unclear := false; ; unclear = true {
		err := s.inner.Put(ctx, name, watched, opt)
		if watched.failed.Load() {
			return err // the store isn't to blame
		}
		if unclear && errors.Is(err, objstore.ErrExist) {
			return s.oursIfSame(ctx, name, body, err)
		}
		if err == nil {
			return nil
		}
		if err := a.again(ctx, err); err != nil {
			return err
		}
	}
}

// oursIfSame returns nil if the object has the bytes of body, else exists.
func (s *Store) oursIfSame(ctx context.Context, name string, body objstore.Body, exists error) error {
	info, err := s.Stat(ctx, name)
	if err != nil {
		return fmt.Errorf("compare with the stored object: %w", err)
	}
	if info.Size != body.Size() {
		return exists
	}
	r, err := s.Get(ctx, name, 0, -1)
	if err != nil {
		return fmt.Errorf("compare with the stored object: %w", err)
	}
	defer r.Close()
	same, err := equal(r, io.NewSectionReader(body, 0, body.Size()))
	if err != nil {
		return fmt.Errorf("compare with the stored object: %w", err)
	}
	if !same {
		return exists
	}
	return nil
}

func (s *Store) Get(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	r := &reader{ctx: ctx, s: s, name: name, off: off, left: length, attempt: s.attempt("get", name)}
	for {
		inner, err := s.inner.Get(ctx, name, off, length)
		if err == nil {
			r.inner = inner
			return r, nil
		}
		if err := r.attempt.again(ctx, err); err != nil {
			return nil, err
		}
	}
}

func (s *Store) Stat(ctx context.Context, name string) (objstore.Info, error) {
	a := s.attempt("stat", name)
	for {
		info, err := s.inner.Stat(ctx, name)
		if err == nil {
			return info, nil
		}
		if err := a.again(ctx, err); err != nil {
			return objstore.Info{}, err
		}
	}
}

func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		a, from := s.attempt("list", prefix), after
		for {
			var failed error
			for info, err := range s.inner.List(ctx, prefix, from) {
				if failed = err; err != nil {
					break
				}
				if from = info.Name; !yield(info, nil) {
					return
				}
				a.progress()
			}
			if failed == nil {
				return
			}
			if err := a.again(ctx, failed); err != nil {
				yield(objstore.Info{}, err)
				return
			}
		}
	}
}

func (s *Store) Delete(ctx context.Context, name string) error {
	a := s.attempt("delete", name)
	for unclear := false; ; unclear = true {
		err := s.inner.Delete(ctx, name)
		if unclear && errors.Is(err, objstore.ErrNotExist) {
			return nil
		}
		if err == nil {
			return nil
		}
		if err := a.again(ctx, err); err != nil {
			return err
		}
	}
}

func (s *Store) Retain(ctx context.Context, name string, until time.Time) error {
	a := s.attempt("retain", name)
	for {
		err := s.inner.Retain(ctx, name, until)
		if err == nil {
			return nil
		}
		if err := a.again(ctx, err); err != nil {
			return err
		}
	}
}

func (s *Store) Features() objstore.Features { return s.inner.Features() }

func (s *Store) String() string { return s.inner.String() }

// Unwrap returns the wrapped store.
func (s *Store) Unwrap() objstore.Store { return s.inner }

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
