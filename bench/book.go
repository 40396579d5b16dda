package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"maps"
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

// book is where samples are kept. It writes details.json and results.json
// after every sample, so that a run cut short leaves what it measured.
type book struct {
	dir  string
	page details
	seen map[[2]string]bool // tool and test of the samples of this run
}

// details is what is kept beside the results: where they come from.
type details struct {
	Machine  machine           `json:"machine"`
	Image    *image.Chain      `json:"image"`
	Versions map[string]string `json:"versions"`
	// Processor are the results in processor time.
	Processor []report.Result `json:"processor"`
	Samples   []report.Sample `json:"samples"`
}

// openBook starts a book; with merge it goes on with the samples of an
// earlier run, whose figures are replaced as they are measured anew.
func openBook(o options, chain *image.Chain) (*book, error) {
	b := &book{dir: o.out, seen: map[[2]string]bool{}}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(o.out, "details.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil && (o.merge || o.resume) {
		if err := json.Unmarshal(raw, &b.page); err != nil {
			return nil, fmt.Errorf("details.json: %w", err)
		}
	}
	if o.resume { // what is there is of the same run
		for _, s := range b.page.Samples {
			b.seen[[2]string{s.Tool, s.Test}] = true
		}
	}
	if b.page.Versions == nil {
		b.page.Versions = map[string]string{}
	}
	b.page.Machine, b.page.Image = describeMachine(), chain
	return b, nil
}

// know asks a tool for its version.
func (b *book) know(ctx context.Context, t tool.Tool) error {
	v, err := version(ctx, t)
	b.page.Versions[t.Name] = v
	return err
}

// run measures one command of a tool. What it reads is warm, what it writes is
// synced within its time.
func (b *book) run(ctx context.Context, name, test string, day int, c measure.Command, reads string, writes ...string) error {
	if err := measure.Warm(reads); err != nil {
		return err
	}
	cost, err := measure.Run(ctx, c, writes...)
	if err != nil {
		return fmt.Errorf("%s of %s: %w", test, name, err)
	}
	log.Printf("%-14s %-16s day %2d %8.2f s wall %8.2f s cpu %6.2f s sync %6d MiB", name, test, day, cost.Wall, cost.CPU, cost.Sync, cost.Memory>>20)
	return b.add(report.Sample{Tool: name, Test: test, Day: day, Cost: cost})
}

func (b *book) add(s report.Sample) error {
	if s.At.IsZero() {
		s.At, s.Load = time.Now().UTC().Truncate(time.Second), load()
	}
	if kind := [2]string{s.Tool, s.Test}; !b.seen[kind] {
		b.seen[kind] = true
		b.page.Samples = slices.DeleteFunc(b.page.Samples, func(old report.Sample) bool {
			return old.Tool == s.Tool && old.Test == s.Test
		})
	}
	b.page.Samples = append(b.page.Samples, s)
	b.page.Processor = report.Processor(b.page.Samples, b.page.Versions)
	if err := report.Write(filepath.Join(b.dir, "details.json"), b.page); err != nil {
		return err
	}
	return report.Write(filepath.Join(b.dir, "results.json"), b.results())
}

func (b *book) results() []report.Result { return report.Compile(b.page.Samples, b.page.Versions) }

// join takes over the samples of other runs on the same image.
func join(_ context.Context, o options, chain *image.Chain) error {
	o.merge = true
	b, err := openBook(o, chain)
	if err != nil {
		return err
	}
	for path := range strings.SplitSeq(o.join, ",") {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var other details
		if err := json.Unmarshal(raw, &other); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if other.Image == nil || other.Image.Used != chain.Used || !slices.Equal(other.Image.Days, chain.Days) {
			return fmt.Errorf("%s is of another image", path)
		}
		maps.Copy(b.page.Versions, other.Versions)
		clear(b.seen) // what this run measured replaces what was there
		for _, s := range other.Samples {
			if err := b.add(s); err != nil {
				return err
			}
		}
	}
	b.say()
	return nil
}

// say prints the results.
func (b *book) say() {
	for _, r := range b.results() {
		log.Printf("%-36s ours %14.2f  theirs %14.2f %-5s  ratio %6.2f  (%s)", r.Name, r.Ours, r.Their, r.Unit, r.Ratio, r.Peer)
	}
}
