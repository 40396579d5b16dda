package check

import (
	"context"
	"io"
	"iter"
	"strings"
	"time"

	"holdfast/internal/objstore"
)

// scope is the part of a store below a directory, as a store of its own. What
// is done in it touches nothing else.
type scope struct {
	inner objstore.Store
	dir   string // ends in "/"
}

// name returns the whole name, once the short one is known to be valid: joined
// to the directory, an invalid one could become valid.
func (s scope) name(name string) (string, error) {
	if err := objstore.ValidName(name); err != nil {
		return "", err
	}
	return s.dir + name, nil
}

func (s scope) Put(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
	full, err := s.name(name)
	if err != nil {
		return err
	}
	return s.inner.Put(ctx, full, body, opt)
}

func (s scope) Get(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	full, err := s.name(name)
	if err != nil {
		return nil, err
	}
	return s.inner.Get(ctx, full, off, length)
}

func (s scope) Stat(ctx context.Context, name string) (objstore.Info, error) {
	full, err := s.name(name)
	if err != nil {
		return objstore.Info{}, err
	}
	info, err := s.inner.Stat(ctx, full)
	info.Name = strings.TrimPrefix(info.Name, s.dir)
	return info, err
}

func (s scope) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		if err := objstore.ValidPrefix(prefix); err != nil {
			yield(objstore.Info{}, err)
			return
		}
		if after != "" {
			after = s.dir + after
		}
		for info, err := range s.inner.List(ctx, s.dir+prefix, after) {
			info.Name = strings.TrimPrefix(info.Name, s.dir)
			if !yield(info, err) {
				return
			}
		}
	}
}

func (s scope) Delete(ctx context.Context, name string) error {
	full, err := s.name(name)
	if err != nil {
		return err
	}
	return s.inner.Delete(ctx, full)
}

func (s scope) Retain(ctx context.Context, name string, until time.Time) error {
	full, err := s.name(name)
	if err != nil {
		return err
	}
	return s.inner.Retain(ctx, full, until)
}

func (s scope) Features() objstore.Features { return s.inner.Features() }

func (s scope) String() string { return s.inner.String() }
