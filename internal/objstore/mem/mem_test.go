package mem_test

import (
	"bytes"
	"errors"
	"testing"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/objstore/objstoretest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	objstoretest.Run(t, func(t *testing.T) objstore.Store { return mem.New(mem.Options{}) })
}

func TestConformanceRetention(t *testing.T) {
	t.Parallel()
	objstoretest.Run(t, func(t *testing.T) objstore.Store { return mem.New(mem.Options{Retention: true}) })
}

func TestLimitAndClone(t *testing.T) {
	t.Parallel()
	s := mem.New(mem.Options{Limit: 10})
	if err := s.Put(t.Context(), "a", bytes.NewReader(make([]byte, 6)), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	c := s.Clone()
	err := s.Put(t.Context(), "b", bytes.NewReader(make([]byte, 5)), objstore.PutOptions{})
	if !errors.Is(err, objstore.ErrFull) {
		t.Fatalf("put over the limit: %v", err)
	}
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Stat(t.Context(), "a"); err != nil {
		t.Fatalf("the clone lost what the original deleted: %v", err)
	}
	if s.Used() != 0 || c.Used() != 6 {
		t.Fatalf("used %d and %d bytes, want 0 and 6", s.Used(), c.Used())
	}
}
