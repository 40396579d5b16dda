package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"holdfast/bench/report"
	"holdfast/bench/scale"
)

// scales runs each scale bench in a process of its own, so that the peak
// memory is that bench's, and keeps all figures in scale.json. It fails if one
// is over its bound.
func scales(ctx context.Context, o options) error {
	var all []scale.Figure
	for _, name := range slices.Sorted(maps.Keys(scale.Benches)) {
		list, err := scaleChild(ctx, o, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, list...)
		if err := report.Write(filepath.Join(o.out, "scale.json"), all); err != nil {
			return err
		}
	}
	for _, f := range all {
		if f.Over() {
			return fmt.Errorf("%s is %.2f %s, more than %.2f", f.Name, f.Value, f.Unit, f.Bound)
		}
	}
	return nil
}

func scaleChild(ctx context.Context, o options, name string) ([]scale.Figure, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	part := filepath.Join(o.cache, "scale-"+name+".json")
	defer os.Remove(part)
	cmd := exec.CommandContext(ctx, self, "-scale-one", name, "-cache", o.cache, "-scale-data", fmt.Sprint(o.scale.Data),
		"-scale-points", fmt.Sprint(o.scale.Points), "-scale-chunks", fmt.Sprint(o.scale.Chunks))
	cmd.Env = append(os.Environ(), "GOMEMLIMIT=384MiB") // as cmd/holdfast has it
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(part)
	if err != nil {
		return nil, err
	}
	var list []scale.Figure
	return list, json.Unmarshal(b, &list)
}

// scaleOne is the child: it runs one bench and leaves its figures in a file.
func scaleOne(ctx context.Context, o options) error {
	run, ok := scale.Benches[o.scaleOne]
	if !ok {
		return fmt.Errorf("-scale-one %q: not one of %v", o.scaleOne, slices.Sorted(maps.Keys(scale.Benches)))
	}
	o.scale.Dir = filepath.Join(o.cache, "scale-"+o.scaleOne)
	if err := os.RemoveAll(o.scale.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(o.scale.Dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(o.scale.Dir)
	var list []scale.Figure
	keep := func(f scale.Figure) {
		log.Printf("%-34s %14.3f %-6s bound %.2f", f.Name, f.Value, f.Unit, f.Bound)
		list = append(list, f)
	}
	if err := run(ctx, o.scale, keep); err != nil {
		return err
	}
	memory := scale.PeakMemory()
	memory.Name = o.scaleOne + "_" + memory.Name
	keep(memory)
	return report.Write(filepath.Join(o.cache, "scale-"+o.scaleOne+".json"), list)
}
