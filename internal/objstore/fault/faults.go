package fault

import (
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"holdfast/internal/objstore"
)

// Fault is what goes wrong with a chosen call. Make one with the functions
// below, or set several fields.
type Fault struct {
	// Before is what the call fails with instead of taking place.
	Before error
	// After is what the call fails with although it took place.
	After error
	// Wait, if set, runs before the call; its error is the call's.
	Wait func(ctx context.Context) error
	// Cut, if > 0, makes a Get's reader fail with CutErr after Cut-1 bytes.
	Cut    int64
	CutErr error
	// Flip, if > 0, flips the lowest bit of byte Flip-1 of what a Get reads.
	Flip int64
	// Stale, if > 0, makes a List miss the last Stale puts and deletes.
	Stale int
}

// Fail makes the call fail without taking place.
func Fail(err error) Fault { return Fault{Before: err} }

// FailAfter makes the call take place and still fail, as when the answer of a
// server is lost.
func FailAfter(err error) Fault { return Fault{After: err} }

// Full is a store without space.
func Full() Fault { return Fail(objstore.ErrFull) }

// Denied is a store that refuses access.
func Denied() Fault { return Fail(objstore.ErrPermission) }

// Hang makes the call wait until its context ends.
func Hang() Fault {
	return Fault{Wait: func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}}
}

// Slow makes the call take d longer.
func Slow(d time.Duration) Fault {
	return Fault{Wait: func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
}

// Hold makes the call wait until gate is closed. Entered, if not nil, is told
// when the call has come.
func Hold(gate <-chan struct{}, entered chan<- struct{}) Fault {
	return Fault{Wait: func(ctx context.Context) error {
		if entered != nil {
			entered <- struct{}{}
		}
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
}

// CutRead makes the reader of a Get fail after n bytes: with err, or with
// io.ErrUnexpectedEOF if it's nil.
func CutRead(n int64, err error) Fault {
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return Fault{Cut: n + 1, CutErr: err}
}

// FlipBit makes the reader of a Get return the byte at n of the range with one
// bit wrong.
func FlipBit(n int64) Fault { return Fault{Flip: n + 1} }

// StaleList makes a List answer as if the last n puts and deletes, of any
// name, hadn't happened yet.
func StaleList(n int) Fault { return Fault{Stale: n} }

type faults []Fault

func (fs faults) before(ctx context.Context) error {
	for _, f := range fs {
		if f.Wait != nil {
			if err := f.Wait(ctx); err != nil {
				return err
			}
		}
		if f.Before != nil {
			return f.Before
		}
	}
	return nil
}

func (fs faults) after(err error) error {
	for _, f := range fs {
		if f.After != nil {
			return errors.Join(f.After, err)
		}
	}
	return err
}

func (fs faults) stale() int {
	n := 0
	for _, f := range fs {
		n = max(n, f.Stale)
	}
	return n
}

func (fs faults) reader(ctx context.Context, r io.ReadCloser) io.ReadCloser {
	for _, f := range fs {
		if f.Cut > 0 || f.Flip > 0 {
			r = &badReader{ReadCloser: r, fault: f}
		}
	}
	return r
}

// badReader cuts or changes what it reads.
type badReader struct {
	io.ReadCloser
	fault Fault
	off   int64
}

func (r *badReader) Read(p []byte) (int, error) {
	if r.fault.Cut > 0 {
		left := r.fault.Cut - 1 - r.off
		if left <= 0 {
			return 0, r.fault.CutErr
		}
		p = p[:min(int64(len(p)), left)]
	}
	n, err := r.ReadCloser.Read(p)
	if at := r.fault.Flip - 1 - r.off; at >= 0 && at < int64(n) {
		p[at] ^= 1
	}
	r.off += int64(n)
	return n, err
}

// past returns which names a list that is n changes old doesn't have, and which
// it has although they are deleted.
func (s *Store) past(n int, prefix, after string) (hidden map[string]struct{}, extra []objstore.Info) {
	if n == 0 {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	hidden = map[string]struct{}{}
	old := map[string]objstore.Info{}
	for i := len(s.changes) - 1; i >= max(0, len(s.changes)-n); i-- {
		c := s.changes[i]
		delete(hidden, c.name)
		delete(old, c.name)
		if c.put {
			hidden[c.name] = struct{}{}
		} else {
			old[c.name] = c.info
		}
	}
	for name, info := range old {
		if strings.HasPrefix(name, prefix) && name > after {
			extra = append(extra, info)
		}
	}
	slices.SortFunc(extra, func(a, b objstore.Info) int { return strings.Compare(a.Name, b.Name) })
	return hidden, extra
}

// merge yields a listing with extra objects in it, in order.
func merge(list iter.Seq2[objstore.Info, error], extra []objstore.Info) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for info, err := range list {
			for err == nil && len(extra) > 0 && extra[0].Name <= info.Name {
				if extra[0].Name < info.Name && !yield(extra[0], nil) {
					return
				}
				extra = extra[1:]
			}
			if !yield(info, err) || err != nil {
				return
			}
		}
		for _, info := range extra {
			if !yield(info, nil) {
				return
			}
		}
	}
}
