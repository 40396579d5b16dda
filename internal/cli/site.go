package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (a *app) site() *cobra.Command {
	return noun("site", "Register libvirt hosts",
		`A site is a libvirt host that the server drives. Its name is the Azure location
(region) of everything on it: VMs, vaults, restored disks.`,
		a.siteRegister(), a.siteList(), a.siteShow(), a.siteRemove())
}

func (a *app) siteRegister() *cobra.Command {
	var p client.SiteProperties
	var limit, rate, collect string
	c := &cobra.Command{
		Use:   "register NAME",
		Short: "Register a libvirt host as a site",
		Long: `Register a libvirt host as a site, or change one that is registered.

The server asks libvirt before it stores anything: a URI that is wrong or does
not answer is refused. The VMs of the host appear in the resource group, which
is made if it is not there.`,
		Example: `  holdfast site register here
  holdfast site register rack7 --uri qemu+tls://kvm7.example.org/system \
      --resource-group prod --scratch-dir /var/tmp/holdfast`,
		Args: cobra.ExactArgs(1),
		RunE: a.verb(func(s *session, args []string) error {
			if p.ResourceGroup == "" {
				p.ResourceGroup = args[0]
				s.note("using resource group %s", p.ResourceGroup)
			}
			var err error
			if p.ScratchLimit, err = bytesFlag("scratch-limit", limit); err != nil {
				return err
			}
			if p.ReadRate, err = bytesFlag("read-rate", rate); err != nil {
				return err
			}
			if p.CollectRate, err = bytesFlag("collect-rate", collect); err != nil {
				return err
			}
			site, err := s.client.RegisterSite(s.cmd.Context(), args[0], p)
			if err != nil {
				return err
			}
			return s.showSite(site)
		}),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.Flags().StringVar(&p.URI, "uri", "qemu:///system", "libvirt `URI` of the host")
	c.Flags().StringVarP(&p.ResourceGroup, "resource-group", "g", "", "resource `GROUP` in which the VMs appear (default NAME)")
	c.Flags().StringVar(&p.ScratchDir, "scratch-dir", "", "`DIR` on the host for what a running backup needs (default: the server's choice)")
	c.Flags().StringVar(&p.OperationalDir, "operational-dir", "", "existing `DIR` of the server, below a mount point, for the site's restore points and instant recovery points (default: below the data directory; left out it stays)")
	c.Flags().StringVar(&limit, "scratch-limit", "", "fail a backup whose scratch files reach `BYTES`, such as 20GiB, and spare its guest")
	c.Flags().StringVar(&rate, "read-rate", "", "let a backup read at most `BYTES` a second, such as 100MiB")
	c.Flags().StringVar(&collect, "collect-rate", "", "free storage at `BYTES` a second at most (default 100MiB)")
	c.Flags().IntVar(&p.MaxBackups, "max-backups", 0, "begin at most this many scheduled backups at once (default 4)")
	c.Flags().StringToStringVar(&p.PoolClasses, "pool-class", nil, "class of a storage pool's disks, as `POOL=CLASS`, such as default=Premium_LRS; may be repeated")
	c.Flags().BoolVar(&p.WriteAccelerator, "write-accelerator", false, "back up write accelerated disks, which are left out else")
	c.Flags().StringSliceVar(&p.EncryptedPools, "encrypted-pool", nil, "a storage `POOL` that encrypts what it holds: nothing is restored to it; may be repeated")
	fixed(c, "uri", "qemu:///system", "qemu:///session")
	return c
}

func (a *app) siteList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the sites",
		Example: "  holdfast site list",
		Args:    cobra.NoArgs,
		RunE: a.verb(func(s *session, _ []string) error {
			sites, err := s.client.Sites(s.cmd.Context())
			if err != nil {
				return err
			}
			var rows []resource
			for _, one := range sites {
				rows = append(rows, resource{one.Raw, []string{one.Name, one.Properties.URI, one.Properties.ResourceGroup}})
			}
			return s.list("NAME,URI,RESOURCE GROUP", rows)
		}),
	}
}

func (a *app) siteShow() *cobra.Command {
	return &cobra.Command{
		Use: "show [NAME]", Short: "Show a site: host, versions, storage pools, networks",
		Example:           "  holdfast site show here",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: first(a.siteNames()),
		RunE: a.verb(func(s *session, args []string) error {
			site, err := s.theSite(s.cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			return s.showSite(site)
		}),
	}
}

// atOnce is a number of backups, empty for the server's choice.
func atOnce(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func (s *session) showSite(site client.Site) error {
	p := site.Properties
	facts := []fact{{"name", site.Name}, {"uri", p.URI}, {"resource group", p.ResourceGroup}, {"scratch directory", p.ScratchDir},
		{"operational directory", p.OperationalDir},
		{"scratch limit", limited(p.ScratchLimit, "")}, {"read rate", limited(p.ReadRate, "/s")}, {"backups at once", atOnce(p.MaxBackups)},
		{"host", p.Host}, {"libvirt", p.LibvirtVersion}, {"QEMU", p.QEMUVersion},
		{"unreachable", p.Unreachable}}
	if o := p.Operational; o != nil {
		if !o.Examined.IsZero() {
			facts = append(facts, fact{"examined", when(o.Examined)})
		}
		if o.Unreadable > 0 {
			facts = append(facts, fact{"unreadable", fmt.Sprintf("%d restore points; see holdfast alert list", o.Unreadable)})
		}
		for _, aside := range o.SetAside {
			facts = append(facts, fact{"set aside", fmt.Sprintf("%s, %s; delete it (rm -r) when no restore point in it is missed", aside.Path, size(aside.Bytes))})
		}
	}
	for _, pool := range p.Pools {
		text := fmt.Sprintf("%s, %s, %s free", pool.Type, pool.Path, size(pool.Available))
		if class := p.PoolClasses[pool.Name]; class != "" {
			text += ", " + class
		}
		if slices.Contains(p.EncryptedPools, pool.Name) {
			text += ", encrypted"
		}
		facts = append(facts, fact{"pool " + pool.Name, text})
	}
	return s.show(site.Raw, append(facts, fact{"networks", strings.Join(p.Networks, ", ")}))
}

// limited is a limit for people; "" is none.
func limited(n int64, per string) string {
	if n == 0 {
		return ""
	}
	return size(n) + per
}

// bytesFlag reads a number of bytes such as 100MiB; "" is 0.
func bytesFlag(name, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n == 0 || n > 1<<60 {
		return 0, usagef("--%s %q is not a number of bytes such as 100MiB.", name, text)
	}
	return int64(n), nil
}

func (a *app) siteRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Aliases: []string{"rm"}, Short: "Forget a site",
		Long: `Forget a site. Its VMs and disks are not touched, and its vaults stay; while VMs
of it are protected the server refuses.`,
		Example:           "  holdfast site remove rack7",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: first(a.siteNames()),
		RunE: a.verb(func(s *session, args []string) error {
			// Removing what is not there succeeds in ARM; a user wants to know.
			if _, err := s.client.Site(s.cmd.Context(), args[0]); client.ReasonOf(err) == client.NotFound {
				return err
			}
			if err := s.client.RemoveSite(s.cmd.Context(), args[0]); err != nil {
				return err
			}
			s.note("site %s is forgotten", args[0])
			return nil
		}),
	}
}
