package scale

import (
	"context"
	"path/filepath"
	"time"

	"holdfast/bench/engine"
	"holdfast/bench/measure"
	"holdfast/internal/disk"
	"holdfast/internal/repository"
)

const (
	sparseSize = 32 << 40
	run        = 4 << 20
)

// sparse compares a disk of 32 TiB with the same data on a disk that has
// nothing else, and takes a point of it in which nothing changed.
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
