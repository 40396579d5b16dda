package capture

import (
	"context"
	"iter"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"holdfast/internal/disk"
	"holdfast/internal/keyring"
	"holdfast/internal/mover"
	"holdfast/internal/nbd"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
	"holdfast/internal/snapshot"
)

// unknown is an empty disk whose map is told past its first 8 GiB only once it
// has been read from.
type unknown struct {
	once sync.Once
	read chan struct{}
}

const (
	unknownSize = 16 << 30
	known       = 8 << 30 // more than one block status request covers
)

func (*unknown) Size() int64 { return unknownSize }

func (u *unknown) ReadAt(p []byte, _ int64) (int, error) {
	u.once.Do(func() { close(u.read) })
	clear(p)
	return len(p), nil
}

func (u *unknown) Extents(ctx context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		const data = 16 << 20
		if !yield(disk.Extent{Length: data, Kind: disk.Data}, nil) || !yield(disk.Extent{Offset: data, Length: known - data, Kind: disk.Zero}, nil) {
			return
		}
		select {
		case <-u.read:
			yield(disk.Extent{Offset: known, Length: unknownSize - known, Kind: disk.Zero}, nil)
		case <-ctx.Done():
			yield(disk.Extent{}, ctx.Err())
		case <-time.After(20 * time.Second):
			yield(disk.Extent{}, context.DeadlineExceeded)
		}
	}
}

// TestReadsBeforeTheMapEnds: block status is streamed from the wire to the
// repository, so that the first byte waits for no more of the map than its own
// part.
func TestReadsBeforeTheMapEnds(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- nbd.Serve(ctx, l, nbd.ServerOptions{}, nbd.Export{Source: &unknown{read: make(chan struct{})}})
	}()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	client, err := nbd.Dial(t.Context(), "unix", l.Addr().String(), "", nbd.Options{Contexts: []string{nbd.ContextAllocation}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	src, err := nbd.NewSource(client, nbd.SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := repository.Init(t.Context(), mem.New(mem.Options{}), keyring.WeakPassphrase("x"), repository.Options{})
	if err != nil {
		t.Fatal(err)
	}
	store(t, r, "1", nil, snapshot.Disk{Target: "vda", Size: unknownSize, Source: src}, &mover.Manifest{})
}
