package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"holdfast"
	"holdfast/internal/clock"
	"holdfast/internal/embedded"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/libvirt"
	"holdfast/internal/mover"
	"holdfast/internal/mover/backup"
	"holdfast/internal/mover/discover"
	"holdfast/internal/mover/provision"
	"holdfast/internal/mover/restore"
	"holdfast/internal/objstore"
	"holdfast/internal/objstore/open"
	"holdfast/internal/repository"
	"holdfast/internal/snapshot"
)

// serveCommand is the server.
func serveCommand() *cobra.Command {
	var data, listen, scratch string
	c := &cobra.Command{
		Use: "serve", Short: "Run the server",
		Long: `Run the server: the ARM API over TLS, its catalog (SQLite), its jobs, and the
vaults that name no other place, all in one data directory.

The first start makes a certificate authority and an administrator; the file
admin.env in the data directory (readable by its owner only) says how to sign
in. The keys of the vaults are in DIR/keys: keep a copy elsewhere, without them
nothing can be restored.

Jobs that run when the server stops or dies are run again by the next start.`,
		Example: `  holdfast serve --data /var/lib/holdfast --listen 0.0.0.0:8443
  holdfast --env /var/lib/holdfast/admin.env site register here`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), data, listen, scratch) },
	}
	c.Flags().StringVar(&data, "data", "", "`DIR` for everything that the server keeps (required)")
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8443", "`HOST:PORT` to listen on; port 0 takes a free one")
	c.Flags().StringVar(&scratch, "scratch", "", "`DIR` for what running backups need; QEMU must reach it (default: below "+libvirtDir+", else DIR/scratch)")
	_ = c.MarkFlagRequired("data")
	_ = c.MarkFlagDirname("data")
	_ = c.MarkFlagDirname("scratch")
	return c
}

// serve runs a server until ctx ends.
func serve(ctx context.Context, data, listen, scratch string) error {
	unix.Umask(0o022) // QEMU passes through the scratch directory; what is secret says so itself
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	data, err := filepath.Abs(data)
	if err != nil {
		return err
	}
	if scratch == "" {
		scratch = scratchDir(data)
	}
	opener := &mover.Opener{
		KeyDir:    filepath.Join(data, "keys"),
		CacheDir:  filepath.Join(data, "cache"),
		Owner:     repository.Owner{ID: data, Instance: rand.Text()},
		OpenStore: openStore,
	}
	s, err := embedded.Start(ctx, embedded.Config{
		DataDir: data, Listen: listen, ScratchDir: scratch, Log: log,
		Inventory:   discover.Mover{Hosts: connect},
		Provisioner: provision.Mover{Opener: opener},
		Backup:      backup.Mover{Hosts: connect, Repositories: opener.Repository, Clock: clock.System, Log: log},
		Restore:     restore.Mover{Hosts: connect, Repositories: opener.Repository},
	})
	if err != nil {
		return err
	}
	err = s.Wait(ctx)
	log.Info("stopping")
	err = errors.Join(err, s.Close(), opener.Close())
	sites, _ := filepath.Glob(filepath.Join(scratch, "*"))
	for _, empty := range append(sites, scratch) {
		_ = os.Remove(empty) // one that is not empty stays
	}
	return err
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
