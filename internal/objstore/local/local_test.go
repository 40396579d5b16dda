package local_test

import (
	"bytes"
	"errors"
	"testing"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/local"
	"holdfast/internal/objstore/objstoretest"
)

func open(t *testing.T, dir string) *local.Store {
	s, err := local.Create(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	objstoretest.Run(t, func(t *testing.T) objstore.Store { return open(t, t.TempDir()) })
}

// tight is a file system with little room, or one that doesn't know its own.
type tight struct {
	local.FS
	free, total int64
}

func (f tight) Room() (free, total int64, err error) { return f.free, f.total, nil }

// The last room is kept from those who leave it, and from nobody else.
func TestLeaveRoom(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		free, total int64
		full        bool
	}{
		"much":     {1 << 30, 2 << 30, false},
		"just":     {64<<20 + 10, 1 << 40, false},
		"too much": {64<<20 + 9, 1 << 40, true},
		"small":    {1<<20 + 9, 32 << 20, true},
		"unknown":  {0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fsys, err := local.OpenOS(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			s, err := local.New(t.Context(), tight{fsys, tc.free, tc.total}, "tight")
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			body := bytes.NewReader(make([]byte, 10))
			if err := s.Put(t.Context(), "data", body, objstore.PutOptions{LeaveRoom: true}); errors.Is(err, objstore.ErrFull) != tc.full || err != nil && !tc.full {
				t.Errorf("data: %v", err)
			}
			if err := s.Put(t.Context(), "record", body, objstore.PutOptions{}); err != nil {
				t.Errorf("a record: %v", err)
			}
		})
	}
}
