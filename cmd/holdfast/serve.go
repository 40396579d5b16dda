package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"holdfast"
	"holdfast/internal/authn"
	"holdfast/internal/clock"
	"holdfast/internal/embedded"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/libvirt"
	"holdfast/internal/limits"
	"holdfast/internal/mover"
	"holdfast/internal/mover/backup"
	"holdfast/internal/mover/capture"
	"holdfast/internal/mover/content"
	"holdfast/internal/mover/deletion"
	"holdfast/internal/mover/discover"
	"holdfast/internal/mover/examine"
	"holdfast/internal/mover/machine"
	"holdfast/internal/mover/provision"
	"holdfast/internal/mover/restore"
	"holdfast/internal/mover/restorepoint"
	"holdfast/internal/mover/verify"
	"holdfast/internal/objstore"
	"holdfast/internal/objstore/open"
	"holdfast/internal/repository"
	"holdfast/internal/snapshot"
)

// serveCommand is the server.
func serveCommand() *cobra.Command {
	var o serveOptions
	c := &cobra.Command{
		Use: "serve", Short: "Run the server",
		Long: `Run the server: the ARM API over TLS, its catalog (SQLite), its jobs, and the
vaults that name no other place, all in one data directory.

The first start makes a certificate authority and an administrator; the file
admin.env in the data directory (readable by its owner only) says how to sign
in. The keys of the vaults are in DIR/keys: keep a copy elsewhere, without them
nothing can be restored.

The catalog may be in a PostgreSQL database (--catalog); everything else stays in
DIR. Give the password in PGPASSWORD or ~/.pgpass, where other users don't see it.

A token of an outside OIDC issuer (--oidc-issuer) is accepted when its subject is
that of a principal: holdfast principal create NAME --subject SUBJECT.

What Azure refuses only because of limits of its service, such as a fourth backup
on demand in a day, is refused, too, so that what works here works there. With
--limits extended it is not.

Alerts (a job that failed, a backup that began late, points that were deleted,
little room) go to a webhook and by e-mail. The webhook's posts are signed as
Standard Webhooks are, with a key of at least 16 bytes from a file. Mail goes under
TLS; only to a mail server on this machine it may go without. holdfast alert test
shows whether alerts arrive, holdfast alert list what there were.

Jobs that run when the server stops or dies are run again by the next start.`,
		Example: `  holdfast serve --data /var/lib/holdfast --listen 0.0.0.0:8443
  holdfast --env /var/lib/holdfast/admin.env site register here`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), &o) },
	}
	c.Flags().StringVar(&o.data, "data", "", "`DIR` for everything that the server keeps (required)")
	c.Flags().StringVar(&o.listen, "listen", "127.0.0.1:8443", "`HOST:PORT` to listen on; port 0 takes a free one")
	c.Flags().StringVar(&o.scratch, "scratch", "", "`DIR` for what running backups need; QEMU must reach it (default: below "+libvirtDir+", else DIR/scratch)")
	c.Flags().StringVar(&o.catalog, "catalog", "", "`URL` (postgres://USER@HOST/DATABASE) of the catalog (default: an SQLite file in DIR)")
	c.Flags().StringVar(&o.cert, "tls-cert", "", "`FILE` (PEM) of a certificate chain to show to who asks for a name in it; SIGHUP reads it again")
	c.Flags().StringVar(&o.key, "tls-key", "", "`FILE` (PEM) of that certificate's private key")
	c.Flags().StringVar(&o.outside.Issuer, "oidc-issuer", "", "`URL` of an outside OIDC issuer whose tokens are accepted, too")
	c.Flags().StringVar(&o.outside.Audience, "oidc-audience", "", "`AUDIENCE` that the outside issuer's tokens must be for")
	c.Flags().StringVar(&o.limits, "limits", string(limits.Azure), "whose `LIMITS` hold: azure, or extended for those of the machine only")
	_ = c.RegisterFlagCompletionFunc("limits", cobra.FixedCompletions([]string{string(limits.Azure), string(limits.Extended)}, cobra.ShellCompDirectiveNoFileComp))
	o.alerts.addFlags(c)
	c.Flags().StringVar(&o.metrics, "metrics", "", "`HOST:PORT` of this machine, such as 127.0.0.1:9469, where Prometheus reads /metrics without signing in")
	c.MarkFlagsRequiredTogether("tls-cert", "tls-key")
	c.MarkFlagsRequiredTogether("oidc-issuer", "oidc-audience")
	_ = c.MarkFlagRequired("data")
	_ = c.MarkFlagDirname("data")
	_ = c.MarkFlagDirname("scratch")
	return c
}

// serveOptions are the flags of serve.
type serveOptions struct {
	data, listen, scratch string
	catalog               string
	cert, key             string
	limits                string
	outside               authn.Outside
	alerts                alertOptions
	metrics               string
}

// serve runs a server until ctx ends.
func serve(ctx context.Context, o *serveOptions) error {
	unix.Umask(0o022) // QEMU passes through the scratch directory; what is secret says so itself
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := snapshot.Yield(); err != nil {
		log.Warn("the guests may feel backups more than they need to", "error", err)
	}
	data, err := filepath.Abs(o.data)
	if err != nil {
		return err
	}
	limits, err := limits.Parse(o.limits)
	if err != nil {
		return err
	}
	scratch := o.scratch
	if scratch == "" {
		scratch = scratchDir(data)
	}
	tell, err := o.alerts.channels()
	if err != nil {
		return err
	}
	opener := &mover.Opener{
		KeyDir:    filepath.Join(data, "keys"),
		CacheDir:  filepath.Join(data, "cache"),
		Owner:     repository.Owner{ID: data, Instance: rand.Text()},
		OpenStore: openStore,
	}
	maker := &capture.Maker{Hosts: connect, Opener: opener, Clock: clock.System, Log: log}
	s, err := embedded.Start(ctx, embedded.Config{
		DataDir: data, Listen: o.listen, Catalog: o.catalog, ScratchDir: scratch, TLSCert: o.cert, TLSKey: o.key, Outside: o.accepted(), Limits: limits, Log: log,
		Channels: tell, Metrics: o.metrics,
		Inventory:   discover.Mover{Hosts: connect},
		Machines:    machine.Mover{Hosts: connect},
		Machine:     machine.Mover{Hosts: connect},
		Provisioner: provision.Mover{Opener: opener},
		Backup:      backup.Mover{Capture: maker, Repositories: opener.Repository, Log: log},
		Restore:     restore.Mover{Hosts: connect, Repositories: opener.Repository},
		Delete:      deletion.Mover{Repositories: opener.Repository, Drop: maker.Drop},

		Verify: verify.Mover{Hosts: connect, Boot: restore.Mover{Hosts: connect, Repositories: opener.Repository}.Boot, Clock: clock.System},

		RestorePoint: restorepoint.Mover{Capture: maker, Repositories: opener.Repository},
		Contents:     content.Mover{Repositories: opener.Repository},
		Examiner:     examine.Mover{Opener: opener},
	})
	if err != nil {
		return err
	}
	stop := reloads(s, log)
	err = s.Wait(ctx)
	stop()
	log.Info("stopping")
	err = errors.Join(err, s.Close(), opener.Close())
	sites, _ := filepath.Glob(filepath.Join(scratch, "*"))
	for _, empty := range append(sites, scratch) {
		_ = os.Remove(empty) // one that is not empty stays
	}
	return err
}

// accepted is the outside issuer, nil for none.
func (o *serveOptions) accepted() *authn.Outside {
	if o.outside.Issuer == "" {
		return nil
	}
	return &o.outside
}

// reloads reads the given certificate again at every SIGHUP, until it is stopped.
func reloads(s *embedded.Server, log *slog.Logger) (stop func()) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, unix.SIGHUP)
	go func() {
		for range hup {
			if err := s.ReloadCertificate(); err != nil {
				log.Error("the old certificate stays", "error", err)
				continue
			}
			log.Info("certificate read again")
		}
	}()
	return func() { signal.Stop(hup); close(hup) }
}

// libvirtDir is a directory that QEMU reaches wherever libvirt runs. Under
// AppArmor or SELinux its socket there needs a rule: holdfast vm check says which.
const libvirtDir = "/var/lib/libvirt"

// scratchDir is where backups of a server with this data directory have their
// scratch files: the data directory itself is often closed to QEMU.
func scratchDir(data string) string {
	if unix.Access(libvirtDir, unix.W_OK) != nil {
		return filepath.Join(data, "scratch")
	}
	sum := sha256.Sum256([]byte(data))
	return filepath.Join(libvirtDir, "holdfast", hex.EncodeToString(sum[:4]))
}

func connect(ctx context.Context, site holdfast.SiteRef) (hypervisor.Host, error) {
	return openHost(ctx, site.URI)
}

func openHost(ctx context.Context, uri string) (hypervisor.Host, error) {
	h, err := libvirt.Connect(ctx, uri)
	if err != nil {
		return nil, err // not h, which would be a Host that is not nil
	}
	return h, nil
}

// openStore opens the place of a vault; with create a directory is made.
func openStore(ctx context.Context, place string, create bool) (objstore.Store, error) {
	if create {
		return open.Create(ctx, place)
	}
	return open.Open(ctx, place)
}

// watchdogCommand is the process that thaws a guest when its server cannot. The
// server starts it; nobody else needs it.
func watchdogCommand() *cobra.Command {
	return &cobra.Command{
		Use: snapshot.WatchdogCommand, Hidden: true, DisableFlagParsing: true,
		Run: func(_ *cobra.Command, args []string) { os.Exit(snapshot.WatchdogMain(args, openHost)) },
	}
}
