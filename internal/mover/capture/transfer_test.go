package capture

import (
	"bytes"
	"context"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/disk"
	"holdfast/internal/disk/disktest"
	"holdfast/internal/hypervisor"
	"holdfast/internal/keyring"
	"holdfast/internal/mover"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
	"holdfast/internal/snapshot"
)

const diskSize = 8 << 20

// told is a disk whose map says that nothing but its first MiB changed.
type told struct{ *disktest.Disk }

func (d told) Extents(context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		if yield(disk.Extent{Offset: 0, Length: 1 << 20, Kind: disk.Data}, nil) {
			yield(disk.Extent{Offset: 1 << 20, Length: diskSize - 1<<20, Kind: disk.Same}, nil)
		}
	}
}

type silent struct{ holdfast.Progress }

func (silent) Bytes(int64, int64) {}

// TestDoubt copies disks whose map is true and whose map lies: the second is
// caught, read in full, and said. What is stored is what the disk has.
func TestDoubt(t *testing.T) {
	for _, lie := range []bool{false, true} {
		content := disktest.New(diskSize)
		disktest.Fill(content.Bytes, 1)
		r, err := repository.Init(t.Context(), mem.New(mem.Options{}), keyring.WeakPassphrase("x"), repository.Options{})
		if err != nil {
			t.Fatal(err)
		}
		first := store(t, r, "1", nil, snapshot.Disk{Target: "vda", Size: diskSize, Source: content}, &mover.Manifest{})

		disktest.Fill(content.Bytes[:1<<20], 2)
		if lie {
			disktest.Fill(content.Bytes[2<<20:], 3)
		}
		var man mover.Manifest
		second := store(t, r, "2", &first, snapshot.Disk{Target: "vda", Size: diskSize, Incremental: true, Source: told{content}}, &man)
		cost := man.Disks[0].Cost
		if cost.Incremental == lie || lie != (len(man.Warnings) == 1 && strings.Contains(man.Warnings[0], "missed a change")) {
			t.Errorf("lie %v: %+v, warnings %q", lie, cost, man.Warnings)
		}
		back, err := r.OpenDisk(t.Context(), second, "vda")
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, diskSize)
		if _, err := back.ReadAt(got, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, content.Bytes) {
			t.Errorf("lie %v: the point does not hold what the disk has", lie)
		}
	}
}

// store makes a point of one disk.
func store(t *testing.T, r *repository.Repository, id string, before *repository.Point, d snapshot.Disk, man *mover.Manifest) repository.Point {
	t.Helper()
	w, err := r.Begin(t.Context(), repository.PointSpec{ID: id, Series: "s", Created: time.Unix(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	run := run{Maker: &Maker{Log: slog.New(slog.DiscardHandler)}, progress: silent{}, repo: r, before: before}
	snap := &snapshot.Snapshot{Disks: []snapshot.Disk{d}, Domain: hypervisor.Domain{Disks: []hypervisor.Disk{{Target: "vda", Device: "disk"}}}}
	if err := run.transfer(t.Context(), w, snap, man); err != nil {
		t.Fatal(err)
	}
	p, err := w.Commit(t.Context(), repository.Manifest{Time: time.Unix(1, 0), Attributes: holdfast.Marshal(man)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
