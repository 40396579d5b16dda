package limit_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/fault"
	"holdfast/internal/objstore/limit"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/objstore/objstoretest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	objstoretest.Run(t, func(t *testing.T) objstore.Store {
		return limit.New(mem.New(mem.Options{}), limit.Options{Write: 1 << 30, Read: 1 << 30, Calls: 2})
	})
}

// Half a second's bytes above the first piece take half a second, each way, and
// arrive evenly.
func TestRate(t *testing.T) {
	t.Parallel()
	const bytesPerSecond = 400_000
	inner := mem.New(mem.Options{})
	s := limit.New(inner, limit.Options{Write: bytesPerSecond, Read: bytesPerSecond})
	data := make([]byte, bytesPerSecond/2+bytesPerSecond/10)
	took := func(f func() error) {
		t.Helper()
		start := time.Now()
		if err := f(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d < 480*time.Millisecond {
			t.Errorf("%d bytes at %d a second took %v", len(data), bytesPerSecond, d)
		}
	}
	took(func() error { return s.Put(t.Context(), "a", bytes.NewReader(data), objstore.PutOptions{}) })
	took(func() error {
		r, err := s.Get(t.Context(), "a", 0, -1)
		if err != nil {
			return err
		}
		defer r.Close()
		got, err := io.ReadAll(r)
		if !bytes.Equal(got, data) {
			t.Error("other bytes")
		}
		return err
	})
}

func TestCalls(t *testing.T) {
	t.Parallel()
	f := fault.New(mem.New(mem.Options{}))
	s := limit.New(f, limit.Options{Calls: 1})
	if err := s.Put(t.Context(), "a", bytes.NewReader([]byte("a")), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := s.Get(t.Context(), "a", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := s.Stat(ctx, "a")
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("a second call while a reader is open: %v", err)
	}
	r.Close()
	if _, err := s.Stat(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if n := len(f.Calls()); n != 3 {
		t.Fatalf("%d calls came through, want 3", n)
	}
}
