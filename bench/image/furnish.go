package image

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

//go:embed steps/postgres-base.sql
var postgresBase string

//go:embed steps/postgres-day.sql
var postgresDay string

//go:embed steps/sqlite.py
var sqliteSteps string

// The amounts of generated data on a disk of 16 GiB; other sizes have their
// share.
const (
	ordersRows  = 1_000_000
	eventRows   = 500_000
	photoCount  = 60
	proseBytes  = 60 << 20
	tableBytes  = 50 << 20
	logBytes    = 80 << 20
	fullSize    = 16 << 30
	home        = "srv/dev"
	accessLog   = "var/log/nginx/access.log"
	eventsTable = "var/lib/app/events.db"
)

// share scales an amount for a disk of 16 GiB to this disk.
func (s Spec) share(amount int64) int64 { return amount * (s.Size >> 20) / (fullSize >> 20) }

// epoch is the first second in the life of the machine.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// furnish adds to the fresh system what a machine in use has of its own.
func (c *Chain) furnish(ctx context.Context, root string) error {
	if err := c.settle(ctx, root); err != nil {
		return err
	}
	if err := c.databases(ctx, root); err != nil {
		return err
	}
	m := newMaker(c.Spec.Seed, 1)
	if err := m.log(filepath.Join(root, accessLog), c.Spec.share(logBytes), epoch.AddDate(0, 0, -20)); err != nil {
		return err
	}
	for i := range c.Spec.share(photoCount) {
		if err := m.photo(filepath.Join(root, home, fmt.Sprintf("photos/2025/img_%04d.jpg", i))); err != nil {
			return err
		}
	}
	const files = 40
	for i := range int64(files) {
		if err := m.prose(filepath.Join(root, home, fmt.Sprintf("docs/text_%02d.txt", i)), c.Spec.share(proseBytes)/files); err != nil {
			return err
		}
		if err := m.table(filepath.Join(root, home, fmt.Sprintf("data/run_%02d.csv", i)), c.Spec.share(tableBytes)/files); err != nil {
			return err
		}
	}
	// What was downloaded, unpacked and deleted on the way is not the machine's.
	_, err := run(ctx, "fstrim", root)
	return err
}

// settle lets the system take updates and not start services in its tree, and
// unpacks sources to work on.
func (c *Chain) settle(ctx context.Context, root string) error {
	if err := os.WriteFile(filepath.Join(root, "etc/apt/sources.list"), []byte(sources), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "usr/sbin/policy-rc.d"), []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
		return err
	}
	_, err := inside(ctx, root, `
apt-get -qq update
mkdir -p /srv/dev/src /var/lib/app /var/log/nginx
if [ -e /usr/src/linux-source-6.1.tar.xz ]; then
	cd /srv/dev/src && tar xJf /usr/src/linux-source-6.1.tar.xz --wildcards \
		'linux-source-6.1/kernel' 'linux-source-6.1/mm' 'linux-source-6.1/fs' 'linux-source-6.1/net' 'linux-source-6.1/include'
else
	cp -r /usr/share/perl /srv/dev/src/
fi`)
	return err
}

func (c *Chain) databases(ctx context.Context, root string) error {
	rows := c.Spec.share(ordersRows)
	if err := c.postgres(ctx, root, strings.ReplaceAll(postgresBase, "ROWS", fmt.Sprint(rows))); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	return c.sqlite(ctx, root, 0, "base")
}

// postgres runs SQL in the system's own server, which is up just for that.
func (c *Chain) postgres(ctx context.Context, root, sql string) error {
	_, err := inside(ctx, root, `
pg_ctlcluster 15 main start
runuser -u postgres -- psql -q -v ON_ERROR_STOP=1 postgres <<'SQL'
`+sql+`
SQL
pg_ctlcluster 15 main stop`)
	return err
}

func (c *Chain) sqlite(ctx context.Context, root string, day int, mode string) error {
	_, err := inside(ctx, root, fmt.Sprintf("python3 - /%s %d %d %s <<'PY'\n%s\nPY",
		eventsTable, c.Spec.share(eventRows), day, mode, sqliteSteps))
	return err
}
