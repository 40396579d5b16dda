package livevm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Instant is a machine with a data disk, a server of the binary that is measured,
// and a point of the machine.
type Instant struct {
	Busy
	binary string
	server *exec.Cmd
	point  string
}

// StartInstant boots the test guest whose files are in folder, with an empty data
// disk of size bytes, backs it up, and takes its power away.
func StartInstant(ctx context.Context, uri, binary, folder string, size int64) (i *Instant, err error) {
	i = &Instant{binary: binary}
	empty, err := os.CreateTemp("", "holdfast-bench-empty-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(empty.Name())
	if err := errors.Join(empty.Truncate(size), empty.Close()); err != nil {
		return nil, err
	}
	b, err := StartBusy(ctx, uri, "holdfast-bench-instant", folder, empty.Name())
	if b != nil {
		i.Busy = *b
	}
	if err != nil {
		return i, err
	}
	if err := i.serve(ctx); err != nil {
		return i, err
	}
	for _, args := range [][]string{
		{"site", "register", "home", "--uri", uri, "--resource-group", "lab"},
		{"vault", "create", "safe"}, {"protect", "start", i.Name}, {"backup", i.Name},
	} {
		if _, err := i.cli(ctx, args...); err != nil {
			return i, err
		}
	}
	out, err := i.cli(ctx, "point", "list", i.Name, "--output", "json")
	if err != nil {
		return i, err
	}
	var points []struct{ Name string }
	if err := json.Unmarshal([]byte(out), &points); err != nil || len(points) == 0 {
		return i, fmt.Errorf("points of %s: %q: %w", i.Name, out, err)
	}
	i.point = points[0].Name
	return i, i.Stop(ctx)
}

func (i *Instant) data() string { return filepath.Join(i.Dir, "data") }

// serve starts the server and waits until it is ready.
func (i *Instant) serve(ctx context.Context) error {
	i.server = exec.CommandContext(ctx, i.binary, "serve", "--data", i.data(), "--listen", "127.0.0.1:0", "--limits", "extended")
	i.server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := i.server.StderrPipe()
	if err != nil {
		return err
	}
	if err := i.server.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "ready") {
			go func() {
				for lines.Scan() { // so that it is never held up
				}
			}()
			return nil
		}
	}
	return errors.New("the server does not start")
}

func (i *Instant) cli(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, i.binary, args...)
	cmd.Env = append(os.Environ(), "HOLDFAST_ENV="+filepath.Join(i.data(), "admin.env"))
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		err = fmt.Errorf("holdfast %s: %w: %s", strings.Join(args, " "), err, failed.Stderr)
	}
	return string(out), err
}

// Local is how long the machine takes from its start on its own disks to the answer
// of its agent.
func (i *Instant) Local(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if _, err := i.virsh(ctx, "start", i.Name); err != nil {
		return 0, err
	}
	err := i.boot(ctx)
	took := time.Since(began)
	return took, errors.Join(err, i.Stop(ctx))
}

// Restored is how long a new machine takes from the command that restores it
// instantly to the answer of its agent. When its disks are whole it is taken away
// again.
func (i *Instant) Restored(ctx context.Context) (took time.Duration, err error) {
	vm := Busy{Guest{Name: i.Name + "-now", Dir: i.Dir, uri: i.uri}}
	began := time.Now()
	out, err := i.cli(ctx, "restore", "vm", i.Name, "--point", i.point, "--name", vm.Name, "--directory", i.Dir, "--instant", "--no-wait")
	if err != nil {
		return 0, err
	}
	if err := vm.boot(ctx); err != nil {
		return 0, err
	}
	took = time.Since(began)
	if _, err := i.cli(ctx, "job", "watch", strings.TrimSpace(out)); err != nil {
		return 0, err
	}
	for _, args := range [][]string{{"destroy", vm.Name}, {"undefine", vm.Name}} {
		if _, err := vm.virsh(ctx, args...); err != nil {
			return 0, err
		}
	}
	disks, err := filepath.Glob(filepath.Join(i.Dir, vm.Name+"-*.qcow2"))
	for _, d := range disks {
		err = errors.Join(err, os.Remove(d))
	}
	return took, err
}

// Remove stops the server and takes everything away.
func (i *Instant) Remove(ctx context.Context) error {
	if i.server != nil && i.server.Process != nil {
		_ = i.server.Process.Kill()
		_ = i.server.Wait() // it says that it was killed
	}
	return i.Busy.Remove(ctx)
}
