// Package e2e runs the whole of Holdfast as its users do: the real binary as a
// server, the real binary as command line, a real guest under libvirt.
//
// It holds tests only.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// binary is the holdfast under test, built once by TestMain.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "holdfast-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "holdfast")
	build := exec.Command("go", "build", "-o", binary, "holdfast/cmd/holdfast")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: the binary does not build:", err)
		return 1
	}
	return m.Run()
}

// server is one running `holdfast serve`.
type server struct {
	t    *testing.T
	data string
	who  string // the environment file of who asks; "" is the first administrator
	cmd  *exec.Cmd
	log  *bytes.Buffer
	done chan struct{} // closed when the process has ended
}

// serve starts a server on a data directory and waits until it says that it is
// ready. It is stopped when the test ends.
func serve(t *testing.T, data string) *server {
	t.Helper()
	s := &server{t: t, data: data, log: &bytes.Buffer{}, done: make(chan struct{})}
	s.cmd = exec.Command(binary, "serve", "--data", data, "--listen", "127.0.0.1:0", "--limits", "extended")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	go s.watch(bufio.NewScanner(stderr), ready)
	select {
	case <-ready:
	case <-s.done:
		t.Fatalf("the server ended at once:\n%s", s.log)
	case <-time.After(time.Minute):
		t.Fatalf("the server is not ready after a minute:\n%s", s.log)
	}
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("what the server said, but for requests that went well:\n%s", s.complaints())
		}
	})
	return s
}

// watch keeps the log and closes ready at the line that says so.
func (s *server) watch(lines *bufio.Scanner, ready chan<- struct{}) {
	defer close(s.done)
	for lines.Scan() {
		line := lines.Text()
		s.log.WriteString(line + "\n")
		if ready != nil && strings.Contains(line, "ready") {
			close(ready)
			ready = nil
		}
	}
	_ = s.cmd.Wait()
}

// complaints is the log without the requests that were answered.
func (s *server) complaints() string {
	var b strings.Builder
	for line := range strings.Lines(s.log.String()) {
		if !strings.Contains(line, "level=INFO msg=request ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// kill is kill -9.
func (s *server) kill() {
	_ = s.cmd.Process.Signal(syscall.SIGKILL)
	<-s.done
}

// stop is a graceful shutdown.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(30 * time.Second):
		s.t.Error("the server did not stop within 30 s of SIGTERM")
		s.kill()
	}
}

// result is what one command of the CLI did.
type result struct {
	stdout, stderr string
	code           int
}

// try runs the CLI against the server.
func (s *server) try(args ...string) result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	who := filepath.Join(s.data, "admin.env")
	if s.who != "" {
		who = s.who
	}
	cmd.Env = append(os.Environ(), "HOLDFAST_ENV="+who)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("holdfast %s: %v", strings.Join(args, " "), err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// run is try for a command that must succeed.
func (s *server) run(args ...string) string {
	s.t.Helper()
	r := s.try(args...)
	if r.code != 0 {
		s.t.Fatalf("holdfast %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// refuses runs a command that must fail with all of the words in its error.
func (s *server) refuses(words []string, args ...string) {
	s.t.Helper()
	r := s.try(args...)
	if r.code == 0 {
		s.t.Errorf("holdfast %s succeeded and should have been refused:\n%s", strings.Join(args, " "), r.stdout)
		return
	}
	for _, w := range words {
		if !strings.Contains(strings.ToLower(r.stderr), strings.ToLower(w)) {
			s.t.Errorf("holdfast %s: the error does not say %q:\n%s", strings.Join(args, " "), w, r.stderr)
		}
	}
}

// query runs a command with --output json and decodes its answer.
func query[T any](s *server, args ...string) T {
	s.t.Helper()
	var v T
	out := s.run(append(args, "--output", "json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		s.t.Fatalf("holdfast %s: not JSON: %v\n%s", strings.Join(args, " "), err, out)
	}
	return v
}
