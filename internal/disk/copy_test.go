package disk_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"sync/atomic"
	"testing"

	"holdfast/internal/disk"
	"holdfast/internal/disk/disktest"
)

// sample is a disk with data, zeroes and a ragged end.
func sample(size int64, seed uint64) *disktest.Disk {
	w := disktest.NewWriter(size, seed)
	d := disktest.New(size)
	for range 12 {
		_, _ = w.Step(d)
	}
	return d
}

func TestCopy(t *testing.T) {
	t.Parallel()
	const size = 5<<20 + 777
	for name, o := range map[string]disk.CopyOptions{
		"defaults": {}, "one worker": {Workers: 1}, "odd pieces": {Workers: 3, Piece: 100_003}, "large pieces": {Piece: 64 << 20},
	} {
		for _, fresh := range []bool{true, false} {
			src, dst := sample(size, 1), disktest.New(size+4096)
			if !fresh {
				dst.IsFresh = false
				disktest.Fill(dst.Bytes, 9)
			}
			var last atomic.Int64
			o.Progress = func(done, total int64) { last.Store(max(last.Load(), done)) }
			st, err := disk.Copy(context.Background(), dst, src, o)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !bytes.Equal(dst.Bytes[:size], src.Bytes) || !disk.IsZero(dst.Bytes[size:]) {
				t.Errorf("%s, fresh %v: bytes differ", name, fresh)
			}
			if st.Written+st.Zeroed+st.Skipped != size || st.Written == 0 || st.Zeroed == 0 || last.Load() != size {
				t.Errorf("%s: stats %+v, progress %d", name, st, last.Load())
			}
			if dst.Syncs() != 1 {
				t.Errorf("%s: %d syncs", name, dst.Syncs())
			}
		}
	}
}

func TestCopySkipsSame(t *testing.T) {
	t.Parallel()
	const size = 4 << 20
	base := sample(size, 2)
	src := &disktest.Disk{Bytes: bytes.Clone(base.Bytes), Base: base.Bytes}
	disktest.Fill(src.Bytes[1<<20:1<<20+5000], 3)
	dst := &disktest.Disk{Bytes: bytes.Clone(base.Bytes)}
	st, err := disk.Copy(context.Background(), dst, src, disk.CopyOptions{SkipSame: true})
	if err != nil || !bytes.Equal(dst.Bytes, src.Bytes) || st.Written != 64<<10 {
		t.Fatalf("%+v, %v", st, err)
	}
	full := disktest.New(size)
	if _, err := disk.Copy(context.Background(), full, src, disk.CopyOptions{}); err != nil || !bytes.Equal(full.Bytes, src.Bytes) {
		t.Fatalf("without SkipSame: %v", err)
	}
}

// broken is a Source whose map or bytes fail.
type broken struct {
	*disktest.Disk
	extents []disk.Extent
	mapErr  error
	readErr error
}

func (b broken) Extents(ctx context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		for _, e := range b.extents {
			if !yield(e, nil) {
				return
			}
		}
		if b.mapErr != nil {
			yield(disk.Extent{}, b.mapErr)
		}
	}
}

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if b.readErr != nil {
		return 0, b.readErr
	}
	return b.Disk.ReadAt(p, off)
}

func TestCopyErrors(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	all := []disk.Extent{{Length: size}}
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		src  broken
		want error
	}{
		"map":         {broken{extents: all[:0], mapErr: boom}, boom},
		"read":        {broken{extents: all, readErr: boom}, boom},
		"short":       {broken{extents: all, readErr: io.EOF}, io.ErrUnexpectedEOF},
		"gap":         {broken{extents: []disk.Extent{{Offset: 5, Length: size - 5}}}, nil},
		"overlap":     {broken{extents: []disk.Extent{{Length: 512}, {Length: size}}}, nil},
		"beyond":      {broken{extents: []disk.Extent{{Length: size + 1}}}, nil},
		"ends early":  {broken{extents: []disk.Extent{{Length: 512}}}, nil},
		"empty range": {broken{extents: []disk.Extent{{Length: 0}, {Length: size}}}, nil},
	} {
		c.src.Disk = sample(size, 4)
		dst := disktest.New(size)
		_, err := disk.Copy(context.Background(), dst, c.src, disk.CopyOptions{})
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if dst.Syncs() != 0 {
			t.Errorf("%s: synced", name)
		}
	}
	if _, err := disk.Copy(context.Background(), disktest.New(5), sample(size, 4), disk.CopyOptions{}); !errors.Is(err, disk.ErrSize) {
		t.Errorf("small target: %v", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(boom)
	if _, err := disk.Copy(ctx, disktest.New(size), sample(size, 4), disk.CopyOptions{}); !errors.Is(err, boom) {
		t.Errorf("cancelled: %v", err)
	}
}
