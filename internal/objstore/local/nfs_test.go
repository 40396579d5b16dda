package local_test

import (
	"testing"

	"holdfast/internal/objstore/local"
)

// lostAnswer is a file system whose Link takes place and says that it didn't, as
// over NFS when the first answer is lost.
type lostAnswer struct{ local.FS }

func (f lostAnswer) Link(from, to string) error {
	if err := f.FS.Link(from, to); err != nil {
		return err
	}
	return f.FS.Link(from, to) // the kernel's second try
}

func TestOwnLinkIsNotSomeoneElses(t *testing.T) {
	t.Parallel()
	real, err := local.OpenOS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := local.New(t.Context(), lostAnswer{real}, "nfs")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mustPut(t, s, "a", 10)
	if err := put(t, s, "a", 10); err == nil {
		t.Fatal("a second put succeeded")
	}
}
