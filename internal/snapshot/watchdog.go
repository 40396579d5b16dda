package snapshot

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/guest"
	"holdfast/internal/hypervisor"
)

// The watchdog is a process of its own, in a session of its own, that lives as
// long as a snapshot and does what the process that took it cannot do any more:
// it thaws the guest, and ends the backup job, whose scratch files would else
// grow with nobody watching them. It reads its orders from a pipe:
//
//	parent                watchdog
//	  |    (connects to libvirt)
//	  |<------ ready ---------|
//	  |--- quiet COMMAND ---->|  the post-script is owed (only with scripts)
//	  |------- freeze ------->|  the deadline runs
//	  |------- thawed ------->|  the deadline is off
//	  |-------- loud -------->|  the post-script has run
//	  |------- ended -------->|  the snapshot is over: its job is not owed
//	  |------- (end) -------->|  it pays what is owed, now, and goes
//
// The pipe ends when the parent dies, however it dies. When the deadline passes
// while the parent lives, the watchdog thaws and stays. To thaw is to look at the
// status, and to try again until the guest says that it is thawed or is gone; then
// the post-script runs.

// WatchdogCommand is the argument with which this program runs WatchdogMain.
const WatchdogCommand = "snapshot-watchdog"

const (
	orderQuiet  = "quiet"
	orderFreeze = "freeze"
	orderThawed = "thawed"
	orderLoud   = "loud"
	orderEnded  = "ended"
	dogReady    = "ready"
)

const (
	// dogStart bounds the start of the watchdog.
	dogStart = 30 * time.Second
	// dogPatience is how long a watchdog tries before it gives up.
	dogPatience = time.Hour
	dogPause    = 500 * time.Millisecond
	// The post-script, when the watchdog has to run it.
	postTries   = 3
	postTimeout = 5 * time.Minute
)

// watchdog is the parent's end.
type watchdog struct {
	orders io.WriteCloser
	cmd    *exec.Cmd
}

// startWatchdog starts the process and waits until it is ready. dir is the
// working directory of the snapshot that it watches.
func startWatchdog(ctx context.Context, r Request, dir string) (*watchdog, error) {
	command := r.Watchdog
	if len(command) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		command = []string{self, WatchdogCommand}
	}
	cmd := exec.Command(command[0], append(command[1:len(command):len(command)], r.URI, r.UUID, r.FreezeDeadline.String(), dir)...)
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
		w.ended()
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

// order gives one order, a line. It fails only when the watchdog is gone.
func (w *watchdog) order(line string) error {
	_, err := io.WriteString(w.orders, line+"\n")
	return err
}

func (w *watchdog) freeze() error { return w.order(orderFreeze) }

// thawed and loud may fail: then the watchdog is gone and nothing is owed.
func (w *watchdog) thawed() { w.order(orderThawed) }
func (w *watchdog) loud()   { w.order(orderLoud) }

func (w *watchdog) quiet(post guest.Command) error {
	line, err := json.Marshal(post)
	if err != nil {
		return err
	}
	return w.order(orderQuiet + " " + string(line))
}

// ended says that the snapshot is over, and ends the pipe. The process ends by
// itself once it has paid what is owed, and is reaped then.
func (w *watchdog) ended() {
	_ = w.order(orderEnded) // a watchdog that is gone owes nothing
	w.orders.Close()
	go w.cmd.Wait()
}

// WatchdogMain is the process that thaws a guest and ends its backup job when its
// parent cannot. The arguments are those after WatchdogCommand: libvirt URI,
// domain UUID, deadline, working directory. connect opens the hypervisor. It
// returns the exit code.
func WatchdogMain(args []string, connect func(ctx context.Context, uri string) (hypervisor.Host, error)) int {
	// Whoever stops the service stops its parent first, and that is its signal.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	_ = renice(0) // only root may; it hardly needs a processor
	if len(args) != 4 {
		fmt.Println("usage: URI UUID DEADLINE DIRECTORY")
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
	d := duty{host: host, uuid: args[1], dir: args[3], deadline: deadline, debts: debts{job: true}}
	if err := d.do(os.Stdin); err != nil {
		return 1
	}
	return 0
}

// debts is what the watchdog owes the guest.
type debts struct {
	thaw bool
	post *guest.Command
	job  bool // its backup job and what belongs to it, in the working directory
}

// duty is the watchdog's whole work.
type duty struct {
	host      hypervisor.Host
	uuid, dir string
	deadline  time.Duration
	debts
	paying errgroup.Group
}

// do follows the orders and pays. The job does not wait for a guest that cannot
// be thawed yet, as one that is paused; the working directory does.
func (d *duty) do(pipe io.Reader) error {
	d.follow(pipe, d.pay)
	d.pay()
	if !d.job {
		return d.paying.Wait()
	}
	d.paying.Go(d.end)
	return errors.Join(d.paying.Wait(), d.end())
}

// pay begins to give the guest what it is owed.
func (d *duty) pay() {
	owed := d.debts
	d.thaw, d.post = false, nil
	d.paying.Go(func() (err error) {
		if owed.thaw {
			if err = thawForSure(d.host, d.uuid, dogPatience); err == nil {
				(&workdir{path: d.dir}).thawed()
			}
		}
		if owed.post != nil {
			_, err2 := guest.Of(d.host, d.uuid).Script(context.Background(), *owed.post, postTries, postTimeout)
			err = errors.Join(err, err2)
		}
		return err
	})
}

// end ends the job that the parent left, unless somebody else was quicker.
func (d *duty) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), dogPatience)
	defer cancel()
	for {
		err := endDir(ctx, d.host, d.uuid, d.dir)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(dogPause):
		}
	}
}

// follow follows the orders until the pipe ends. When the deadline passes, late
// is called.
func (d *duty) follow(pipe io.Reader, late func()) {
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
			if !more {
				return
			}
			verb, rest, _ := strings.Cut(order, " ")
			switch verb {
			case orderQuiet:
				d.post = new(guest.Command)
				if json.Unmarshal([]byte(rest), d.post) != nil {
					d.post = nil
				}
			case orderFreeze:
				d.thaw, over = true, time.After(d.deadline)
			case orderThawed:
				d.thaw, over = false, nil
			case orderLoud:
				d.post = nil
			case orderEnded:
				d.job = false
			}
		case <-over:
			over = nil
			late()
		}
	}
}

// thawForSure thaws until the guest says that it is thawed, or is gone. A guest
// that is paused cannot answer, and is thawed when it runs again.
func thawForSure(host hypervisor.Host, uuid string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	agent := guest.Of(host, uuid)
	for {
		_, err := agent.Thaw(ctx, thawTimeout)
		if err == nil {
			return nil
		}
		if d, askErr := host.Domain(ctx, uuid); errors.Is(askErr, hypervisor.ErrNoDomain) || askErr == nil && !d.State.Active() {
			return nil // its file systems are frozen no more
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(dogPause):
		}
	}
}
