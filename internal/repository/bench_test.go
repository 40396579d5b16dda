package repository_test

import (
	"os"
	"testing"
	"time"

	"holdfast/internal/disk/raw"
	"holdfast/internal/objstore/local"
	"holdfast/internal/repository"
)

// BenchmarkImage stores, restores and verifies the raw image that
// HOLDFAST_BENCH_IMAGE names, in HOLDFAST_BENCH_DIR.
func BenchmarkImage(b *testing.B) {
	image, dir := os.Getenv("HOLDFAST_BENCH_IMAGE"), os.Getenv("HOLDFAST_BENCH_DIR")
	if image == "" {
		b.Skip("HOLDFAST_BENCH_IMAGE names no image")
	}
	src, err := raw.OpenSource(image)
	if err != nil {
		b.Fatal(err)
	}
	defer src.Close()
	b.SetBytes(src.Size())
	for b.Loop() {
		place, err := os.MkdirTemp(dir, "bench")
		if err != nil {
			b.Fatal(err)
		}
		store, err := local.Create(b.Context(), place)
		if err != nil {
			b.Fatal(err)
		}
		r, err := repository.Init(b.Context(), store, testKey, repository.Options{})
		if err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		p, err := backup(b.Context(), r, "a", "s", nil, src)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(begun).Milliseconds()), "full-ms")
		begun = time.Now()
		if _, err := r.Verify(b.Context(), repository.VerifyOptions{}); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(begun).Milliseconds()), "verify-ms")
		begun = time.Now()
		if _, err := r.Restore(b.Context(), p, "vda", &discard{size: src.Size()}, repository.RestoreOptions{}); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(begun).Milliseconds()), "restore-ms")
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
		if err := os.RemoveAll(place); err != nil {
			b.Fatal(err)
		}
	}
}

// discard is a fresh target that forgets.
type discard struct{ size int64 }

func (d *discard) Size() int64                            { return d.size }
func (d *discard) Fresh() bool                            { return true }
func (d *discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (d *discard) Zero(_, _ int64) error                  { return nil }
func (d *discard) Sync() error                            { return nil }
