package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Backup writes a copy of the catalog at path to a new file, as of one moment,
// and checks it. A server may be running on it meanwhile. The copy has the
// hashes of secrets and the signing keys of tokens: it is readable by its owner
// only. It has no vault's key.
//
// Of a PostgreSQL catalog, which path then is the URL of, the copy is an SQLite
// file, too: Load puts it back, here or there.
func Backup(ctx context.Context, path, to string) (err error) {
	if IsURL(path) {
		return backupPostgres(ctx, path, to)
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("back up catalog: %w", err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("back up catalog: %w", err)
	}
	// O_EXCL: an older copy is never overwritten; SQLite accepts an empty file.
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("back up catalog: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("back up catalog: %w", err), os.Remove(to))
		}
	}()
	if err := f.Close(); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn(abs, "deferred"))
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `VACUUM INTO ?`, to)
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	return check(ctx, to)
}

// check reads a whole catalog file, and syncs it: a copy counts when it is on disk.
func check(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite", "file:"+abs+"?mode=ro&immutable=1")
	if err != nil {
		return err
	}
	var verdict string
	err = db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&verdict)
	if err == nil && verdict != "ok" {
		err = fmt.Errorf("the copy is damaged: %s", verdict)
	}
	return errors.Join(err, db.Close())
}
