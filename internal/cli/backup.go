package cli

import (
	"time"

	"github.com/spf13/cobra"
)

// onDemandDays is how long a point of an on-demand backup is kept where nothing
// else is said; it is what az says (contract, section 5).
const onDemandDays = 30

func (a *app) backup() *cobra.Command {
	var vault, retainUntil string
	var noWait bool
	c := &cobra.Command{
		Use: "backup VM", Short: "Back a protected VM up now",
		Long: `Back a protected VM up now, and show the job until it ends.

The point is kept until --retain-until (a date is its first moment, UTC), which
is 30 days from now if left out.

Ctrl-C detaches: the backup goes on, and the command that follows it again is
printed. The exit code is then 6. A second Ctrl-C quits at once.`,
		Example: `  holdfast backup web
  holdfast backup web --vault safe --retain-until 2027-12-31 --no-wait`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.itemNames()),
		RunE: a.verb(func(s *session, args []string) error {
			now := time.Now()
			until := now.AddDate(0, 0, onDemandDays).UTC().Truncate(time.Second)
			if retainUntil != "" {
				var err error
				if until, err = parseWhen("retain-until", retainUntil, false, now); err != nil {
					return err
				}
				if !until.After(now) {
					return usagef("--retain-until is %s; it must be in the future.", retainUntil)
				}
			}
			_, item, err := s.theItem(s.cmd.Context(), vault, args[0])
			if err != nil {
				return err
			}
			work, err := s.client.Backup(s.cmd.Context(), item.Ref, until)
			if err != nil {
				return err
			}
			return s.finish(work, noWait)
		}),
	}
	a.vaultFlag(c, &vault)
	c.Flags().StringVar(&retainUntil, "retain-until", "", "keep the point until this `DATE`, such as 2027-01-31 (default 30 days from now)")
	c.Flags().BoolVar(&noWait, "no-wait", false, "start it and print the job's id")
	fixed(c, "retain-until")
	return c
}
