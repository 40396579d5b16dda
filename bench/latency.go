package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"holdfast/bench/image"
	"holdfast/bench/livevm"
	"holdfast/bench/measure"
	"holdfast/bench/report"
)

// latencyGoal is how much slower than under virtnbdbackup a guest's synced
// writes may be while it is backed up.
const latencyGoal = 1.5

// latencyRun measures what a full backup of a running machine costs the machine:
// how long its own synced writes take meanwhile.
type latencyRun struct {
	liveRun
	busy *livevm.Busy
	took map[string][]livevm.Latency
}

// alone is the guest without a backup.
const alone = "no backup"

// latencies runs it, and prints a table: it is no book of its own, since the
// figures of an emulated guest say nothing but how the tools compare.
func latencies(ctx context.Context, o options, chain *image.Chain) (err error) {
	guest, err := exec.CommandContext(ctx, "scripts/guest-image").Output()
	if err != nil {
		return fmt.Errorf("scripts/guest-image: %w", err)
	}
	r := &latencyRun{liveRun: liveRun{o: o, chain: chain, dir: filepath.Join(o.cache, "latency")}, took: map[string][]livevm.Latency{}}
	if r.self, err = os.Executable(); err != nil {
		return err
	}
	if r.busy, err = livevm.StartBusy(ctx, o.job.URI, "holdfast-bench-busy", strings.TrimSpace(string(guest)), chain.Base()); r.busy != nil {
		defer func() { err = errors.Join(err, r.busy.Remove(context.WithoutCancel(ctx)), os.RemoveAll(r.dir)) }()
	}
	if err != nil {
		return err
	}
	r.ours, r.peer = &r.busy.Guest, &r.busy.Guest
	for i := range o.repeat {
		if err := r.round(ctx, i); err != nil {
			return err
		}
	}
	return r.say()
}

// round measures the guest alone, under ours and under the peer's backup.
func (r *latencyRun) round(ctx context.Context, i int) error {
	if err := errors.Join(os.RemoveAll(r.dir), os.MkdirAll(r.backup(), 0o700)); err != nil {
		return err
	}
	if _, err := measure.Run(ctx, r.own("create", "", "", "")); err != nil {
		return err
	}
	for _, one := range []struct {
		name string
		do   func() error
	}{
		{alone, func() error { return sleep(ctx, 10*time.Second) }},
		{report.Ours, func() error { _, err := measure.Run(ctx, r.own("backup", point(0), "", "")); return err }},
		{peerName, func() error { _, err := measure.Run(ctx, r.theirs("copy")); return err }}, // a full one refuses our checkpoint
	} {
		began := time.Now()
		l, err := r.busy.During(ctx, 1+i, one.do)
		if err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
		log.Printf("%-14s %5.1f s, %5d writes: p50 %v, p95 %v, p99 %v, most %v", one.name, time.Since(began).Seconds(), l.Writes, l.P50, l.P95, l.P99, l.Most)
		r.took[one.name] = append(r.took[one.name], l)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// say prints the medians of the rounds and whether the goal is met.
func (r *latencyRun) say() error {
	median := func(name string, of func(livevm.Latency) time.Duration) time.Duration {
		var all []time.Duration
		for _, l := range r.took[name] {
			all = append(all, of(l))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	worst := 0.0
	for _, p := range []struct {
		name string
		of   func(livevm.Latency) time.Duration
	}{
		{"p50", func(l livevm.Latency) time.Duration { return l.P50 }},
		{"p95", func(l livevm.Latency) time.Duration { return l.P95 }},
		{"p99", func(l livevm.Latency) time.Duration { return l.P99 }},
	} {
		quiet, ours, theirs := median(alone, p.of), median(report.Ours, p.of), median(peerName, p.of)
		ratio := ours.Seconds() / theirs.Seconds()
		worst = max(worst, ratio)
		fmt.Printf("guest write latency, %s: %v alone, %v under ours, %v under %s: %.2f (goal %.1f)\n", p.name, quiet, ours, theirs, peerName, ratio, latencyGoal)
	}
	if worst > latencyGoal {
		fmt.Printf("guest write latency: the goal is missed\n")
	}
	return nil
}
