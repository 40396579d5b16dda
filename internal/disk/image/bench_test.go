package image

import (
	"context"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/disk"
	"holdfast/internal/disk/disktest"
	"holdfast/internal/nbd"
)

const benchSize = 1 << 30

// cpu is what this process and its dead children have used.
func cpu(b *testing.B) time.Duration {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}

// perGiB reports processor time, which a busy machine does not blur as it does
// the wall clock.
func perGiB(b *testing.B, start time.Duration) {
	b.SetBytes(benchSize)
	b.ReportMetric(float64((cpu(b)-start).Milliseconds())/float64(b.N), "cpu-ms/GiB")
}

// noise is a disk of one 4 MiB pattern over and over: nothing of it is zero.
func noise() *repeated {
	p := make([]byte, 4<<20)
	disktest.Fill(p, 1)
	return &repeated{disktest.New(0), p}
}

type repeated struct {
	*disktest.Disk
	p []byte
}

func (r *repeated) Size() int64 { return benchSize }

func (r *repeated) ReadAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		n += copy(p[n:], r.p[(off+int64(n))%int64(len(r.p)):])
	}
	return len(p), nil
}

func (r *repeated) Extents(context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) { yield(disk.Extent{Length: benchSize}, nil) }
}

func BenchmarkWrite(b *testing.B) {
	for _, format := range []string{Raw, Qcow2} {
		b.Run(format, func(b *testing.B) {
			start := cpu(b)
			for i := range b.N {
				path := filepath.Join(b.TempDir(), fmt.Sprint(i))
				d, err := CreateTarget(context.Background(), path, format, benchSize)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := disk.Copy(context.Background(), d, noise(), disk.CopyOptions{}); err != nil {
					b.Fatal(err)
				}
				if err := d.Commit(); err != nil {
					b.Fatal(err)
				}
				_ = d.Close()
				_ = os.Remove(path)
			}
			perGiB(b, start)
		})
	}
	b.Run("qcow2 through qemu-nbd", func(b *testing.B) {
		start := cpu(b)
		for i := range b.N {
			path := filepath.Join(b.TempDir(), fmt.Sprint(i))
			mustRun(b, "qemu-img", "create", "-q", "-f", "qcow2", path, fmt.Sprint(benchSize))
			c, err := startQEMU(path)
			if err != nil {
				b.Fatal(err)
			}
			client, err := c.dial(context.Background(), nbd.Options{})
			if err != nil {
				b.Fatal(err)
			}
			d, err := nbd.NewTarget(client, nbd.TargetOptions{Fresh: true})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := disk.Copy(context.Background(), d, noise(), disk.CopyOptions{}); err != nil {
				b.Fatal(err)
			}
			_ = c.Close()
			_ = os.Remove(path)
		}
		perGiB(b, start)
	})
}

func mustRun(b *testing.B, name string, args ...string) {
	b.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// BenchmarkRead reads a full image of each kind from the page cache.
func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	paths := map[string]string{}
	for _, format := range []string{Raw, Qcow2} {
		paths[format] = filepath.Join(dir, format)
		d, err := CreateTarget(context.Background(), paths[format], format, benchSize)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := disk.Copy(context.Background(), d, noise(), disk.CopyOptions{}); err != nil {
			b.Fatal(err)
		}
		if err := d.Commit(); err != nil {
			b.Fatal(err)
		}
		_ = d.Close()
	}
	for _, c := range []struct {
		name string
		open func() (*Source, error)
	}{
		{"raw", func() (*Source, error) { return OpenSource(context.Background(), paths[Raw], Raw) }},
		{"qcow2", func() (*Source, error) { return OpenSource(context.Background(), paths[Qcow2], Qcow2) }},
		{"qcow2 through qemu-nbd", func() (*Source, error) { return openThroughQEMU(context.Background(), paths[Qcow2]) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			start := cpu(b)
			for range b.N {
				s, err := c.open()
				if err != nil {
					b.Fatal(err)
				}
				if _, err := disk.Copy(context.Background(), &sink{}, s, disk.CopyOptions{}); err != nil {
					b.Fatal(err)
				}
				_ = s.Close()
			}
			perGiB(b, start)
		})
	}
}

// sink is a Target that forgets.
type sink struct{ disktest.Disk }

func (*sink) Size() int64                            { return benchSize }
func (*sink) Fresh() bool                            { return true }
func (*sink) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// BenchmarkStatus walks the map of a disk of 8 GiB of which every second
// cluster is written, the worst that there is, through qemu-nbd.
func BenchmarkStatus(b *testing.B) {
	const size, cluster = 8 << 30, 64 << 10
	path := filepath.Join(b.TempDir(), "d.qcow2")
	d, err := CreateTarget(context.Background(), path, Qcow2, size)
	if err != nil {
		b.Fatal(err)
	}
	for off := int64(0); off < size; off += 2 * cluster {
		if _, err := d.WriteAt([]byte{1}, off); err != nil {
			b.Fatal(err)
		}
	}
	if err := d.Commit(); err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	for name, open := range map[string]func() (*Source, error){
		"qcow2":                  func() (*Source, error) { return OpenSource(context.Background(), path, Qcow2) },
		"qcow2 through qemu-nbd": func() (*Source, error) { return openThroughQEMU(context.Background(), path) },
	} {
		b.Run(name, func(b *testing.B) {
			n, start := 0, cpu(b)
			for range b.N {
				s, err := open()
				if err != nil {
					b.Fatal(err)
				}
				for _, err := range s.Extents(context.Background()) {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
				_ = s.Close()
			}
			b.ReportMetric(float64((cpu(b)-start).Nanoseconds())/float64(n), "cpu-ns/extent")
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)*(1<<40)/size, "s/TiB")
		})
	}
}
