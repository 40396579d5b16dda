package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast"
	"holdfast/internal/client"
)

// completeLimit is how long a press of the tab key may ask the server. Tests on
// a busy machine give it longer.
var completeLimit = 3 * time.Second

// completer gives the words that may stand at a place.
type completer func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective)

// ask completes from the server. What goes wrong completes nothing: a tab key
// has no place for an error.
func (a *app) ask(words func(ctx context.Context, s *session, args []string) ([]string, error)) completer {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		config, err := client.LoadConfig(a.env, a.getenv)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := client.New(config, client.Options{Once: true})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		parent := cmd.Context()
		if parent == nil {
			parent = context.Background()
		}
		ctx, cancel := context.WithTimeout(parent, completeLimit)
		defer cancel()
		all, err := words(ctx, &session{app: a, cmd: cmd, client: c}, args)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var match []string
		for _, w := range all {
			if strings.HasPrefix(strings.ToLower(w), strings.ToLower(prefix)) {
				match = append(match, w)
			}
		}
		return match, cobra.ShellCompDirectiveNoFileComp
	}
}

// first completes the first argument only.
func first(c completer) completer {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c(cmd, args, prefix)
	}
}

// flag completes the value of a flag of cmd.
func flag(cmd *cobra.Command, name string, c completer) {
	must(cmd.RegisterFlagCompletionFunc(name, c))
}

// fixed completes a flag from a list that is known.
func fixed(cmd *cobra.Command, name string, words ...string) {
	must(cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)))
}

// word is a completion with its explanation.
func word(w string, about ...string) string {
	var text []string
	for _, one := range about {
		if one != "" {
			text = append(text, one)
		}
	}
	return w + "\t" + printable(strings.Join(text, ", "))
}

func words[T any](all []T, err error, of func(T) string) ([]string, error) {
	var list []string
	for _, one := range all {
		list = append(list, of(one))
	}
	return list, err
}

func (a *app) siteNames() completer {
	return a.ask(func(ctx context.Context, s *session, _ []string) ([]string, error) {
		all, err := s.client.Sites(ctx)
		return words(all, err, func(one client.Site) string { return word(one.Name, one.Properties.URI) })
	})
}

func (a *app) groupNames() completer {
	return a.ask(func(ctx context.Context, s *session, _ []string) ([]string, error) {
		all, err := s.client.Groups(ctx)
		return words(all, err, func(one client.Group) string { return word(one.Name, one.Location) })
	})
}

func (a *app) vmNames() completer {
	return a.ask(func(ctx context.Context, s *session, _ []string) ([]string, error) {
		all, err := s.client.VMs(ctx, "")
		return words(all, err, func(one client.VM) string { return word(one.Name, one.Power, one.Size) })
	})
}

func (a *app) vaultNames() completer {
	return a.ask(func(ctx context.Context, s *session, _ []string) ([]string, error) {
		all, err := s.client.Vaults(ctx, "")
		return words(all, err, func(one client.Vault) string { return word(one.Name, one.Site) })
	})
}

// vaultOf is the value of the command's --vault, where it has one.
func vaultOf(cmd *cobra.Command) string {
	if f := cmd.Flag("vault"); f != nil {
		return f.Value.String()
	}
	return ""
}

// perVault completes from every vault that the command may mean.
func (a *app) perVault(words func(ctx context.Context, s *session, v client.Vault, args []string) ([]string, error)) completer {
	return a.ask(func(ctx context.Context, s *session, args []string) ([]string, error) {
		vaults, err := s.vaults(ctx, vaultOf(s.cmd))
		var all []string
		for _, v := range vaults {
			more, problem := words(ctx, s, v, args)
			if problem != nil {
				err = problem
			}
			all = append(all, more...)
		}
		return all, err
	})
}

func (a *app) policyNames() completer {
	return a.perVault(func(ctx context.Context, s *session, v client.Vault, _ []string) ([]string, error) {
		all, err := s.client.Policies(ctx, v.Ref())
		return words(all, err, func(one client.Policy) string { return word(one.Name, schedule(one)) })
	})
}

func (a *app) itemNames() completer {
	return a.perVault(func(ctx context.Context, s *session, v client.Vault, _ []string) ([]string, error) {
		all, err := s.client.Items(ctx, v.Ref())
		return words(all, err, func(one client.Item) string { return word(one.VM, one.State, one.Policy) })
	})
}

func (a *app) jobNames() completer {
	return a.perVault(func(ctx context.Context, s *session, v client.Vault, _ []string) ([]string, error) {
		all, err := s.client.Jobs(ctx, v.Ref(), client.JobFilter{})
		return words(all, err, func(one client.Job) string { return word(one.Name, one.Operation, one.Entity, one.Status) })
	})
}

// pointNames completes points of the VM that is the first argument.
func (a *app) pointNames(keywords ...string) completer {
	return a.perVault(func(ctx context.Context, s *session, v client.Vault, args []string) ([]string, error) {
		if len(args) == 0 {
			return nil, nil
		}
		n, err := parseName("VM", args[0])
		if err != nil {
			return nil, err
		}
		items, err := s.client.Items(ctx, v.Ref())
		if err != nil {
			return nil, err
		}
		list := keywords
		for _, i := range items {
			if n.matches(i.Group(), i.VM) {
				all, err := s.client.Points(ctx, i.Ref)
				more, err := words(all, err, func(one client.Point) string { return word(one.Name, when(one.Time), one.Consistency) })
				if err != nil {
					return nil, err
				}
				list = append(list, more...)
			}
		}
		return list, nil
	})
}

// places completes what the sites have of something.
func (a *app) places(of func(client.Site) []string) completer {
	return a.ask(func(ctx context.Context, s *session, _ []string) ([]string, error) {
		sites, err := s.client.Sites(ctx)
		if err != nil {
			return nil, err
		}
		var all []string
		for _, one := range sites {
			site, err := s.client.Site(ctx, one.Name)
			if err != nil {
				return nil, err
			}
			all = append(all, of(site)...)
		}
		return all, nil
	})
}

func (a *app) poolNames() completer {
	return a.places(func(site client.Site) []string {
		all, _ := words(site.Properties.Pools, nil, func(p holdfast.PoolFact) string { return word(p.Name, p.Path, size(p.Available)+" free") })
		return all
	})
}

func (a *app) networkNames() completer {
	return a.places(func(site client.Site) []string { return site.Properties.Networks })
}
