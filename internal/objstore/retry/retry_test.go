package retry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/fault"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/objstore/objstoretest"
	"holdfast/internal/objstore/retry"
)

var (
	errBroken = errors.New("broken on purpose")
	data      = []byte("0123456789")
)

// rig is a retrying store over a faulty one, with a clock that sleeping moves.
type rig struct {
	*retry.Store
	fault *fault.Store
	now   time.Time
	slept []time.Duration
}

func newRig() *rig {
	r := &rig{fault: fault.New(mem.New(mem.Options{})), now: time.Unix(0, 0)}
	r.Store = retry.New(r.fault, retry.Options{
		Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return r.now },
		Sleep: func(ctx context.Context, d time.Duration) error {
			r.slept = append(r.slept, d)
			r.now = r.now.Add(d)
			return ctx.Err()
		},
	})
	return r
}

func (r *rig) put(t *testing.T, name string) error {
	return r.Put(t.Context(), name, bytes.NewReader(data), objstore.PutOptions{})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	objstoretest.Run(t, func(t *testing.T) objstore.Store { return newRig() })
}

// The suite passes also when every second call fails, whether or not it took
// place, and reads break off. (A put and a delete always take place: after an
// unclear failure a put of the same bytes, and a delete of nothing, succeed.)
func TestConformanceOnABadStore(t *testing.T) {
	t.Parallel()
	objstoretest.Run(t, func(t *testing.T) objstore.Store {
		r := newRig()
		for n := 2; n < 400; n += 4 {
			for _, v := range []fault.Verb{fault.Get, fault.Stat, fault.List} {
				r.fault.On(fault.Rule{Verb: v, Nth: n}, fault.Fail(errBroken))
				r.fault.On(fault.Rule{Verb: v, Nth: n + 2}, fault.FailAfter(errBroken))
			}
			r.fault.On(fault.Rule{Verb: fault.Put, Nth: n}, fault.FailAfter(errBroken))
			r.fault.On(fault.Rule{Verb: fault.Delete, Nth: n}, fault.FailAfter(errBroken))
			r.fault.On(fault.Rule{Verb: fault.Get, Nth: n + 1}, fault.CutRead(int64(n), nil))
		}
		return retry.New(r.fault, retry.Options{Wait: time.Microsecond, Log: slog.New(slog.DiscardHandler)})
	})
}

func TestFinalErrorsAreNotRetried(t *testing.T) {
	t.Parallel()
	for _, err := range []error{objstore.ErrNotExist, objstore.ErrExist, objstore.ErrHeld, objstore.ErrFull, objstore.ErrPermission, objstore.ErrInvalid} {
		r := newRig()
		rule := r.fault.On(fault.Rule{Times: fault.Forever}, fault.Fail(err))
		if got := r.put(t, "a"); !errors.Is(got, err) || rule.Fired() != 1 {
			t.Errorf("%v: %v after %d tries", err, got, rule.Fired())
		}
	}
}

func TestGivesUp(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.fault.On(fault.Rule{Times: fault.Forever}, fault.Fail(errBroken))
	if err := r.put(t, "a"); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	if d := r.now.Sub(time.Unix(0, 0)); d < 4*time.Minute || d > 5*time.Minute {
		t.Fatalf("gave up after %v, want about 5 minutes", d)
	}
	if n := len(r.slept); n < 10 || n > 40 || r.slept[0] > 200*time.Millisecond || r.slept[n-1] > 30*time.Second {
		t.Fatalf("waits %v", r.slept)
	}
}

func TestUnclearPut(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.fault.On(fault.Rule{Verb: fault.Put}, fault.FailAfter(errBroken))
	if err := r.put(t, "ours"); err != nil {
		t.Fatalf("our own earlier success: %v", err)
	}
	r = newRig()
	if err := r.Put(t.Context(), "theirs", bytes.NewReader([]byte("9876543210")), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	r.fault.On(fault.Rule{Verb: fault.Put}, fault.Fail(errBroken))
	if err := r.put(t, "theirs"); !errors.Is(err, objstore.ErrExist) {
		t.Fatalf("someone else's object: %v", err)
	}
	if err := r.put(t, "theirs"); !errors.Is(err, objstore.ErrExist) {
		t.Fatalf("a clear answer: %v", err)
	}
}

func TestUnclearDelete(t *testing.T) {
	t.Parallel()
	r := newRig()
	if err := r.put(t, "a"); err != nil {
		t.Fatal(err)
	}
	r.fault.On(fault.Rule{Verb: fault.Delete}, fault.FailAfter(errBroken))
	if err := r.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := r.Delete(t.Context(), "a"); !errors.Is(err, objstore.ErrNotExist) {
		t.Fatal(err)
	}
}

func TestReaderGoesOn(t *testing.T) {
	t.Parallel()
	for _, length := range []int64{-1, 8} {
		r := newRig()
		if err := r.put(t, "a"); err != nil {
			t.Fatal(err)
		}
		r.fault.On(fault.Rule{Verb: fault.Get, Times: 3}, fault.CutRead(2, errBroken))
		in, err := r.Get(t.Context(), "a", 2, length)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(in)
		if err != nil || string(got) != "23456789" || len(r.slept) != 3 {
			t.Fatalf("%q, %v, %d waits", got, err, len(r.slept))
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEnds(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.fault.On(fault.Rule{Times: fault.Forever}, fault.Fail(errBroken))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := r.Stat(ctx, "a")
	if err == nil || len(r.slept) > 0 {
		t.Fatalf("%v after %d waits", err, len(r.slept))
	}
}

// brokenBody can't be read.
type brokenBody struct{}

func (brokenBody) Size() int64                       { return 100 }
func (brokenBody) ReadAt([]byte, int64) (int, error) { return 0, errBroken }

func TestBrokenBodyIsNotRetried(t *testing.T) {
	t.Parallel()
	r := newRig()
	err := r.Put(t.Context(), "a", brokenBody{}, objstore.PutOptions{})
	if !errors.Is(err, errBroken) || len(r.slept) > 0 {
		t.Fatalf("%v after %d waits", err, len(r.slept))
	}
}
