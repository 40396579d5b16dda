package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (a *app) restorePoint() *cobra.Command {
	return noun("restore-point", "Make, see and delete restore points of a VM",
		`A restore point is a VM at one moment, kept at its own site until somebody deletes
it. It needs no vault and no policy, and is no replacement for them: it is lost with
the site. az restore-point and the Azure SDKs work on the same points.`,
		a.restorePointList(), a.restorePointShow(), a.restorePointCreate(), a.restorePointDelete())
}

func restorePointRow(p client.RestorePoint) []string {
	return []string{p.Name, when(p.Time), p.State, p.Consistency, strings.Join(p.Disks, ","), p.Collection, p.Site, warned(p)}
}

// restorePointColumns are what restorePointRow gives.
const restorePointColumns = "NAME,TIME,STATE,CONSISTENCY,DISKS,COLLECTION,SITE,WARNINGS"

// warned is how much there is to know of a point: show has the words.
func warned(p client.RestorePoint) string {
	if n := len(p.Warnings); n > 0 {
		return fmt.Sprint(n)
	}
	return ""
}

// tell says what there is to know of a point.
func (s *session) tell(p client.RestorePoint) {
	for _, w := range p.Warnings {
		s.note("warning: %s", w)
	}
}

func (a *app) restorePointList() *cobra.Command {
	return &cobra.Command{
		Use: "list VM", Aliases: []string{"ls"}, Short: "List the restore points of a VM, and their copies at other sites",
		Example:           "  holdfast restore-point list web",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.vmNames()),
		RunE: a.verb(func(s *session, args []string) error {
			vm, err := s.theVM(s.cmd.Context(), args[0])
			if err != nil {
				return err
			}
			points, err := s.client.RestorePoints(s.cmd.Context(), vm)
			if err != nil {
				return err
			}
			var rows []resource
			for _, p := range points {
				rows = append(rows, resource{p.Raw, restorePointRow(p)})
			}
			return s.list(restorePointColumns, rows)
		}),
	}
}

// theRestorePoint is the one of a VM's restore points that a name means.
func (s *session) theRestorePoint(vm, name, collection string) (client.RestorePoint, error) {
	of, err := s.theVM(s.cmd.Context(), vm)
	if err != nil {
		return client.RestorePoint{}, err
	}
	all, err := s.client.RestorePoints(s.cmd.Context(), of)
	if err != nil {
		return client.RestorePoint{}, err
	}
	var found []client.RestorePoint
	for _, p := range all {
		if strings.EqualFold(p.Name, name) && (collection == "" || strings.EqualFold(p.Collection, collection)) {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return client.RestorePoint{}, usagef("%s has no restore point %q; holdfast restore-point list %s shows those that it has.", of.Name, name, vm)
	case 1:
		return found[0], nil
	}
	return client.RestorePoint{}, usagef("%s has %d restore points %q; say --collection.", of.Name, len(found), name)
}

func (a *app) restorePointShow() *cobra.Command {
	var collection string
	c := &cobra.Command{
		Use: "show VM NAME", Short: "Show a restore point",
		Example:           "  holdfast restore-point show web before-upgrade",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: first(a.vmNames()),
		RunE: a.verb(func(s *session, args []string) error {
			p, err := s.theRestorePoint(args[0], args[1], collection)
			if err != nil {
				return err
			}
			facts := []fact{{"name", p.Name}, {"id", p.ID}, {"time", when(p.Time)}, {"state", p.State}, {"why", p.Failure}, {"consistency", p.Consistency},
				{"disks", strings.Join(p.Disks, ", ")}, {"site", p.Site}, {"copy of", p.Source}}
			for _, w := range p.Warnings {
				facts = append(facts, fact{"warning", w})
			}
			return s.show(p.Raw, facts)
		}),
	}
	c.Flags().StringVar(&collection, "collection", "", "the point's restore point collection, when several have one of that `NAME`")
	return c
}

func (a *app) restorePointCreate() *cobra.Command {
	var collection, consistency string
	var exclude []string
	c := &cobra.Command{
		Use: "create VM [NAME]", Short: "Make a restore point of a VM",
		Long: `Make a restore point of a VM, as consistent as can be or as --consistency says. It
is read by what has changed since the VM's last point at its site. Disks outside of
storage pools, and shared ones, are refused: holdfast vm check says which.`,
		Example: `  holdfast restore-point create web before-upgrade
  holdfast restore-point create web --consistency CrashConsistent`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: first(a.vmNames()),
		RunE: a.verb(func(s *session, args []string) error {
			vm, err := s.theVM(s.cmd.Context(), args[0])
			if err != nil {
				return err
			}
			name := time.Now().UTC().Format("20060102-150405")
			if len(args) == 2 {
				name = args[1]
			}
			if collection == "" {
				collection = vm.Name
			}
			p, err := s.client.CreateRestorePoint(s.cmd.Context(), vm, collection, name, consistency, exclude)
			if err != nil {
				return err
			}
			s.tell(p)
			return s.list(restorePointColumns, []resource{{p.Raw, restorePointRow(p)}})
		}),
	}
	c.Flags().StringVar(&collection, "collection", "", "the restore point collection's `NAME` (default: the VM's name); it is made if need be")
	c.Flags().StringVar(&consistency, "consistency", "", "`MODE`: ApplicationConsistent (default), FileSystemConsistent or CrashConsistent")
	fixed(c, "consistency", "ApplicationConsistent", "FileSystemConsistent", "CrashConsistent")
	c.Flags().StringSliceVar(&exclude, "exclude-disk", nil, "`ID` of a disk to leave out; may be given again")
	return c
}

func (a *app) restorePointDelete() *cobra.Command {
	var collection string
	var yes bool
	c := &cobra.Command{
		Use: "delete VM NAME", Short: "Delete a restore point",
		Example:           "  holdfast restore-point delete web before-upgrade --yes",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: first(a.vmNames()),
		RunE: a.verb(func(s *session, args []string) error {
			p, err := s.theRestorePoint(args[0], args[1], collection)
			if err != nil {
				return err
			}
			if err := s.confirm(yes, fmt.Sprintf("Deleting the restore point %s of %s", p.Name, args[0])); err != nil {
				return err
			}
			return s.client.DeleteRestorePoint(s.cmd.Context(), p)
		}),
	}
	c.Flags().StringVar(&collection, "collection", "", "the point's restore point collection, when several have one of that `NAME`")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}
