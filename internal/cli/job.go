package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (a *app) job() *cobra.Command {
	return noun("job", "See, follow, cancel, retry and export jobs",
		`A job is long work in a vault: a backup, a restore, a change of protection. It
belongs to the server and goes on whoever watches.`,
		a.jobList(), a.jobShow(), a.jobWatch(), a.jobCancel(), a.jobRetry(), a.jobExport())
}

func (a *app) jobList() *cobra.Command {
	var vault, since string
	var filter client.JobFilter
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List jobs, newest first",
		Example: `  holdfast job list
  holdfast job list --status InProgress
  holdfast job list --operation Backup --since 24h --output json`,
		Args: cobra.NoArgs,
		RunE: a.verb(func(s *session, _ []string) error {
			jobs, err := s.jobs(vault, since, filter, s.client.Jobs)
			if err != nil {
				return err
			}
			var rows []resource
			for _, j := range jobs {
				rows = append(rows, resource{j.Raw, []string{j.Name, j.Vault.Name, j.Operation, j.Entity, j.Status, when(j.Start), elapsed(j)}})
			}
			return s.list("ID,VAULT,OPERATION,VM,STATUS,STARTED,TOOK", rows)
		}),
	}
	a.vaultFlag(c, &vault)
	jobFilterFlags(c, &filter, &since)
	return c
}

// jobFilterFlags choose jobs.
func jobFilterFlags(c *cobra.Command, filter *client.JobFilter, since *string) {
	c.Flags().StringVar(&filter.Status, "status", "", "only jobs of this `STATUS`, such as InProgress, Completed or Failed")
	c.Flags().StringVar(&filter.Operation, "operation", "", "only jobs of this `OPERATION`, such as Backup or Restore")
	c.Flags().StringVar(since, "since", "", "only jobs started since this `TIME`: 24h, 7d or a date")
	fixed(c, "status", "InProgress", "Completed", "CompletedWithWarnings", "Failed", "Cancelling", "Cancelled")
	fixed(c, "operation", "Backup", "Restore", "ConfigureBackup", "DisableBackup", "DeleteBackupData", "Undelete")
	fixed(c, "since", "1h", "24h", "7d", "30d")
}

// jobs are those of one vault, or of all, newest first, as fetch finds them.
func (s *session) jobs(vault, since string, filter client.JobFilter, fetch func(context.Context, client.VaultRef, client.JobFilter) ([]client.Job, error)) ([]client.Job, error) {
	ctx := s.cmd.Context()
	if since != "" {
		var err error
		if filter.Since, err = parseWhen("since", since, true, time.Now()); err != nil {
			return nil, err
		}
	}
	vaults, err := s.vaults(ctx, vault)
	if err != nil {
		return nil, err
	}
	var jobs []client.Job
	for _, v := range vaults {
		more, err := fetch(ctx, v.Ref(), filter)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, more...)
	}
	slices.SortStableFunc(jobs, func(x, y client.Job) int { return y.Start.Compare(x.Start) })
	return jobs, nil
}

// jobVerb is a command about the job that is its argument.
func (a *app) jobVerb(c *cobra.Command, run func(s *session, j client.Job) error) *cobra.Command {
	var vault string
	c.Args = cobra.ExactArgs(1)
	c.ValidArgsFunction = first(a.jobNames())
	c.RunE = a.verb(func(s *session, args []string) error {
		j, err := s.theJob(s.cmd.Context(), vault, args[0])
		if err != nil {
			return err
		}
		return run(s, j)
	})
	a.vaultFlag(c, &vault)
	return c
}

func (a *app) jobShow() *cobra.Command {
	return a.jobVerb(&cobra.Command{
		Use: "show ID", Short: "Show a job: its steps, facts and errors",
		Example: "  holdfast job show 5f0c2c9e-8a3d-4a43-9a5b-3a4a2f0d4c11",
	}, func(s *session, j client.Job) error {
		facts := []fact{{"id", j.Name}, {"operation", j.Operation}, {"VM", j.Entity}, {"vault", j.Vault.Name}, {"status", j.Status},
			{"started", when(j.Start)}, {"ended", when(j.End)}, {"took", elapsed(j)}}
		for _, t := range j.Tasks {
			facts = append(facts, fact{"step " + t.Name, t.Status})
		}
		if j.Total > 0 {
			facts = append(facts, fact{"bytes", fmt.Sprintf("%s of %s", size(j.Done), size(j.Total))})
		}
		for _, name := range slices.Sorted(maps.Keys(j.Properties)) {
			facts = append(facts, fact{name, j.Properties[name]})
		}
		facts = append(facts, fact{"warning", j.Warning})
		for _, e := range j.Errors {
			facts = append(facts, fact{"error", e.Message})
			for _, r := range e.Recommendations {
				facts = append(facts, fact{"what to do", r})
			}
		}
		return s.show(j.Raw, facts)
	})
}

func (a *app) jobWatch() *cobra.Command {
	return a.jobVerb(&cobra.Command{
		Use: "watch ID", Aliases: []string{"wait", "follow"}, Short: "Follow a job to its end",
		Long: `Follow a job to its end and print how it went. The exit code is 0 when it
completed and 5 when it did not. Ctrl-C detaches; the job goes on.`,
		Example: "  holdfast job watch 5f0c2c9e-8a3d-4a43-9a5b-3a4a2f0d4c11 --vault safe",
	}, func(s *session, j client.Job) error {
		return s.finish(client.Work{Vault: j.Vault, Job: j.Name}, false)
	})
}

func (a *app) jobCancel() *cobra.Command {
	return a.jobVerb(&cobra.Command{
		Use: "cancel ID", Short: "Cancel a job",
		Long: `Cancel a job. A backup can be cancelled while the snapshot is taken, and not while
data goes to the vault; the server refuses then, unless it has --limits extended.`,
		Example: "  holdfast job cancel 5f0c2c9e-8a3d-4a43-9a5b-3a4a2f0d4c11",
	}, func(s *session, j client.Job) error {
		if err := s.client.CancelJob(s.cmd.Context(), j.Vault, j.Name); err != nil {
			return err
		}
		s.note("the job was asked to stop; follow it with: %s", s.followWith(client.Work{Vault: j.Vault, Job: j.Name}))
		return nil
	})
}
