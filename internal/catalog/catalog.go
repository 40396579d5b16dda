// Package catalog keeps what the control plane knows: ARM resources and jobs.
//
// It promises that a change made by Update is durable when Update returns, and
// is there whole or not at all; that View sees one moment; and that a resource
// and the job which works on it can change in the same transaction. It knows
// no rule and no noun: a resource is an id, a type, a parent and JSON.
//
// It holds no backup data: a vault can be read without it (the repository and
// its key are enough).
package catalog

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the embedded database

	"holdfast/internal/clock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Catalog is an open catalog: SQLite in a file of this machine, or PostgreSQL. It
// is safe for concurrent use.
type Catalog struct {
	write *sql.DB
	read  *sql.DB
	now   clock.Clock
	pg    *postgres // nil on SQLite
	watch func(kind string, took time.Duration)
}

// Open opens a catalog and brings its schema up to date: a postgres:// URL, or
// the path of an SQLite file, which is made if absent. Only one process may have
// it open; of a PostgreSQL catalog a second one is refused.
func Open(ctx context.Context, place string, now clock.Clock) (*Catalog, error) {
	open := openSQLite
	if IsURL(place) {
		open = openPostgres
	}
	c, err := open(ctx, place)
	if err != nil {
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	c.now = now
	if err := c.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open catalog %s: %w", shown(place), err), c.Close())
	}
	return c, nil
}

// openSQLite opens a file. One connection writes: SQLite takes one writer at a
// time, and a queue in this process is fairer than its busy timeout.
func openSQLite(_ context.Context, path string) (*Catalog, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	c := &Catalog{}
	if c.write, err = sql.Open("sqlite", dsn(abs, "immediate")); err != nil {
		return nil, err
	}
	c.write.SetMaxOpenConns(1)
	if c.read, err = sql.Open("sqlite", dsn(abs, "deferred")+"&_pragma=query_only(1)"); err != nil {
		return nil, errors.Join(err, c.write.Close())
	}
	c.read.SetMaxOpenConns(8)
	return c, nil
}

// dsn is the data source name. synchronous=FULL: a committed transaction
// survives power loss (sqlite.org/pragma.html#pragma_synchronous).
func dsn(path, lock string) string {
	u := url.URL{Scheme: "file", Path: path}
	return u.String() + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)" +
		"&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_txlock=" + lock
}

// Watch has f told of every transaction, read or write: how long it took, the
// wait for its turn included. It is called before the catalog is used.
func (c *Catalog) Watch(f func(kind string, took time.Duration)) { c.watch = f }

// watched tells of a transaction that began then.
func (c *Catalog) watched(kind string, began time.Time) {
	if c.watch != nil {
		c.watch(kind, time.Since(began))
	}
}

// Close closes the catalog.
func (c *Catalog) Close() error {
	err := c.write.Close()
	if c.read != c.write {
		err = errors.Join(err, c.read.Close())
	}
	if c.pg != nil {
		c.pg.close()
	}
	return err
}

// DB is the pool that writes; on SQLite the job queue keeps its tables through
// it. There it has one connection: using it inside Update would wait for itself.
func (c *Catalog) DB() *sql.DB { return c.write }

// migrate runs the migrations that have not run, each in its own transaction.
func (c *Catalog) migrate(ctx context.Context) error {
	err := c.Update(ctx, func(tx *Tx) error {
		_, err := tx.Exec(`CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY)`)
		return err
	})
	if err != nil {
		return err
	}
	names, err := fs.Glob(migrations, "migrations/*.sql") // sorted: the order is in the names
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.Update(ctx, func(tx *Tx) error { return tx.migrate(filepath.Base(name)) }); err != nil {
			return fmt.Errorf("migration %s: %w", name, err)
		}
	}
	return nil
}

func (tx *Tx) migrate(name string) error {
	var done int
	if err := tx.QueryRow(`SELECT count(*) FROM migration WHERE name = ?`, name).Scan(&done); err != nil || done > 0 {
		return err
	}
	text, err := migrations.ReadFile("migrations/" + name)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(tx.schema(string(text))); err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO migration (name) VALUES (?)`, name)
	return err
}
