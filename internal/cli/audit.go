package cli

import (
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (a *app) audit() *cobra.Command {
	return noun("audit", "See who changed what",
		`The server keeps a line of every request that changed something or was not let in:
who, what, when, from where, and what came of it. Lines are added and never
changed. Azure's activity log has the same (az monitor activity-log list).`,
		a.auditList())
}

func (a *app) auditList() *cobra.Command {
	var since, until string
	var filter client.EventFilter
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the audit log, newest first",
		Example: `  holdfast audit list
  holdfast audit list --since 7d --resource-group lab
  holdfast audit list --request 5f0c2c9e-8a3d-4a43-9a5b-3a4a2f0d4c11 --output json`,
		Args: cobra.NoArgs,
		RunE: a.verb(func(s *session, _ []string) error {
			var err error
			if filter.Since, err = parseWhen("since", since, true, time.Now()); err != nil {
				return err
			}
			if until != "" {
				if filter.Until, err = parseWhen("until", until, true, time.Now()); err != nil {
					return err
				}
			}
			events, err := s.client.Events(s.cmd.Context(), filter)
			if err != nil {
				return err
			}
			var rows []resource
			for _, e := range events {
				rows = append(rows, resource{e.Raw, []string{when(e.At), e.Caller, e.From, e.Action, e.Resource, e.Status}})
			}
			return s.list("WHEN,WHO,FROM,ACTION,RESOURCE,STATUS", rows)
		}),
	}
	c.Flags().StringVar(&since, "since", "24h", "only lines since this `TIME`: 24h, 7d or a date")
	c.Flags().StringVar(&until, "until", "", "only lines until this `TIME`")
	c.Flags().StringVarP(&filter.ResourceGroup, "resource-group", "g", "", "only lines about what is in this `GROUP`")
	c.Flags().StringVar(&filter.Resource, "resource", "", "only lines about the resource of this ARM `ID` and what lies below it")
	c.Flags().StringVar(&filter.Request, "request", "", "only lines of the request with this correlation `ID`")
	fixed(c, "since", "1h", "24h", "7d", "30d")
	return c
}
