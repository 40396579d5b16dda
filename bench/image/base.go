package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// largePackages make a machine that is server, desk and workbench in one:
// about 4.3 GB installed.
const largePackages = `systemd-sysv udev apt ca-certificates locales openssh-server cron logrotate rsyslog sudo vim less man-db e2fsprogs
build-essential gdb git git-doc golang-go clang python3-numpy python3-pandas perl-doc python3-doc
libreoffice-writer libreoffice-calc firefox-esr gimp fonts-noto-core fonts-dejavu fonts-liberation xfce4 evince
postgresql mariadb-server apache2 php nginx-core redis-server nodejs docker.io
texlive-latex-recommended texlive-fonts-recommended debian-handbook
linux-image-amd64 linux-headers-amd64 linux-source-6.1 linux-doc-6.1`

// smallPackages make a small server for quick runs: about 0.6 GB installed.
const smallPackages = `systemd-sysv udev apt ca-certificates cron logrotate rsyslog man-db vim e2fsprogs python3 perl postgresql git`

// largeFrom is the disk size from which the large set fits.
const largeFrom = 12 << 30

const mirror = "http://deb.debian.org"

// sources are added after the packages of the release are installed, so that
// the days have true upgrades to make.
const sources = "deb " + mirror + "/debian bookworm main\n" +
	"deb " + mirror + "/debian bookworm-updates main\n" +
	"deb " + mirror + "/debian-security bookworm-security main\n"

// buildBase makes base.raw: packages first (kept when a later step fails, as
// they are the long part), then the data of a machine in use.
func (c *Chain) buildBase(ctx context.Context, say func(string, ...any)) error {
	part := c.Base() + ".part"
	installed := part + ".installed"
	fresh := false
	if _, err := os.Stat(installed); err != nil {
		fresh = true
		if err := c.format(ctx, part); err != nil {
			return err
		}
	}
	err := mounted(ctx, part, func(root string) error {
		if fresh {
			if err := c.install(ctx, root); err != nil {
				return err
			}
			if err := os.WriteFile(installed, nil, 0o644); err != nil {
				return err
			}
		}
		say("  packages are in; adding data")
		return c.furnish(ctx, root)
	})
	if err != nil {
		return err
	}
	if _, err := run(ctx, "e2fsck", "-fn", part); err != nil {
		return err
	}
	if err := os.Rename(part, c.Base()); err != nil {
		return err
	}
	var st syscall.Stat_t
	if err := syscall.Stat(c.Base(), &st); err != nil {
		return err
	}
	c.Used = st.Blocks * 512
	say("  base image: %d MiB used", c.Used>>20)
	return c.save()
}

// format makes an empty ext4 over the whole disk, with names in place of
// random identifiers.
func (c *Chain) format(ctx context.Context, path string) error {
	os.Remove(path)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(c.Spec.Size); err != nil {
		return err
	}
	uuid := fmt.Sprintf("6d1cf9a4-0000-4000-8000-%012x", c.Spec.Seed)
	_, err = run(ctx, "mkfs.ext4", "-F", "-q", "-L", "root", "-U", uuid, "-E", "hash_seed="+uuid, path)
	return err
}

func (c *Chain) install(ctx context.Context, root string) error {
	packages := smallPackages
	if c.Spec.Size >= largeFrom {
		packages = largePackages
	}
	_, err := run(ctx, "mmdebstrap", "--mode=root", "--variant=apt",
		"--include="+strings.Join(strings.Fields(packages), ","),
		"--aptopt=Acquire::Languages \"none\"", "--dpkgopt=force-unsafe-io",
		"bookworm", root, "deb "+mirror+"/debian bookworm main")
	return err
}

// mounted mounts the raw image at path, calls do with the mount point and
// unmounts it again.
func mounted(ctx context.Context, path string, do func(root string) error) (err error) {
	root := filepath.Join(filepath.Dir(path), "mnt")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	if _, err := run(ctx, "mount", "-o", "loop", path, root); err != nil {
		return err
	}
	defer func() {
		if _, e := run(context.WithoutCancel(ctx), "umount", root); e != nil && err == nil {
			err = e
		}
	}()
	return do(root)
}
