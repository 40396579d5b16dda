package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"holdfast"
	"holdfast/internal/client"
)

func (a *app) vm() *cobra.Command {
	return noun("vm", "See the virtual machines of the sites, and convert them to managed disks",
		`A VM is a libvirt domain of a site. Holdfast does not store VMs: what is shown is
what libvirt says now.`,
		a.vmList(), a.vmShow(), a.vmCheck(), a.vmConvert())
}

func (a *app) vmConvert() *cobra.Command {
	var pool string
	c := &cobra.Command{
		Use: "convert VM", Short: "Move the disks of a VM that is off into a storage pool",
		Long: `Move those disks of a VM into a storage pool that are in none (unmanaged disks), as
az vm convert does. The VM has to be off. The old file of a disk goes when the new one
is whole, durable and the VM's; on the file system of the pool nothing is copied.
Protection and points of the VM stay.`,
		Example:           "  holdfast vm convert web\n  holdfast vm convert lab/web --pool fast",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.vmNames()),
		RunE: a.verb(func(s *session, args []string) error {
			vm, err := s.theVM(s.cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := s.client.ConvertVM(s.cmd.Context(), vm.Group, vm.Name, pool); err != nil {
				return err
			}
			s.note("the disks of %s are in storage pools", vm.Name)
			return nil
		}),
	}
	c.Flags().StringVar(&pool, "pool", "", "move them into this storage `POOL` (default: that of its other disks, default, or the only one)")
	flag(c, "pool", a.poolNames())
	return c
}

func (a *app) vmList() *cobra.Command {
	var group string
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the VMs",
		Example: "  holdfast vm list\n  holdfast vm list --resource-group lab --output json",
		Args:    cobra.NoArgs,
		RunE: a.verb(func(s *session, _ []string) error {
			vms, err := s.client.VMs(s.cmd.Context(), group)
			if err != nil {
				return err
			}
			var rows []resource
			for _, vm := range vms {
				rows = append(rows, resource{vm.Raw, []string{vm.Name, vm.Group, vm.Site, vm.Power, vm.Size, fmt.Sprint(len(vm.Disks)), diskSum(vm.Disks)}})
			}
			return s.list("NAME,RESOURCE GROUP,SITE,POWER,SIZE,DISKS,DISK SIZE", rows)
		}),
	}
	c.Flags().StringVarP(&group, "resource-group", "g", "", "only the VMs of this `GROUP`")
	return c
}

func diskSum(disks []client.VMDisk) string {
	sum := int64(0)
	for _, d := range disks {
		sum += d.Size
	}
	return size(sum)
}

func (a *app) vmShow() *cobra.Command {
	return &cobra.Command{
		Use: "show VM", Short: "Show a VM and its disks",
		Example:           "  holdfast vm show web\n  holdfast vm show lab/web --output json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.vmNames()),
		RunE: a.verb(func(s *session, args []string) error {
			found, err := s.theVM(s.cmd.Context(), args[0])
			if err != nil {
				return err
			}
			vm, err := s.client.VM(s.cmd.Context(), found.Group, found.Name)
			if err != nil {
				return err
			}
			facts := []fact{{"name", vm.Name}, {"id", vm.ID}, {"site", vm.Site}, {"power", vm.Power}, {"size", vm.Size},
				{"OS", strings.TrimSpace(vm.OSType + " " + vm.OSName)}, {"guest agent", vm.Agent}}
			for _, d := range vm.Disks {
				facts = append(facts, fact{lunName(d.LUN), strings.TrimSpace(fmt.Sprintf("%s, %s %s", d.Name, size(d.Size), d.Path))})
			}
			return s.show(vm.Raw, facts)
		}),
	}
}

func (a *app) vmCheck() *cobra.Command {
	return &cobra.Command{
		Use: "check VM", Short: "Look at what a backup of a VM would meet",
		Long: `Look at what a backup of a VM would meet: the host (versions, scratch space,
AppArmor or SELinux), the guest (its agent, how it will be frozen) and each disk
(whether its changes are recorded). Nothing is changed.

A finding that Blocks makes every backup fail; one that Lessens makes it slower
or less consistent than it could be. Each says what to do about it. The exit
status is 4 when something Blocks.`,
		Example:           "  holdfast vm check web\n  holdfast vm check lab/web --output json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.vmNames()),
		RunE: a.verb(func(s *session, args []string) error {
			vm, err := s.theVM(s.cmd.Context(), args[0])
			if err != nil {
				return err
			}
			check, err := s.client.CheckVM(s.cmd.Context(), vm.Group, vm.Name)
			if err != nil {
				return err
			}
			return s.showCheck(vm.Name, check)
		}),
	}
}

// showCheck prints what was found; something that blocks is an error.
func (s *session) showCheck(name string, check client.Check) error {
	var err error
	if s.output == asJSON {
		err = printJSON(s.out(), check.Raw)
	} else {
		rows := [][]string{{"SEVERITY", "SUBJECT", "ROW", "FINDING", "WHAT TO DO"}}
		for _, f := range check.Findings {
			rows = append(rows, []string{string(f.Severity), f.Subject, f.Row, f.Text, f.Fix})
		}
		err = table(s.out(), rows)
	}
	if err == nil && !check.Ready {
		err = &client.Error{Reason: client.Refused, Message: "A backup of " + name + " would fail.", Hint: "Do what is said beside the findings that are marked " + string(holdfast.Blocks) + "."}
	}
	return err
}

// lunName is a disk as Azure counts them: the OS disk is LUN -1.
func lunName(lun int) string {
	if lun < 0 {
		return "OS disk"
	}
	return fmt.Sprintf("LUN %d", lun)
}
