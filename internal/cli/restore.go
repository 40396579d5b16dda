package cli

import (
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (a *app) restore() *cobra.Command {
	return noun("restore", "Bring back disks or a whole VM",
		`A restore brings disks or a whole VM back from a recovery point. The VM that was
backed up, if it is still there, is not touched, unless its disks are to be replaced.`,
		a.restoreDisks(), a.restoreVM(), a.restoreReplace(), a.restoreTemplate(), a.restoreDeploy(), a.restoreVerify())
}

// restoreFlags are those of both restores.
type restoreFlags struct {
	vault, point, pool, directory, format string
	noWait                                bool
}

func (a *app) restoreFlags(c *cobra.Command) *restoreFlags {
	f := &restoreFlags{}
	a.vaultFlag(c, &f.vault)
	c.Flags().StringVar(&f.point, "point", "", "`POINT` to restore: a name, latest or oldest (required)")
	c.Flags().StringVar(&f.pool, "pool", "", "write the disks into this storage `POOL` of the site")
	c.Flags().StringVar(&f.directory, "directory", "", "write the disks into this `DIR`, an absolute path on the site's host")
	c.Flags().StringVar(&f.format, "format", "qcow2", "`FORMAT` of the disks: qcow2 or raw")
	c.Flags().BoolVar(&f.noWait, "no-wait", false, "start it and print the job's id")
	must(c.MarkFlagRequired("point"))
	c.MarkFlagsMutuallyExclusive("pool", "directory")
	flag(c, "point", a.pointNames(latest, oldest))
	flag(c, "pool", a.poolNames())
	fixed(c, "format", "qcow2", "raw")
	must(c.MarkFlagDirname("directory"))
	return f
}

func (a *app) restoreDisks() *cobra.Command {
	var luns []int
	var prefix string
	c := &cobra.Command{
		Use: "disks VM --point POINT [--pool POOL | --directory DIR]", Short: "Restore disks to a pool or a directory",
		DisableFlagsInUseLine: true,
		Long: `Restore the disks of a point, all or those of --lun, as qcow2 or raw files named
PREFIX-TARGET.FORMAT. Files that are there already are not overwritten.

Where neither a pool nor a directory is named, they go to the pool that they were in,
or to one of its class, or to the only one; what was in no pool goes back to the
directory that it was in.`,
		Example: `  holdfast restore disks web --point latest --pool default
  holdfast restore disks web --point 1738041600000 --directory /srv/restored \
      --format raw --lun 0 --name-prefix web-tuesday`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.itemNames()),
	}
	f := a.restoreFlags(c)
	c.Flags().IntSliceVar(&luns, "lun", nil, "restore only the disk at this `LUN`; -1 is the OS disk (may be given several times)")
	c.Flags().StringVar(&prefix, "name-prefix", "", "`PREFIX` of the files' names (default: the server's choice)")
	c.RunE = a.verb(func(s *session, args []string) error {
		if slices.ContainsFunc(luns, func(lun int) bool { return lun < -1 }) {
			return usagef("--lun is 0 or more, or -1 for the OS disk.")
		}
		return s.restore(args[0], f, client.Restore{LUNs: luns, Prefix: prefix})
	})
	return c
}

func (a *app) restoreVM() *cobra.Command {
	var r client.Restore
	var fill int64
	c := &cobra.Command{
		Use: "vm VM --point POINT --name NEW", Short: "Restore a VM as a new one",
		DisableFlagsInUseLine: true,
		Long: `Restore a whole VM under a new name, with new disks, a new UUID and new MAC
addresses. The VM that was backed up is not touched. --network attaches the new VM
to a libvirt network; without it, to the network that it had.

With --instant the VM is started at once, whatever the size of its disks: it reads from
the point what is not there yet, and writes into its own disks, which are filled
meanwhile. It needs the server until they are; while the server or the vault is away,
the VM waits and nothing that it wrote is lost. The job ends when its disks stand
alone.`,
		Example: `  holdfast restore vm web --point latest --name web-restored --start
  holdfast restore vm web --point oldest --name web-lab --network isolated --pool default`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.itemNames()),
	}
	f := a.restoreFlags(c)
	c.Flags().StringVar(&r.NewVM, "name", "", "`NAME` of the new VM (required)")
	c.Flags().StringVar(&r.Network, "network", "", "libvirt `NETWORK` of the new VM (default: as it was)")
	c.Flags().BoolVar(&r.Start, "start", false, "start the new VM")
	c.Flags().BoolVar(&r.Instant, "instant", false, "start it at once, and fill its disks while it runs")
	c.Flags().Int64Var(&fill, "fill-rate", 0, "fill at most so many `MiB` a second (0: no limit)")
	must(c.MarkFlagRequired("name"))
	fixed(c, "name")
	flag(c, "network", a.networkNames())
	c.RunE = a.verb(func(s *session, args []string) error {
		if r.NewVM == "" || strings.ContainsAny(r.NewVM, "/\\") {
			return usagef("--name is %q; it is the name of the new VM, without slashes.", r.NewVM)
		}
		r.Start, r.FillRate = r.Start || r.Instant, fill<<20
		if fill < 0 || fill > 0 && !r.Instant {
			return usagef("--fill-rate is 0 or more, and of a VM that is started at once.")
		}
		return s.restore(args[0], f, r)
	})
	return c
}

func (a *app) restoreReplace() *cobra.Command {
	var r client.Restore
	var luns []int
	c := &cobra.Command{
		Use: "replace VM --point POINT", Short: "Give a VM back the disks of a point",
		DisableFlagsInUseLine: true,
		Long: `Replace the disks of the VM that was backed up by those of a point. The VM keeps
its name, its NICs and all else; disks follow the point.

The VM is backed up first, unless --snapshot-within says that its last point is fresh
enough. New disks are made beside its own while it runs; then it is powered off, gets
them, and is started again if it ran. Its former disks stay where they are, and the
job names them and the file with its former definition: virsh define of that file
takes the VM back. Whatever fails or dies meanwhile, the VM can be started.`,
		Example: `  holdfast restore replace web --point latest
  holdfast restore replace web --point 1738041600000 --lun 0 --snapshot-within 1h`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.itemNames()),
	}
	f := &restoreFlags{}
	a.vaultFlag(c, &f.vault)
	c.Flags().StringVar(&f.point, "point", "", "`POINT` to go back to: a name, latest or oldest (required)")
	c.Flags().StringVar(&f.pool, "pool", "", "put the new disks into this storage `POOL` of the site (default: where the OS disk is)")
	c.Flags().StringVar(&f.format, "format", "", "`FORMAT` of the new disks: qcow2 or raw (default: that of the OS disk)")
	c.Flags().IntSliceVar(&luns, "lun", nil, "replace only the disk at this `LUN`; -1 is the OS disk (may be given several times)")
	c.Flags().DurationVar(&r.Within, "snapshot-within", 0, "`AGE`, such as 1h, of a last point that spares the backup before")
	c.Flags().BoolVar(&r.Start, "start", false, "start the VM, even if it is off now")
	c.Flags().BoolVar(&f.noWait, "no-wait", false, "start it and print the job's id")
	must(c.MarkFlagRequired("point"))
	flag(c, "point", a.pointNames(latest, oldest))
	flag(c, "pool", a.poolNames())
	fixed(c, "format", "qcow2", "raw")
	c.RunE = a.verb(func(s *session, args []string) error {
		if slices.ContainsFunc(luns, func(lun int) bool { return lun < -1 }) || r.Within < 0 {
			return usagef("--lun is 0 or more, or -1 for the OS disk; --snapshot-within is more than 0.")
		}
		r.LUNs, r.Replace = luns, true
		return s.restore(args[0], f, r)
	})
	return c
}

// restore asks for the restore that r and f describe, and follows it.
func (s *session) restore(arg string, f *restoreFlags, r client.Restore) error {
	ctx := s.cmd.Context()
	if f.format != "qcow2" && f.format != "raw" && (f.format != "" || !r.Replace) {
		return usagef("--format is %q; it is qcow2 or raw.", f.format)
	}
	if f.directory != "" && !path.IsAbs(f.directory) {
		return usagef("--directory is %q; it must be an absolute path, as the directory is on the site's host.", f.directory)
	}
	v, item, err := s.theItem(ctx, f.vault, arg)
	if err != nil {
		return err
	}
	r.SourceID, r.Site, r.Group = item.SourceID, v.Site, item.Group()
	r.Pool, r.Directory, r.Format = f.pool, f.directory, f.format
	if r.Point, err = s.thePoint(ctx, item, f.point); err != nil {
		return err
	}
	work, err := s.client.Restore(ctx, item.Ref, r)
	if err != nil {
		return err
	}
	return s.finish(work, f.noWait)
}
