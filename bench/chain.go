package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"holdfast/bench/image"
	"holdfast/bench/measure"
	"holdfast/bench/report"
	"holdfast/bench/tool"
)

// comparison runs the tools in turn over one chain of images.
type comparison struct {
	chain *image.Chain
	dir   string // everything made here
	disk  string // the image as it is on the current day
	tools []tool.Tool
	scans map[int]bool // the days on which a scan is measured too
	book  *book
}

// compare measures the chain of images, or goes on with it.
func compare(ctx context.Context, o options, chain *image.Chain) error {
	tools, err := chooseTools(ctx, o)
	if err != nil {
		return err
	}
	dir := filepath.Join(o.cache, "run-"+strings.NewReplacer(",", "-", "/", "-").Replace(o.tools))
	run := &course{file: filepath.Join(dir, "course.json"), until: time.Now().Add(o.pause), pauses: o.pause > 0}
	if o.resume {
		if err := run.load(); err != nil {
			return err
		}
	}
	b, err := openBook(o, chain)
	if err != nil {
		return err
	}
	for _, t := range tools {
		if err := b.know(ctx, t); err != nil {
			return err
		}
	}
	c := &comparison{chain: chain, dir: dir, disk: filepath.Join(dir, "disk.raw"), tools: tools, book: b,
		scans: map[int]bool{1: true, (o.days + 1) / 2: true, o.days: true}}
	for _, s := range c.steps(o.repeat) {
		if err := run.do(ctx, s); err != nil {
			return err
		}
	}
	b.say()
	return os.RemoveAll(dir)
}

// steps are the whole comparison in order.
func (c *comparison) steps(repeat int) []step {
	list := []step{{"prepare", c.prepare}}
	each := func(name string, has func(tool.Tool) bool, do func(context.Context, tool.Tool) error) {
		for _, t := range c.tools {
			if has(t) {
				list = append(list, step{name + " of " + t.Name, func(ctx context.Context) error { return do(ctx, t) }})
			}
		}
	}
	always := func(tool.Tool) bool { return true }
	again := func(name string, has func(tool.Tool) bool, do func(context.Context, tool.Tool) error) {
		for n := range repeat {
			each(fmt.Sprintf("%s %d", name, n+1), has, do)
		}
	}
	again("full", always, c.full)
	for _, d := range c.chain.Days {
		list = append(list, step{fmt.Sprintf("change of day %d", d.Number), func(context.Context) error { return c.chain.Apply(d.Number, c.disk) }})
		each(fmt.Sprintf("day %d", d.Number), func(t tool.Tool) bool { return t.Incremental },
			func(ctx context.Context, t tool.Tool) error { return c.day(ctx, t, d.Number) })
	}
	each("size", func(t tool.Tool) bool { return t.Incremental }, c.size)
	again("verify", func(t tool.Tool) bool { return t.Verify != nil }, c.verify)
	again("restore", always, c.restore)
	again("restore to qcow2", func(t tool.Tool) bool { return t.RestoreQcow2 != nil }, c.restoreQcow2)
	return list
}

// chooseTools are the asked-for tools, ours first.
func chooseTools(ctx context.Context, o options) ([]tool.Tool, error) {
	asked := strings.FieldsFunc(o.tools, func(r rune) bool { return r == ',' })
	wanted := func(name string) bool { return len(asked) == 0 || slices.Contains(asked, name) }
	var list []tool.Tool
	if wanted(report.Ours) {
		binary, err := ourBinary(ctx, o)
		if err != nil {
			return nil, err
		}
		list = append(list, tool.Holdfast(binary))
	}
	for _, t := range tool.Peers() {
		if wanted(t.Name) {
			list = append(list, t)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("-tools %q names no tool", o.tools)
	}
	return list, nil
}

// place is where the tool works: its folders and the disk of the day.
func (c *comparison) place(t tool.Tool) tool.Place {
	base := filepath.Join(c.dir, strings.ReplaceAll(t.Name, "/", "-"))
	return tool.Place{Store: filepath.Join(base, "store"), Cache: filepath.Join(base, "cache"),
		Secret: filepath.Join(c.dir, "secret"), Image: c.disk}
}

func point(day int) string { return fmt.Sprintf("day-%02d", day) }

// sample runs args as the tool and keeps what it cost.
func (c *comparison) sample(ctx context.Context, t tool.Tool, p tool.Place, test string, day int, args []string, reads string, writes ...string) error {
	return c.book.run(ctx, t.Name, test, day, t.Command(p, args), reads, writes...)
}

// prepare makes an empty place with the disk before its first day.
func (c *comparison) prepare(ctx context.Context) error {
	if err := os.WriteFile(filepath.Join(c.dir, "secret"), []byte("a passphrase for measuring only\n"), 0o600); err != nil {
		return err
	}
	return c.chain.Reset(ctx, c.disk)
}

// full measures the first backup into an empty store. The last store of each
// tool stays for what follows.
func (c *comparison) full(ctx context.Context, t tool.Tool) error {
	p := c.place(t)
	if err := os.RemoveAll(filepath.Dir(p.Store)); err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(p.Store, 0o700), os.MkdirAll(p.Cache, 0o700)); err != nil {
		return err
	}
	if t.Init != nil {
		if _, err := measure.Run(ctx, t.Command(p, t.Init(p))); err != nil {
			return err
		}
	}
	return c.sample(ctx, t, p, report.Full, 0, t.Backup(p, point(0), "", ""), c.disk, p.Store)
}

// size keeps what is stored at the end.
func (c *comparison) size(_ context.Context, t tool.Tool) error {
	bytes, err := measure.Size(c.place(t).Store)
	if err != nil {
		return err
	}
	log.Printf("%-12s stores %d MiB after %d points", t.Name, bytes>>20, len(c.chain.Days)+1)
	return c.book.add(report.Sample{Tool: t.Name, Test: report.Size, Day: len(c.chain.Days), Bytes: bytes})
}

// day measures a daily change.
func (c *comparison) day(ctx context.Context, t tool.Tool, n int) error {
	p := c.place(t)
	if t.Scans && c.scans[n] {
		if err := c.scan(ctx, t, p, n); err != nil {
			return err
		}
	}
	return c.sample(ctx, t, p, report.Incremental, n, t.Backup(p, point(n), point(n-1), c.chain.DirtyMap(n)), c.disk, p.Store)
}

// scan measures the day without its dirty map, on a copy of the store.
func (c *comparison) scan(ctx context.Context, t tool.Tool, p tool.Place, n int) error {
	kept := p.Store
	p.Store += "-scan"
	defer os.RemoveAll(p.Store)
	if err := os.CopyFS(p.Store, os.DirFS(kept)); err != nil {
		return err
	}
	return c.sample(ctx, t, p, report.Scan, n, t.Backup(p, point(n), point(n-1), ""), c.disk, p.Store)
}

func (c *comparison) verify(ctx context.Context, t tool.Tool) error {
	p := c.place(t)
	return c.sample(ctx, t, p, report.Verify, len(c.chain.Days), t.Verify(p), p.Store)
}

// restoreQcow2 is restore into a qcow2 image.
func (c *comparison) restoreQcow2(ctx context.Context, t tool.Tool) error {
	folder, day := filepath.Join(c.dir, "restored"), len(c.chain.Days)
	defer os.RemoveAll(folder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	p := c.place(t)
	if err := c.sample(ctx, t, p, report.RestoreQcow2, day, t.RestoreQcow2(p, point(day), folder), p.Store, folder); err != nil {
		return err
	}
	return sameImage(ctx, c.disk, folder)
}

// restore measures bringing back the newest point a tool has into a new file,
// and then compares that file with the disk it was taken of.
func (c *comparison) restore(ctx context.Context, t tool.Tool) error {
	day, want := 0, c.chain.Base()
	if t.Incremental {
		day, want = len(c.chain.Days), c.disk
	}
	folder := filepath.Join(c.dir, "restored")
	defer os.RemoveAll(folder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	p := c.place(t)
	// Everything is compared under the last day: the copiers have only the
	// first full, of nearly the same size.
	if err := c.sample(ctx, t, p, report.Restore, len(c.chain.Days), t.Restore(p, point(day), folder), p.Store, folder); err != nil {
		return err
	}
	found := ""
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			found = path
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := measure.Same(want, found); err != nil {
		return fmt.Errorf("%s restored other bytes than it backed up: %w", t.Name, err)
	}
	return nil
}
