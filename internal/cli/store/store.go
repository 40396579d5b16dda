// Package store is the command `holdfast store`: it tries whether a place is
// good enough to keep backups in. It needs no server.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/check"
	"holdfast/internal/objstore/open"
)

const checkLong = `Try a directory, bucket or container for what Holdfast rests on: that an object is
created once or not at all, is seen at once and whole by everyone, is listed in
order, can be locked; and how fast it is.

The check works below a directory "holdfast-check-..." of its own, deletes it at the
end, and touches nothing else. It writes and reads about 300 MB, 128 MB of them to
measure; see --bytes. With object lock, it locks two small objects for 5 seconds.

URL is a path, file:///DIR, s3://BUCKET/PREFIX?endpoint=URL&region=R,
azblob://ACCOUNT/CONTAINER/PREFIX or gs://BUCKET/PREFIX. Credentials come from the
environment or the service's usual files, never from the URL.

Exit code 0 means fit, 5 not fit; otherwise the check could not be made.`

const checkExample = `  holdfast store check /srv/backup
  AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... \
    holdfast store check "s3://backups/holdfast?endpoint=https://minio.example:9000"
  holdfast store check --json gs://my-backups`

// Command returns the command store with its subcommands.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "store",
		Short: "Try places for keeping backups",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(checkCommand())
	return c
}

// flags of check.
type flags struct {
	json     bool
	noSpeed  bool
	bytes    int64
	parallel int
}

func checkCommand() *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use:     "check URL",
		Short:   "Say whether a store is fit for backups, and how fast it is",
		Long:    checkLong,
		Example: checkExample,
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return run(c, args[0], f) },
	}
	c.Flags().BoolVar(&f.json, "json", false, "print the report as JSON")
	c.Flags().BoolVar(&f.noSpeed, "no-speed", false, "leave out the measurement of speed")
	c.Flags().Int64Var(&f.bytes, "bytes", 128<<20, "write and read this many `BYTES` to measure")
	c.Flags().IntVar(&f.parallel, "parallel", 4, "measure with this many transfers at once")
	return c
}

// Not below these, nor above, can a measurement mean anything.
const (
	leastBytes, mostBytes       = 1 << 20, 1 << 40
	leastParallel, mostParallel = 1, 256
)

func run(c *cobra.Command, url string, f flags) error {
	if f.bytes < leastBytes || f.bytes > mostBytes {
		return refusal{2, fmt.Errorf("--bytes is %d, must be from %d to %d", f.bytes, int64(leastBytes), int64(mostBytes))}
	}
	if f.parallel < leastParallel || f.parallel > mostParallel {
		return refusal{2, fmt.Errorf("--parallel is %d, must be from %d to %d", f.parallel, leastParallel, mostParallel)}
	}
	s, err := open.Open(c.Context(), url)
	if err != nil {
		return refusal{exitOf(err), err}
	}
	opt := check.Options{SkipSpeed: f.noSpeed, Bytes: f.bytes, Parallel: f.parallel}
	if !f.json {
		opt.Done = func(d check.Finding) { fmt.Fprintln(c.ErrOrStderr(), progress(d)) }
	}
	r, err := check.Try(c.Context(), s, opt)
	if err != nil {
		return refusal{exitOf(err), leftover(err, r.Left)}
	}
	if err := print(c.OutOrStdout(), r, f.json); err != nil {
		return err
	}
	if !r.Fit {
		return refusal{5, fmt.Errorf("%s is not fit for backups", s)}
	}
	return nil
}

func progress(d check.Finding) string {
	return fmt.Sprintf("%-9s  %-16s  %s", d.State, d.Name, d.Took.Round(time.Millisecond))
}

func leftover(err error, names []string) error {
	if len(names) == 0 {
		return err
	}
	return fmt.Errorf("%w; scratch objects stay: %s", err, strings.Join(names, ", "))
}

// refusal is an error with the exit code that the command line documents.
type refusal struct {
	code int
	err  error
}

func (r refusal) Error() string { return r.err.Error() }
func (r refusal) Unwrap() error { return r.err }

// ExitCode is the process's exit code.
func (r refusal) ExitCode() int { return r.code }

func exitOf(err error) int {
	for _, c := range []struct {
		kind error
		code int
	}{
		{context.Canceled, 130}, {objstore.ErrInvalid, 2}, {objstore.ErrNotExist, 3}, {objstore.ErrPermission, 8}, {objstore.ErrFull, 4},
	} {
		if errors.Is(err, c.kind) {
			return c.code
		}
	}
	return 7
}

func print(w io.Writer, r check.Report, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "STORE\t%s\n\n", r.Store)
	fmt.Fprintln(t, "PROMISE\tSTATE\tTOOK\tMEANING")
	for _, f := range r.Findings {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Name, f.State, f.Took.Round(time.Millisecond), f.Says)
	}
	fmt.Fprintf(t, "\nobject lock\t%s\n", yesNo(r.Lock))
	if r.ConditionalPut != nil {
		fmt.Fprintf(t, "conditional put\t%s\n", yesNo(*r.ConditionalPut))
	}
	printSpeed(t, r.Speed)
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s\n", r.Verdict)
	for _, f := range r.Findings {
		if f.State == check.Broken {
			fmt.Fprintf(w, "  %s: %s\n", f.Name, f.Detail)
		}
	}
	for _, a := range r.Advice {
		fmt.Fprintln(w, a)
	}
	for _, name := range r.Left {
		fmt.Fprintf(w, "  %s\n", name)
	}
	return nil
}

func printSpeed(w io.Writer, s *check.Speed) {
	if s == nil {
		return
	}
	fmt.Fprintf(w, "put\t%.1f MB/s\t%d at once\n", s.PutMBps, s.Parallel)
	fmt.Fprintf(w, "get\t%.1f MB/s\t%d at once\n", s.GetMBps, s.Parallel)
	for _, v := range []struct {
		verb string
		l    check.Latency
	}{{"put", s.Put}, {"get", s.Get}, {"stat", s.Stat}, {"list", s.List}, {"delete", s.Delete}} {
		fmt.Fprintf(w, "%s of 4 KiB\t%s\tslowest %s\n", v.verb, short(v.l.Median), short(v.l.Slowest))
	}
}

func short(d time.Duration) time.Duration {
	if d < time.Millisecond {
		return d.Round(time.Microsecond)
	}
	return d.Round(100 * time.Microsecond)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
