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
		a.alertList(), a.alertChange("acknowledge", "Acknowledged", "Say that somebody looks at an alert"),
		a.alertChange("close", "Closed", "Say that an alert is dealt with"), a.alertTest())
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
				rows = append(rows, resource{one.Raw, []string{when(one.At), one.Severity, one.Rule, standing(one), one.Target, one.Description, one.Name}})
			}
			return s.list("AT,SEVERITY,ALERT,STATE,OF,WHAT,NAME", rows)
		}),
	}
	c.Flags().StringVar(&since, "since", "", "only alerts of the last 1h, 1d, 7d or 30d (`TIME`)")
	fixed(c, "since", "1h", "1d", "7d", "30d")
	return c
}

// standing is whether what an alert tells of lasts, and how far people are with it.
func standing(one client.Alert) string {
	if one.State == "" || one.State == "New" {
		return one.Condition
	}
	return one.Condition + "," + one.State
}

func (a *app) alertChange(verb, state, short string) *cobra.Command {
	var comment string
	c := &cobra.Command{
		Use: verb + " NAME", Short: short,
		Long: short + `. It is kept with who said so, and changes nothing of
what the alert tells: that is resolved by itself when it is over.`,
		Example:           "  holdfast alert " + verb + ` 0f2c… --comment "the disk is on its way"`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.verb(func(s *session, args []string) error {
			one, err := s.client.ChangeAlert(s.cmd.Context(), args[0], state, comment)
			if err != nil {
				return err
			}
			return s.show(one.Raw, []fact{{"alert", one.Name}, {"what", one.Description}, {"state", standing(one)}})
		}),
	}
	c.Flags().StringVar(&comment, "comment", "", "`TEXT` that is kept with it")
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
