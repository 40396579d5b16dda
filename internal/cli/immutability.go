package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (a *app) vaultImmutability() *cobra.Command {
	var on, off, lock, yes bool
	c := &cobra.Command{
		Use: "immutability NAME [--on | --off | --lock]", Short: "Show or set what nobody may delete before its time",
		DisableFlagsInUseLine: true,
		Long: `Show what the immutability of a vault keeps, or would keep, or set it. Without a
flag nothing is changed: it is a dry run.

In an immutable vault nobody, whatever role, deletes a recovery point before it
expires or makes it expire sooner. --on can be taken back with --off. --lock
cannot be taken back by anybody: the vault stays until its last point has expired.
A locked vault in a store with object lock also has the store itself refuse
deletions, for as many days as its soft delete lasts, again and again while a
point lives.`,
		Example:           "  holdfast vault immutability safe\n  holdfast vault immutability safe --lock",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.vaultNames()),
		RunE: a.verb(func(s *session, args []string) error {
			ctx := s.cmd.Context()
			v, err := s.theVault(ctx, args[0])
			if err != nil {
				return err
			}
			p, err := s.client.PreviewImmutability(ctx, v.Ref())
			if err != nil {
				return err
			}
			state := map[bool]string{on: "Unlocked", off: "Disabled", lock: "Locked"}[true]
			if state == "" {
				return s.showProtection(p)
			}
			if lock {
				if err := s.confirm(yes, fmt.Sprintf("Locking %s for ever, with %d points, the last of them kept %s,", v.Name, p.Points, lasting(p))); err != nil {
					return err
				}
			}
			if err := s.client.SetImmutability(ctx, v.Ref(), state); err != nil {
				return err
			}
			if p, err = s.client.PreviewImmutability(ctx, v.Ref()); err != nil {
				return err
			}
			return s.showProtection(p)
		}),
	}
	c.Flags().BoolVar(&on, "on", false, "make the vault immutable")
	c.Flags().BoolVar(&off, "off", false, "end that, unless it is locked")
	c.Flags().BoolVar(&lock, "lock", false, "make the vault immutable for ever")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.MarkFlagsMutuallyExclusive("on", "off", "lock")
	return c
}

func lasting(p client.Protection) string {
	if p.ForEver || p.Until.IsZero() {
		return "until it is told otherwise"
	}
	return "until " + when(p.Until)
}

func (s *session) showProtection(p client.Protection) error {
	store := fmt.Sprintf("refuses deletions for %d days", p.HoldDays)
	if p.HoldDays == 0 {
		store = fmt.Sprintf("does not refuse deletions; a locked vault asks it to, for %d days", p.WouldHold)
	}
	facts := []fact{{"state", p.State}, {"points", fmt.Sprint(p.Points)}, {"store", store}, {"refuses", strings.Join(p.Refused, "; ")}}
	if p.Points > 0 {
		facts = append(facts, fact{"the last is kept", lasting(p)})
	}
	return s.show(p.Raw, facts)
}
