package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os/exec"
	"strings"
	"time"

	"holdfast/bench/image"
	"holdfast/bench/livevm"
	"holdfast/bench/measure"
	"holdfast/bench/report"
)

// instantDisks are the data disks beside the system disk of a machine that is
// restored instantly: how large they are must not matter.
var instantDisks = []struct {
	test string
	size int64
}{{report.InstantSmall, 64 << 20}, {report.InstantLarge, 1 << 40}}

// instants measures how long a machine takes from the command that restores it
// instantly to the answer of its agent, beside its boot from its own disks.
func instants(ctx context.Context, o options, chain *image.Chain) error {
	b, err := openBook(o, chain)
	if err != nil {
		return err
	}
	b.page.Versions[report.LocalBoot] = "boot from its own disks"
	guest, err := exec.CommandContext(ctx, "scripts/guest-image").Output()
	if err != nil {
		return fmt.Errorf("scripts/guest-image: %w", err)
	}
	binary, err := ourBinary(ctx, o)
	if err != nil {
		return err
	}
	for _, d := range instantDisks {
		if err := b.instant(ctx, o, d.test, binary, strings.TrimSpace(string(guest)), d.size); err != nil {
			return fmt.Errorf("%s: %w", d.test, err)
		}
	}
	b.say()
	return nil
}

func (b *book) instant(ctx context.Context, o options, test, binary, guest string, size int64) (err error) {
	m, err := livevm.StartInstant(ctx, o.job.URI, binary, guest, size)
	if m != nil {
		defer func() { err = errors.Join(err, m.Remove(context.WithoutCancel(ctx))) }()
	}
	if err != nil {
		return err
	}
	for range o.repeat {
		for _, one := range []struct {
			name string
			boot func(context.Context) (time.Duration, error)
		}{{report.LocalBoot, m.Local}, {report.Ours, m.Restored}} {
			took, err := one.boot(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", one.name, err)
			}
			log.Printf("%-14s %-16s %8.2f s wall", one.name, test, took.Seconds())
			if err := b.add(report.Sample{Tool: one.name, Test: test, Cost: measure.Cost{Wall: took.Seconds()}}); err != nil {
				return err
			}
		}
	}
	return nil
}
