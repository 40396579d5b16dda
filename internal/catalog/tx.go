package catalog

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// Tx is one transaction, valid inside the function it is given to and only on
// that function's goroutine.
type Tx struct {
	ctx   context.Context
	sql   *sql.Tx
	now   time.Time
	after []func()
}

// Update runs f in a transaction that may write. Writers run one at a time. An
// error of f undoes everything; nil means the change is durable.
func (c *Catalog) Update(ctx context.Context, f func(*Tx) error) error {
	return c.run(ctx, c.write, nil, f)
}

// View runs f in a transaction that sees one moment and cannot write.
func (c *Catalog) View(ctx context.Context, f func(*Tx) error) error {
	return c.run(ctx, c.read, &sql.TxOptions{ReadOnly: true}, f)
}

func (c *Catalog) run(ctx context.Context, db *sql.DB, opt *sql.TxOptions, f func(*Tx) error) error {
	t, err := db.BeginTx(ctx, opt)
	if err != nil {
		return err
	}
	defer t.Rollback() // after Commit it does nothing
	tx := &Tx{ctx: ctx, sql: t, now: c.now()}
	if err := f(tx); err != nil {
		return err
	}
	if err := t.Commit(); err != nil {
		return err
	}
	for _, f := range tx.after {
		f()
	}
	return nil
}

// Now is the transaction's time: everything in it happens at once.
func (tx *Tx) Now() time.Time { return tx.now }

// Context is the context the transaction runs under.
func (tx *Tx) Context() context.Context { return tx.ctx }

// SQL is the transaction below, for the job queue.
func (tx *Tx) SQL() *sql.Tx { return tx.sql }

// AfterCommit runs f once the transaction is durable; never when it is undone.
func (tx *Tx) AfterCommit(f func()) { tx.after = append(tx.after, f) }

// Exec runs a statement with ? placeholders.
func (tx *Tx) Exec(query string, args ...any) (sql.Result, error) {
	return tx.sql.ExecContext(tx.ctx, query, args...)
}

// Query runs a query with ? placeholders.
func (tx *Tx) Query(query string, args ...any) (*sql.Rows, error) {
	return tx.sql.QueryContext(tx.ctx, query, args...)
}

// QueryRow runs a query of at most one row.
func (tx *Tx) QueryRow(query string, args ...any) *sql.Row {
	return tx.sql.QueryRowContext(tx.ctx, query, args...)
}

// Collect reads every row of a query with scan.
func Collect[T any](tx *Tx, scan func(scan func(...any) error) (T, error), query string, args ...any) (list []T, err error) {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		v, err := scan(rows.Scan)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// Micros is how a time is stored: microseconds since 1970 UTC, 0 for the zero time.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// Time is the time that Micros stored.
func Time(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}
