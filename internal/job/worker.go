package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/riverqueue/river"

	"holdfast"
	"holdfast/internal/catalog"
)

// ticket is what River keeps: which row to run.
type ticket struct {
	JobID string `json:"jobId"`
}

func (ticket) Kind() string { return "job" }

// worker runs one job for River.
type worker struct {
	river.WorkerDefaults[ticket]
	r *Runner
}

func (*worker) Timeout(*river.Job[ticket]) time.Duration { return -1 } // a backup takes as long as it takes

// Work runs the job of a ticket. An error makes River come back later: it means
// that the row could not be read or written, never that the job failed.
func (w *worker) Work(ctx context.Context, t *river.Job[ticket]) error {
	runCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := newProgress(w.r.cfg.Clock)
	w.r.enter(t.Args.JobID, &run{cancel: cancel, progress: p})
	defer w.r.leave(t.Args.JobID)
	j, err := w.r.begin(ctx, t.Args.JobID)
	if err != nil {
		return err
	}
	p.late(slices.Contains(w.r.cfg.CancelLate, j.Kind))
	h, ok := w.r.kinds[j.Kind]
	if !ok {
		return fmt.Errorf("job %s: no runner for kind %q", j.ID, j.Kind)
	}
	if h.reached != nil {
		p.reached = func(result any) error {
			return w.r.cfg.Catalog.Update(context.WithoutCancel(ctx), func(tx *catalog.Tx) error {
				return h.reached(tx, j.ID, j.Args, holdfast.Marshal(result))
			})
		}
	}
	if j.Final() { // the row is the authority; its process died before it could forget
		return forget(ctx, j, h)
	}
	result, err := w.r.attempt(runCtx, j, h, p)
	if err != nil && errors.Is(context.Cause(runCtx), ErrCanceled) {
		result, err = w.r.canceled(ctx, j, h, p)
	}
	var away *awayError
	switch {
	case err != nil && (ctx.Err() != nil || errors.Is(context.Cause(runCtx), errStopping)):
		return w.r.putBack(j.ID, 0)
	case errors.As(err, &away) && j.Attempts > 1 && w.r.cfg.Clock().Sub(w.r.began) < w.r.cfg.UndoFor:
		w.r.cfg.Log.Warn("what a dead server left cannot be taken back yet", "job", j.ID, "error", err)
		return w.r.putBack(j.ID, undoPause)
	}
	if err := w.r.finish(context.WithoutCancel(ctx), &j, h, p, result, err); err != nil {
		return err
	}
	return forget(context.WithoutCancel(ctx), j, h)
}

// attempt runs the job, unless it was cancelled before it began or has killed
// too many servers. What a dead run left is taken back before anything else,
// whatever becomes of the job.
func (r *Runner) attempt(ctx context.Context, j Job, h handler, p *progress) (json.RawMessage, error) {
	return r.watch(ctx, j.ID, p, func() (json.RawMessage, error) {
		done, err := undo(ctx, j, h)
		unsure := errors.Is(err, holdfast.ErrUnsure)
		switch {
		case unsure && j.State == Cancelling:
			return nil, errors.Join(ErrCanceled, err)
		case err != nil && !unsure: // else the run finds out
			return nil, err
		case done: // then it is neither cancelled nor given up
		case j.State == Cancelling:
			return nil, ErrCanceled
		case j.Attempts > r.cfg.Attempts:
			return nil, holdfast.Errorf(holdfast.Internal, j.ID, "The job was begun %d times and every time the server died.", r.cfg.Attempts)
		}
		return h.run(ctx, j.Args, p)
	})
}

// canceled is the outcome of a run that its user cancelled: what it left is taken
// back, or stays when it had done the work. A run can be cancelled when its last
// step has been taken and it hasn't heard of it; a job that says Cancelled has
// left nothing, or says that nobody could be asked.
func (r *Runner) canceled(ctx context.Context, j Job, h handler, p *progress) (json.RawMessage, error) {
	return r.watch(ctx, j.ID, p, func() (json.RawMessage, error) {
		done, err := undo(ctx, j, h)
		switch {
		case errors.Is(err, holdfast.ErrUnsure):
			return nil, errors.Join(ErrCanceled, err)
		case err != nil:
			return nil, err
		case !done:
			return nil, ErrCanceled
		}
		p.Property("Cancellation", "It came when the work was done.")
		return h.run(ctx, j.Args, p)
	})
}

const (
	// undoPatience bounds how long a host may take to be given back what it lent.
	undoPatience = time.Minute
	// undoPause is how long a host that is away is left alone.
	undoPause = 10 * time.Second
)

// awayError says that what an earlier run left cannot be taken back now.
type awayError struct{ error }

func (e *awayError) Unwrap() error { return e.error }

// undo takes back what an earlier run left, also when its user cancels meanwhile.
func undo(ctx context.Context, j Job, h handler) (bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoPatience)
	defer cancel()
	done, err := h.undo(ctx, j.Args)
	if err != nil {
		return false, &awayError{err}
	}
	return done, nil
}

// forget drops what was kept for the case that the job had to be undone. While
// it cannot, River comes back.
func forget(ctx context.Context, j Job, h handler) error {
	if j.State != Completed && j.State != CompletedWithWarnings {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, undoPatience)
	defer cancel()
	return h.forget(ctx, j.Args)
}

// begin counts an attempt and returns the row.
func (r *Runner) begin(ctx context.Context, id string) (j Job, err error) {
	err = r.cfg.Catalog.Update(ctx, func(tx *catalog.Tx) error {
		if _, err := tx.Exec(`UPDATE job SET attempts = attempts + 1 WHERE id = ? AND ended = 0`, id); err != nil {
			return err
		}
		j, err = Get(tx, id)
		return err
	})
	return j, err
}

// putBack leaves a job to be run again after a pause, by the next process if
// this one is stopping; this attempt does not count.
func (r *Runner) putBack(id string, pause time.Duration) error {
	err := r.cfg.Catalog.Update(context.Background(), func(tx *catalog.Tx) error {
		_, err := tx.Exec(`UPDATE job SET attempts = attempts - 1, cancellable = 1 WHERE id = ? AND ended = 0`, id)
		return err
	})
	return errors.Join(err, river.JobSnooze(pause))
}

// watch runs f and saves its progress from time to time. A panic of f is an error.
func (r *Runner) watch(ctx context.Context, id string, p *progress, f func() (json.RawMessage, error)) (result json.RawMessage, err error) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(r.cfg.SaveEvery)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				r.save(ctx, id, p)
			}
		}
	}()
	defer func() {
		close(stop)
		<-stopped
		if v := recover(); v != nil {
			r.cfg.Log.Error("job panicked", "job", id, "panic", v, "stack", string(debug.Stack()))
			err = holdfast.Errorf(holdfast.Internal, id, "The job met a defect of Holdfast; the server's log says more.")
		}
	}()
	return f()
}

// save writes a changed report to the row. It is news, not state: a failure is
// logged and the next save tries again.
func (r *Runner) save(ctx context.Context, id string, p *progress) {
	report, cancellable, changed := p.take()
	if !changed {
		return
	}
	err := r.cfg.Catalog.Update(ctx, func(tx *catalog.Tx) error {
		_, err := tx.Exec(`UPDATE job SET report = ?, cancellable = CASE WHEN state = ? THEN ? ELSE 0 END WHERE id = ? AND ended = 0`,
			string(holdfast.Marshal(report)), InProgress, flag(cancellable), id)
		return err
	})
	if err != nil && ctx.Err() == nil {
		r.cfg.Log.Warn("job progress not saved", "job", id, "error", err)
		p.change(func() {})
	}
}

// finish applies the outcome and ends the row in one transaction. If the
// outcome cannot be applied, the job fails with that.
func (r *Runner) finish(ctx context.Context, j *Job, h handler, p *progress, result json.RawMessage, runErr error) error {
	err := r.cfg.Catalog.Update(ctx, func(tx *catalog.Tx) error {
		if err := h.done(tx, j.ID, j.Args, result, userError(runErr)); err != nil {
			return err
		}
		return r.end(tx, j, p, result, runErr)
	})
	if err == nil {
		r.logEnd(*j, runErr)
		return nil
	}
	r.cfg.Log.Error("job outcome not applied", "job", j.ID, "error", err)
	err = fmt.Errorf("the outcome could not be recorded: %w", err)
	return r.cfg.Catalog.Update(ctx, func(tx *catalog.Tx) error { return r.end(tx, j, p, nil, err) })
}

// end writes the final state of a row.
func (r *Runner) end(tx *catalog.Tx, j *Job, p *progress, result json.RawMessage, runErr error) error {
	state, failure := Completed, (*Failure)(nil)
	switch {
	case errors.Is(runErr, ErrCanceled):
		state, failure = Cancelled, FailureOf(userError(runErr))
	case runErr != nil:
		state, failure = Failed, FailureOf(runErr)
	}
	report := p.end(state)
	if state == Completed && len(report.Warnings) > 0 {
		state = CompletedWithWarnings
	}
	if result == nil {
		result = json.RawMessage("null")
	}
	j.State, j.Report, j.Result, j.Failure, j.Ended = state, report, result, failure, tx.Now()
	_, err := tx.Exec(`UPDATE job SET state = ?, cancellable = 0, result = ?, report = ?, failure = ?, ended = ? WHERE id = ?`,
		state, string(result), string(holdfast.Marshal(report)), string(holdfast.Marshal(failure)), catalog.Micros(j.Ended), j.ID)
	if err != nil {
		return err
	}
	return r.onEnd(tx, *j)
}

// userError gives a cancellation the words its user knows.
func userError(err error) error {
	if !errors.Is(err, ErrCanceled) {
		return err
	}
	said := holdfast.Errorf(holdfast.Canceled, "", "The job was cancelled by its user.").WithCause(err)
	if more := (*holdfast.Error)(nil); errors.Is(err, holdfast.ErrUnsure) && errors.As(err, &more) {
		said.Message, said.Hint = said.Message+" "+more.Message, more.Hint
	}
	return said
}

// FailureOf keeps what a user may read of an error: its cause stays in the log.
func FailureOf(err error) *Failure {
	if err == nil {
		return nil
	}
	var e *holdfast.Error
	if errors.As(err, &e) {
		return &Failure{Kind: e.Kind, Target: e.Target, Message: e.Message, Hint: e.Hint}
	}
	return &Failure{Kind: holdfast.Internal, Message: err.Error()}
}

func (r *Runner) logEnd(j Job, err error) {
	switch {
	case err == nil:
		r.cfg.Log.Info("job ended", "job", j.ID, "kind", j.Kind, "entity", j.Entity)
	case errors.Is(err, ErrCanceled):
		r.cfg.Log.Info("job cancelled", "job", j.ID, "kind", j.Kind, "entity", j.Entity)
	default:
		r.cfg.Log.Error("job failed", "job", j.ID, "kind", j.Kind, "entity", j.Entity, "error", err)
	}
}

// enter makes a run known to Cancel and Stop.
func (r *Runner) enter(id string, run *run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs[id] = run
}

// leave forgets a run and wakes those that wait for its job.
func (r *Runner) leave(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.runs, id)
	if ended, ok := r.waits[id]; ok {
		delete(r.waits, id)
		close(ended)
	}
}
