package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (a *app) protect() *cobra.Command {
	start := a.protectStart()
	c := noun("protect [VM]", "Put VMs under a policy, and see what is protected",
		`A protected VM is backed up as its policy says, and on demand. Its recovery points
stay when the VM is gone.

holdfast protect VM is short for holdfast protect start VM.`,
		start, a.protectList(), a.protectShow(), a.protectStop(), a.protectUndelete())
	c.Example = start.Example
	c.ValidArgsFunction = first(a.vmNames())
	c.Args = cobra.MaximumNArgs(1)
	flags := a.startFlags(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		return a.verb(func(s *session, args []string) error { return s.start(args[0], flags) })(c, args)
	}
	return c
}

// startFlags are those of protect start.
type startFlags struct {
	vault, policy string
	exclude       []int
}

func (a *app) startFlags(c *cobra.Command) *startFlags {
	f := &startFlags{}
	a.vaultFlag(c, &f.vault)
	c.Flags().StringVar(&f.policy, "policy", "DefaultPolicy", "`POLICY` of the vault")
	c.Flags().IntSliceVar(&f.exclude, "exclude-lun", nil, "leave the disk at this `LUN` out (may be given several times)")
	flag(c, "policy", a.policyNames())
	return f
}

func (a *app) protectStart() *cobra.Command {
	c := &cobra.Command{
		Use: "start VM", Short: "Protect a VM, change its policy, or resume it",
		Long: `Protect a VM by a policy of a vault. On a VM that is protected this changes the
policy, and on one that was stopped it resumes.

--exclude-lun leaves data disks out; the OS disk (LUN -1) is always in. Without
it a VM that is protected already keeps what it left out.`,
		Example: `  holdfast protect start web
  holdfast protect start lab/db --vault safe --policy EnhancedPolicy --exclude-lun 2`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.vmNames()),
	}
	flags := a.startFlags(c)
	c.RunE = a.verb(func(s *session, args []string) error { return s.start(args[0], flags) })
	return c
}

func (s *session) start(arg string, f *startFlags) error {
	ctx := s.cmd.Context()
	for _, lun := range f.exclude {
		if lun < 0 {
			return usagef("--exclude-lun %d: only data disks, LUN 0 and up, can be left out.", lun)
		}
	}
	v, err := s.theVault(ctx, f.vault)
	if err != nil {
		return err
	}
	vm, err := s.theVM(ctx, arg)
	if err != nil {
		return err
	}
	ref, work, err := s.client.Protect(ctx, v.Ref(), vm.ID, f.policy, f.exclude)
	if err != nil {
		return err
	}
	return s.itemAfter(ref, work)
}

// itemAfter waits for a job that changes an item, and shows the item.
func (s *session) itemAfter(ref client.ItemRef, w client.Work) error {
	if _, err := s.run(w, false); err != nil {
		return err
	}
	item, err := s.client.Item(s.cmd.Context(), ref)
	if err != nil {
		return err
	}
	return s.showItem(item)
}

func (a *app) protectList() *cobra.Command {
	var vault string
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List what is protected",
		Example: "  holdfast protect list\n  holdfast protect list --vault safe --output json",
		Args:    cobra.NoArgs,
		RunE: a.verb(func(s *session, _ []string) error {
			vaults, err := s.vaults(s.cmd.Context(), vault)
			if err != nil {
				return err
			}
			var rows []resource
			for _, v := range vaults {
				items, err := s.client.Items(s.cmd.Context(), v.Ref())
				if err != nil {
					return err
				}
				for _, i := range items {
					rows = append(rows, resource{i.Raw, []string{i.VM, v.Name, i.Policy, itemState(i), i.LastStatus, when(i.LastBackup), when(i.LastPoint)}})
				}
			}
			return s.list("VM,VAULT,POLICY,STATE,LAST BACKUP,AT,LAST POINT", rows)
		}),
	}
	a.vaultFlag(c, &vault)
	return c
}

func (a *app) protectShow() *cobra.Command {
	var vault string
	c := &cobra.Command{
		Use: "show VM", Short: "Show how a VM is protected",
		Example:           "  holdfast protect show web",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.itemNames()),
		RunE: a.verb(func(s *session, args []string) error {
			_, found, err := s.theItem(s.cmd.Context(), vault, args[0])
			if err != nil {
				return err
			}
			item, err := s.client.Item(s.cmd.Context(), found.Ref)
			if err != nil {
				return err
			}
			return s.showItem(item)
		}),
	}
	a.vaultFlag(c, &vault)
	return c
}

func (s *session) showItem(i client.Item) error {
	points := ""
	if i.Points >= 0 {
		points = fmt.Sprint(i.Points)
	}
	var excluded []string
	for _, lun := range i.ExcludeLUNs {
		excluded = append(excluded, lunName(lun))
	}
	return s.show(i.Raw, []fact{{"VM", i.VM}, {"source", i.SourceID}, {"vault", i.Ref.Vault.Name}, {"policy", i.Policy}, {"state", itemState(i)},
		{"last backup", strings.TrimSpace(i.LastStatus + " " + when(i.LastBackup))}, {"last point", when(i.LastPoint)}, {"points", points},
		{"left out", strings.Join(excluded, ", ")}})
}

// itemState is how an item is protected.
func itemState(i client.Item) string {
	if i.DeletedUntil.IsZero() {
		return i.State
	}
	return i.State + ", deleted, kept until " + when(i.DeletedUntil)
}

func (a *app) protectUndelete() *cobra.Command {
	var vault string
	c := &cobra.Command{
		Use: "undelete VM", Short: "Take back the deleted points of a VM",
		Long: `Take back what holdfast protect stop VM --delete-data deleted, while the vault's
soft delete keeps it. Backups stay stopped; holdfast protect start resumes them.`,
		Example:           "  holdfast protect undelete web",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.itemNames()),
		RunE: a.verb(func(s *session, args []string) error {
			_, item, err := s.theItem(s.cmd.Context(), vault, args[0])
			if err != nil {
				return err
			}
			work, err := s.client.Undelete(s.cmd.Context(), item)
			if err != nil {
				return err
			}
			return s.itemAfter(item.Ref, work)
		}),
	}
	a.vaultFlag(c, &vault)
	return c
}

func (a *app) protectStop() *cobra.Command {
	var vault string
	var deleteData, yes bool
	c := &cobra.Command{
		Use: "stop VM", Short: "End the backups of a VM and keep its points",
		Long: `End the backups of a VM. Its points are kept, and holdfast protect start resumes
it. With --delete-data the points are deleted too, as the vault's soft delete
allows: as a new vault is set, they are kept for some days more, in which holdfast
protect undelete takes them back; with soft delete off they are gone at once.`,
		Example:           "  holdfast protect stop web\n  holdfast protect stop web --delete-data --yes",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.itemNames()),
		RunE: a.verb(func(s *session, args []string) error {
			ctx := s.cmd.Context()
			_, item, err := s.theItem(ctx, vault, args[0])
			if err != nil {
				return err
			}
			if !deleteData {
				work, err := s.client.StopProtection(ctx, item)
				if err != nil {
					return err
				}
				return s.itemAfter(item.Ref, work)
			}
			if err := s.confirm(yes, "Deleting the points of "+item.VM); err != nil {
				return err
			}
			work, err := s.client.DeleteItem(ctx, item.Ref)
			if err != nil {
				return err
			}
			if err := s.finish(work, false); err != nil {
				return err
			}
			if after, err := s.client.Item(ctx, item.Ref); err == nil && !after.DeletedUntil.IsZero() {
				s.note("kept until %s; take it back with: holdfast protect undelete %s", when(after.DeletedUntil), shellQuote(item.VM))
			}
			return nil
		}),
	}
	a.vaultFlag(c, &vault)
	c.Flags().BoolVar(&deleteData, "delete-data", false, "delete the points, too")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}
