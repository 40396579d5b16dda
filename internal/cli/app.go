package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"holdfast/internal/client"
)

// app is what all commands share: how they were told to speak.
type app struct {
	getenv func(string) string
	env    string // --env
	output string // --output
	debug  bool
}

// pace is the pause between two looks at a job; 0 is the client's own. Tests go
// faster.
var pace time.Duration

// The output formats.
const (
	asTable = "table"
	asJSON  = "json"
)

// addFlags puts the flags of every command that speaks to a server into f, a
// flag set of c.
func (a *app) addFlags(c *cobra.Command, f *pflag.FlagSet) {
	f.StringVar(&a.env, "env", "", "`FILE` with the server's address and your credentials (default $"+client.EnvFile+")")
	f.StringVarP(&a.output, "output", "o", asTable, "`FORMAT` of the result: table or json")
	f.BoolVar(&a.debug, "debug", false, "trace every request on standard error (never a secret)")
	fixed(c, "output", asTable, asJSON)
	must(cobra.MarkFlagFilename(f, "env", "env"))
}

// must is for what can only fail by a slip in this package.
func must(err error) {
	if err != nil {
		panic("internal error: " + err.Error())
	}
}

// connect makes the client of one command.
func (a *app) connect(cmd *cobra.Command) (*client.Client, error) {
	if a.output != asTable && a.output != asJSON {
		return nil, usagef("--output is %q; it is table or json.", a.output)
	}
	config, err := client.LoadConfig(a.env, a.getenv)
	if err != nil {
		return nil, err
	}
	o := client.Options{Poll: pace}
	if a.debug {
		o.Trace = cmd.ErrOrStderr()
	}
	return client.New(config, o)
}

// verb is the body of a command that speaks to a server.
func (a *app) verb(run func(s *session, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := a.connect(cmd)
		if err != nil {
			return err
		}
		return run(&session{app: a, cmd: cmd, client: c}, args)
	}
}

// session is one run of one command.
type session struct {
	*app
	cmd    *cobra.Command
	client *client.Client
}

// note tells the user something beside the result.
func (s *session) note(format string, args ...any) {
	fmt.Fprintf(s.cmd.ErrOrStderr(), format+"\n", args...)
}

func (s *session) out() io.Writer { return s.cmd.OutOrStdout() }

// terminal is the width of the terminal that w is, or 0.
func terminal(w io.Writer, getenv func(string) string) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || getenv("TERM") == "dumb" {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return 80
	}
	return width
}

// confirm makes sure that what cannot be taken back is meant: by --yes, or by
// an answer on a terminal.
func (s *session) confirm(yes bool, what string) error {
	if yes {
		return nil
	}
	in, ok := s.cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return usagef("%s may not be taken back; say --yes if it is meant.", what)
	}
	fmt.Fprintf(s.cmd.ErrOrStderr(), "%s may not be taken back. Type yes to go on: ", what)
	var answer string
	if _, err := fmt.Fscanln(in, &answer); err != nil || answer != "yes" {
		return usagef("not confirmed; nothing was changed.")
	}
	return nil
}

// parseWhen reads a point in time: a date (its first moment, UTC), a date and
// time, or where past is set also a duration that lies back, such as 24h or 7d.
func parseWhen(flag, s string, past bool, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	if !past {
		return time.Time{}, usagef("--%s is %q; it is a date such as 2027-01-31, or 2027-01-31T18:00Z.", flag, s)
	}
	var days int
	if n, err := fmt.Sscanf(s, "%dd", &days); err == nil && n == 1 && fmt.Sprintf("%dd", days) == s && days >= 0 {
		return now.AddDate(0, 0, -days).UTC(), nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d).UTC(), nil
	}
	return time.Time{}, usagef("--%s is %q; it is a duration such as 24h or 7d, or a date such as 2027-01-31.", flag, s)
}
