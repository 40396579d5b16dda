package catalog

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// What PostgreSQL asks its clients to try again, as it has undone all of it
// (postgresql.org/docs/current/mvcc-serialization-failure-handling.html).
var again = []string{"40001", "40P01"} // serialization_failure, deadlock_detected

const (
	// tries is how often a transaction is tried at most.
	tries = 10
	// longestRest is between two tries at most.
	longestRest = 200 * time.Millisecond
)

// commitError is of a commit: what became of the transaction is known only if
// PostgreSQL itself says that it was undone.
type commitError struct{ error }

func (e commitError) Unwrap() error { return e.error }

// retried runs a transaction on PostgreSQL, and again when it was undone for
// reasons that are not its own: another one was in its way, or its connection
// broke before the commit. f is called anew each time.
func (c *Catalog) retried(ctx context.Context, opt pgx.TxOptions, f func(*Tx) error) error {
	for n := 1; ; n++ {
		err := c.runPostgres(ctx, opt, f)
		if err == nil || n == tries || ctx.Err() != nil || errors.Is(err, ErrLost) || !undone(err) {
			return err
		}
		rest := min(time.Millisecond<<n, longestRest)
		timer := time.NewTimer(rest/2 + rand.N(rest))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// undone says of the error of a transaction that PostgreSQL has undone it and that
// it may succeed when it is tried again.
func undone(err error) bool {
	var said *pgconn.PgError
	if errors.As(err, &said) {
		for _, code := range again {
			if said.Code == code {
				return true
			}
		}
	}
	var commit commitError
	return !errors.As(err, &commit) && broken(err, said)
}

// broken says of an error that the connection is gone, and not that a statement
// was wrong.
func broken(err error, said *pgconn.PgError) bool {
	if said != nil { // 57P01 to 57P03: the session was ended, the server stops or starts; 08: connection exceptions
		return strings.HasPrefix(said.Code, "57P0") || strings.HasPrefix(said.Code, "08")
	}
	var network net.Error
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		pgconn.SafeToRetry(err) || errors.As(err, &network) && !errors.Is(err, context.DeadlineExceeded)
}
