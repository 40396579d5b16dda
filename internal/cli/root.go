package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// The groups of commands in the help.
const (
	groupMachines = "machines"
	groupVaults   = "vaults"
	groupTools    = "tools"
)

const rootLong = `holdfast backs up libvirt/QEMU virtual machines and brings them back.

It speaks to a Holdfast server through the Azure Resource Manager API. Where the
server is and who you are comes from the environment,

  HOLDFAST_ENDPOINT, HOLDFAST_TENANT_ID, HOLDFAST_CLIENT_ID,
  HOLDFAST_CLIENT_SECRET, HOLDFAST_CA_FILE, HOLDFAST_SUBSCRIPTION_ID,

or from a file of such lines, as the server writes at its first start: --env
DIR/admin.env or HOLDFAST_ENV=DIR/admin.env.

Names: a VM or a vault is NAME, GROUP/NAME or a whole ARM id. Where there is only
one site, vault or resource group, its flag may be left out; what was chosen is
said on standard error.

Results go to standard output, all else to standard error. --output json prints
ARM resources as the server sent them.

Exit codes: 0 done, 1 internal error, 2 wrong usage, 3 not found, 4 refused,
5 the job failed, 6 detached (the job goes on), 7 server unreachable, 8 no or
wrong credentials, 130 interrupted.`

const rootExample = `  # from nothing to the first backup
  export HOLDFAST_ENV=/var/lib/holdfast/admin.env
  holdfast site register here --uri qemu:///system --resource-group lab
  holdfast vm list
  holdfast vault create safe
  holdfast protect start web --policy DefaultPolicy
  holdfast backup web

  # bring it back as a new VM
  holdfast point list web
  holdfast restore vm web --point latest --name web-restored --start`

// Root is the command holdfast with the commands that speak to a server, and
// with extra ones, such as the server itself.
func Root(extra ...*cobra.Command) *cobra.Command {
	a := &app{getenv: os.Getenv}
	root := &cobra.Command{
		Use:           "holdfast",
		Short:         "Back up libvirt/QEMU virtual machines and bring them back",
		Long:          rootLong,
		Example:       rootExample,
		SilenceErrors: true,
		SilenceUsage:  true,
		// The flags of the nouns may also stand before them.
		TraverseChildren: true,
	}
	asGroup(root)
	a.addFlags(root, root.Flags())
	root.AddGroup(
		&cobra.Group{ID: groupMachines, Title: "Machines and their protection:"},
		&cobra.Group{ID: groupVaults, Title: "Sites, vaults and jobs:"},
		&cobra.Group{ID: groupTools, Title: "Server and tools:"},
	)
	root.SetHelpCommandGroupID(groupTools)
	root.SetCompletionCommandGroupID(groupTools)
	a.mount(root, groupMachines, a.vm(), a.protect(), a.backup(), a.point(), a.restorePoint(), a.restore())
	a.mount(root, groupVaults, a.site(), a.group(), a.vault(), a.policy(), a.deployment(), a.job(), a.alert(), a.principal(), a.audit())
	for _, c := range append(extra, matrixCommand(), versionCommand()) {
		c.GroupID = groupTools
		root.AddCommand(c)
	}
	return root
}

// mount adds commands that speak to a server.
func (a *app) mount(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		a.addFlags(c, c.PersistentFlags())
		root.AddCommand(c)
	}
}

// Run executes the command line args and returns its exit code. The first
// interrupt ends the command's context; the second ends the process.
func Run(root *cobra.Command, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	root.SetArgs(args)
	ran := false
	eachCommand(root, func(c *cobra.Command) {
		if run := c.RunE; run != nil {
			c.RunE = func(c *cobra.Command, args []string) error { ran = true; return run(c, args) }
		}
	})
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !ran {
		err = &usageError{command: cmd.CommandPath(), err: err}
	}
	printError(root.ErrOrStderr(), err)
	return Exit(err)
}

func eachCommand(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, sub := range c.Commands() {
		eachCommand(sub, visit)
	}
}

// asGroup makes c a command that only holds others: alone it shows its help,
// and a word that is none of its verbs is wrong usage.
func asGroup(c *cobra.Command) {
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	c.SuggestionsMinimumDistance = 2
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			return usagef("%q is not one of its commands; did you mean %q?", args[0], near[0])
		}
		return usagef("%q is not one of its commands.", args[0])
	}
}

// noun makes a group of verbs.
func noun(use, short, long string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Long: long}
	asGroup(c)
	c.AddCommand(verbs...)
	return c
}
