package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/clock"
)

// ErrCanceled is the cause of a run's context when its user cancelled the job.
var ErrCanceled = errors.New("job: canceled by its user")

// errStopping is the cause of a run's context when the process is stopping.
var errStopping = errors.New("job: the server is stopping")

// Config is what a Runner needs. Zero values take the defaults named.
type Config struct {
	Catalog *catalog.Catalog
	Clock   clock.Clock
	Log     *slog.Logger
	// Workers is how many jobs of one kind run at once. Default 4.
	Workers int
	// Attempts is how many processes may begin one job; when the last of them
	// died too, the job fails. Default 5.
	Attempts int
	// UndoFor is how long after Start the work of dead processes is waited for
	// that cannot be taken back yet, because its host is away. Default 1 h.
	UndoFor time.Duration
	// CancelLate are the kinds whose jobs may be cancelled in every phase.
	CancelLate []string
	// SaveEvery is how often a running job's report is saved. Default 1 s.
	SaveEvery time.Duration
}

// Runner runs jobs. Register every kind before Start.
type Runner struct {
	cfg   Config
	kinds map[string]handler
	river queue
	began time.Time // Start
	onEnd func(tx *catalog.Tx, j Job) error

	mu    sync.Mutex
	runs  map[string]*run          // by job id: running in this process
	waits map[string]chan struct{} // by job id: closed when it ended
}

// run is one job that runs in this process.
type run struct {
	cancel   context.CancelCauseFunc
	progress *progress
}

// handler is one kind with its types erased.
type handler struct {
	run  func(ctx context.Context, args json.RawMessage, p holdfast.Progress) (json.RawMessage, error)
	undo func(ctx context.Context, args json.RawMessage) (done bool, err error)
	// forget may come again.
	forget func(ctx context.Context, args json.RawMessage) error
	done   func(tx *catalog.Tx, id string, args, result json.RawMessage, err error) error
	// reached is nil for kinds whose jobs have nothing to show before they end.
	reached func(tx *catalog.Tx, id string, args, result json.RawMessage) error
}

// NewRunner makes a runner that has not started.
func NewRunner(cfg Config) *Runner {
	if cfg.Clock == nil {
		cfg.Clock = clock.System
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cfg.Workers, cfg.Attempts = max(cfg.Workers, 0), max(cfg.Attempts, 0)
	if cfg.Workers == 0 {
		cfg.Workers = 4
	}
	if cfg.Attempts == 0 {
		cfg.Attempts = 5
	}
	if cfg.UndoFor == 0 {
		cfg.UndoFor = time.Hour
	}
	if cfg.SaveEvery <= 0 {
		cfg.SaveEvery = time.Second
	}
	return &Runner{cfg: cfg, kinds: map[string]handler{}, runs: map[string]*run{}, waits: map[string]chan struct{}{}, onEnd: func(*catalog.Tx, Job) error { return nil }}
}

// OnEnd says what is called with every job that ends, in the transaction which
// ends it. Its error undoes the end.
func (r *Runner) OnEnd(f func(tx *catalog.Tx, j Job) error) { r.onEnd = f }

// Work does what the jobs of one kind are for.
type Work[A, R any] interface {
	// Run does the work, or finds that an earlier run has done it.
	Run(ctx context.Context, a A, p holdfast.Progress) (R, error)
	// Undo takes back what a run left that did not come to its end. It is called
	// before each run, after one that was cancelled, and before a job ends without
	// one: cancelled, or tried too often. done says that the earlier run had done
	// the work: that stays, and Run answers with it. An error that is
	// holdfast.ErrUnsure says that nobody can be asked: the run finds out, and a job
	// that is cancelled ends saying so.
	Undo(ctx context.Context, a A) (done bool, err error)
	// Forget drops what was kept for Undo. It is called once the job has ended
	// well, and again if the process died meanwhile.
	Forget(ctx context.Context, a A) error
}

// Func is work that leaves nothing to take back.
type Func[A, R any] func(ctx context.Context, a A, p holdfast.Progress) (R, error)

// Run calls f.
func (f Func[A, R]) Run(ctx context.Context, a A, p holdfast.Progress) (R, error) {
	return f(ctx, a, p)
}

// Undo does nothing.
func (Func[A, R]) Undo(context.Context, A) (bool, error) { return false, nil }

// Forget does nothing.
func (Func[A, R]) Forget(context.Context, A) error { return nil }

// Register says what runs the jobs of a kind. done, called in the transaction
// that ends the job, applies its outcome: r is the zero value when err is not
// nil. An error of done fails the job.
func Register[A, R any](r *Runner, kind string, work Work[A, R], done func(tx *catalog.Tx, jobID string, a A, r R, err error) error) {
	if _, dup := r.kinds[kind]; dup || r.river != nil {
		panic("internal error: job kind " + kind + " registered twice or after Start")
	}
	decode := func(args json.RawMessage) (a A, err error) {
		if err := json.Unmarshal(args, &a); err != nil {
			return a, fmt.Errorf("args of %s job: %w", kind, err)
		}
		return a, nil
	}
	r.kinds[kind] = handler{
		run: func(ctx context.Context, args json.RawMessage, p holdfast.Progress) (json.RawMessage, error) {
			a, err := decode(args)
			if err != nil {
				return nil, err
			}
			res, err := work.Run(ctx, a, p)
			if err != nil {
				return nil, err
			}
			return json.Marshal(res)
		},
		undo: func(ctx context.Context, args json.RawMessage) (bool, error) {
			a, err := decode(args)
			if err != nil {
				return false, err
			}
			return work.Undo(ctx, a)
		},
		forget: func(ctx context.Context, args json.RawMessage) error {
			a, err := decode(args)
			if err != nil {
				return err
			}
			return work.Forget(ctx, a)
		},
		done: func(tx *catalog.Tx, id string, args, result json.RawMessage, runErr error) error {
			a, err := decode(args)
			if err != nil {
				return err
			}
			var res R
			if runErr == nil {
				if err := json.Unmarshal(result, &res); err != nil {
					return fmt.Errorf("result of %s job: %w", kind, err)
				}
			}
			return done(tx, id, a, res, runErr)
		},
	}
}

// OnReached says what is called with what a job of a registered kind has come to
// while it goes on (holdfast.Progress.Reached), in a transaction of its own. It
// may come again, and done comes after it.
func OnReached[A, R any](r *Runner, kind string, reached func(tx *catalog.Tx, jobID string, a A, r R) error) {
	h, ok := r.kinds[kind]
	if !ok || r.river != nil {
		panic("internal error: job kind " + kind + " is not registered, or the runner has started")
	}
	h.reached = func(tx *catalog.Tx, id string, args, result json.RawMessage) error {
		var a A
		var res R
		if err := errors.Join(json.Unmarshal(args, &a), json.Unmarshal(result, &res)); err != nil {
			return fmt.Errorf("what a %s job has reached: %w", kind, err)
		}
		return reached(tx, id, a, res)
	}
	r.kinds[kind] = h
}

// Start prepares the queue, makes every job that a dead process was running
// available again, and begins to work. The caller holds the data directory's
// lock: no other process works on this catalog.
func (r *Runner) Start(ctx context.Context) error {
	queue, err := newQueue(ctx, r)
	if err != nil {
		return fmt.Errorf("start jobs: %w", err)
	}
	if err := r.rescue(ctx); err != nil {
		return fmt.Errorf("start jobs: %w", err)
	}
	r.began = r.cfg.Clock()
	r.river = queue
	if err := r.adopt(ctx); err != nil {
		r.river = nil
		return fmt.Errorf("start jobs: %w", err)
	}
	// The queue outlives ctx: Stop ends it.
	return r.river.Start(context.WithoutCancel(ctx))
}

// rescue makes available what River believes to be running: nothing is.
func (r *Runner) rescue(ctx context.Context) error {
	return r.cfg.Catalog.Update(ctx, func(tx *catalog.Tx) error {
		_, err := tx.Exec(`UPDATE river_job SET state = 'available' WHERE state IN ('running', 'retryable', 'scheduled')`)
		return err
	})
}

// Stop ends every run, leaving its job to be run again, and stops working. It
// waits for the runs until ctx ends.
func (r *Runner) Stop(ctx context.Context) error {
	if r.river == nil {
		return nil
	}
	r.mu.Lock()
	for _, run := range r.runs {
		run.cancel(errStopping)
	}
	r.mu.Unlock()
	return r.river.StopAndCancel(ctx)
}

// quiet is a logger for River: its news are ours only when something is wrong.
func quiet(log *slog.Logger) *slog.Logger { return slog.New(warnOnly{log.Handler()}) }

type warnOnly struct{ slog.Handler }

func (h warnOnly) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && h.Handler.Enabled(ctx, l)
}

// Enqueue makes a job of a kind, to be run once tx is committed.
func Enqueue[A any](r *Runner, tx *catalog.Tx, kind string, s Spec, args A) (Job, error) {
	if _, ok := r.kinds[kind]; !ok || r.river == nil {
		return Job{}, fmt.Errorf("internal error: job kind %q is not registered, or the runner has not started", kind)
	}
	j := newJob(tx, kind, s, args)
	if err := insert(tx, j); err != nil {
		return Job{}, err
	}
	return j, r.river.insert(tx, kind, j.ID)
}

// Cancel asks a job to stop. It is refused when the job has ended
// (holdfast.Conflict) or is in a phase that may not be cancelled
// (holdfast.Unsupported; matrix ACT-05).
func (r *Runner) Cancel(ctx context.Context, id string) error {
	var running *run
	err := r.cfg.Catalog.Update(ctx, func(tx *catalog.Tx) error {
		// Inside the transaction: a run enters before it reads its row, so that
		// either we find it here or it finds the row Cancelling.
		running = r.running(id)
		j, err := Get(tx, id)
		if err != nil {
			return err
		}
		if j.Final() {
			return holdfast.Errorf(holdfast.Conflict, id, "The job has already ended: %s.", j.State)
		}
		may := j.Cancellable
		if running != nil {
			may = running.progress.mayCancel()
		}
		if !may {
			return holdfast.Errorf(holdfast.Unsupported, id, "The job can no longer be cancelled: it is transferring data.").
				WithHint("A backup can be cancelled while its snapshot is taken, not later.")
		}
		_, err = tx.Exec(`UPDATE job SET state = ?, cancellable = 0 WHERE id = ?`, Cancelling, j.ID)
		return err
	})
	if err == nil && running != nil {
		running.cancel(ErrCanceled)
	}
	return err
}

func (r *Runner) running(id string) *run {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.runs[id]
}

// Wait returns a job once it has ended.
func (r *Runner) Wait(ctx context.Context, id string) (j Job, err error) {
	for {
		run := r.nextEnd(id) // before the row is read, so that no end is missed
		err = r.cfg.Catalog.View(ctx, func(tx *catalog.Tx) error { j, err = Get(tx, id); return err })
		if err != nil || j.Final() {
			return j, err
		}
		select {
		case <-run:
		case <-ctx.Done():
			return j, context.Cause(ctx)
		}
	}
}

// nextEnd is closed when a run of the job ends in this process.
func (r *Runner) nextEnd(id string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	ended, ok := r.waits[id]
	if !ok {
		ended = make(chan struct{})
		r.waits[id] = ended
	}
	return ended
}
