package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/bench/engine"
	"holdfast/bench/image"
	"holdfast/bench/measure"
	"holdfast/bench/primitive"
	"holdfast/bench/report"
	"holdfast/internal/disk/raw"
	"holdfast/internal/repository"
)

// primitives measures hash, compressor and cipher on the image's bytes.
func primitives(_ context.Context, o options, chain *image.Chain) error {
	data, err := primitive.Sample(chain.Base(), 256<<20)
	if err != nil {
		return err
	}
	var list []primitive.Figure
	err = primitive.Measure(data, func(f primitive.Figure) {
		log.Printf("%-20s %5d KiB %6.0f MB/s  %.3f", f.Name, f.Piece>>10, f.Speed, f.Ratio)
		list = append(list, f)
	})
	if err != nil {
		return err
	}
	return report.Write(filepath.Join(o.out, "primitives.json"), list)
}

// profile runs full, incremental, scan and restore inside this process and
// keeps a CPU profile of each, for `go tool pprof -top FILE`.
func profile(ctx context.Context, o options, chain *image.Chain) error {
	dir := filepath.Join(o.cache, "profile")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r, err := engine.Create(ctx, filepath.Join(dir, "store"), engine.Vault)
	if err != nil {
		return err
	}
	defer r.Close()
	path := filepath.Join(dir, "disk.raw")
	if err := chain.Reset(ctx, path); err != nil {
		return err
	}
	phase := func(name string, do func() (any, error)) error { return profiled(o.out, name, path, do) }
	if err := phase(report.Full, func() (any, error) { return engine.Import(ctx, r, "full", "", path, nil) }); err != nil {
		return err
	}
	dirty, err := image.ReadDirtyMap(chain.DirtyMap(1))
	if err != nil {
		return err
	}
	if err := chain.Apply(1, path); err != nil {
		return err
	}
	if err := phase(report.Incremental, func() (any, error) { return engine.Import(ctx, r, "day", "full", path, dirty) }); err != nil {
		return err
	}
	if err := phase(report.Scan, func() (any, error) { return engine.Import(ctx, r, "scan", "day", path, nil) }); err != nil {
		return err
	}
	back := filepath.Join(dir, "restored.raw")
	if err := phase(report.Restore, func() (any, error) { return restoreTo(ctx, r, "day", back, chain.Spec.Size) }); err != nil {
		return err
	}
	return measure.Same(path, back)
}

func restoreTo(ctx context.Context, r *repository.Repository, point, path string, size int64) (any, error) {
	p, err := r.Point(ctx, point)
	if err != nil {
		return nil, err
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	target, err := raw.NewTarget(f, size)
	if err != nil {
		return nil, err
	}
	return r.Restore(ctx, p, "disk", target, repository.RestoreOptions{})
}

// profiled runs do under the CPU profiler with path warm.
func profiled(out, name, path string, do func() (any, error)) error {
	if err := measure.Warm(path); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(out, "profile-"+name+".pprof"))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	start, before := time.Now(), processSeconds()
	stats, err := do()
	wall, cpu := time.Since(start).Seconds(), processSeconds()-before
	pprof.StopCPUProfile()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	log.Printf("%-12s %8.2f s wall %8.2f s cpu  %+v", name, wall, cpu, stats)
	return f.Close()
}

// processSeconds is the processor time of this process so far.
func processSeconds() float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic("getrusage of the own process: " + err.Error()) // has no reason to fail
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
