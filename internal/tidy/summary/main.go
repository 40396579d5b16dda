// Command summary reads the output of "go test -json" and prints what a person
// wants of it: each package as it ends, the output of what failed, then what
// was skipped and why, the slowest packages, and one line of counts. It fails
// when a test failed, when a package didn't build, and when a test that has to
// run was skipped or is gone.
//
//	go test -json ./... | go run ./internal/tidy/summary
package main

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// mustRun names the tests, as room.TestName, without which a green run would
// say nothing: the real guests. One per line, # starts a comment.
//
//go:embed mustrun.txt
var mustRun string

func main() {
	s := newSummary()
	err := s.read(os.Stdin, os.Stdout)
	if err == nil {
		err = s.write(os.Stdout, required(mustRun))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(1)
	}
}

func required(text string) []string {
	var names []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if name := strings.TrimSpace(line); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// event is one line of go test -json, see "go doc test2json" and "go help buildjson".
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Output      string
	Elapsed     float64 // seconds
	FailedBuild string
}

type key struct{ pkg, test string }

type timed struct {
	name    string
	seconds float64
}

type summary struct {
	outcome map[key]string // pass, fail, skip: leaves and parents
	output  map[key][]string
	build   map[string][]string // by import path
	slow    []timed
	broken  []string // packages that failed outside of a test
}

func newSummary() *summary {
	return &summary{outcome: map[key]string{}, output: map[key][]string{}, build: map[string][]string{}}
}

// read takes the events in and prints each package and failure as it comes.
func (s *summary) read(r io.Reader, w io.Writer) error {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil {
				fmt.Fprint(w, line) // not go test's: a tool's own words
			} else {
				s.take(e, w)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *summary) take(e event, w io.Writer) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		s.build[e.ImportPath] = append(s.build[e.ImportPath], e.Output)
	case "output":
		s.output[k] = append(s.output[k], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.endPackage(e, w)
			return
		}
		s.outcome[k] = e.Action
		if e.Action == "pass" {
			delete(s.output, k)
		}
		if e.Action == "fail" {
			fmt.Fprintf(w, "--- FAIL %s.%s\n%s", room(e.Package), e.Test, strings.Join(s.output[k], ""))
			delete(s.output, k)
		}
	}
}

func (s *summary) endPackage(e event, w io.Writer) {
	if e.Action == "skip" {
		return // it has no tests
	}
	s.slow = append(s.slow, timed{room(e.Package), e.Elapsed})
	fmt.Fprintf(w, "%-4s %7.1fs  %s\n", e.Action, e.Elapsed, room(e.Package))
	if e.Action != "fail" {
		return
	}
	own := false // did a test of it fail, or the package itself?
	for k, outcome := range s.outcome {
		own = own || k.pkg == e.Package && outcome == "fail"
	}
	if own {
		return
	}
	s.broken = append(s.broken, room(e.Package))
	fmt.Fprint(w, strings.Join(s.build[e.FailedBuild], ""))
	for k, lines := range s.output {
		if k.pkg == e.Package {
			fmt.Fprint(w, strings.Join(lines, ""))
		}
	}
}

// leaves gives the tests that have no subtests: a parent's outcome is theirs.
func (s *summary) leaves() []key {
	parents := map[key]bool{}
	for k := range s.outcome {
		for i := range k.test {
			if k.test[i] == '/' {
				parents[key{k.pkg, k.test[:i]}] = true
			}
		}
	}
	var all []key
	for k := range s.outcome {
		if !parents[k] || s.outcome[k] == "skip" {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b key) int {
		return strings.Compare(a.pkg+"\x00"+a.test, b.pkg+"\x00"+b.test)
	})
	return all
}

// write prints the counts. Its error says why the run isn't good.
func (s *summary) write(w io.Writer, required []string) error {
	count := map[string]int{}
	for _, k := range s.leaves() {
		outcome := s.outcome[k]
		count[outcome]++
		if outcome == "skip" {
			fmt.Fprintf(w, "skipped %s.%s: %s\n", room(k.pkg), k.test, reason(s.output[k]))
		}
	}
	slices.SortFunc(s.slow, func(a, b timed) int { return int(1000 * (b.seconds - a.seconds)) })
	fmt.Fprint(w, "slowest packages:")
	for _, p := range s.slow[:min(15, len(s.slow))] {
		fmt.Fprintf(w, " %s %.1fs", p.name, p.seconds)
	}
	fmt.Fprintln(w)
	missing := s.missing(required)
	for _, m := range missing {
		fmt.Fprintln(w, "has to run:", m)
	}
	for _, p := range s.broken {
		fmt.Fprintf(w, "failed as a whole (build, timeout, panic): %s\n", p)
	}
	failed := count["fail"] + len(s.broken)
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", count["pass"], failed, count["skip"])
	switch {
	case failed > 0:
		return fmt.Errorf("%d failed", failed)
	case len(missing) > 0:
		return fmt.Errorf("%d tests that have to run didn't", len(missing))
	case count["pass"] == 0:
		return fmt.Errorf("no test ran")
	}
	return nil
}

// missing says which required tests didn't run and pass, and what they did.
func (s *summary) missing(required []string) []string {
	outcome := map[string]string{}
	for k, o := range s.outcome {
		outcome[room(k.pkg)+"."+k.test] = o
	}
	var all []string
	for _, name := range required {
		switch o := outcome[name]; o {
		case "pass":
		case "":
			all = append(all, name+" didn't run")
		default:
			all = append(all, name+" ended as "+o)
		}
	}
	return all
}

func room(pkg string) string {
	pkg = strings.TrimPrefix(pkg, "holdfast/")
	return strings.TrimPrefix(pkg, "internal/")
}

// reason is what a skipped test said: its last line of output that isn't go's.
func reason(output []string) string {
	for _, line := range slices.Backward(output) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "===") {
			return line
		}
	}
	return "no reason given"
}
