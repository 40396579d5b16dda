package local_test

import (
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
