package image

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"holdfast/internal/luks"
	"holdfast/internal/nbd"
)

// child is a qemu-nbd process that serves one image on a socket that only we
// can reach. It ends with Close, or with this process.
type child struct {
	path   string
	dir    string // private; holds the socket
	cmd    *exec.Cmd
	stderr *tail
	client *nbd.Client
	stop   func() bool   // takes the child off its context
	gone   chan struct{} // closed when the process has been waited for
	once   sync.Once
}

// startQEMU starts qemu-nbd on a qcow2 image, which must have a format and
// backing files that the caller trusts. The socket listens before the
// process starts (sd_listen_fds(3)), so there is nothing to wait for.
func startQEMU(path string, flags ...string) (*child, error) {
	abs, err := filepath.Abs(path) // a relative path with a colon would be a protocol to QEMU
	if err != nil {
		return nil, err
	}
	return start(path, nil, append(append([]string{"--format=qcow2", "--cache=writeback"}, flags...), "--", abs)...)
}

// startSealed starts qemu-nbd on an image that is encrypted with LUKS.
func startSealed(path, format string, key luks.Key) (*child, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	return start(path, key, "--cache=writeback", "--image-opts", luks.Opts(format, abs))
}

// start starts qemu-nbd with a key, if one is needed.
func start(path string, key luks.Key, flags ...string) (*child, error) {
	bin, err := exec.LookPath("qemu-nbd")
	if err != nil {
		return nil, fmt.Errorf("%s: this qcow2 image needs qemu-nbd (package qemu-utils): %w", path, err)
	}
	dir, err := os.MkdirTemp("", "holdfast-nbd-") // mode 0700
	if err != nil {
		return nil, err
	}
	c := &child{path: path, dir: dir, stderr: &tail{}, gone: make(chan struct{})}
	listener, err := c.listen()
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	defer listener.Close()
	c.cmd = exec.Command("/bin/sh", "-c", `export LISTEN_PID=$$; exec "$@"`, "sh", bin, "--persistent", "--shared=8")
	c.cmd.Env = []string{"LISTEN_FDS=1", "PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	c.cmd.ExtraFiles = []*os.File{listener}
	if key != nil {
		object, started, err := key.Hand(c.cmd)
		if err != nil {
			_ = os.RemoveAll(dir)
			return nil, err
		}
		defer started()
		flags = append(object, flags...)
	}
	c.cmd.Args = append(c.cmd.Args, flags...)
	c.cmd.Stderr = c.stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go c.run(started)
	if err := <-started; err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("%s: start qemu-nbd: %w", path, err)
	}
	return c, nil
}

func (c *child) socket() string { return filepath.Join(c.dir, "nbd") }

func (c *child) listen() (*os.File, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: c.socket(), Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	return l.File()
}

// run starts the process and waits for its end on one thread: the kernel kills
// it when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG).
func (c *child) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := c.cmd.Start()
	started <- err
	if err == nil {
		_ = c.cmd.Wait() // how it ended is in stderr
	}
	close(c.gone)
}

// dial connects to the child, which it closes on failure.
func (c *child) dial(ctx context.Context, o nbd.Options) (*nbd.Client, error) {
	client, err := nbd.Dial(ctx, "unix", c.socket(), "", o)
	if err != nil {
		select { // one that could not open the image ends by itself and says why
		case <-c.gone:
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
		err = c.explain(err)
		_ = c.Close()
		return nil, err
	}
	c.client = client
	_ = os.RemoveAll(c.dir) // all connections are made: a killed process leaves no directory
	c.stop = context.AfterFunc(ctx, func() { _ = c.Close() })
	return client, nil
}

// explain adds to an error what the child wrote to its standard error.
func (c *child) explain(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if said := c.stderr.String(); said != "" {
		return fmt.Errorf("%s: %w (%s)", c.path, err, said)
	}
	return fmt.Errorf("%s: %w", c.path, err)
}

// Close ends the connection and the process, and waits until it is gone.
func (c *child) Close() error {
	c.once.Do(func() {
		if c.client != nil {
			c.stop()
			_ = c.client.Close()
		}
		select {
		case <-c.gone: // its number may be another's by now
		default:
			_ = c.cmd.Process.Kill()
		}
		<-c.gone
		_ = os.RemoveAll(c.dir)
	})
	return nil
}

// tail keeps the last KiB of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if over := len(t.b) - 1<<10; over > 0 {
		t.b = t.b[over:]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(strings.Fields(string(t.b)), " ")
}
