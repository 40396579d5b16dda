package job

import (
	"context"
	"database/sql"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"

	"holdfast/internal/catalog"
)

// queue is River on the catalog's database.
type queue interface {
	Start(ctx context.Context) error
	StopAndCancel(ctx context.Context) error
	// insert makes the ticket of a job, in the transaction that makes its row.
	insert(tx *catalog.Tx, kind, id string) error
}

// newQueue prepares River's tables and its client.
func newQueue(ctx context.Context, r *Runner) (queue, error) {
	if pool := r.cfg.Catalog.Pool(); pool != nil {
		return prepare(ctx, r, riverpgxv5.New(pool), func(tx *catalog.Tx) pgx.Tx { return tx.PGX() })
	}
	return prepare(ctx, r, riversqlite.New(r.cfg.Catalog.DB()), func(tx *catalog.Tx) *sql.Tx { return tx.SQL() })
}

func prepare[T any](ctx context.Context, r *Runner, driver riverdriver.Driver[T], below func(*catalog.Tx) T) (queue, error) {
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet(r.cfg.Log)})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	queues := map[string]river.QueueConfig{}
	for kind := range r.kinds {
		queues[kind] = river.QueueConfig{MaxWorkers: r.cfg.Workers}
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{r: r})
	c, err := river.NewClient(driver, &river.Config{
		Queues: queues, Workers: workers, Logger: quiet(r.cfg.Log),
		JobTimeout: -1,
		// A new job is announced; a second is for the one whose news was lost.
		FetchPollInterval: time.Second, FetchCooldown: 50 * time.Millisecond,
	})
	return riverQueue[T]{c, below}, err
}

// riverQueue is River with the transactions of one database.
type riverQueue[T any] struct {
	*river.Client[T]
	below func(*catalog.Tx) T
}

func (q riverQueue[T]) insert(tx *catalog.Tx, kind, id string) error {
	_, err := q.InsertTx(tx.Context(), q.below(tx), ticket{JobID: id}, &river.InsertOpts{Queue: kind, MaxAttempts: 1000})
	return err
}

// adopt makes tickets for running jobs that have none: those of a catalog that
// was loaded from a copy.
func (r *Runner) adopt(ctx context.Context) error {
	type row struct{ id, kind string }
	return r.cfg.Catalog.Update(ctx, func(tx *catalog.Tx) error {
		lost, err := catalog.Collect(tx, func(scan func(...any) error) (j row, err error) { err = scan(&j.id, &j.kind); return j, err },
			`SELECT id, kind FROM job WHERE ended = 0 AND NOT EXISTS (SELECT 1 FROM river_job WHERE finalized_at IS NULL AND CAST(args AS TEXT) LIKE '%' || job.id || '%')`)
		if err != nil {
			return err
		}
		for _, j := range lost {
			if err := r.river.insert(tx, j.kind, j.id); err != nil {
				return err
			}
		}
		return nil
	})
}
