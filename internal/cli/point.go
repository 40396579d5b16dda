package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (a *app) point() *cobra.Command {
	return noun("point", "See the recovery points of a VM",
		`A recovery point is a VM at one moment: its disks and its definition. It says how
consistent it was proved to be: application, file system or crash.`,
		a.pointList(), a.pointShow())
}

func (a *app) pointList() *cobra.Command {
	var vault string
	c := &cobra.Command{
		Use: "list VM", Aliases: []string{"ls"}, Short: "List the points of a VM, newest first",
		Example:           "  holdfast point list web\n  holdfast point list web --output json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.itemNames()),
		RunE: a.verb(func(s *session, args []string) error {
			_, item, err := s.theItem(s.cmd.Context(), vault, args[0])
			if err != nil {
				return err
			}
			points, err := s.client.Points(s.cmd.Context(), item.Ref)
			if err != nil {
				return err
			}
			var rows []resource
			for _, p := range points {
				rows = append(rows, resource{p.Raw, []string{p.Name, when(p.Time), p.Consistency, tiers(p.Tiers), pointDisks(p.Disks), when(p.Expires)}})
			}
			return s.list("NAME,TIME,CONSISTENCY,TIER,DISKS,KEPT UNTIL", rows)
		}),
	}
	a.vaultFlag(c, &vault)
	return c
}

func (a *app) pointShow() *cobra.Command {
	var vault string
	c := &cobra.Command{
		Use: "show VM POINT|latest|oldest", Short: "Show a point",
		Example: "  holdfast point show web latest",
		Args:    cobra.ExactArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			switch len(args) {
			case 0:
				return a.itemNames()(cmd, args, prefix)
			case 1:
				return a.pointNames(latest, oldest)(cmd, args, prefix)
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: a.verb(func(s *session, args []string) error {
			_, item, err := s.theItem(s.cmd.Context(), vault, args[0])
			if err != nil {
				return err
			}
			name, err := s.thePoint(s.cmd.Context(), item, args[1])
			if err != nil {
				return err
			}
			p, err := s.client.Point(s.cmd.Context(), item.Ref, name)
			if err != nil {
				return err
			}
			return s.show(p.Raw, []fact{{"name", p.Name}, {"VM", item.VM}, {"time", when(p.Time)}, {"consistency", p.Consistency}, {"note", p.Note},
				{"tier", tiers(p.Tiers)}, {"VM size", p.Size}, {"OS", p.OSType}, {"disks", pointDisks(p.Disks)},
				{"left out", pointDisks(p.Excluded)}, {"kept until", when(p.Expires)}})
		}),
	}
	a.vaultFlag(c, &vault)
	return c
}

// tiers are where a point is kept, in the words of the Azure portal.
func tiers(list []string) string {
	words := map[string]string{"InstantRP": "snapshot", "HardenedRP": "vault", "ArchivedRP": "archive"}
	var out []string
	for _, t := range list {
		w, ok := words[t]
		if !ok {
			w = t
		}
		out = append(out, w)
	}
	return strings.Join(out, "+")
}

func pointDisks(disks []client.PointDisk) string {
	var out []string
	for _, d := range disks {
		out = append(out, d.Name)
	}
	return strings.Join(out, ",")
}
