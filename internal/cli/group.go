package cli

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (a *app) group() *cobra.Command {
	return noun("group", "Make and see resource groups",
		`A resource group holds vaults, deployments and resource guards, and the machines of
the sites that say so. Rights and locks are given on it.`,
		a.groupCreate(), a.groupList(), a.groupShow(), a.groupDelete())
}

// theGroup is the resource group that a flag names, or the only one.
func (s *session) theGroup(ctx context.Context, flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	all, err := s.client.Groups(ctx)
	if err != nil {
		return "", err
	}
	var names []string
	for _, g := range all {
		names = append(names, g.Name)
	}
	switch len(names) {
	case 0:
		return "", notFound("Make one: holdfast group create NAME.", "There is no resource group.")
	case 1:
		s.note("using resource group %s, the only one", names[0])
		return names[0], nil
	}
	return "", usagef("which resource group? There are %s: choose with --resource-group.", strings.Join(names, ", "))
}

// groupFlag gives c the flag --resource-group.
func (a *app) groupFlag(c *cobra.Command, into *string) {
	c.Flags().StringVarP(into, "resource-group", "g", "", "resource `GROUP` (may be left out where there is only one)")
	flag(c, "resource-group", a.groupNames())
}

func tagsText(tags map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		all = append(all, name+"="+tags[name])
	}
	return strings.Join(all, ",")
}

func (s *session) showGroup(g client.Group) error {
	return s.show(g.Raw, []fact{{"name", g.Name}, {"id", g.ID}, {"location", g.Location}, {"tags", tagsText(g.Tags)}})
}

func (a *app) groupCreate() *cobra.Command {
	var site string
	var set []string
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a resource group, or give one that is there other tags",
		Example:           "  holdfast group create prod --site rack7 --tag owner=ops",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.verb(func(s *session, args []string) error {
			home, err := s.theSite(s.cmd.Context(), site)
			if err != nil {
				return err
			}
			tags := map[string]string{}
			for _, t := range set {
				key, value, ok := strings.Cut(t, "=")
				if !ok || key == "" {
					return usagef("--tag is %q; it is NAME=VALUE.", t)
				}
				tags[key] = value
			}
			g, err := s.client.PutGroup(s.cmd.Context(), args[0], home.Name, tags)
			if err != nil {
				return err
			}
			return s.showGroup(g)
		}),
	}
	c.Flags().StringVar(&site, "site", "", "`SITE` that is its location")
	c.Flags().StringArrayVar(&set, "tag", nil, "`NAME=VALUE` (may be given several times)")
	flag(c, "site", a.siteNames())
	return c
}

func (a *app) groupList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the resource groups",
		Example: "  holdfast group list",
		Args:    cobra.NoArgs,
		RunE: a.verb(func(s *session, _ []string) error {
			all, err := s.client.Groups(s.cmd.Context())
			if err != nil {
				return err
			}
			var rows []resource
			for _, g := range all {
				rows = append(rows, resource{g.Raw, []string{g.Name, g.Location, tagsText(g.Tags)}})
			}
			return s.list("NAME,LOCATION,TAGS", rows)
		}),
	}
}

func (a *app) groupShow() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show a resource group",
		Example:           "  holdfast group show prod",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.groupNames()),
		RunE: a.verb(func(s *session, args []string) error {
			g, err := s.client.Group(s.cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return s.showGroup(g)
		}),
	}
}

func (a *app) groupDelete() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "Delete a resource group and what is in it",
		Long: `Delete a resource group with what is in it. A vault with protected VMs, a lock, and
the machines of a site keep it.`,
		Example:           "  holdfast group delete prod --yes",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.groupNames()),
		RunE: a.verb(func(s *session, args []string) error {
			ctx := s.cmd.Context()
			if _, err := s.client.Group(ctx, args[0]); err != nil {
				return err
			}
			if err := s.confirm(yes, "Deleting the resource group "+args[0]+" with what is in it"); err != nil {
				return err
			}
			if err := s.client.DeleteGroup(ctx, args[0]); err != nil {
				return err
			}
			s.note("resource group %s is deleted", args[0])
			return nil
		}),
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}
