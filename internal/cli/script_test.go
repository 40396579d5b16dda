package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"holdfast/internal/client/clienttest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"holdfast": func() {
			pace, completeLimit = 5*time.Millisecond, time.Minute
			os.Exit(Run(Root(), os.Args[1:]))
		},
	})
}

// TestScripts runs the command line as its users do, each script against a
// scripted server of its own.
func TestScripts(t *testing.T) {
	t.Parallel()
	servers := sync.Map{} // of *clienttest.Server, by the script's directory
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			s := clienttest.New(t, env.WorkDir)
			servers.Store(env.WorkDir, s)
			env.Vars = append(env.Vars, s.Env()...)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"server": func(ts *testscript.TestScript, neg bool, args []string) {
				s, _ := servers.Load(ts.Getenv("WORK"))
				script(ts, s.(*clienttest.Server), neg, args)
			},
			"exits":     exits,
			"interrupt": func(ts *testscript.TestScript, neg bool, args []string) { interrupt(ts, args) },
		},
		UpdateScripts: os.Getenv("HOLDFAST_UPDATE") != "",
	})
}

// script is the command "server": it changes the scripted server or asks it
// what it saw.
func script(ts *testscript.TestScript, s *clienttest.Server, neg bool, args []string) {
	switch args[0] {
	case "item":
		s.Change(func() { s.AddItem(args[1:]...) })
	case "job":
		s.Change(func() { s.Start(args[1]) })
	case "hold":
		s.Change(func() { s.Hold = true })
	case "release":
		s.Change(func() { s.Hold = false })
	case "fail":
		s.Change(s.FailJobs)
	case "down":
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		s.Change(func() { s.Down = n })
	case "vault":
		s.Change(func() { s.Put(strings.Replace(clienttest.Vault, "safe", args[1], 1), "here", map[string]any{}) })
	case "pool":
		s.Change(func() { s.AddPool(args[1]) })
	case "saw":
		want := regexp.MustCompile(args[1])
		var all []string
		for _, q := range s.Seen() {
			line := fmt.Sprintf("%s %s?%s %v", q.Method, q.Path, q.Query, q.Body)
			all = append(all, line)
			if want.MatchString(line) != neg {
				if !neg {
					return
				}
				continue
			}
			if neg {
				ts.Fatalf("it saw %s", line)
			}
		}
		if !neg {
			ts.Fatalf("it did not see %s, only:\n%s", args[1], strings.Join(all, "\n"))
		}
	default:
		ts.Fatalf("no such thing: server %s", args[0])
	}
}

// exits is "exits CODE COMMAND…": it runs a command and wants its exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	got := 0
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// interrupt is "interrupt FILE CODE PATTERN COMMAND…": it runs a command,
// interrupts it when its standard error has the pattern, wants its exit code,
// and leaves its standard output in FILE and its standard error in FILE.err.
func interrupt(ts *testscript.TestScript, args []string) {
	file, pattern := ts.MkAbs(args[0]), regexp.MustCompile(args[2])
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	out, err := os.Create(file)
	ts.Check(err)
	defer out.Close()
	path := ""
	for _, dir := range strings.Split(ts.Getenv("PATH"), string(os.PathListSeparator)) {
		if _, err := os.Stat(dir + "/" + args[3]); err == nil && path == "" {
			path = dir + "/" + args[3]
		}
	}
	cmd := exec.Command(path, args[4:]...)
	cmd.Stdout = out
	for _, name := range []string{"ENV", "ENDPOINT", "TENANT_ID", "CLIENT_ID", "CLIENT_SECRET", "CA_FILE", "SUBSCRIPTION_ID"} {
		cmd.Env = append(cmd.Env, "HOLDFAST_"+name+"="+ts.Getenv("HOLDFAST_"+name))
	}
	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	var text strings.Builder
	sent := false
	for buf := make([]byte, 4096); ; {
		n, err := stderr.Read(buf)
		text.Write(buf[:n])
		if !sent && pattern.MatchString(text.String()) {
			sent = true
			ts.Check(cmd.Process.Signal(syscall.SIGINT))
		}
		if err != nil {
			break
		}
	}
	_ = cmd.Wait() // the exit code is looked at below
	ts.Check(os.WriteFile(file+".err", []byte(text.String()), 0o600))
	if got := cmd.ProcessState.ExitCode(); got != want || !sent {
		ts.Fatalf("exit code %d, want %d; interrupted: %v\n%s", got, want, sent, text.String())
	}
}
