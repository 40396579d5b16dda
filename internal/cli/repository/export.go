package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"holdfast/internal/disk/image"
	"holdfast/internal/disk/raw"
	"holdfast/internal/repository"
)

type exportFlags struct {
	common
	repo, to, format, diskName, rate string
	resume, skip                     bool
}

func exportCommand() *cobra.Command {
	var f exportFlags
	c := &cobra.Command{
		Use:   "export POINT --repo URL --to FILE|-",
		Short: "Bring a disk of a point back as an image",
		Long: `Bring a disk of a point back as a raw or qcow2 image, or raw to standard output.

With --resume, FILE is an existing raw image or block device: it is read first
and only what differs is written, which brings an old copy up to date. Where there
is no FILE but the FILE.partial of a raw export that was killed, that one is gone
on with.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return f.open(c.Context(), f.repo, func(r *repository.Repository) error { return f.run(c, r, args[0]) })
		},
	}
	f.add(c)
	c.Flags().StringVar(&f.repo, "repo", "", "`URL` of the repository")
	c.Flags().StringVar(&f.to, "to", "", "`FILE` to be made, or - for standard output")
	c.Flags().StringVar(&f.format, "format", "", "raw or qcow2 (default: qcow2 for a FILE named so, else raw)")
	c.Flags().StringVar(&f.diskName, "disk", "", "`NAME` of the disk (default: the only one)")
	c.Flags().StringVar(&f.rate, "write-rate", "", "write at most `BYTES` a second, such as 100MB")
	c.Flags().BoolVar(&f.resume, "resume", false, "FILE exists: write only what differs")
	c.Flags().BoolVar(&f.skip, "skip-damaged", false, "leave lost ranges out and go on")
	_ = c.MarkFlagRequired("repo")
	_ = c.MarkFlagRequired("to")
	return c
}

type exported struct {
	Point string                  `json:"point"`
	Disk  string                  `json:"disk"`
	Size  int64                   `json:"size"`
	Stats repository.RestoreStats `json:"stats"`
	Took  float64                 `json:"seconds"`
}

func (f *exportFlags) run(c *cobra.Command, r *repository.Repository, id string) error {
	ctx, begun := c.Context(), time.Now()
	writeRate, err := bytesFlag("write-rate", f.rate)
	if err != nil {
		return err
	}
	if f.format == "" {
		f.format = image.Raw
		if filepath.Ext(f.to) == ".qcow2" && !f.resume {
			f.format = image.Qcow2
		}
	}
	p, d, err := findDisk(ctx, r, id, f.diskName)
	if err != nil {
		return err
	}
	m := f.newMeter(c, "export")
	defer m.end()
	if f.to == "-" {
		limit := rate.Inf
		if writeRate > 0 {
			limit = rate.Limit(writeRate)
		}
		return f.stream(ctx, c.OutOrStdout(), rate.NewLimiter(limit, streamBlock), r, p, d, m)
	}
	opt := repository.RestoreOptions{Compare: f.resume, SkipDamaged: f.skip, WriteRate: writeRate, Progress: m.bytes}
	stats, err := f.toFile(ctx, r, p, d, opt)
	if err != nil {
		return err
	}
	m.end()
	out := exported{p.ID, d.Name, d.Size, stats, time.Since(begun).Seconds()}
	return f.print(c, out, func(w io.Writer) {
		fmt.Fprintf(w, "%s: disk %s of point %s, %s, written %s, in %.1f s\n", f.to, d.Name, p.ID, human(d.Size), human(stats.Written), out.Took)
		for _, x := range stats.Damaged {
			fmt.Fprintf(w, "lost: bytes %d to %d\n", x.Offset, x.Offset+x.Length)
		}
	})
}

func (f *exportFlags) toFile(ctx context.Context, r *repository.Repository, p repository.Point, d *repository.Disk, opt repository.RestoreOptions) (repository.RestoreStats, error) {
	if f.resume {
		return f.goOn(ctx, r, p, d, opt)
	}
	t, err := image.CreateTarget(ctx, f.to, f.format, d.Size)
	if err != nil {
		return repository.RestoreStats{}, err
	}
	return fill(ctx, r, p, d, t, opt)
}

// goOn writes what differs into FILE or, where there is none, into what a killed
// export left of it, which then gets its name.
func (f *exportFlags) goOn(ctx context.Context, r *repository.Repository, p repository.Point, d *repository.Disk, opt repository.RestoreOptions) (stats repository.RestoreStats, err error) {
	if _, err := os.Lstat(f.to); errors.Is(err, fs.ErrNotExist) {
		t, err := image.ResumeTarget(f.to)
		if err != nil {
			return stats, fmt.Errorf("--resume: there is neither %s nor a rest of it to go on with: %w", f.to, err)
		}
		return fill(ctx, r, p, d, t, opt)
	}
	t, err := raw.OpenTarget(f.to)
	if err != nil {
		return stats, err
	}
	stats, err = r.Restore(ctx, p, d.Name, t, opt)
	if e := t.Close(); err == nil {
		err = e
	}
	return stats, err
}

// fill writes an image and gives it its name.
func fill(ctx context.Context, r *repository.Repository, p repository.Point, d *repository.Disk, t *image.Target, opt repository.RestoreOptions) (repository.RestoreStats, error) {
	stats, err := r.Restore(ctx, p, d.Name, t, opt)
	if err == nil {
		err = t.Commit()
	}
	if e := t.Close(); err == nil {
		err = e
	}
	return stats, err
}

// findDisk answers a point and one of its disks; name "" is the only one.
func findDisk(ctx context.Context, r *repository.Repository, id, name string) (repository.Point, *repository.Disk, error) {
	points, err := r.Points(ctx, "")
	if err != nil {
		return repository.Point{}, nil, err
	}
	for _, p := range points {
		if p.ID != id {
			continue
		}
		if name == "" && len(p.Disks) == 1 {
			return p, &p.Disks[0], nil
		}
		if name == "" {
			return p, nil, exitError{fmt.Errorf("point %s has %d disks: choose one with --disk", id, len(p.Disks)), exitUsage}
		}
		if d := p.Disk(name); d != nil {
			return p, d, nil
		}
		return p, nil, fmt.Errorf("%w: %s", repository.ErrNoDisk, name)
	}
	return repository.Point{}, nil, fmt.Errorf("%w: %s", repository.ErrNoPoint, id)
}

// streamBlock is how much is read ahead at once for standard output.
const streamBlock = 4 << 20

// stream writes the disk from front to back, reading some blocks ahead.
func (f *exportFlags) stream(ctx context.Context, w io.Writer, limit *rate.Limiter, r *repository.Repository, p repository.Point, d *repository.Disk, m *meter) error {
	if f.format != image.Raw {
		return exitError{errors.New("only raw goes to standard output"), exitUsage}
	}
	src, err := r.OpenDisk(ctx, p, d.Name)
	if err != nil {
		return err
	}
	type block struct {
		b   []byte
		err error
	}
	ahead := make(chan chan block, 3)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer close(ahead)
		for off := int64(0); off < d.Size; off += streamBlock {
			one := make(chan block, 1)
			select {
			case ahead <- one:
			case <-ctx.Done():
				return
			}
			go func() {
				b := make([]byte, min(streamBlock, d.Size-off))
				_, err := src.ReadAt(b, off)
				one <- block{b, err}
			}()
		}
	}()
	done := int64(0)
	for one := range ahead {
		x := <-one
		if x.err != nil {
			return x.err
		}
		if err := limit.WaitN(ctx, len(x.b)); err != nil {
			return err
		}
		if _, err := w.Write(x.b); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		done += int64(len(x.b))
		m.bytes(done, d.Size)
	}
	return ctx.Err()
}
