package restore

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"testing"

	"holdfast/internal/disk"
	"holdfast/internal/disk/disktest"
)

// broken is a disk of which nothing can be read, nor told, from some byte on.
type broken struct {
	*disktest.Disk
	from int64
}

var errBroken = errors.New("it is broken")

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.from {
		return 0, errBroken
	}
	return b.Disk.ReadAt(p, off)
}

func (b broken) Extents(context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		if yield(disk.Extent{Length: b.from, Kind: disk.Data}, nil) {
			yield(disk.Extent{}, errBroken)
		}
	}
}

// TestTwoTiers: what the first disk cannot read the second does, once it is there.
func TestTwoTiers(t *testing.T) {
	t.Parallel()
	const size, from = 4 << 20, 1<<20 + 4096
	content := disktest.New(size)
	disktest.Fill(content.Bytes, 1)
	away := true
	s := &twoTiers{Source: broken{content, from}, open: func() (disk.Source, error) {
		if away {
			return nil, errors.New("the vault is away")
		}
		return content, nil
	}}
	got := make([]byte, size)
	if _, err := s.ReadAt(got[:from], 0); err != nil {
		t.Error(err)
	}
	if _, err := s.ReadAt(got, 0); !errors.Is(err, errBroken) {
		t.Errorf("without the vault: %v", err)
	}
	told := func() (end int64, err error) {
		for e, err := range s.Extents(t.Context()) {
			if err != nil {
				return end, err
			}
			if e.Offset != end || e.Length <= 0 {
				t.Errorf("an extent from %d of %d bytes after %d", e.Offset, e.Length, end)
			}
			end = e.Offset + e.Length
		}
		return end, nil
	}
	if end, err := told(); end != from || !errors.Is(err, errBroken) {
		t.Errorf("without the vault the map is told up to %d: %v", end, err)
	}
	away = false
	if _, err := s.ReadAt(got, 0); err != nil || !bytes.Equal(got, content.Bytes) {
		t.Errorf("with the vault: %v", err)
	}
	if end, err := told(); end != size || err != nil {
		t.Errorf("with the vault the map is told up to %d: %v", end, err)
	}
}
