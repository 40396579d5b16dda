package check_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/check"
	"holdfast/internal/objstore/fault"
	"holdfast/internal/objstore/mem"
)

func TestTryGoodStore(t *testing.T) {
	t.Parallel()
	for _, lock := range []bool{false, true} {
		s := mem.New(mem.Options{Retention: lock})
		if err := s.Put(t.Context(), "theirs", bytes.NewReader([]byte("data")), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		seen := 0
		r, err := check.Try(t.Context(), s, check.Options{Bytes: 1 << 20, Done: func(check.Finding) { seen++ }})
		if err != nil {
			t.Fatal(err)
		}
		if !r.Fit || r.Lock != lock || len(r.Left) > 0 || seen != len(check.All()) || len(r.Findings) != seen {
			t.Errorf("lock %v: %+v", lock, r)
		}
		if r.Speed == nil || r.Speed.PutMBps <= 0 || r.Speed.GetMBps <= 0 || r.Speed.Put.Median > r.Speed.Put.Slowest || r.Speed.Bytes != 16<<20 {
			t.Errorf("speed %+v", r.Speed)
		}
		if s.Used() != 4 {
			t.Errorf("%d bytes are left in the store, want 4", s.Used())
		}
	}
}

// A store that breaks one promise is found out, by the check of that promise.
func TestChecksFindWhatIsBroken(t *testing.T) {
	t.Parallel()
	for name, broken := range brokenStores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := check.All()
			c := all[slices.IndexFunc(all, func(c check.Check) bool { return c.Name == name })]
			s := broken(mem.New(mem.Options{Retention: true}))
			err := c.Run(t.Context(), s)
			if err == nil {
				t.Fatal("not found")
			}
			t.Log(err)
		})
	}
}

func TestTryJudges(t *testing.T) {
	t.Parallel()
	inner := mem.New(mem.Options{})
	r, err := check.Try(t.Context(), overwriting(inner), check.Options{SkipSpeed: true})
	if err != nil {
		t.Fatal(err)
	}
	if r.Fit || !strings.Contains(r.Verdict, "create-only") || strings.Contains(r.Verdict, "ranges") || inner.Used() != 0 {
		t.Errorf("%s; %d bytes are left", r.Verdict, inner.Used())
	}
	for _, f := range r.Findings {
		if (f.State == check.Broken) != strings.Contains(r.Verdict, f.Name) || f.State == check.Broken && f.Detail == "" {
			t.Errorf("%+v", f)
		}
	}
}

func TestTryCannotFindOut(t *testing.T) {
	t.Parallel()
	for _, kind := range []error{objstore.ErrPermission, objstore.ErrFull} {
		s := fault.New(mem.New(mem.Options{}))
		s.On(fault.Rule{Verb: fault.Put, Times: fault.Forever}, fault.Fail(kind))
		if r, err := check.Try(t.Context(), s, check.Options{}); !errors.Is(err, kind) || r.Fit {
			t.Errorf("%v: %v, fit %v", kind, err, r.Fit)
		}
	}
}

func TestTryCleansUpWhenCut(t *testing.T) {
	t.Parallel()
	s := mem.New(mem.Options{})
	f := fault.New(s)
	ctx, cancel := context.WithCancel(t.Context())
	f.On(fault.Rule{Verb: fault.Get, Nth: 10}, fault.Fault{Wait: func(context.Context) error { cancel(); return nil }})
	if _, err := check.Try(ctx, f, check.Options{}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if s.Used() != 0 {
		t.Fatalf("%d bytes are left", s.Used())
	}
}

// spoiled changes some verbs of a store.
type spoiled struct {
	objstore.Store
	put  func(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error
	get  func(ctx context.Context, name string, off, length int64) (io.ReadCloser, error)
	list func(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error]
	del  func(ctx context.Context, name string) error
}

func (s spoiled) Put(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
	if s.put == nil {
		return s.Store.Put(ctx, name, body, opt)
	}
	return s.put(ctx, name, body, opt)
}

func (s spoiled) Get(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	if s.get == nil {
		return s.Store.Get(ctx, name, off, length)
	}
	return s.get(ctx, name, off, length)
}

func (s spoiled) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	if s.list == nil {
		return s.Store.List(ctx, prefix, after)
	}
	return s.list(ctx, prefix, after)
}

func (s spoiled) Delete(ctx context.Context, name string) error {
	if s.del == nil {
		return s.Store.Delete(ctx, name)
	}
	return s.del(ctx, name)
}

var brokenStores = map[string]func(*mem.Store) objstore.Store{
	"create-only": overwriting,
	"one-winner":  overwriting,
	"ranges": func(s *mem.Store) objstore.Store { // a short read instead of a refusal
		return spoiled{Store: s, get: func(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
			r, err := s.Get(ctx, name, off, length)
			if errors.Is(err, objstore.ErrInvalid) && off >= 0 && length > 0 {
				return s.Get(ctx, name, 0, 0)
			}
			return r, err
		}}
	},
	"absent": func(s *mem.Store) objstore.Store { // as plain S3 answers
		return spoiled{Store: s, del: func(ctx context.Context, name string) error {
			if err := s.Delete(ctx, name); !errors.Is(err, objstore.ErrNotExist) {
				return err
			}
			return nil
		}}
	},
	"visibility": func(s *mem.Store) objstore.Store { // lists a put and a delete ago
		f := fault.New(s)
		f.On(fault.Rule{Verb: fault.List, Prefix: "", Times: 200}, fault.StaleList(1))
		return f
	},
	"list-order": func(s *mem.Store) objstore.Store {
		return spoiled{Store: s, list: func(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
			return func(yield func(objstore.Info, error) bool) {
				var all []objstore.Info
				for info := range s.List(ctx, prefix, after) {
					all = append(all, info)
				}
				// '/' before everything, as directories are walked.
				slices.SortFunc(all, func(a, b objstore.Info) int {
					return strings.Compare(strings.ReplaceAll(a.Name, "/", "\x00"), strings.ReplaceAll(b.Name, "/", "\x00"))
				})
				for _, info := range all {
					if !yield(info, nil) {
						return
					}
				}
			}
		}}
	},
	"retention": func(s *mem.Store) objstore.Store { // takes the lock and forgets it
		return spoiled{Store: s, put: func(ctx context.Context, name string, body objstore.Body, _ objstore.PutOptions) error {
			return s.Put(ctx, name, body, objstore.PutOptions{})
		}}
	},
	"failed-body": func(s *mem.Store) objstore.Store { // stores what it got
		return spoiled{Store: s, put: func(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
			err := s.Put(ctx, name, body, opt)
			if err == nil || errors.Is(err, objstore.ErrExist) || errors.Is(err, objstore.ErrInvalid) || ctx.Err() != nil {
				return err
			}
			return errors.Join(err, s.Put(ctx, name, bytes.NewReader(nil), opt))
		}}
	},
	"roundtrip": func(s *mem.Store) objstore.Store {
		f := fault.New(s)
		f.On(fault.Rule{Verb: fault.Get, Nth: 3}, fault.FlipBit(0))
		return f
	},
}

func overwriting(s *mem.Store) objstore.Store {
	return spoiled{Store: s, put: func(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
		err := s.Put(ctx, name, body, opt)
		if errors.Is(err, objstore.ErrExist) {
			return errors.Join(s.Delete(ctx, name), s.Put(ctx, name, body, opt))
		}
		return err
	}}
}
