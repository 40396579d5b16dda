package trace_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/objstore/objstoretest"
	"holdfast/internal/objstore/trace"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	objstoretest.Run(t, func(t *testing.T) objstore.Store { return trace.New(mem.New(mem.Options{}), trace.Options{}) })
}

func TestCounts(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	l := slog.New(slog.NewTextHandler(&log, nil))
	s := trace.New(mem.New(mem.Options{}), trace.Options{Done: trace.Log(l, slog.LevelInfo)})
	if n := s.Counts().Calls(); n != 0 {
		t.Fatalf("%d calls of an idle store", n)
	}
	ctx := context.Background()
	put := func() error {
		return s.Put(ctx, "a", bytes.NewReader(make([]byte, 100)), objstore.PutOptions{})
	}
	if err := errors.Join(put(), put()); !errors.Is(err, objstore.ErrExist) {
		t.Fatal(err)
	}
	r, err := s.Get(ctx, "a", 10, 50)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.Counts()[trace.Get].Running; n != 1 {
		t.Fatalf("%d gets under way", n)
	}
	if _, err := io.CopyN(io.Discard, r, 30); err != nil {
		t.Fatal(err)
	}
	r.Close()
	for range s.List(ctx, "", "") {
	}
	c := s.Counts()
	if p := c[trace.Put]; p.Calls != 2 || p.Failed != 1 || p.Bytes != 100 || p.Running != 0 {
		t.Errorf("puts %+v", p)
	}
	if g := c[trace.Get]; g.Calls != 1 || g.Failed != 0 || g.Bytes != 30 || g.Running != 0 {
		t.Errorf("gets %+v", g)
	}
	if l := c[trace.List]; l.Calls != 1 || l.Objects != 1 {
		t.Errorf("lists %+v", l)
	}
	if c.Calls() != 4 || strings.Count(log.String(), "\n") != 4 || !strings.Contains(log.String(), "verb=get name=a bytes=30") {
		t.Errorf("%d calls, log\n%s", c.Calls(), log.String())
	}
}
