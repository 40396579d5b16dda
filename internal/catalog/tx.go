package catalog

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// Tx is one transaction, valid inside the function it is given to and only on
// that function's goroutine.
type Tx struct {
	ctx   context.Context
	sql   querier
	pgx   pgx.Tx // the same transaction, on PostgreSQL
	now   time.Time
	after []func()
}

// querier is what database/sql's transactions and connections have in common.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Update runs f in a transaction that may write. Writers run one at a time. An
// error of f undoes everything; nil means the change is durable. f may be called
// again, when PostgreSQL undid what it had done: what it sets outside of the
// transaction, it sets anew.
func (c *Catalog) Update(ctx context.Context, f func(*Tx) error) error {
	defer c.watched("write", time.Now())
	if c.pg != nil {
		return c.retried(ctx, writing, f)
	}
	return c.run(ctx, c.write, nil, f)
}

// View runs f in a transaction that sees one moment and cannot write.
func (c *Catalog) View(ctx context.Context, f func(*Tx) error) error {
	defer c.watched("read", time.Now())
	if c.pg != nil {
		return c.retried(ctx, reading, f)
	}
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
	tx.committed()
	return nil
}

func (tx *Tx) committed() {
	for _, f := range tx.after {
		f()
	}
}

// Now is the transaction's time: everything in it happens at once.
func (tx *Tx) Now() time.Time { return tx.now }

// Context is the context the transaction runs under.
func (tx *Tx) Context() context.Context { return tx.ctx }

// SQL is the transaction below on SQLite, for the job queue; nil on PostgreSQL.
func (tx *Tx) SQL() *sql.Tx { t, _ := tx.sql.(*sql.Tx); return t }

// PGX is the transaction below on PostgreSQL, for the job queue; nil on SQLite.
func (tx *Tx) PGX() pgx.Tx { return tx.pgx }

// AfterCommit runs f once the transaction is durable; never when it is undone.
func (tx *Tx) AfterCommit(f func()) { tx.after = append(tx.after, f) }

// Exec runs a statement with ? placeholders.
func (tx *Tx) Exec(query string, args ...any) (sql.Result, error) {
	return tx.sql.ExecContext(tx.ctx, tx.words(query), args...)
}

// Query runs a query with ? placeholders.
func (tx *Tx) Query(query string, args ...any) (*sql.Rows, error) {
	return tx.sql.QueryContext(tx.ctx, tx.words(query), args...)
}

// QueryRow runs a query of at most one row.
func (tx *Tx) QueryRow(query string, args ...any) *sql.Row {
	return tx.sql.QueryRowContext(tx.ctx, tx.words(query), args...)
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
