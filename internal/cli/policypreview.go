package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (a *app) policyPreview() *cobra.Command {
	var vault, file, day, vm string
	var form policyForm
	c := &cobra.Command{
		Use: "preview NAME", Short: "Show which points a policy will keep, and what a change deletes",
		Long: `Show which points there will be on a day when every backup until then succeeds:
those of a VM that is protected from now on or, with --vm, of one that is.

With a schedule (as in policy create) or a file, that policy is looked at in place
of the one that is saved, and what saving it would do to the points that are
there is shown. Nothing is changed.`,
		Example: `  holdfast policy preview nightly --at 2027-12-24
  holdfast policy preview nightly --daily 02:00 --retain-days 7 --at 2027-12-24 --vm web`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.policyNames()),
		RunE: a.verb(func(s *session, args []string) error {
			ctx := s.cmd.Context()
			at, err := parseDay(day)
			if err != nil {
				return err
			}
			var properties json.RawMessage
			if file != "" || form.daily != "" || form.weekly != "" || form.hourly != "" {
				if properties, err = form.read(s.cmd.InOrStdin(), file); err != nil {
					return err
				}
			}
			v, err := s.theVault(ctx, vault)
			if err != nil {
				return err
			}
			item := ""
			if vm != "" {
				_, found, err := s.theItem(ctx, vault, vm)
				if err != nil {
					return err
				}
				item = found.ID
			}
			p, err := s.client.PreviewPolicy(ctx, v.Ref(), args[0], properties, at, item)
			if err != nil {
				return err
			}
			return s.showPreview(p)
		}),
	}
	a.vaultFlag(c, &vault)
	form.addFlags(c)
	c.Flags().StringVar(&file, "file", "", "`FILE` with an ARM policy in JSON; - is standard input")
	c.Flags().StringVar(&day, "at", "", "the `DAY` to look at, such as 2027-12-24, or a moment such as 2027-12-24T12:00:00Z (default now)")
	c.Flags().StringVar(&vm, "vm", "", "show how the points of this protected `VM` will be")
	must(c.MarkFlagFilename("file", "json"))
	flag(c, "vm", a.itemNames())
	exclusiveForm(c)
	return c
}

// parseDay reads a moment; of a day, its end. Empty is the zero time.
func parseDay(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t.Add(24*time.Hour - time.Second), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, usagef("--at is %q; it is a day such as 2027-12-24 or a moment such as 2027-12-24T12:00:00Z.", s)
	}
	return t, nil
}

func (s *session) showPreview(p client.PolicyPreview) error {
	var rows []resource
	for _, point := range p.Points {
		made := point.Name
		if made == "" {
			made = "to be made"
		}
		until := when(point.Expires)
		if until == "" {
			until = "for ever"
		}
		rows = append(rows, resource{p.Raw, []string{when(point.Time), strings.Join(point.Tags, ","), until, made}})
	}
	if s.output == asJSON {
		return printJSON(s.out(), p.Raw)
	}
	if err := s.list("TIME,HELD BY,KEPT UNTIL,POINT", rows); err != nil {
		return err
	}
	s.note("%d points on %s", len(p.Points), when(p.At))
	for _, i := range p.Items {
		s.note("%s: of %d points %d would be kept longer, %d less long; the next clean-up would delete %d more%s",
			i.VM, i.Points, i.Lengthened, i.Shortened, i.DeletedCount, namesOf(i))
	}
	return nil
}

// namesOf are the first of the points that would be deleted.
func namesOf(i client.PreviewItem) string {
	var names []string
	for _, p := range i.Deleted[:min(len(i.Deleted), 10)] {
		names = append(names, fmt.Sprintf("%s of %s", p.Name, when(p.Time)))
	}
	if len(names) == 0 {
		return ""
	}
	if i.DeletedCount > len(names) {
		names = append(names, "…")
	}
	return ": " + strings.Join(names, ", ")
}
