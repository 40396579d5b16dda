// Package servertest starts real object storage servers for the tests of the
// stores: on 127.0.0.1 and a free port, with data in a temporary directory, and
// stopped at the test's end. For tests only.
//
// The servers are installed by scripts/test-servers. Where one isn't, the test
// is skipped and says so; with HOLDFAST_MUST_RUN=1 it fails.
package servertest

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Keys of the servers; they guard nothing.
const (
	AccessKey = "holdfasttest"
	SecretKey = "holdfasttestsecret"
	// AzureAccount and AzureKey are those that Azurite always knows (Azurite
	// README, "Default Storage Account").
	AzureAccount = "devstoreaccount1"
	AzureKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// VersityGW starts the S3 gateway versitygw with versioning and further flags,
// and returns its URL.
func VersityGW(t testing.TB, flags ...string) string {
	bin := find(t, "versitygw")
	dir := t.TempDir()
	for _, d := range []string{"data", "versions"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return start(t, "http", func(address string) *exec.Cmd {
		args := append([]string{"--port", address, "--quiet"}, flags...)
		c := exec.Command(bin, append(args, "posix", "--versioning-dir", filepath.Join(dir, "versions"), filepath.Join(dir, "data"))...)
		c.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+AccessKey, "ROOT_SECRET_ACCESS_KEY="+SecretKey)
		return c
	})
}

// KMSKey is the key with which MinIO can encrypt what it stores.
const KMSKey = "holdfast-test"

// MinIO starts a MinIO server and returns its URL.
func MinIO(t testing.TB) string {
	bin := find(t, "minio")
	dir := t.TempDir()
	return start(t, "http", func(address string) *exec.Cmd {
		c := exec.Command(bin, "server", "--quiet", "--address", address, "--console-address", "127.0.0.1:0", dir)
		c.Env = append(os.Environ(), "MINIO_ROOT_USER="+AccessKey, "MINIO_ROOT_PASSWORD="+SecretKey, "MINIO_UPDATE=off",
			"MINIO_BROWSER=off", "MINIO_KMS_SECRET_KEY="+KMSKey+":"+base64.StdEncoding.EncodeToString(make([]byte, 32)), "HOME="+dir)
		return c
	})
}

// Azurite starts Azurite's blob service and returns the URL of AzureAccount.
func Azurite(t testing.TB) string {
	bin := find(t, "azurite")
	dir := t.TempDir()
	return start(t, "http", func(address string) *exec.Cmd {
		host, port, _ := net.SplitHostPort(address)
		return exec.Command(bin, "--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location", dir,
			"--blobHost", host, "--blobPort", port, "--queuePort", "0", "--tablePort", "0")
	}) + "/" + AzureAccount
}

// GCS starts fake-gcs-server and returns its URL.
func GCS(t testing.TB) string {
	bin := find(t, "fake-gcs-server")
	dir := t.TempDir()
	return start(t, "http", func(address string) *exec.Cmd {
		host, port, _ := net.SplitHostPort(address)
		return exec.Command(bin, "-scheme", "http", "-host", host, "-port", port, "-backend", "memory",
			"-filesystem-root", dir, "-public-host", address, "-external-url", "http://"+address)
	})
}

// find returns the path of a server's program, or ends the test.
func find(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("HOLDFAST_TEST_SERVERS")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err == nil {
			dir = filepath.Join(cache, "holdfast", "test-servers")
		}
	}
	path := filepath.Join(dir, "bin", name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	if os.Getenv("HOLDFAST_MUST_RUN") == "1" {
		t.Fatalf("%s is not installed: run scripts/test-servers %s", name, name)
	}
	t.Skipf("%s is not installed: run scripts/test-servers %s", name, name)
	return ""
}

// start runs the server and waits until it accepts connections. The port is
// chosen beforehand; if someone else takes it first, another is tried.
func start(t testing.TB, scheme string, command func(address string) *exec.Cmd) string {
	t.Helper()
	var err error
	for range 3 {
		var address string
		if address, err = freeAddress(); err != nil {
			break
		}
		if err = run(t, command(address), address); err == nil {
			return scheme + "://" + address
		}
	}
	t.Fatal(err)
	return ""
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func run(t testing.TB, c *exec.Cmd, address string) error {
	p := &process{cmd: c, ended: make(chan struct{})}
	c.Stdout, c.Stderr = &p.output, &p.output
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return err
	}
	t.Cleanup(p.stop)
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended: %v: %s", c.Path, p.err, p.output.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
	p.stop()
	return fmt.Errorf("%s does not listen on %s after a minute: %s", c.Path, address, p.output.String())
}

// process is a server's process. It's killed when this one dies.
type process struct {
	cmd    *exec.Cmd
	output lockedBuffer
	ended  chan struct{}
	err    error // once ended is closed
}

// run starts the process and waits for its end, on one thread: the death signal
// is sent when the thread that started it ends.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err == nil {
		p.err = p.cmd.Wait()
	}
	close(p.ended)
}

func (p *process) stop() {
	if err := p.cmd.Process.Kill(); err == nil || errors.Is(err, os.ErrProcessDone) {
		<-p.ended
	}
}

// lockedBuffer keeps the first 64 KiB written to it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Write(p[:min(len(p), max(0, 64<<10-b.buf.Len()))])
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
