package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// postgres is what a PostgreSQL catalog has besides its statements.
type postgres struct {
	pool *pgxpool.Pool
	held *pgxpool.Conn // has serverLock as long as the catalog is open
	pid  uint32        // of held's session

	watching chan struct{} // closed to end the watch
	watched  chan struct{} // closed when it has ended
	lost     chan struct{} // closed when the session that has the lock is gone
	once     sync.Once     // closes lost
}

// ErrLost says that the session which keeps other servers away from a PostgreSQL
// catalog is gone: another server may have taken it, and nothing is written any
// more.
var ErrLost = errors.New("the catalog is lost: PostgreSQL ended the session that holds its lock")

// lookEvery is how often the session that has the lock is asked whether it is there.
const lookEvery = 5 * time.Second

// Keys of advisory locks (postgresql.org/docs/current/explicit-locking.html,
// 13.3.5). Their first half is "hold" in ASCII.
const (
	serverLock = 0x686f6c64_00000001 // of the one process that has the catalog open
	writerLock = 0x686f6c64_00000002 // of the one transaction that writes
)

// IsURL says whether a place is a PostgreSQL server and not a file.
func IsURL(place string) bool {
	return strings.HasPrefix(place, "postgres://") || strings.HasPrefix(place, "postgresql://")
}

// shown is a place without its password.
func shown(place string) string {
	if u, err := url.Parse(place); err == nil && IsURL(place) {
		return u.Redacted()
	}
	return place
}

func openPostgres(ctx context.Context, place string) (*Catalog, error) {
	pool, err := newPool(ctx, place)
	if err != nil {
		return nil, err
	}
	c := &Catalog{pg: &postgres{pool: pool, watching: make(chan struct{}), watched: make(chan struct{}), lost: make(chan struct{})}}
	if err := c.pg.hold(ctx); err != nil {
		close(c.pg.watched)
		c.pg.close()
		return nil, fmt.Errorf("%s: %w", shown(place), err)
	}
	go c.pg.watch()
	c.write = stdlib.OpenDBFromPool(pool)
	c.read = c.write
	return c, nil
}

// poolSize is how many connections there are at most: requests, running jobs
// and what River keeps for itself.
const poolSize = 20

func newPool(ctx context.Context, place string) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(place)
	if err != nil {
		return nil, errors.New("the PostgreSQL URL is malformed") // pgx repeats it, password and all
	}
	cfg.MaxConns = max(cfg.MaxConns, poolSize)
	return pgxpool.NewWithConfig(ctx, cfg)
}

// hold takes the lock that keeps a second server from the same catalog.
func (p *postgres) hold(ctx context.Context) (err error) {
	if p.held, err = p.pool.Acquire(ctx); err != nil {
		return err
	}
	var free bool
	if err := p.held.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, int64(serverLock)).Scan(&free); err != nil {
		return err
	}
	if !free {
		return errors.New("the catalog is used by another holdfast serve")
	}
	p.pid = p.held.Conn().PgConn().PID()
	return nil
}

// watch asks the session that has the lock, now and then, whether it is there.
func (p *postgres) watch() {
	defer close(p.watched)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.watching:
			return
		case <-p.lost:
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), 4*lookEvery)
		err := p.held.Ping(ctx)
		cancel()
		if err != nil {
			p.lose()
		}
	}
}

func (p *postgres) lose() { p.once.Do(func() { close(p.lost) }) }

// ours checks, in a transaction that writes, that the lock is this server's. The
// next server writes only after it, so that between the two nobody else does.
func (p *postgres) ours(ctx context.Context, t pgx.Tx) error {
	var n int
	err := t.QueryRow(ctx, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = $1 AND classid = $2 AND objid = $3
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, p.pid, uint32(serverLock>>32), uint32(serverLock&0xffffffff)).Scan(&n)
	if err != nil {
		return err
	}
	if n == 0 {
		p.lose()
		return ErrLost
	}
	return nil
}

// Lost is closed when the catalog can be written no more, since another server
// may have it; that of SQLite never is.
func (c *Catalog) Lost() <-chan struct{} {
	if c.pg == nil {
		return nil
	}
	return c.pg.lost
}

func (p *postgres) close() {
	if p.watching != nil {
		close(p.watching)
		<-p.watched
		p.watching = nil
	}
	if p.held != nil {
		// The end of the session would let go of the lock, too, but some time later.
		_, _ = p.held.Exec(context.Background(), `SELECT pg_advisory_unlock_all()`)
		p.held.Release()
		p.held = nil
	}
	p.pool.Close()
}

// Pool is where the job queue keeps its tables on PostgreSQL; nil on SQLite.
func (c *Catalog) Pool() *pgxpool.Pool {
	if c.pg == nil {
		return nil
	}
	return c.pg.pool
}

// The two kinds of transaction. A reader sees one moment; of writers the second
// waits for the first, so that the rules check and write without a race.
var (
	reading = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	writing = pgx.TxOptions{IsoLevel: pgx.ReadCommitted}
)

// runPostgres runs f on one connection, whose transaction both database/sql and
// the job queue use.
func (c *Catalog) runPostgres(ctx context.Context, opt pgx.TxOptions, f func(*Tx) error) error {
	conn, err := c.write.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	t, err := begin(ctx, conn, opt)
	if err != nil {
		return err
	}
	defer t.Rollback(context.WithoutCancel(ctx)) // after Commit it does nothing
	if opt.AccessMode != pgx.ReadOnly {
		if _, err := t.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(writerLock)); err != nil {
			return err
		}
		if err := c.pg.ours(ctx, t); err != nil {
			return err
		}
	}
	tx := &Tx{ctx: ctx, sql: conn, pgx: t, now: c.now()}
	if err := f(tx); err != nil {
		return err
	}
	if opt.AccessMode != pgx.ReadOnly { // a reader has nothing to commit
		if err := t.Commit(ctx); err != nil {
			return commitError{err}
		}
	}
	tx.committed()
	return nil
}

func begin(ctx context.Context, conn *sql.Conn, opt pgx.TxOptions) (t pgx.Tx, err error) {
	err = conn.Raw(func(driver any) error {
		t, err = driver.(*stdlib.Conn).Conn().BeginTx(ctx, opt)
		return err
	})
	return t, err
}

// words is a statement in the words of the database: PostgreSQL numbers its
// placeholders. No statement has a ? that is none.
func (tx *Tx) words(query string) string {
	if tx.pgx == nil || !strings.Contains(query, "?") {
		return query
	}
	var b strings.Builder
	for n, part := range strings.Split(query, "?") {
		if n > 0 {
			b.WriteString("$" + strconv.Itoa(n))
		}
		b.WriteString(part)
	}
	return b.String()
}

// memberOf is how a migration names a member of a body, which each database
// reads in its own words.
var memberOf = regexp.MustCompile(`\bMEMBER\((\w+)\)`)

var textColumn = regexp.MustCompile(`\bTEXT\b`)

// schema is a migration in the words of the database. Ids are compared byte by
// byte, as SQLite does, whatever the order of the PostgreSQL database is.
func (tx *Tx) schema(text string) string {
	text = memberOf.ReplaceAllStringFunc(text, func(m string) string { return tx.member(Member(memberOf.FindStringSubmatch(m)[1])) })
	if tx.pgx == nil {
		return text
	}
	return textColumn.ReplaceAllString(text, `TEXT COLLATE "C"`)
}

// member is a text member of a body, as the indexes name it.
func (tx *Tx) member(name Member) string {
	if tx.pgx == nil {
		return `json_extract(body, '$.` + string(name) + `')`
	}
	return `(body::json ->> '` + string(name) + `')`
}
