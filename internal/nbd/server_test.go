package nbd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sync/semaphore"

	"holdfast/internal/disk"
	"holdfast/internal/disk/disktest"
)

// serveHere runs our own server on a socket until the test ends.
func serveHere(t testing.TB, exports ...Export) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nbd")
	if err != nil {
		t.Fatal(err)
	}
	sock := filepath.Join(dir, "s")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- Serve(ctx, l, ServerOptions{}, exports...) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
		_ = os.RemoveAll(dir)
	})
	return sock
}

// holed is a disk of data, zeroes and text.
func holed(size int64) *disktest.Disk {
	d := disktest.New(size)
	disktest.Fill(d.Bytes[:size/8], 1)
	disktest.FillText(d.Bytes[size/2:size/2+size/4], 2)
	return d
}

// TestToolsReadOurServer has the tools of libnbd and QEMU read an export.
func TestToolsReadOurServer(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	d := holed(16 * mib)
	sock := serveHere(t, Export{Name: "vm/disk", Description: "a disk", Source: d}, Export{Source: disktest.New(mib)})
	uri := "nbd+unix:///vm/disk?socket=" + sock
	dir := t.TempDir()
	model := filepath.Join(dir, "model")
	if err := os.WriteFile(model, d.Bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"nbdinfo", "nbdcopy", "qemu-img", "qemu-io"} {
		need(t, tool)
	}
	info := run(t, "nbdinfo", "--list", "nbd+unix:///?socket="+sock)
	for _, want := range []string{"vm/disk", "a disk", "export-size: 16777216", "base:allocation", "is_read_only: true", "can_multi_conn: true", "newstyle-fixed"} {
		if !strings.Contains(info, want) {
			t.Errorf("nbdinfo does not say %q:\n%s", want, info)
		}
	}
	lines := strings.Split(strings.TrimSpace(run(t, "nbdinfo", "--map", uri)), "\n")
	want := [][]string{{"0", "2097152", "0", "data"}, {"2097152", "6291456", "3", "hole,zero"}, {"8388608", "4194304", "0", "data"}, {"12582912", "4194304", "3", "hole,zero"}}
	for i, line := range lines {
		if i >= len(want) || !slices.Equal(strings.Fields(line), want[i]) {
			t.Errorf("map line %d: %s", i, line)
		}
	}
	copied := filepath.Join(dir, "copied")
	run(t, "nbdcopy", uri, copied)
	if b, err := os.ReadFile(copied); err != nil || !bytes.Equal(b, d.Bytes) {
		t.Errorf("nbdcopy: bytes differ: %v", err)
	}
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", uri, model)
	run(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", uri, filepath.Join(dir, "c.qcow2"))
	run(t, "qemu-img", "compare", "-f", "qcow2", "-F", "raw", filepath.Join(dir, "c.qcow2"), model)
	if out, err := exec.Command("qemu-io", "-f", "raw", "-c", "write 0 512", uri).CombinedOutput(); err == nil {
		t.Errorf("write to a read-only export: %s", out)
	}
}

// TestToolsWriteOurServer has them write one.
func TestToolsWriteOurServer(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"nbdcopy", "qemu-img", "qemu-io"} {
		need(t, tool)
	}
	d, model := disktest.New(8<<20), holed(8<<20)
	sock := serveHere(t, Export{Source: d, Target: d})
	uri := "nbd+unix:///?socket=" + sock
	dir := t.TempDir()
	path := filepath.Join(dir, "model")
	if err := os.WriteFile(path, model.Bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	disktest.Fill(d.Bytes, 99)
	run(t, "nbdcopy", "--flush", path, uri)
	if !bytes.Equal(d.Snapshot(), model.Bytes) || d.Syncs() == 0 {
		t.Errorf("nbdcopy: bytes differ, or no sync (%d)", d.Syncs())
	}
	noise := make([]byte, d.Size())
	disktest.Fill(noise, 98)
	if _, err := d.WriteAt(noise, 0); err != nil {
		t.Fatal(err)
	}
	run(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", path, uri)
	if !bytes.Equal(d.Snapshot(), model.Bytes) {
		t.Error("qemu-img convert: bytes differ")
	}
	run(t, "qemu-io", "-f", "raw", "-c", "write -f -P 7 1M 100k", "-c", "write -z 0 64k", "-c", "discard 3M 1M", "-c", "flush", "-c", "read -P 7 1M 100k", "-c", "read -P 0 0 64k", uri)
	if b := d.Snapshot(); b[1<<20] != 7 || b[0] != 0 || !disk.IsZero(b[3<<20:4<<20]) {
		t.Error("qemu-io: bytes differ")
	}
}

// TestOverlayOnOurServer is an instant restore in small: QEMU writes into its
// own overlay over a read-only export, then pulls the rest in, and the image
// stands by itself.
func TestOverlayOnOurServer(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	need(t, "qemu-io")
	d := holed(8 << 20)
	uri := "nbd+unix:///point?socket=" + serveHere(t, Export{Name: "point", Source: d})
	overlay := filepath.Join(t.TempDir(), "overlay.qcow2")
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", uri, "-F", "raw", overlay)
	run(t, "qemu-io", "-f", "qcow2", "-c", "write -P 9 100k 1M", "-c", "write -z 5M 64k", overlay)
	run(t, "qemu-img", "rebase", "-f", "qcow2", "-b", "", overlay)
	if info := run(t, "qemu-img", "info", overlay); strings.Contains(info, "backing") {
		t.Fatalf("it has a backing file still: %s", info)
	}
	model := d.Snapshot()
	for i := range 1 << 20 {
		model[100<<10+i] = 9
	}
	clear(model[5<<20 : 5<<20+64<<10])
	c := dial(t, serve(t, "qemu-nbd", "-t", "-r", "-f", "qcow2", overlay), "", Options{Contexts: []string{ContextAllocation}})
	got := make([]byte, len(model))
	if _, err := c.ReadAt(got, 0); err != nil || !bytes.Equal(got, model) {
		t.Errorf("bytes differ: %v", err)
	}
	if bytes.Equal(d.Snapshot(), model) {
		t.Error("the export was written")
	}
}

// TestMapFollowsWrites: a range that was zero and is written is not called
// zero on any connection.
func TestMapFollowsWrites(t *testing.T) {
	t.Parallel()
	d := disktest.New(1 << 20)
	sock := serveHere(t, Export{Source: d, Target: d})
	reader := dial(t, sock, "", Options{Contexts: []string{ContextAllocation}})
	writer := dial(t, sock, "", Options{})
	checkExtents(t, reader, d.Snapshot())
	for off := int64(0); off < 1<<20; off += 300_000 {
		if _, err := writer.WriteAt([]byte{1}, off); err != nil {
			t.Fatal(err)
		}
		checkExtents(t, reader, d.Snapshot())
	}
}

// failing is a disk whose requests fail.
type failing struct{ *disktest.Disk }

func (failing) ReadAt([]byte, int64) (int, error)  { return 0, errors.New("bad sector") }
func (failing) WriteAt([]byte, int64) (int, error) { return 0, syscall.ENOSPC }

// TestServerTellsErrors carries a disk's errors to the client.
func TestServerTellsErrors(t *testing.T) {
	t.Parallel()
	d := failing{disktest.New(4096)}
	c := dial(t, serveHere(t, Export{Source: d, Target: d}), "", Options{})
	if _, err := c.ReadAt(make([]byte, 512), 0); !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "bad sector") {
		t.Errorf("read: %v", err)
	}
	if _, err := c.WriteAt(make([]byte, 512), 0); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write: %v", err)
	}
	if err := c.Flush(); err != nil {
		t.Errorf("flush: %v", err)
	}
}

// TestServerRefusals asks for what is not there, past the client's own checks.
func TestServerRefusals(t *testing.T) {
	t.Parallel()
	d := disktest.New(4096)
	sock := serveHere(t, Export{Name: "ro", Source: d}, Export{Name: "rw", Source: d, Target: d})
	if _, err := Dial(context.Background(), "unix", sock, "no", Options{}); !errors.Is(err, ErrUnknownExport) {
		t.Errorf("unknown export: %v", err)
	}
	for _, c := range []struct {
		export string
		r      request
		want   syscall.Errno
	}{
		{"ro", request{cmd: cmdWrite, length: 1, payload: []byte{1}}, syscall.EPERM},
		{"ro", request{cmd: cmdTrim, length: 1}, syscall.EPERM},
		{"rw", request{cmd: cmdRead, off: 4000, length: 97, dst: make([]byte, 97)}, syscall.EINVAL},
		{"rw", request{cmd: cmdRead, off: -1, length: 1, dst: make([]byte, 1)}, syscall.EINVAL},
		{"rw", request{cmd: cmdWrite, off: 4096, length: 1, payload: []byte{1}}, syscall.ENOSPC},
		{"rw", request{cmd: cmdWriteZeroes, off: 4000, length: 97}, syscall.ENOSPC},
		{"rw", request{cmd: cmdWriteZeroes, flags: uint16(FastZero), length: 97}, syscall.EINVAL},
		{"rw", request{cmd: cmdTrim, off: 4000, length: 97}, syscall.EINVAL},
		{"rw", request{cmd: cmdBlockStatus, length: 4096}, syscall.EINVAL}, // not negotiated
		{"rw", request{cmd: 77}, syscall.EINVAL},
	} {
		client := dial(t, sock, c.export, Options{})
		if err := client.do(&c.r); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.r, err, c.want)
		}
		if _, err := client.ReadAt(make([]byte, 1), 0); err != nil {
			t.Errorf("after %+v: %v", c.r, err)
		}
	}
	for _, bad := range [][]Export{{{}}, {{Source: d}, {Source: d}}, {{Source: d, Target: disktest.New(1)}}} {
		l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
		if err != nil {
			t.Fatal(err)
		}
		if err := Serve(context.Background(), l, ServerOptions{}, bad...); err == nil {
			t.Errorf("exports %v served", bad)
		}
		_ = l.Close()
	}
}

// TestServeEnds: with its context, though clients are connected.
func TestServeEnds(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- Serve(ctx, l, ServerOptions{}, Export{Source: disktest.New(512)}) }()
	c := dial(t, l.Addr().String(), "", Options{})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := c.ReadAt(make([]byte, 1), 0); err == nil {
		t.Error("read of a server that ended")
	}
}

// FuzzClient lets a client say anything to a server: no panic, and the server
// comes to an end with it.
func FuzzClient(f *testing.F) {
	option := func(option uint32, data []byte) []byte { return appendOption(nil, option, data) }
	ask := func(cmd, flags uint16, off int64, length uint32, payload ...byte) []byte {
		var h [requestSize]byte
		putRequest(&h, flags, cmd, 7, off, length)
		return append(h[:], payload...)
	}
	entry := append(binary.BigEndian.AppendUint32(appendString(nil, ""), 1), appendString(nil, ContextAllocation)...)
	head := slices.Concat([]byte{0, 0, 0, 3}, option(optStructuredReply, nil), option(optSetMetaContext, entry),
		option(optListMetaContext, appendString(nil, "")), option(optList, nil), option(99, []byte("?")),
		option(optInfo, append(appendString(nil, ""), 0, 0)), option(optGo, append(appendString(nil, ""), 0, 0)))
	f.Add(slices.Concat(head, ask(cmdRead, 0, 0, 4096), ask(cmdBlockStatus, 0, 0, 1<<20), ask(cmdWrite, 1, 5, 3, 1, 2, 3),
		ask(cmdWriteZeroes, 2, 0, 1<<20), ask(cmdTrim, 0, 512, 512), ask(cmdFlush, 0, 0, 0), ask(cmdDisconnect, 0, 0, 0)))
	f.Add(slices.Concat([]byte{0, 0, 0, 1}, option(optExportName, nil), ask(cmdRead, 0, 1<<20-5, 10)))
	f.Add(slices.Concat([]byte{0, 0, 0, 1}, option(optAbort, nil)))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := disktest.New(1 << 20)
		s := &server{o: ServerOptions{Handshake: 1 << 40}, memory: semaphore.NewWeighted(2 * maxPayload),
			exports: []*served{{Export: Export{Source: d, Target: d}}}}
		s.connection(context.Background(), &spoken{r: bytes.NewReader(b)})
		if !s.memory.TryAcquire(2 * maxPayload) {
			t.Fatal("memory was not given back")
		}
	})
}

// spoken is a connection that says a text and hears nothing.
type spoken struct {
	scripted
	r io.Reader
}

func (s *spoken) Read(p []byte) (int, error)  { return s.r.Read(p) }
func (s *spoken) Write(p []byte) (int, error) { return len(p), nil }
func (s *spoken) Close() error                { return nil }
