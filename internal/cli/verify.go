package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (a *app) restoreVerify() *cobra.Command {
	var vault, point, screen string
	var noWait bool
	r := client.Restore{Verify: true}
	c := &cobra.Command{
		Use: "verify VM [--point POINT] [-- CHECK [ARG...]]", Short: "See whether a VM comes up from a point",
		DisableFlagsInUseLine: true,
		Long: `Boot a VM without any network straight from a point, wait for its guest agent, run a
check (a program that has to end with 0) in it, and take it away again. The point then
says what was seen ("holdfast point show"), and an alert tells of one that is not
proved. A site does one at a time. What the VM writes lies in the site's scratch
directory meanwhile.

A policy whose properties have "holdfast": {"verifyPoints": true} has this done with
the newest point after each backup.

The command ends with 0 only if the point is proved.`,
		Example: `  holdfast restore verify web
  holdfast restore verify db --point oldest --screen db.png -- /usr/bin/pg_isready -q`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 1 && cmd.ArgsLenAtDash() != 1 {
				return usagef("verify takes one VM, and behind -- the check that is to be run in the guest.")
			}
			return nil
		},
		ValidArgsFunction: first(a.itemNames()),
	}
	a.vaultFlag(c, &vault)
	c.Flags().StringVar(&point, "point", latest, "`POINT` to look at: a name, latest or oldest")
	c.Flags().DurationVar(&r.Patience, "patience", 0, "how long the guest may take to answer, and the check to end (default: 10m)")
	c.Flags().StringVar(&screen, "screen", "", "write what the console showed to this `FILE`, a PNG")
	c.Flags().BoolVar(&noWait, "no-wait", false, "start it and print the job's id")
	c.MarkFlagsMutuallyExclusive("no-wait", "screen")
	flag(c, "point", a.pointNames(latest, oldest))
	c.RunE = a.verb(func(s *session, args []string) error {
		if r.Patience < 0 {
			return usagef("--patience is %s; it is more than 0.", r.Patience)
		}
		r.Check = args[1:]
		return s.verify(args[0], vault, point, screen, noWait, r)
	})
	return c
}

// verify asks for the verification, follows it, and says what was seen.
func (s *session) verify(vm, vault, point, screen string, noWait bool, r client.Restore) error {
	ctx := s.cmd.Context()
	v, item, err := s.theItem(ctx, vault, vm)
	if err != nil {
		return err
	}
	if r.Point, err = s.thePoint(ctx, item, point); err != nil {
		return err
	}
	r.SourceID, r.Site, r.Group = item.SourceID, v.Site, item.Group()
	work, err := s.client.Restore(ctx, item.Ref, r)
	if err != nil {
		return err
	}
	if noWait {
		return s.finish(work, noWait)
	}
	job, err := s.run(work, false)
	if job.Ended() {
		err = errors.Join(err, s.summary(job))
	}
	if err != nil {
		return err
	}
	if screen != "" {
		picture, err := s.client.Console(ctx, work.Vault, job.Name)
		if err == nil {
			err = os.WriteFile(screen, picture, 0o600)
		}
		if err != nil {
			return err
		}
	}
	if job.Properties["Outcome"] != "proved" {
		return &unproved{point: r.Point, vm: item.VM}
	}
	return nil
}

// unproved is a point whose VM did not come up as it should.
type unproved struct{ point, vm string }

func (e *unproved) Error() string { return fmt.Sprintf("point %s of %s is not proved.", e.point, e.vm) }

// ExitCode is that of a job that failed: what was asked for is not so.
func (*unproved) ExitCode() int { return ExitJobFailed }
