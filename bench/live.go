package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"holdfast/bench/image"
	"holdfast/bench/livevm"
	"holdfast/bench/measure"
	"holdfast/bench/report"
	"holdfast/bench/tool"
)

// liveDays is how many incrementals of a running VM are measured.
const liveDays = 3

// liveSteps are what a child process of the live bench does.
var liveSteps = map[string]func(context.Context, livevm.Job) error{
	"create": livevm.Create, "backup": livevm.Backup, "restore": livevm.Restore,
}

func liveOne(ctx context.Context, o options) error {
	step, ok := liveSteps[o.liveOne]
	if !ok {
		return fmt.Errorf("-live-one %q: not one of create, backup, restore", o.liveOne)
	}
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2) // as main of cmd/holdfast does
	return step(ctx, o.job)
}

// liveRun compares full, incremental and restore of a running VM with
// virtnbdbackup. Each side has a VM of its own, on a disk of the same content.
type liveRun struct {
	o     options
	chain *image.Chain
	book  *book
	self  string
	dir   string
	ours  *livevm.Guest
	peer  *livevm.Guest
}

const peerName = "virtnbdbackup"

func live(ctx context.Context, o options, chain *image.Chain) (err error) {
	r := &liveRun{o: o, chain: chain, dir: filepath.Join(o.cache, "live")}
	if r.self, err = os.Executable(); err != nil {
		return err
	}
	if r.book, err = openBook(o, chain); err != nil {
		return err
	}
	if err := r.book.know(ctx, tool.Tool{Name: peerName, Version: []string{peerName, "--version"}}); err != nil {
		return err
	}
	if err := os.RemoveAll(r.dir); err != nil {
		return err
	}
	defer os.RemoveAll(r.dir)
	for name, g := range map[string]**livevm.Guest{"ours": &r.ours, "peer": &r.peer} {
		*g, err = livevm.Start(ctx, o.job.URI, "holdfast-bench-"+name, chain.Base())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, (*g).Remove(context.WithoutCancel(ctx))) }()
	}
	for _, step := range []func(context.Context) error{r.fulls, r.days, r.restores} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	r.book.say()
	return nil
}

func (r *liveRun) store() string  { return filepath.Join(r.dir, "ours") }
func (r *liveRun) backup() string { return filepath.Join(r.dir, "peer") }

// own is our side as a child process.
func (r *liveRun) own(step, point, base, target string) measure.Command {
	return measure.Command{Args: []string{r.self, "-live-one", step, "-uri", r.o.job.URI, "-live-domain", r.ours.Name,
		"-live-store", r.store(), "-live-scratch", r.ours.Dir, "-live-point", point, "-live-base", base, "-live-target", target}}
}

func (r *liveRun) theirs(level string) measure.Command {
	return measure.Command{Args: []string{peerName, "-U", r.o.job.URI, "-d", r.peer.Name, "-l", level, "-o", r.backup(), "-n"}}
}

// fulls takes the first backup of each VM into an empty place, several times.
func (r *liveRun) fulls(ctx context.Context) error {
	for range r.o.repeat {
		if err := os.RemoveAll(r.dir); err != nil {
			return err
		}
		if err := os.MkdirAll(r.backup(), 0o700); err != nil {
			return err
		}
		if _, err := measure.Run(ctx, r.own("create", "", "", "")); err != nil {
			return err
		}
		if err := r.book.run(ctx, report.Ours, report.LiveFull, 0, r.own("backup", point(0), "", ""), r.ours.Disk(), r.store()); err != nil {
			return err
		}
		if err := r.book.run(ctx, peerName, report.LiveFull, 0, r.theirs("full"), r.peer.Disk(), r.backup()); err != nil {
			return err
		}
	}
	return nil
}

func (r *liveRun) days(ctx context.Context) error {
	for n := 1; n <= min(liveDays, len(r.chain.Days)); n++ {
		for _, g := range []*livevm.Guest{r.ours, r.peer} {
			if err := g.Apply(ctx, r.chain, n); err != nil {
				return err
			}
		}
		if err := r.book.run(ctx, report.Ours, report.LiveIncremental, n, r.own("backup", point(n), point(n-1), ""), r.ours.Disk(), r.store()); err != nil {
			return err
		}
		if err := r.book.run(ctx, peerName, report.LiveIncremental, n, r.theirs("inc"), r.peer.Disk(), r.backup()); err != nil {
			return err
		}
	}
	return nil
}

// restores brings both back as qcow2 images, ours as a raw one, too, and compares
// them with the disks of the VMs, which are off by then.
func (r *liveRun) restores(ctx context.Context) error {
	if err := errors.Join(r.ours.Stop(ctx), r.peer.Stop(ctx)); err != nil {
		return err
	}
	last := min(liveDays, len(r.chain.Days))
	for range r.o.repeat {
		own, their := filepath.Join(r.dir, "restored-ours"), filepath.Join(r.dir, "restored-peer")
		for _, dir := range []string{own, their} {
			if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
				return err
			}
		}
		if err := r.book.run(ctx, report.Ours, report.LiveRestore, last, r.own("restore", point(last), "", own), r.store(), own); err != nil {
			return err
		}
		if err := sameImage(ctx, r.ours.Disk(), own); err != nil {
			return err
		}
		if err := errors.Join(os.RemoveAll(own), os.MkdirAll(own, 0o700)); err != nil {
			return err
		}
		asRaw := r.own("restore", point(last), "", own)
		asRaw.Args = append(asRaw.Args, "-live-format", "raw")
		if err := r.book.run(ctx, report.Ours, report.LiveRestoreRaw, last, asRaw, r.store(), own); err != nil {
			return err
		}
		theirs := measure.Command{Args: []string{"virtnbdrestore", "-U", r.o.job.URI, "-i", r.backup(), "-o", their, "-n"}}
		if err := r.book.run(ctx, peerName, report.LiveRestore, last, theirs, r.backup(), their); err != nil {
			return err
		}
		if err := errors.Join(sameImage(ctx, r.ours.Disk(), own), sameImage(ctx, r.peer.Disk(), their)); err != nil {
			return err
		}
	}
	return nil
}

// sameImage compares a disk with the one disk image in the folder.
func sameImage(ctx context.Context, disk, folder string) error {
	var found []string
	for _, pattern := range []string{"*.qcow2", "*.raw", "vda"} {
		list, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			return err
		}
		found = append(found, list...)
	}
	if len(found) != 1 {
		return fmt.Errorf("%s holds %d disk images, not one", folder, len(found))
	}
	if out, err := exec.CommandContext(ctx, "qemu-img", "compare", disk, found[0]).CombinedOutput(); err != nil {
		return fmt.Errorf("what was restored is not the disk: %w: %s", err, out)
	}
	return nil
}
