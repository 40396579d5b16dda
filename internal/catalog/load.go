package catalog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/stdlib"

	"holdfast/internal/clock"
)

// tables are those of the schema, which copies of a catalog have.
var tables = []string{"resource", "job", "audit", "alert", "delivery"}

// backupPostgres copies a PostgreSQL catalog, as of one moment, to a new SQLite
// file. A server may be running on it meanwhile.
func backupPostgres(ctx context.Context, place, to string) (err error) {
	pool, err := newPool(ctx, place)
	if err != nil {
		return fmt.Errorf("back up catalog: %w", err)
	}
	from := &Catalog{pg: &postgres{pool: pool}, write: stdlib.OpenDBFromPool(pool), now: clock.System}
	from.read = from.write
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("back up catalog: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("back up catalog %s: %w", shown(place), err), os.Remove(to))
		}
	}()
	if err := f.Close(); err != nil {
		return err
	}
	copied, err := Open(ctx, to, clock.System)
	if err != nil {
		return err
	}
	err = transfer(ctx, from, copied)
	if err == nil { // back into one file
		_, err = copied.write.ExecContext(ctx, `PRAGMA journal_mode(DELETE)`)
	}
	if err := errors.Join(err, copied.Close()); err != nil {
		return err
	}
	return check(ctx, to)
}

// ErrNotEmpty is a catalog that something would be mixed with.
var ErrNotEmpty = errors.New("the catalog is not empty")

// Load fills an empty catalog from a copy that Backup made. It is how to go back
// to a copy, and from SQLite to PostgreSQL. No server may be running on it.
func Load(ctx context.Context, file, place string) error {
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("load catalog: %w", err)
	}
	from, err := Open(ctx, file, clock.System)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := Open(ctx, place, clock.System)
	if err != nil {
		return err
	}
	if err := errors.Join(transfer(ctx, from, to), to.Close()); err != nil {
		return fmt.Errorf("load catalog %s: %w", shown(place), err)
	}
	return nil
}

// transfer copies every row in one transaction on each side.
func transfer(ctx context.Context, from, to *Catalog) error {
	return from.View(ctx, func(src *Tx) error {
		return to.Update(ctx, func(dst *Tx) error {
			for _, table := range tables {
				if err := transferTable(src, dst, table); err != nil {
					return fmt.Errorf("table %s: %w", table, err)
				}
			}
			return nil
		})
	})
}

func transferTable(src, dst *Tx, table string) (err error) {
	var n int
	if err := dst.QueryRow(`SELECT count(*) FROM ` + table).Scan(&n); err != nil {
		return err
	}
	if n > 0 {
		return ErrNotEmpty
	}
	rows, err := src.Query(`SELECT * FROM ` + table)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	insert := `INSERT INTO ` + table + ` (` + strings.Join(names, `, `) + `) VALUES (?` + strings.Repeat(`, ?`, len(names)-1) + `)`
	for rows.Next() {
		values, into := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if _, err := dst.Exec(insert, values...); err != nil {
			return err
		}
	}
	return rows.Err()
}
