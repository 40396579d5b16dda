package scale

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"time"

	"holdfast/bench/engine"
	"holdfast/bench/image"
	"holdfast/bench/measure"
	"holdfast/internal/repository"
	"holdfast/internal/repository/chunk"
)

const (
	pointsDisk  = 64 << 30
	dirtyChunks = 4 // of each point
)

// points makes thousands of points of one disk, lists them, deletes about half
// of them and collects; then deletes one more and collects again, then makes one
// more and collects again, which must cost what is new and not what is there.
func points(ctx context.Context, o Options, got func(Figure)) error {
	count := o.Points
	if count == 0 {
		count = 9999
	}
	dir := filepath.Join(o.Dir, "store")
	r, err := engine.Create(ctx, dir, engine.Vault)
	if err != nil {
		return err
	}
	src := &synthetic{size: pointsDisk, run: run, stride: 64 * run, seed: 2}
	if err := createPoints(ctx, r, src, count, got); err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return err
	}
	start := time.Now()
	if r, err = engine.Open(ctx, dir, engine.Vault); err != nil {
		return err
	}
	defer r.Close()
	list, err := r.Points(ctx, "")
	if err != nil {
		return err
	}
	if len(list) != count {
		return fmt.Errorf("%d points are listed, not %d", len(list), count)
	}
	got(Figure{Name: fmt.Sprintf("points_open_and_list_%d", count), Value: time.Since(start).Seconds(), Unit: "s", Bound: 1})
	if err := deleteAndCollect(ctx, r, dir, list, got); err != nil {
		return err
	}
	if err := oneMore(ctx, r, src, count, got); err != nil {
		return err
	}
	last, err := r.Point(ctx, pointID(count))
	if err != nil {
		return err
	}
	return checkLast(ctx, r, src, last)
}

// createPoints makes count points and compares what the last tenth of them cost,
// after the first, with what the first tenth did.
func createPoints(ctx context.Context, r *repository.Repository, src *synthetic, count int, got func(Figure)) error {
	start := time.Now()
	tenth := (count - 1) / 10
	var used [10]time.Duration
	for i := range count {
		before := processorTime()
		if err := onePoint(ctx, r, src, i); err != nil {
			return err
		}
		if part := (i - 1) / max(tenth, 1); i > 0 && part < 10 {
			used[part] += processorTime() - before
		}
	}
	got(Figure{Name: "points_create_each", Value: time.Since(start).Seconds() / float64(count) * 1000, Unit: "ms"})
	if tenth > 0 {
		each := func(d time.Duration) float64 { return d.Seconds() / float64(tenth) * 1000 }
		got(Figure{Name: "points_create_each_processor_first_tenth", Value: each(used[0]), Unit: "ms"})
		got(Figure{Name: "points_create_each_processor_last_tenth", Value: each(used[9]), Unit: "ms"})
		got(Figure{Name: "points_create_last_over_first_tenth", Value: used[9].Seconds() / used[0].Seconds(), Unit: "ratio", Bound: 2})
	}
	return nil
}

// oneMore makes another point and collects, which has to read what is new.
func oneMore(ctx context.Context, r *repository.Repository, src *synthetic, i int, got func(Figure)) error {
	if err := onePoint(ctx, r, src, i); err != nil {
		return err
	}
	_, err := collect(ctx, r, "points_collect_after_1_new", got)
	return err
}

func pointID(i int) string { return fmt.Sprintf("point-%05d", i) }

// onePoint stores point i, in which a few chunks changed since the one before.
func onePoint(ctx context.Context, r *repository.Repository, src *synthetic, i int) error {
	if i == 0 {
		_, err := engine.Backup(ctx, r, pointID(0), "", src)
		return err
	}
	src.generation = uint64(i)
	src.fresh = map[int64]bool{}
	var dirty []image.Extent
	for k := range int64(dirtyChunks) {
		// Spread over the runs of data, at another place each time.
		stride := (int64(i)*31 + k*61) % (pointsDisk / (64 * run) / dirtyChunks)
		c := (k*(pointsDisk/(64*run)/dirtyChunks)+stride)*(64*run/chunk.Size) + int64(i)%(run/chunk.Size)
		src.fresh[c] = true
		dirty = append(dirty, image.Extent{Offset: c * chunk.Size, Length: chunk.Size})
	}
	_, err := engine.Backup(ctx, r, pointID(i), pointID(i-1), engine.Changed{Source: src, Dirty: dirty})
	return err
}

// deleteAndCollect deletes the older half of the points, as a retention would.
func deleteAndCollect(ctx context.Context, r *repository.Repository, dir string, list []repository.Point, got func(Figure)) error {
	var ids []string
	for _, p := range list[:len(list)/2] {
		ids = append(ids, p.ID)
	}
	before, err := measure.Size(dir)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := r.DeletePoints(ctx, ids...); err != nil {
		return err
	}
	got(Figure{Name: fmt.Sprintf("points_delete_%d", len(ids)), Value: time.Since(start).Seconds(), Unit: "s"})
	first, err := collect(ctx, r, fmt.Sprintf("points_collect_after_%d", len(ids)), got)
	if err != nil {
		return err
	}
	after, err := measure.Size(dir)
	if err != nil {
		return err
	}
	got(Figure{Name: "points_collect_freed", Value: float64(before - after), Unit: "bytes"})
	if err := r.DeletePoint(ctx, list[len(list)/2].ID); err != nil {
		return err
	}
	again, err := collect(ctx, r, "points_collect_after_1_more", got)
	if err != nil {
		return err
	}
	got(Figure{Name: "points_collect_again_over_first", Value: again / first, Unit: "ratio", Bound: 0.5})
	return nil
}

func collect(ctx context.Context, r *repository.Repository, name string, got func(Figure)) (seconds float64, err error) {
	start := time.Now()
	used := processorTime()
	st, err := r.Collect(ctx, repository.CollectOptions{})
	if err != nil {
		return 0, err
	}
	seconds = time.Since(start).Seconds()
	got(Figure{Name: name, Value: seconds, Unit: "s"})
	got(Figure{Name: name + "_processor", Value: (processorTime() - used).Seconds(), Unit: "s"})
	got(Figure{Name: name + "_nodes_read", Value: float64(st.Read), Unit: "nodes"})
	got(Figure{Name: name + "_packs_deleted", Value: float64(st.Deleted), Unit: "packs"})
	return seconds, nil
}

// checkLast reads the last point's newest chunks back.
func checkLast(ctx context.Context, r *repository.Repository, src *synthetic, p repository.Point) error {
	d, err := r.OpenDisk(ctx, p, "disk")
	if err != nil {
		return err
	}
	have, want := make([]byte, chunk.Size), make([]byte, chunk.Size)
	for c := range src.fresh {
		if _, err := d.ReadAt(have, c*chunk.Size); err != nil {
			return err
		}
		if _, err := src.ReadAt(want, c*chunk.Size); err != nil {
			return err
		}
		if !bytes.Equal(have, want) {
			return fmt.Errorf("chunk %d of point %s reads back other bytes", c, p.ID)
		}
	}
	return nil
}
