package cli

import (
	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (a *app) alert() *cobra.Command {
	return noun("alert", "See what people were told, and test whether it arrives",
		`An alert says what somebody has to know who isn't looking: a job failed, a backup
was missed, the points of a VM were deleted, a directory is nearly full. The server
brings it to a webhook and by e-mail (holdfast serve --help) and keeps it for 90
days.`,
		a.alertList(), a.alertTest())
}

func (a *app) alertList() *cobra.Command {
	var since string
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List alerts, newest first",
		Example: `  holdfast alert list
  holdfast alert list --since 7d`,
		Args: cobra.NoArgs,
		RunE: a.verb(func(s *session, _ []string) error {
			all, err := s.client.Alerts(s.cmd.Context(), since)
			if err != nil {
				return err
			}
			var rows []resource
			for _, one := range all {
				rows = append(rows, resource{one.Raw, []string{when(one.At), one.Severity, one.Rule, one.Condition, one.Target, one.Description}})
			}
			return s.list("AT,SEVERITY,ALERT,STATE,OF,WHAT", rows)
		}),
	}
	c.Flags().StringVar(&since, "since", "", "only alerts of the last 1h, 1d, 7d or 30d (`TIME`)")
	fixed(c, "since", "1h", "1d", "7d", "30d")
	return c
}

// untaken is an alert that did not arrive everywhere.
type untaken struct{}

func (untaken) Error() string {
	return "the alert did not arrive everywhere; the server goes on trying."
}
func (untaken) ExitCode() int { return ExitJobFailed }

func (a *app) alertTest() *cobra.Command {
	return &cobra.Command{
		Use: "test", Short: "Send a test alert to everybody who gets alerts",
		Long: `Send a test alert to the webhook and the mail addresses of the server, and say
whether they took it. The exit code is 5 when one did not.`,
		Example: "  holdfast alert test",
		Args:    cobra.NoArgs,
		RunE: a.verb(func(s *session, _ []string) error {
			sent, err := s.client.TestAlert(s.cmd.Context())
			if err != nil {
				return err
			}
			facts, failed := []fact{{"alert", sent.Name}}, false
			for _, d := range sent.Deliveries {
				facts = append(facts, fact{d.Channel, arrived(d)})
				failed = failed || !d.Taken
			}
			if err := s.show(sent.Raw, facts); err != nil || !failed {
				return err
			}
			return untaken{}
		}),
	}
}

func arrived(d client.AlertDelivery) string {
	if d.Taken {
		return "taken"
	}
	return "not taken: " + d.Error
}
