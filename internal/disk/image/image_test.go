package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/disk"
	"holdfast/internal/disk/disktest"
	"holdfast/internal/disk/qcow2"
	"holdfast/internal/nbd"
)

func qemu(t testing.TB, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed: %v", name, err)
	}
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// sample is a disk with text, noise and zeroes.
func sample(size int64) *disktest.Disk {
	d := disktest.New(size)
	disktest.FillText(d.Bytes[size/4:size/2], 1)
	disktest.Fill(d.Bytes[size/2+77:size/2+77+size/8], 2)
	return d
}

// TestRoundTrip makes an image of each format and reads it back, probing.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, format := range []string{Raw, Qcow2} {
		src := sample(8<<20 + 512)
		path := filepath.Join(t.TempDir(), "disk.img")
		dst, err := CreateTarget(ctx, path, format, src.Size())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := disk.Copy(ctx, dst, src, disk.CopyOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: there before Commit: %v", format, err)
		}
		if err := dst.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := dst.Close(); err != nil {
			t.Fatal(err)
		}
		back, err := OpenSource(ctx, path, "")
		if err != nil {
			t.Fatal(err)
		}
		if back.Format() != format {
			t.Errorf("probed as %s, want %s", back.Format(), format)
		}
		disktest.Check(t, back, src.Bytes, nil)
		if err := back.Close(); err != nil {
			t.Error(err)
		}
		onlyFile(t, path)
	}
}

// onlyFile fails if there is anything beside path, or not even that.
func onlyFile(t *testing.T, path string) {
	t.Helper()
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(names) != 1 || names[0].Name() != filepath.Base(path) {
		t.Errorf("in the directory: %v, %v", names, err)
	}
}

// TestCreateRefusals: a name that is taken, before and at the end; a format;
// two at once; and nothing is left.
func TestCreateRefusals(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := t.TempDir()
	path := filepath.Join(dir, "d.qcow2")
	one, err := CreateTarget(ctx, path, Qcow2, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CreateTarget(ctx, path, Raw, 1<<20); !errors.Is(err, ErrBusy) {
		t.Errorf("two at once: %v", err)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateTarget(ctx, path, Raw, 1<<20); !errors.Is(err, os.ErrExist) {
		t.Errorf("name taken: %v", err)
	}
	if err := one.Commit(); !errors.Is(err, os.ErrExist) {
		t.Errorf("name taken meanwhile: %v", err)
	}
	if err := errors.Join(one.Close(), one.Close()); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "mine" {
		t.Errorf("the file that was there: %q, %v", b, err)
	}
	onlyFile(t, path)
	for _, c := range []struct {
		path, format string
		size         int64
		want         error
	}{
		{filepath.Join(dir, "x"), "vmdk", 1, ErrFormat},
		{filepath.Join(dir, "x"), "", 1, ErrFormat},
		{filepath.Join(dir, "x"), Raw, -1, nil},
		{filepath.Join(dir, "x"), Qcow2, qcow2.MaxSize + 1, nil},
		{filepath.Join(dir, "no/such/dir"), Raw, 1, os.ErrNotExist},
	} {
		if _, err := CreateTarget(ctx, c.path, c.format, c.size); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	onlyFile(t, path)
}

// TestStalePartial takes over what a dead process left.
func TestStalePartial(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "d.raw")
	if err := os.WriteFile(path+".partial", []byte("left over"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := CreateTarget(context.Background(), path, Raw, 4096)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil || len(b) != 4096 || !disk.IsZero(b) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// TestProbe says what disks are, and refuses what is doubtful.
func TestProbe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string, head string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, append([]byte(head), make([]byte, 4096)...), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	made := func(name, format string, args ...string) string {
		path := filepath.Join(dir, name)
		args = append(append([]string{"create", "-q", "-f", format}, args...), path)
		if !strings.Contains(strings.Join(args, " "), "-b ") {
			args = append(args, "1M")
		}
		qemu(t, "qemu-img", args...)
		return path
	}
	base := made("base.img", "qcow2")
	for _, c := range []struct{ path, want string }{
		{file("empty", ""), Raw}, {file("mbr", "\xeb\x63\x90"), Raw}, {base, Qcow2},
		{made("d.vmdk", "vmdk"), "vmdk"}, {made("d.vdi", "vdi"), "vdi"}, {made("d.vhdx", "vhdx"), "vhdx"},
		{made("d.vpc", "vpc"), "vpc"}, {made("fixed.vpc", "vpc", "-o", "subformat=fixed"), "vpc"}, {made("d.qed", "qed"), "qed"},
	} {
		got, err := Probe(c.path)
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.path, got, err, c.want)
		}
		if c.want == Raw || c.want == Qcow2 {
			continue
		}
		for _, as := range []string{"", Qcow2, c.want} {
			if _, err := OpenSource(context.Background(), c.path, as); !errors.Is(err, ErrFormat) ||
				!strings.Contains(err.Error(), c.path) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("open %s as %q: %v", c.path, as, err)
			}
		}
	}
	for _, path := range []string{made("guest.raw", "qcow2"), made("over.img", "qcow2", "-b", base, "-F", "qcow2"),
		file("fake", "QFI\xfb\x00\x00\x00\x03")} {
		if got, err := OpenSource(context.Background(), path, ""); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v, %v", path, got, err)
		}
	}
	s, err := OpenSource(context.Background(), filepath.Join(dir, "guest.raw"), Raw)
	if err != nil || s.Format() != Raw {
		t.Errorf("qcow2 named raw: %v", err)
	}
}

// TestBackingChain reads an image with a backing file and subclusters through
// qemu-nbd, and leaves no process and no directory.
func TestBackingChain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	base, top := filepath.Join(dir, "base.qcow2"), filepath.Join(dir, "top.qcow2")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", base, "4M")
	qemu(t, "qemu-io", "-f", "qcow2", "-c", "write -P 1 0 2M", base)
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on", "-b", base, "-F", "qcow2", top)
	qemu(t, "qemu-io", "-f", "qcow2", "-c", "write -P 2 1M 64k", top)
	model := make([]byte, 4<<20)
	for i := range 2 << 20 {
		model[i] = 1
	}
	for i := range 64 << 10 {
		model[1<<20+i] = 2
	}
	s, err := OpenSource(context.Background(), top, Qcow2)
	if err != nil {
		t.Fatal(err)
	}
	child := s.closer.(*child)
	disktest.Check(t, s, model, nil)
	if _, err := os.Stat(child.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket directory: %v", err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(child.cmd.Process.Pid, 0); err != syscall.ESRCH {
		t.Errorf("child: %v", err)
	}
}

// TestChildDiesWithParent kills a process that has a child, the hard way.
func TestChildDiesWithParent(t *testing.T) {
	if path := os.Getenv("IMAGE_TEST_PARENT"); path != "" { // we are that process
		s, err := OpenSource(context.Background(), path, Qcow2)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(s.closer.(*child).cmd.Process.Pid)
		select {}
	}
	dir := t.TempDir()
	base, top := filepath.Join(dir, "base.qcow2"), filepath.Join(dir, "top.qcow2")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", base, "4M")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top)
	parent := exec.Command(os.Args[0], "-test.run=^TestChildDiesWithParent$")
	parent.Env = append(os.Environ(), "IMAGE_TEST_PARENT="+top, "TMPDIR="+dir)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	_, scanErr := fmt.Fscan(out, &pid)
	fd := -1
	if scanErr == nil {
		fd, err = unix.PidfdOpen(pid, 0)
	}
	_ = parent.Process.Kill()
	_ = parent.Wait()
	if scanErr != nil || err != nil {
		t.Fatal(scanErr, err)
	}
	defer unix.Close(fd)
	// A pidfd becomes readable when its process ends.
	n, err := 0, error(unix.EINTR)
	for err == unix.EINTR {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 30_000)
	}
	if n != 1 || err != nil {
		t.Fatalf("the child is alive: %d, %v", n, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "holdfast-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestChildEnds: with the context; and when it cannot open the image, with its
// own words.
func TestChildEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	base, top := filepath.Join(dir, "base.qcow2"), filepath.Join(dir, "top.qcow2")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", base, "4M")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top)
	ctx, cancel := context.WithCancel(context.Background())
	s, err := OpenSource(ctx, top, Qcow2)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-s.closer.(*child).gone
	if _, err := s.ReadAt(make([]byte, 512), 0); err == nil {
		t.Error("read after the context ended")
	}
	if err := os.Remove(base); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSource(context.Background(), top, Qcow2); err == nil || !strings.Contains(err.Error(), "base.qcow2") {
		t.Errorf("backing file gone: %v", err)
	}
}

// TestInUse refuses an image that a QEMU may write, and notices one that was
// written while it was open.
func TestInUse(t *testing.T) {
	t.Parallel()
	for _, format := range []string{Raw, Qcow2} {
		path := filepath.Join(t.TempDir(), "d."+format)
		qemu(t, "qemu-img", "create", "-q", "-f", format, path, "1M")
		s, err := OpenSource(context.Background(), path, format)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Unchanged(); err != nil {
			t.Error(err)
		}
		writer := startWriter(t, path, format)
		if err := s.Unchanged(); !errors.Is(err, ErrInUse) {
			t.Errorf("%s, a writer came: %v", format, err)
		}
		if _, err := OpenSource(context.Background(), path, format); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s, in use: %v", format, err)
		}
		if _, err := writer.WriteAt([]byte{1}, 5); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(writer.Flush(), writer.Close()); err != nil {
			t.Fatal(err)
		}
		if err := s.Unchanged(); !errors.Is(err, ErrInUse) {
			t.Errorf("%s, was written: %v", format, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// startWriter has a qemu-nbd open an image for writing.
func startWriter(t *testing.T, path, format string) *nbd.Client {
	t.Helper()
	dir := t.TempDir()
	c := exec.Command("qemu-nbd", "--fork", "--pid-file="+filepath.Join(dir, "pid"), "--socket="+filepath.Join(dir, "s"), "--format="+format, path)
	if out, err := c.CombinedOutput(); err != nil { // returns when the socket listens
		t.Fatalf("qemu-nbd: %v\n%s", err, out)
	}
	client, err := nbd.Dial(context.Background(), "unix", filepath.Join(dir, "s"), "", nbd.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return client // qemu-nbd ends with its only client
}

// FuzzProbe: any bytes have a format, and only those without a signature are
// raw.
func FuzzProbe(f *testing.F) {
	for _, s := range signatures {
		f.Add([]byte(s.magic))
	}
	f.Add(make([]byte, 600))
	f.Fuzz(func(t *testing.T, b []byte) {
		format, err := probe(strings.NewReader(string(b)), int64(len(b)))
		if err != nil || format == "" {
			t.Fatal(format, err)
		}
		if strings.HasPrefix(string(b), "QFI\xfb") && format != Qcow2 {
			t.Fatal(fmt.Sprint("qcow2 taken for ", format))
		}
	})
}

// TestResume goes on with what a dead process left, and leaves it there when that
// comes to nothing; what is being filled is nobody else's.
func TestResume(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "disk")
	if _, err := ResumeTarget(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing to go on with: %v", err)
	}
	if err := os.WriteFile(path+".partial", []byte(strings.Repeat("x", 8192)), 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := ResumeTarget(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ResumeTarget(path); !errors.Is(err, ErrBusy) {
		t.Errorf("two at once: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := ResumeTarget(path)
	if err != nil {
		t.Fatalf("what was not committed is gone: %v", err)
	}
	defer again.Close()
	if _, err := again.WriteAt([]byte("new"), 4096); err != nil {
		t.Fatal(err)
	}
	if err := again.Commit(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || len(got) != 8192 || string(got[4095:4100]) != "xnewx" {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestLock: while an image is locked no QEMU opens it, and while a QEMU has it open it
// is not locked.
func TestLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "d.qcow2")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", path, "1M")
	release, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"-r", "-n"} {
		if exec.Command("qemu-io", how, "-c", "read 0 512", path).Run() == nil {
			t.Errorf("qemu-io %s opens a locked image", how)
		}
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	qemu(t, "qemu-io", "-c", "write 0 512", path)
	holder := exec.Command("qemu-io", path) // it reads commands until its input ends
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); err == nil && time.Now().Before(deadline); {
		if release, err = Lock(path); err == nil {
			_ = release()
		}
	}
	if !errors.Is(err, ErrInUse) {
		t.Errorf("an image that a QEMU has open: %v, want ErrInUse", err)
	}
	_, _ = in.Close(), holder.Wait()
}
