package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"holdfast"
	"holdfast/internal/client"
)

func TestParseName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]name{
		"web":     {"", "web"},
		"lab/web": {"lab", "web"},
		"/subscriptions/s/resourceGroups/lab/providers/Microsoft.Compute/virtualMachines/web": {"lab", "web"},
	} {
		if got, err := parseName("VM", in); err != nil || got != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "/", "a/", "/web", "a/b/c", "/web/x"} {
		if got, err := parseName("VM", in); err == nil {
			t.Errorf("%q is taken for %v", in, got)
		}
	}
}

func TestParseWhen(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]string{
		"2027-01-31":                "2027-01-31T00:00:00Z",
		"2027-01-31T18:00":          "2027-01-31T18:00:00Z",
		"2027-01-31T18:00:00+02:00": "2027-01-31T16:00:00Z",
		"24h":                       "2026-11-21T12:00:00Z",
		"7d":                        "2026-11-15T12:00:00Z",
	} {
		got, err := parseWhen("since", in, true, now)
		if err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "soon", "-1h", "-1d", "7dd", "2027-13-01"} {
		if got, err := parseWhen("since", in, true, now); err == nil {
			t.Errorf("%q is taken for %v", in, got)
		}
	}
	if _, err := parseWhen("retain-until", "7d", false, now); err == nil {
		t.Error("a duration is taken for a date")
	}
}

// TestNamesCannotMoveTheCursor shows that what comes from guests and servers
// cannot break a table or speak to the terminal.
func TestNamesCannotMoveTheCursor(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := table(&b, [][]string{{"a\x1b[2J\tb\nc", "x"}, {"", "y"}}); err != nil {
		t.Fatal(err)
	}
	if strings.Count(b.String(), "\n") != 2 || strings.Contains(b.String(), "\x1b") {
		t.Errorf("%q", b.String())
	}
	if !strings.Contains(b.String(), "-") {
		t.Errorf("an empty cell has no mark: %q", b.String())
	}
}

func TestShellQuote(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"safe": "safe", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "$(x)": "'$(x)'"} {
		if got := shellQuote(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

type ownCode struct{}

func (ownCode) Error() string { return "own" }
func (ownCode) ExitCode() int { return 42 }

func TestExit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, ExitOK},
		{errors.New("x"), ExitInternal},
		{fmt.Errorf("x: %w", usagef("y")), ExitUsage},
		{&client.Error{Reason: client.Unreachable}, ExitUnreachable},
		{&client.Error{Reason: client.Failed}, ExitJobFailed},
		{&client.Error{Reason: client.Interrupted}, ExitInterrupted},
		{holdfast.Errorf(holdfast.WrongKey, "", "x"), ExitRefused},
		{holdfast.Errorf(holdfast.NotFound, "", "x"), ExitNotFound},
		{holdfast.Errorf(holdfast.Damaged, "", "x"), ExitJobFailed},
		{ownCode{}, 42},
	} {
		if got := Exit(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

// TestEveryCommandExplainsItself holds the help to what the package promises:
// each command says what it does, each verb has an example, each flag a text,
// and what completes nothing says so.
func TestEveryCommandExplainsItself(t *testing.T) {
	t.Parallel()
	eachCommand(Root(), func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: its short help is %q", c.CommandPath(), c.Short)
		}
		if !c.HasSubCommands() && c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Long + "\n" + c.Example) {
			if len(line) > 121 {
				t.Errorf("%s: a line of its help is %d wide", c.CommandPath(), len(line))
			}
		}
		for line := range strings.Lines(c.Example) {
			words := strings.Fields(line)
			if len(words) < 2 || words[0] != "holdfast" {
				continue
			}
			if found, _, err := Root().Find(words[1:]); err != nil || !strings.HasPrefix(found.CommandPath(), strings.TrimSuffix(c.CommandPath(), " start")) {
				t.Errorf("%s: the example %q is of %s", c.CommandPath(), line, found.CommandPath())
			}
		}
	})
}
