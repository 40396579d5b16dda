package snapshot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"holdfast/internal/guest"
	"holdfast/internal/hypervisor"
)

// The watchdog is a process of its own, in a session of its own, that thaws a
// guest when the process that froze it cannot. It reads its orders from a pipe:
//
//	parent                watchdog
//	  |    (connects to libvirt)
//	  |<------ ready ---------|
//	  |------- freeze ------->|  the deadline runs
//	  |------- thawed ------->|  the deadline is off
//	  |------- (end) -------->|  off: it goes. running: it thaws, now.
//
// The pipe ends when the parent dies, however it dies. It thaws, looks at the
// status, and tries again until the guest says that it is thawed or is gone.

// WatchdogCommand is the argument with which this program runs WatchdogMain.
const WatchdogCommand = "snapshot-watchdog"

const (
	orderFreeze = "freeze"
	orderThawed = "thawed"
	dogReady    = "ready"
)

const (
	// dogStart bounds the start of the watchdog.
	dogStart = 30 * time.Second
	// dogPatience is how long a watchdog tries to thaw before it gives up.
	dogPatience = time.Hour
	dogPause    = 500 * time.Millisecond
)

// watchdog is the parent's end.
type watchdog struct {
	orders io.WriteCloser
	cmd    *exec.Cmd
}

// startWatchdog starts the process and waits until it is ready.
func startWatchdog(ctx context.Context, r Request) (*watchdog, error) {
	command := r.Watchdog
	if len(command) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		command = []string{self, WatchdogCommand}
	}
	cmd := exec.Command(command[0], append(command[1:len(command):len(command)], r.URI, r.UUID, r.FreezeDeadline.String())...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	orders, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w := &watchdog{orders: orders, cmd: cmd}
	if err := awaitReady(ctx, answers); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// awaitReady waits for the watchdog's first and only line.
func awaitReady(ctx context.Context, answers io.Reader) error {
	line := make(chan error, 1)
	go func() {
		s, err := bufio.NewReader(io.LimitReader(answers, 4096)).ReadString('\n')
		if s == dogReady+"\n" {
			err = nil
		} else if s != "" {
			err = errors.New(s)
		}
		line <- err
	}()
	select {
	case err := <-line:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(dogStart):
		return fmt.Errorf("not ready after %s", dogStart)
	}
}

func (w *watchdog) arm() error {
	_, err := io.WriteString(w.orders, orderFreeze+"\n")
	return err
}

// disarm may fail only when the watchdog is gone, and then it is not needed.
func (w *watchdog) disarm() { io.WriteString(w.orders, orderThawed+"\n") }

// close ends the pipe. The process ends by itself and is reaped when it does.
func (w *watchdog) close() {
	w.orders.Close()
	go w.cmd.Wait()
}

// WatchdogMain is the process that thaws a guest when its parent cannot. The
// arguments are those after WatchdogCommand: libvirt URI, domain UUID, deadline.
// connect opens the hypervisor. It returns the exit code.
func WatchdogMain(args []string, connect func(ctx context.Context, uri string) (hypervisor.Host, error)) int {
	// Whoever stops the service stops its parent first, and that is its signal.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	if len(args) != 3 {
		fmt.Println("usage: URI UUID DEADLINE")
		return 2
	}
	deadline, err := time.ParseDuration(args[2])
	if err != nil {
		fmt.Println(err)
		return 2
	}
	host, err := connect(context.Background(), args[0])
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(dogReady)
	if !watch(os.Stdin, deadline) {
		return 0
	}
	if err := thawForSure(guest.Of(host, args[1]), dogPatience); err != nil {
		return 1
	}
	return 0
}

// watch follows the orders until the pipe ends or the deadline passes, and says
// whether the guest must be thawed.
func watch(pipe io.Reader, deadline time.Duration) bool {
	orders := make(chan string)
	go func() {
		defer close(orders)
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			orders <- lines.Text()
		}
	}()
	var over <-chan time.Time // nil: off
	for {
		select {
		case order, more := <-orders:
			switch {
			case !more:
				return over != nil
			case order == orderFreeze:
				over = time.After(deadline)
			case order == orderThawed:
				over = nil
			}
		case <-over:
			return true
		}
	}
}

// thawForSure thaws until the guest says that it is thawed, or is gone.
func thawForSure(agent guest.Agent, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		_, err := agent.Thaw(ctx, thawTimeout)
		if err == nil || errors.Is(err, hypervisor.ErrNoDomain) || errors.Is(err, hypervisor.ErrNotRunning) {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(dogPause):
		}
	}
}
