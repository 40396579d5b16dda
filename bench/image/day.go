package image

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// A day's dirty map is to be this share of the disk; each day has its own
// within the range.
const (
	leastChange = 0.0110
	mostChange  = 0.0190
)

// buildDays makes the days that are missing. The image of the last whole day
// is made anew first, as a day that was cut off may have left a half of it.
func (c *Chain) buildDays(ctx context.Context, say func(string, ...any)) error {
	work := filepath.Join(c.Spec.dir(), "work.raw")
	defer os.Remove(work)
	if err := c.Reset(ctx, work); err != nil {
		return err
	}
	for _, d := range c.Days {
		if err := c.Apply(d.Number, work); err != nil {
			return err
		}
	}
	for len(c.Days) < c.Spec.Days {
		d, err := c.buildDay(ctx, work, len(c.Days)+1)
		if err != nil {
			return fmt.Errorf("day %d: %w", len(c.Days)+1, err)
		}
		c.Days = append(c.Days, d)
		if err := c.save(); err != nil {
			return err
		}
		say("  day %d: %d MiB dirty, %.2f %% of the disk", d.Number, d.Dirty>>20, 100*float64(d.Dirty)/float64(c.Spec.Size))
	}
	_, err := run(ctx, "e2fsck", "-fn", work)
	return err
}

// Reset makes path a copy of the base, holes kept.
func (c *Chain) Reset(ctx context.Context, path string) error {
	_, err := run(ctx, "cp", "--sparse=always", c.Base(), path)
	return err
}

// buildDay lives one day on an overlay and then commits it to work.
func (c *Chain) buildDay(ctx context.Context, work string, n int) (Day, error) {
	o, err := openOverlay(ctx, work)
	if err != nil {
		return Day{}, err
	}
	err = mounted(ctx, o.face, func(root string) error { return c.live(ctx, root, n, o) })
	if e := o.close(); err == nil {
		err = e
	}
	if err != nil {
		return Day{}, err
	}
	list, err := o.extents(ctx)
	if err != nil {
		return Day{}, err
	}
	if _, err := run(ctx, "qemu-img", "commit", "-q", o.qcow2); err != nil {
		return Day{}, err
	}
	if err := os.Remove(o.qcow2); err != nil {
		return Day{}, err
	}
	if err := saveData(work, c.Data(n), list); err != nil {
		return Day{}, err
	}
	return Day{Number: n, Dirty: total(list)}, writeDirtyMap(c.DirtyMap(n), list)
}

// live does a day's work in the mounted system: what is sure to happen first,
// then user files until the day's share of the disk has been written.
func (c *Chain) live(ctx context.Context, root string, n int, o *overlay) error {
	m := newMaker(c.Spec.Seed, 100+uint64(n))
	seed := fmt.Sprintf("%.4f", float64(n)/100)
	sql := strings.NewReplacer("ROWS", fmt.Sprint(c.Spec.share(ordersRows)), "SEED", seed).Replace(postgresDay)
	if err := c.postgres(ctx, root, sql); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	if err := c.sqlite(ctx, root, n, "day"); err != nil {
		return err
	}
	if err := m.log(filepath.Join(root, accessLog), c.Spec.share(10<<20), epoch.AddDate(0, 0, n)); err != nil {
		return err
	}
	if err := editSources(root, m.rng, int(c.Spec.share(200))); err != nil {
		return err
	}
	if err := deleteSome(root, n); err != nil {
		return err
	}
	if err := c.packages(ctx, root, n, m.rng); err != nil {
		return fmt.Errorf("packages: %w", err)
	}
	share := leastChange + m.rng.Float64()*(mostChange-leastChange)
	return c.fill(ctx, root, n, m, o, int64(share*float64(c.Spec.Size)))
}

// fill adds user files until the overlay holds the day's bytes.
func (c *Chain) fill(ctx context.Context, root string, n int, m *maker, o *overlay, bytes int64) error {
	dir := filepath.Join(root, home, fmt.Sprintf("incoming/day_%02d", n))
	step := max(bytes/40, 1<<20)
	for i := 0; ; i++ {
		if _, err := run(ctx, "sync", "-f", root); err != nil {
			return err
		}
		written, err := o.written()
		if err != nil || written >= bytes {
			return err
		}
		switch i % 3 {
		case 0:
			err = m.prose(filepath.Join(dir, fmt.Sprintf("letter_%03d.txt", i)), step)
		case 1:
			err = m.table(filepath.Join(dir, fmt.Sprintf("sheet_%03d.csv", i)), step)
		default:
			err = m.photo(filepath.Join(dir, fmt.Sprintf("img_%03d.jpg", i)))
		}
		if err != nil {
			return err
		}
	}
}

// editSources changes a line in count files of the source tree in place.
func editSources(root string, rng *rand.Rand, count int) error {
	var files []string
	err := filepath.WalkDir(filepath.Join(root, home, "src"), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		return err
	}
	for range count {
		path := files[rng.IntN(len(files))]
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		at := rng.IntN(len(b) + 1)
		edited := fmt.Appendf(b[:at:at], "/* %d */", rng.Uint32())
		if err := os.WriteFile(path, append(edited, b[at:]...), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// deleteSome removes the files that came in five days ago and the package
// files kept in the cache.
func deleteSome(root string, n int) error {
	if err := os.RemoveAll(filepath.Join(root, home, fmt.Sprintf("incoming/day_%02d", n-5))); err != nil {
		return err
	}
	cached, err := filepath.Glob(filepath.Join(root, "var/cache/apt/archives/*.deb"))
	if err != nil {
		return err
	}
	for _, path := range cached {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}
