package fault_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/fault"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/objstore/objstoretest"
)

var errBroken = errors.New("broken on purpose")

func TestConformance(t *testing.T) {
	t.Parallel()
	objstoretest.Run(t, func(t *testing.T) objstore.Store { return fault.New(mem.New(mem.Options{})) })
}

func put(t *testing.T, s objstore.Store, name string) {
	t.Helper()
	if err := s.Put(t.Context(), name, bytes.NewReader([]byte("0123456789")), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, s objstore.Store) (all []string) {
	t.Helper()
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info.Name)
	}
	return all
}

func TestRules(t *testing.T) {
	t.Parallel()
	s := fault.New(mem.New(mem.Options{}))
	put(t, s, "a/1")
	rule := s.On(fault.Rule{Verb: fault.Stat, Prefix: "a/", Nth: 2, Times: 2}, fault.Fail(errBroken))
	var got []bool
	for range 5 {
		_, err := s.Stat(t.Context(), "a/1")
		got = append(got, errors.Is(err, errBroken))
		if _, err := s.Stat(t.Context(), "b"); !errors.Is(err, objstore.ErrNotExist) {
			t.Fatalf("another name: %v", err)
		}
	}
	if want := []bool{false, true, true, false, false}; !slices.Equal(got, want) || rule.Fired() != 2 {
		t.Fatalf("failed %v, fired %d", got, rule.Fired())
	}
	s.On(fault.Rule{Times: fault.Forever}, fault.Denied())
	for range 3 {
		if err := s.Delete(t.Context(), "a/1"); !errors.Is(err, objstore.ErrPermission) {
			t.Fatal(err)
		}
	}
	s.Clear()
	if err := s.Delete(t.Context(), "a/1"); err != nil {
		t.Fatal(err)
	}
	if n := len(s.Calls()); n != 15 {
		t.Fatalf("%d calls", n)
	}
}

func TestFailAfterTakesPlace(t *testing.T) {
	t.Parallel()
	s := fault.New(mem.New(mem.Options{}))
	s.On(fault.Rule{Verb: fault.Put}, fault.FailAfter(errBroken))
	err := s.Put(t.Context(), "a", bytes.NewReader(nil), objstore.PutOptions{})
	if !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	err = s.Put(t.Context(), "a", bytes.NewReader(nil), objstore.PutOptions{})
	if !errors.Is(err, objstore.ErrExist) {
		t.Fatal(err)
	}
}

func TestReads(t *testing.T) {
	t.Parallel()
	s := fault.New(mem.New(mem.Options{}))
	put(t, s, "a")
	read := func(f fault.Fault) (string, error) {
		s.Clear()
		s.On(fault.Rule{Verb: fault.Get}, f)
		r, err := s.Get(t.Context(), "a", 2, 5)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		return string(data), err
	}
	if got, err := read(fault.CutRead(3, nil)); got != "234" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("%q, %v", got, err)
	}
	if got, err := read(fault.CutRead(0, errBroken)); got != "" || !errors.Is(err, errBroken) {
		t.Fatalf("%q, %v", got, err)
	}
	if got, err := read(fault.FlipBit(1)); got != "22456" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestStaleList(t *testing.T) {
	t.Parallel()
	s := fault.New(mem.New(mem.Options{}))
	for _, n := range []string{"a", "b", "c", "d"} {
		put(t, s, n)
	}
	for _, n := range []string{"b", "d"} {
		if err := s.Delete(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, "b")
	put(t, s, "e")
	for i, want := range [][]string{{"a", "b", "c", "e"}, {"a", "b", "c"}, {"a", "c"}, {"a", "c", "d"}, {"a", "b", "c", "d"}, {"a", "b", "c"}} {
		s.Clear()
		s.On(fault.Rule{Verb: fault.List}, fault.StaleList(i))
		if got := names(t, s); !slices.Equal(got, want) {
			t.Errorf("%d changes ago: %q, want %q", i, got, want)
		}
	}
}

func TestHangAndHold(t *testing.T) {
	t.Parallel()
	s := fault.New(mem.New(mem.Options{}))
	s.On(fault.Rule{Verb: fault.Stat}, fault.Hang())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Stat(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	gate, entered, done := make(chan struct{}), make(chan struct{}), make(chan error)
	s.On(fault.Rule{Verb: fault.Put}, fault.Hold(gate, entered))
	go func() { done <- s.Put(t.Context(), "a", bytes.NewReader(nil), objstore.PutOptions{}) }()
	<-entered
	if got := names(t, s); len(got) > 0 {
		t.Fatalf("%q before the gate opened", got)
	}
	close(gate)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
