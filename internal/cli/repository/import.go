package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"holdfast/internal/disk"
	"holdfast/internal/disk/image"
	"holdfast/internal/repository"
)

func initCommand() *cobra.Command {
	var f common
	c := &cobra.Command{
		Use:   "init URL",
		Short: "Make a repository in an empty place",
		Long:  "Make a repository in an empty place. A --key-file that doesn't exist is made.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.makeKeyFile(); err != nil {
				return err
			}
			key, err := f.key()
			if err != nil {
				return err
			}
			store, err := openStore(c.Context(), args[0], true)
			if err != nil {
				return explain(err)
			}
			r, err := repository.Init(c.Context(), store, key, options())
			if err != nil {
				return explain(err)
			}
			defer func() { _ = r.Close() }() // nothing of it is open yet
			return f.print(c, r.Config(), func(w io.Writer) { fmt.Fprintf(w, "repository %s is at %s\n", r.ID(), store) })
		},
	}
	f.add(c)
	return c
}

// importFlags are the flags of import.
type importFlags struct {
	common
	repo, name, series, base, dirty, format, diskName string
	rate                                              string
}

func importCommand() *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use:   "import IMAGE --repo URL --name POINT",
		Short: "Store a disk image as a point",
		Long: `Store a raw or qcow2 image (or a block device) as a point of one disk.

With --base, content of that point is found again without looking it up; with
--dirty-map only what the map names is read: JSON objects {"offset","length"} in
bytes, one per line or in an array, as nbdinfo --map=qemu:dirty-bitmap:NAME --json
prints them. Nothing has changed is [], not an empty file.

An import that was broken off is begun again: what it had stored by then is
found and not stored twice.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return f.open(c.Context(), f.repo, func(r *repository.Repository) error { return f.run(c, r, args[0]) })
		},
	}
	f.add(c)
	c.Flags().StringVar(&f.repo, "repo", "", "`URL` of the repository")
	c.Flags().StringVar(&f.name, "name", "", "id of the new `POINT`")
	c.Flags().StringVar(&f.series, "series", "", "`NAME` that joins the points of one disk (default: that of --base, else the image's name)")
	c.Flags().StringVar(&f.base, "base", "", "earlier `POINT` of the same disk, or \"latest\"")
	c.Flags().StringVar(&f.dirty, "dirty-map", "", "`FILE` with the ranges that changed since --base; - is standard input")
	c.Flags().StringVar(&f.format, "format", "", "raw or qcow2 (default: found out)")
	c.Flags().StringVar(&f.diskName, "disk", "disk", "`NAME` of the disk in the point")
	c.Flags().StringVar(&f.rate, "read-rate", "", "read at most `BYTES` a second, such as 100MB")
	_ = c.MarkFlagRequired("repo")
	_ = c.MarkFlagRequired("name")
	return c
}

// imported is the result of import.
type imported struct {
	Point repository.Point     `json:"point"`
	Stats repository.DiskStats `json:"stats"`
	Took  float64              `json:"seconds"`
}

func (f *importFlags) run(c *cobra.Command, r *repository.Repository, path string) error {
	ctx, begun := c.Context(), time.Now()
	rate, err := bytesFlag("read-rate", f.rate)
	if err != nil {
		return err
	}
	img, err := image.OpenSource(ctx, path, f.format)
	if err != nil {
		return err
	}
	defer img.Close()
	base, series, err := f.findBase(ctx, r, path)
	if err != nil {
		return err
	}
	var src disk.Source = img
	if f.dirty != "" {
		if src, err = withDirtyMap(img, f.dirty, base); err != nil {
			return err
		}
	}
	w, err := r.Begin(ctx, repository.PointSpec{ID: f.name, Series: series, Created: begun})
	if err != nil {
		return err
	}
	defer w.Abort()
	m := f.newMeter(c, "import")
	defer m.end()
	stats, err := w.Disk(ctx, repository.DiskSpec{Name: f.diskName, Base: base, ReadRate: rate, Progress: m.bytes}, src)
	if err != nil {
		return err
	}
	p, err := w.Commit(ctx, repository.Manifest{Time: begun})
	if err != nil {
		return err
	}
	m.end()
	out := imported{p, stats, time.Since(begun).Seconds()}
	return f.print(c, out, func(w io.Writer) {
		fmt.Fprintf(w, "point %s: read %s, new %s, stored %s, found again %s, in %.1f s\n", p.ID, human(stats.Read), human(stats.New),
			human(stats.Stored), human(stats.Reused), out.Took)
	})
}

// findBase answers the base disk, if one is wanted, and the series.
func (f *importFlags) findBase(ctx context.Context, r *repository.Repository, path string) (*repository.Disk, string, error) {
	series := f.series
	if f.base == "" {
		if f.dirty != "" {
			return nil, "", exitError{errors.New("--dirty-map needs --base: the map says what changed since that point"), exitUsage}
		}
		if series == "" {
			series = filepath.Base(path)
		}
		return nil, series, nil
	}
	points, err := r.Points(ctx, series)
	if err != nil {
		return nil, "", err
	}
	for i := len(points) - 1; i >= 0; i-- {
		if p := points[i]; f.base == "latest" || p.ID == f.base {
			d := p.Disk(f.diskName)
			if d == nil {
				return nil, "", fmt.Errorf("base %s: %w: %s", p.ID, repository.ErrNoDisk, f.diskName)
			}
			return d, p.Series, nil
		}
	}
	return nil, "", fmt.Errorf("base: %w: %s", repository.ErrNoPoint, f.base)
}

// bytesFlag reads a number of bytes such as 100MB; "" is 0.
func bytesFlag(name, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n == 0 || n > 1<<60 {
		return 0, exitError{fmt.Errorf("--%s %q is not a number of bytes such as 100MB", name, text), exitUsage}
	}
	return int64(n), nil
}

// plural is a number of things.
func plural(n int, thing string) string { return english.Plural(n, thing, "") }

// human is a number of bytes.
func human(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// makeKeyFile makes the key file of a new repository if it isn't there.
func (f *common) makeKeyFile() error {
	if f.keyFile == "" {
		return nil
	}
	if _, err := os.Stat(f.keyFile); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return generateKeyFile(f.keyFile)
}
