package cli

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (a *app) jobRetry() *cobra.Command {
	var noWait bool
	c := a.jobVerb(&cobra.Command{
		Use: "retry ID", Short: "Do again what a job failed to do",
		Long: `Do again, in a new job, what a backup or a restore failed to do, and follow it. The
new point is kept for as long as the first was to be; a restore goes to the same
place.`,
		Example: "  holdfast job retry 5f0c2c9e-8a3d-4a43-9a5b-3a4a2f0d4c11",
	}, func(s *session, j client.Job) error {
		w, err := s.client.RetryJob(s.cmd.Context(), j.Vault, j.Name)
		if err != nil {
			return err
		}
		return s.finish(w, noWait)
	})
	c.Flags().BoolVar(&noWait, "no-wait", false, "start it and print the job's id")
	return c
}

// asCSV is the format of exported jobs that a spreadsheet opens.
const asCSV = "csv"

func (a *app) jobExport() *cobra.Command {
	var vault, since, format string
	var filter client.JobFilter
	c := &cobra.Command{
		Use: "export", Short: "Write all jobs, with their steps and errors, as CSV or JSON",
		Long: `Write the jobs of one vault or of all to standard output, newest first: a line of
comma-separated values for each (RFC 4180; times in UTC, sizes in bytes), or the
ARM resources with every step.`,
		Example: `  holdfast job export --since 30d > jobs.csv
  holdfast job export --status Failed --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != asCSV && format != asJSON {
				return usagef("--output is %q; it is csv or json.", format)
			}
			return a.verb(func(s *session, _ []string) error {
				jobs, err := s.jobs(vault, since, filter, s.client.ExportJobs)
				if err != nil {
					return err
				}
				if format == asCSV {
					return writeJobs(s.out(), jobs)
				}
				s.output = asJSON
				var rows []resource
				for _, j := range jobs {
					rows = append(rows, resource{raw: j.Raw})
				}
				return s.list("", rows)
			})(cmd, args)
		},
	}
	a.vaultFlag(c, &vault)
	jobFilterFlags(c, &filter, &since)
	c.Flags().StringVarP(&format, "output", "o", asCSV, "`FORMAT` of the result: csv or json")
	fixed(c, "output", asCSV, asJSON)
	return c
}

// writeJobs writes jobs as comma-separated values under a header.
func writeJobs(w io.Writer, jobs []client.Job) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	rows := [][]string{{"id", "vault", "operation", "vm", "status", "started", "ended", "seconds", "bytes", "error", "message", "recommendations"}}
	for _, j := range jobs {
		seconds, ended := "", ""
		if !j.End.IsZero() {
			ended, seconds = j.End.UTC().Format(time.RFC3339), strconv.FormatFloat(j.End.Sub(j.Start).Seconds(), 'f', -1, 64)
		}
		var code, message, advice []string
		for _, e := range j.Errors {
			code, message, advice = append(code, e.Title), append(message, e.Message), append(advice, e.Recommendations...)
		}
		rows = append(rows, []string{j.Name, j.Vault.Name, j.Operation, j.Entity, j.Status, j.Start.UTC().Format(time.RFC3339), ended, seconds, strconv.FormatInt(j.Done, 10),
			strings.Join(code, "; "), strings.Join(message, " "), strings.Join(advice, " ")})
	}
	for _, row := range rows {
		for i := range row {
			row[i] = inert(row[i])
		}
	}
	return out.WriteAll(rows)
}

// inert keeps a spreadsheet from taking text of others for a formula.
func inert(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
