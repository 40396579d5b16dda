package nbd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"holdfast/internal/disk"
	"holdfast/internal/disk/disktest"
)

// pattern fills a slice from a seed.
func pattern(seed uint64, n int) []byte {
	p := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(p)
	return p
}

// servers are the real servers that the client must work with.
func servers(t *testing.T, size int64) map[string]func(*testing.T) string {
	qemu := func(format string, extra ...string) func(*testing.T) string {
		return func(t *testing.T) string {
			need(t, "qemu-img")
			img := filepath.Join(t.TempDir(), "disk."+format)
			run(t, "qemu-img", "create", "-q", "-f", format, img, fmt.Sprint(size))
			return serve(t, append(append([]string{"qemu-nbd", "-t", "-e", "8", "-f", format}, extra...), img)...)
		}
	}
	nbdkit := func(args ...string) func(*testing.T) string {
		return func(t *testing.T) string {
			return serve(t, append([]string{"nbdkit", "-f"}, args...)...)
		}
	}
	bytes := fmt.Sprint(size)
	return map[string]func(*testing.T) string{
		"qemu-nbd raw":     qemu("raw"),
		"qemu-nbd qcow2":   qemu("qcow2"),
		"qemu-nbd unmap":   qemu("qcow2", "--discard=unmap", "--detect-zeroes=unmap"),
		"nbdkit memory":    nbdkit("memory", bytes),
		"nbdkit simple":    nbdkit("--no-sr", "memory", bytes),
		"nbdkit blocksize": nbdkit("--filter=blocksize-policy", "memory", bytes, "blocksize-minimum=4096", "blocksize-preferred=65536", "blocksize-maximum=262144", "blocksize-error-policy=error"),
		"nbdkit no zero":   nbdkit("--filter=nozero", "memory", bytes),
		"ours": func(t *testing.T) string {
			d := disktest.New(size)
			return serveHere(t, Export{Source: d, Target: d})
		},
		"nbdkit slow chunks": nbdkit("--filter=blocksize", "memory", bytes, "maxdata=64k"),
	}
}

// TestServersKeepBytes writes and reads ranges of every alignment, zeroes and
// trims, on every server, against a model in memory.
func TestServersKeepBytes(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	for name, start := range servers(t, size) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, start(t), "", Options{Contexts: []string{ContextAllocation}, Connections: 4, Piece: 128 << 10})
			if c.Size() != size {
				t.Fatalf("size %d, want %d", c.Size(), size)
			}
			target, err := NewTarget(c, TargetOptions{Fresh: true})
			if err != nil {
				t.Fatal(err)
			}
			model := make([]byte, size)
			r := rand.New(rand.NewPCG(1, 2))
			for i := range disktest.Steps(120) {
				off := r.Int64N(size)
				n := min(r.Int64N(1<<20)+1, size-off)
				if i%2 == 0 {
					off, n = off&^4095, max(n&^4095, 4096)
					n = min(n, size-off)
				}
				if i%3 == 2 {
					clear(model[off : off+n])
					err = target.Zero(off, n)
				} else {
					p := pattern(uint64(i), int(n))
					copy(model[off:], p)
					_, err = target.WriteAt(p, off)
				}
				if err != nil {
					t.Fatalf("step %d at %d+%d: %v", i, off, n, err)
				}
			}
			if err := target.Sync(); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, size)
			if n, err := c.ReadAt(got, 0); n != size || err != nil {
				t.Fatalf("read %d, %v", n, err)
			}
			if !bytes.Equal(got, model) {
				t.Fatal("bytes differ from what was written")
			}
			for range 40 {
				off := r.Int64N(size)
				p := make([]byte, min(r.Int64N(300000)+1, size-off))
				if _, err := c.ReadAt(p, off); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(p, model[off:][:len(p)]) {
					t.Fatalf("bytes differ at %d+%d", off, len(p))
				}
			}
			checkExtents(t, c, model)
		})
	}
}

// checkExtents compares a Source's map with the bytes: gapless, and nothing
// called Zero that is not.
func checkExtents(t *testing.T, c *Client, model []byte) {
	t.Helper()
	s, err := NewSource(c, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	at := int64(0)
	for e, err := range s.Extents(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Offset != at || e.Length <= 0 {
			t.Fatalf("extent %+v, expected one at %d", e, at)
		}
		at = e.End()
		if e.Kind == disk.Zero && len(bytes.Trim(model[e.Offset:e.End()], "\x00")) != 0 {
			t.Fatalf("extent %+v is not zero", e)
		}
		if e.Kind == disk.Same {
			t.Fatalf("extent %+v without a base", e)
		}
	}
	if at != int64(len(model)) {
		t.Fatalf("extents end at %d of %d", at, len(model))
	}
}

// TestConcurrentUse has many goroutines write and read their own ranges at
// once over one and over several connections.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	for _, conns := range []int{1, 4} {
		c := dial(t, serve(t, "nbdkit", "-f", "memory", "64M"), "", Options{Connections: conns})
		if len(c.conns) != conns {
			t.Fatalf("%d connections, want %d", len(c.conns), conns)
		}
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				base := int64(i) * 4 << 20
				p := pattern(uint64(i), 4<<20)
				if _, err := c.WriteAt(p, base); err != nil {
					t.Error(err)
				}
				got := make([]byte, 100_001)
				for off := int64(0); off+int64(len(got)) < 4<<20; off += 77_777 {
					if _, err := c.ReadAt(got, base+off); err != nil {
						t.Error(err)
					} else if !bytes.Equal(got, p[off:][:len(got)]) {
						t.Errorf("goroutine %d: bytes differ at %d", i, off)
					}
				}
			})
		}
		wg.Wait()
	}
}

// TestFewerConnections makes do with what a server allows, whether it refuses
// the others or lets them wait.
func TestFewerConnections(t *testing.T) {
	t.Parallel()
	img := filepath.Join(t.TempDir(), "d.raw")
	if err := os.WriteFile(img, pattern(1, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		sock string
		want int
	}{
		"refused":      {serve(t, "nbdkit", "-f", "--filter=limit", "memory", "1M", "limit=2"), 2},
		"waits":        {serve(t, "qemu-nbd", "-t", "-r", "-e", "3", "-f", "raw", img), 3},
		"not offered":  {serve(t, "qemu-nbd", "-t", "-e", "1", "-f", "raw", img), 1},
		"more than it": {serve(t, "nbdkit", "-f", "memory", "1M"), 4},
	} {
		client := dial(t, c.sock, "", Options{Connections: 4})
		if len(client.conns) != c.want {
			t.Errorf("%s: %d connections, want %d", name, len(client.conns), c.want)
		}
		if _, err := client.ReadAt(make([]byte, 4096), 0); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDirtyBitmap reads a persistent bitmap of a qcow2 image: clean is Same,
// dirty is Data or, where it was zeroed, Zero.
func TestDirtyBitmap(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	need(t, "qemu-io")
	img := filepath.Join(t.TempDir(), "disk.qcow2")
	const mib = 1 << 20
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", img, "64M")
	run(t, "qemu-io", "-f", "qcow2", "-c", "write -P 1 0 16M", img)
	run(t, "qemu-img", "bitmap", "--add", img, "b0")
	run(t, "qemu-io", "-f", "qcow2", "-c", "write -P 2 4M 1M", "-c", "write -z -u 8M 2M", "-c", "write -P 3 40M 64k", img)
	sock := serve(t, "qemu-nbd", "-t", "-r", "-f", "qcow2", "-B", "b0", img)
	c := dial(t, sock, "", Options{Contexts: []string{ContextAllocation, DirtyContext("b0"), DirtyContext("nosuch")}})
	if !slices.Equal(c.Info().Contexts, []string{ContextAllocation, DirtyContext("b0")}) {
		t.Fatalf("contexts %q", c.Info().Contexts)
	}
	s, err := NewSource(c, SourceOptions{DirtyContext: DirtyContext("b0")})
	if err != nil {
		t.Fatal(err)
	}
	var got []disk.Extent
	for e, err := range s.Extents(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	want := []disk.Extent{{Offset: 0, Length: 4 * mib, Kind: disk.Same}, {Offset: 4 * mib, Length: mib, Kind: disk.Data},
		{Offset: 5 * mib, Length: 3 * mib, Kind: disk.Same}, {Offset: 8 * mib, Length: 2 * mib, Kind: disk.Zero},
		{Offset: 10 * mib, Length: 30 * mib, Kind: disk.Same}, {Offset: 40 * mib, Length: 64 << 10, Kind: disk.Data},
		{Offset: 40*mib + 64<<10, Length: 24*mib - 64<<10, Kind: disk.Same}}
	if !slices.Equal(got, want) {
		t.Fatalf("extents\n%v\nwant\n%v", got, want)
	}
	if _, err := NewSource(c, SourceOptions{DirtyContext: DirtyContext("nosuch")}); !errors.Is(err, ErrNoContext) {
		t.Fatalf("missing bitmap: %v", err)
	}
	if _, err := NewTarget(c, TargetOptions{}); !errors.Is(err, ErrUnsupported) {
		t.Fatalf("target of a read-only export: %v", err)
	}
	if _, err := c.WriteAt([]byte{1}, 0); !errors.Is(err, syscall.EPERM) {
		t.Fatalf("write to a read-only export: %v", err)
	}
}

// TestRaggedSize reads and writes an export whose size is no multiple of
// anything.
func TestRaggedSize(t *testing.T) {
	t.Parallel()
	const size = 1<<20 + 12345
	for _, sock := range []string{
		serve(t, "nbdkit", "-f", "memory", fmt.Sprint(size)),
		serve(t, "nbdkit", "-f", "--filter=blocksize-policy", "memory", fmt.Sprint(size), "blocksize-minimum=1", "blocksize-preferred=4096", "blocksize-maximum=64k", "blocksize-error-policy=error"),
	} {
		c := dial(t, sock, "", Options{Contexts: []string{ContextAllocation}, Piece: 64 << 10})
		model := pattern(9, size)
		if n, err := c.WriteAt(model, 0); n != size || err != nil {
			t.Fatal(n, err)
		}
		got := make([]byte, size+100)
		n, err := c.ReadAt(got, 0)
		if n != size || err != io.EOF || !bytes.Equal(got[:n], model) {
			t.Fatalf("read %d, %v", n, err)
		}
		if n, err := c.ReadAt(got, size); n != 0 || err != io.EOF {
			t.Fatalf("read at the end: %d, %v", n, err)
		}
		if _, err := c.WriteAt([]byte{1, 2}, size-1); !errors.Is(err, ErrRange) {
			t.Fatalf("write over the end: %v", err)
		}
		checkExtents(t, c, model)
	}
}

// TestServerErrors keeps a server's errno and words.
func TestServerErrors(t *testing.T) {
	t.Parallel()
	sock := serve(t, "nbdkit", "-f", "--filter=error", "memory", "1M", "error-pread=ENOSPC", "error-pread-rate=100%")
	c := dial(t, sock, "", Options{})
	_, err := c.ReadAt(make([]byte, 4096), 8192)
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, syscall.ENOSPC) || e.Op != "read" || e.Offset != 8192 || e.Length != 4096 {
		t.Fatalf("read error %#v", err)
	}
	if _, err := c.WriteAt([]byte("still alive"), 0); err != nil {
		t.Fatalf("after an error: %v", err)
	}
}

// TestUnknownExport and friends: what Dial says.
func TestDialRefusals(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	ctx := context.Background()
	img := filepath.Join(t.TempDir(), "d.raw")
	if err := os.WriteFile(img, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	sock := serve(t, "qemu-nbd", "-t", "-f", "raw", "-x", "right", img)
	if _, err := Dial(ctx, "unix", sock, "wrong", Options{}); !errors.Is(err, ErrUnknownExport) {
		t.Errorf("wrong export: %v", err)
	}
	if _, err := Dial(ctx, "unix", sock, "right", Options{Connections: 99}); err == nil || !strings.Contains(err.Error(), "Connections") {
		t.Errorf("too many connections: %v", err)
	}
	if _, err := Dial(ctx, "unix", sock+"x", "right", Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no socket: %v", err)
	}
	dead, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := Dial(dead, "unix", sock, "right", Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestContextEndsRequests cancels a client while its server holds a request.
func TestContextEndsRequests(t *testing.T) {
	t.Parallel()
	sock := serve(t, "nbdkit", "-f", "--filter=delay", "memory", "1M", "rdelay=100")
	ctx, cancel := context.WithCancel(context.Background())
	c, err := Dial(ctx, "unix", sock, "", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	done := make(chan error)
	go func() { _, err := c.ReadAt(make([]byte, 512), 0); done <- err }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("read of a cancelled client: %v", err)
	}
	if _, err := c.ReadAt(make([]byte, 512), 0); !errors.Is(err, context.Canceled) {
		t.Fatalf("read after: %v", err)
	}
}
