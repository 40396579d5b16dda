package scale

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"holdfast/bench/engine"
	"holdfast/bench/measure"
	"holdfast/internal/disk"
	"holdfast/internal/disk/image"
	"holdfast/internal/repository"
	"holdfast/internal/repository/chunk"
)

const (
	sparseSize = 32 << 40
	run        = 4 << 20
)

// sparse compares a disk of 32 TiB with the same data on a disk that has
// nothing else, takes a point of it in which nothing changed, and lists and
// restores it.
func sparse(ctx context.Context, o Options, got func(Figure)) error {
	data := o.Data
	if data == 0 {
		data = 10 << 30
	}
	dense, err := first(ctx, filepath.Join(o.Dir, "dense"), &synthetic{size: data, run: run, stride: run, seed: 1})
	if err != nil {
		return err
	}
	defer dense.r.Close()
	stride := int64(sparseSize) / (data / run)
	stride -= stride % run
	src := &synthetic{size: stride * (data / run), run: run, stride: stride, seed: 1}
	wide, err := first(ctx, filepath.Join(o.Dir, "sparse"), src)
	if err != nil {
		return err
	}
	defer wide.r.Close()
	got(Figure{Name: "sparse_32TiB_full", Value: wide.seconds, Unit: "s"})
	got(Figure{Name: "sparse_32TiB_full_over_dense", Value: wide.seconds / dense.seconds, Unit: "ratio", Bound: 1.25})
	got(Figure{Name: "sparse_32TiB_stored_over_dense", Value: float64(wide.stored) / float64(dense.stored), Unit: "ratio", Bound: 1.05})

	start := time.Now()
	stats, err := engine.Backup(ctx, wide.r, "unchanged", "first", engine.Changed{Source: src})
	if err != nil {
		return err
	}
	got(Figure{Name: "sparse_32TiB_unchanged", Value: time.Since(start).Seconds(), Unit: "s", Bound: 2})
	stored, err := measure.Size(wide.dir)
	if err != nil {
		return err
	}
	got(Figure{Name: "sparse_32TiB_unchanged_stored", Value: float64(stored - wide.stored), Unit: "bytes", Bound: 64 << 10})
	got(Figure{Name: "sparse_32TiB_unchanged_new_content", Value: float64(stats.New + stats.Stored), Unit: "bytes"})
	return sparseBack(ctx, o.Dir, dense.r, wide.r, src, got)
}

// sparseBack lists what the disk of 32 TiB holds and restores it, beside the
// dense one.
func sparseBack(ctx context.Context, dir string, dense, wide *repository.Repository, src *synthetic, got func(Figure)) error {
	var list, restore [2]float64
	for i, r := range []*repository.Repository{dense, wide} {
		var err error
		if list[i], err = listed(ctx, r); err != nil {
			return err
		}
		path := filepath.Join(dir, "restored.qcow2")
		if restore[i], err = restored(ctx, r, path); err != nil {
			return err
		}
		if r == wide {
			err = same(ctx, path, src)
		}
		if err := errors.Join(err, os.Remove(path)); err != nil {
			return err
		}
	}
	got(Figure{Name: "sparse_32TiB_listed", Value: list[1], Unit: "s", Bound: 2})
	got(Figure{Name: "sparse_32TiB_listed_over_dense", Value: list[1] / list[0], Unit: "ratio"})
	got(Figure{Name: "sparse_32TiB_restored", Value: restore[1], Unit: "s"})
	got(Figure{Name: "sparse_32TiB_restored_over_dense", Value: restore[1] / restore[0], Unit: "ratio", Bound: 1.25})
	return nil
}

// listed is how long it takes to find the point and go through the extents of
// its disk, seconds.
func listed(ctx context.Context, r *repository.Repository) (float64, error) {
	start := time.Now()
	p, err := r.Point(ctx, "first")
	if err != nil {
		return 0, err
	}
	d, err := r.OpenDisk(ctx, p, p.Disks[0].Name)
	if err != nil {
		return 0, err
	}
	for _, err := range d.Extents(ctx) {
		if err != nil {
			return 0, err
		}
	}
	return time.Since(start).Seconds(), nil
}

// restored is how long a restore to a qcow2 image takes, seconds.
func restored(ctx context.Context, r *repository.Repository, path string) (float64, error) {
	start := time.Now()
	p, err := r.Point(ctx, "first")
	if err != nil {
		return 0, err
	}
	t, err := image.CreateTarget(ctx, path, image.Qcow2, p.Disks[0].Size)
	if err != nil {
		return 0, err
	}
	defer t.Close()
	if _, err := r.Restore(ctx, p, p.Disks[0].Name, t, repository.RestoreOptions{}); err != nil {
		return 0, err
	}
	err = t.Commit()
	return time.Since(start).Seconds(), err
}

// same fails unless the image has the source's data where it has it, and
// nothing anywhere else.
func same(ctx context.Context, path string, src *synthetic) error {
	img, err := image.OpenSource(ctx, path, image.Qcow2)
	if err != nil {
		return err
	}
	defer img.Close()
	if img.Size() != src.Size() {
		return fmt.Errorf("the image has %d bytes, the disk %d", img.Size(), src.Size())
	}
	var data int64
	have, want := make([]byte, chunk.Size), make([]byte, chunk.Size)
	for e, err := range img.Extents(ctx) {
		if err != nil {
			return err
		}
		for off := e.Offset; e.Kind == disk.Data && off < e.End(); off += chunk.Size {
			_, err := img.ReadAt(have, off)
			if err == nil {
				_, err = src.ReadAt(want, off)
			}
			if err != nil {
				return err
			}
			if !bytes.Equal(have, want) {
				return fmt.Errorf("what was restored differs at %d", off)
			}
			data += chunk.Size
		}
	}
	if all := src.size / src.stride * src.run; data != all {
		return fmt.Errorf("what was restored has %d bytes of data, the disk %d", data, all)
	}
	return nil
}

// taken is a repository with one point, and what that cost.
type taken struct {
	r       *repository.Repository
	dir     string
	seconds float64
	stored  int64
}

func first(ctx context.Context, dir string, src disk.Source) (taken, error) {
	r, err := engine.Create(ctx, dir, engine.Vault)
	if err != nil {
		return taken{}, err
	}
	start := time.Now()
	if _, err := engine.Backup(ctx, r, "first", "", src); err != nil {
		return taken{}, err
	}
	t := taken{r: r, dir: dir, seconds: time.Since(start).Seconds()}
	t.stored, err = measure.Size(dir)
	return t, err
}
