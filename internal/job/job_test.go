package job_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/catalog/catalogtest"
	"holdfast/internal/clock"
	"holdfast/internal/job"
)

type args struct{ N int }
type result struct{ Twice int }

// bench is a runner of one kind, "double", over a catalog.
type bench struct {
	*job.Runner
	cat *catalog.Catalog
}

type runFunc = job.Func[args, result]

// start opens the catalog at path and starts a runner whose jobs run do. What
// the jobs leave is a resource /done/JOB.
func start(t *testing.T, path string, do runFunc, stop func(*bench)) *bench {
	t.Helper()
	return startWork(t, path, do, stop, 0)
}

func startWork(t *testing.T, path string, do job.Work[args, result], stop func(*bench), undoFor time.Duration) *bench {
	t.Helper()
	cat, err := catalog.Open(t.Context(), path, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{cat: cat, Runner: job.NewRunner(job.Config{
		Catalog: cat, Attempts: 2, SaveEvery: 5 * time.Millisecond, UndoFor: undoFor, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})}
	job.Register(b.Runner, "double", do, func(tx *catalog.Tx, id string, a args, r result, err error) error {
		if a.N == 13 {
			return errors.New("13 cannot be recorded")
		}
		if err != nil {
			return nil
		}
		_, err = catalog.Write(tx, catalog.Resource{ID: "/done/" + id, Type: "done"}, r)
		return err
	})
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if stop != nil {
			stop(b)
		}
		b.stop(t)
	})
	return b
}

func (b *bench) stop(t *testing.T) {
	if err := b.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	b.cat.Close()
}

func (b *bench) enqueue(t *testing.T, n int) job.Job {
	t.Helper()
	j, err := b.tryEnqueue(n, "")
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func (b *bench) tryEnqueue(n int, exclusive string) (j job.Job, err error) {
	err = b.cat.Update(context.Background(), func(tx *catalog.Tx) error {
		j, err = job.Enqueue(b.Runner, tx, "double", job.Spec{Operation: "Backup", Scope: "/V", Subject: "/V/i", Entity: "vm", Exclusive: exclusive}, args{n})
		return err
	})
	return j, err
}

func (b *bench) wait(t *testing.T, id string) job.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	j, err := b.Wait(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func (b *bench) left(t *testing.T, id string) bool {
	t.Helper()
	err := b.cat.View(t.Context(), func(tx *catalog.Tx) error { _, err := tx.Get("/done/" + id); return err })
	if err != nil && holdfast.KindOf(err) != holdfast.NotFound {
		t.Fatal(err)
	}
	return err == nil
}

func TestMain(m *testing.M) { os.Exit(catalogtest.Main(m)) }

// TestPostgres: rows and tickets are one on PostgreSQL, too: what is undone does
// not run, two of one key do not run at once, a stop leaves the job to the next
// process, and a job that came without its ticket (from a copy) is run.
func TestPostgres(t *testing.T) {
	t.Parallel()
	place := catalogtest.Postgres(t)
	begun := make(chan struct{}, 9)
	b := start(t, place, func(ctx context.Context, a args, _ holdfast.Progress) (result, error) {
		begun <- struct{}{}
		if a.N == 1 {
			<-ctx.Done()
			return result{}, context.Cause(ctx)
		}
		return result{2 * a.N}, nil
	}, nil)
	if j := b.wait(t, b.enqueue(t, 21).ID); j.State != job.Completed || !b.left(t, j.ID) {
		t.Errorf("a job: %+v", j)
	}
	<-begun
	boom := errors.New("boom")
	err := b.cat.Update(t.Context(), func(tx *catalog.Tx) error {
		_, err := job.Enqueue(b.Runner, tx, "double", job.Spec{}, args{99})
		return errors.Join(err, boom)
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	held, err := b.tryEnqueue(1, "vm-1")
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	if _, err := b.tryEnqueue(1, "VM-1"); holdfast.KindOf(err) != holdfast.Conflict {
		t.Errorf("a second job of the same VM: %v", err)
	}
	b.stop(t)
	cat, err := catalog.Open(t.Context(), place, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	err = cat.Update(t.Context(), func(tx *catalog.Tx) error { _, err := tx.Exec(`DELETE FROM river_job`); return err })
	if err := errors.Join(err, cat.Close()); err != nil {
		t.Fatal(err)
	}
	b = start(t, place, func(_ context.Context, a args, _ holdfast.Progress) (result, error) {
		if a.N != 1 {
			t.Errorf("job %d runs: it was undone or has ended", a.N)
		}
		return result{2}, nil
	}, nil)
	if j := b.wait(t, held.ID); j.State != job.Completed || j.Attempts != 1 {
		t.Errorf("after a restart: %+v", j)
	}
}

func db(t *testing.T) string { return filepath.Join(t.TempDir(), "catalog.db") }

func TestOutcome(t *testing.T) {
	t.Parallel()
	b := start(t, db(t), func(_ context.Context, a args, p holdfast.Progress) (result, error) {
		p.Task("Think")
		p.Task("Double")
		p.Property("Input", fmt.Sprint(a.N))
		p.Bytes(5, 10)
		switch a.N {
		case 1:
			p.Warn("one is odd")
		case 2:
			return result{}, holdfast.Errorf(holdfast.Full, "/disk", "No room.").WithHint("Make some.").WithCause(errors.New("secret path"))
		case 3:
			panic("three")
		}
		return result{2 * a.N}, nil
	}, nil)
	for n, want := range map[int]struct {
		state   job.State
		failure string
		left    bool
	}{
		0:  {job.Completed, "", true},
		1:  {job.CompletedWithWarnings, "", true},
		2:  {job.Failed, "No room.", false},
		3:  {job.Failed, "defect", false},
		13: {job.Failed, "could not be recorded", false},
	} {
		j := b.wait(t, b.enqueue(t, n).ID)
		if j.State != want.state || b.left(t, j.ID) != want.left || (j.Failure == nil) != (want.failure == "") {
			t.Errorf("%d: %s, failure %+v, left %v; want %+v", n, j.State, j.Failure, b.left(t, j.ID), want)
			continue
		}
		if j.Failure != nil && (!strings.Contains(j.Failure.Message, want.failure) || strings.Contains(j.Failure.Message, "secret")) {
			t.Errorf("%d: failure says %q, want %q and no cause", n, j.Failure.Message, want.failure)
		}
		if len(j.Report.Tasks) != 2 || j.Report.Tasks[0].State != job.Completed || j.Report.Properties["Input"] != fmt.Sprint(n) || j.Report.Total != 10 {
			t.Errorf("%d: report %+v", n, j.Report)
		}
	}
}

func TestEnqueueIsPartOfTheTransaction(t *testing.T) {
	t.Parallel()
	b := start(t, db(t), func(context.Context, args, holdfast.Progress) (result, error) {
		t.Error("a job whose transaction was undone ran")
		return result{}, nil
	}, nil)
	boom := errors.New("boom")
	var id string
	err := b.cat.Update(t.Context(), func(tx *catalog.Tx) error {
		j, err := job.Enqueue(b.Runner, tx, "double", job.Spec{}, args{})
		id = j.ID
		return errors.Join(err, boom)
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if _, err := b.Wait(t.Context(), id); holdfast.KindOf(err) != holdfast.NotFound {
		t.Errorf("the undone job: %v", err)
	}
}

func TestExclusive(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	b := start(t, db(t), func(context.Context, args, holdfast.Progress) (result, error) { <-release; return result{}, nil }, nil)
	first, err := b.tryEnqueue(1, "vm-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.tryEnqueue(1, "VM-1"); holdfast.KindOf(err) != holdfast.Conflict || !strings.Contains(err.Error(), first.ID) {
		t.Errorf("a second job of the same VM: %v; want a conflict naming the first", err)
	}
	close(release)
	b.wait(t, first.ID)
	if _, err := b.tryEnqueue(1, "vm-1"); err != nil {
		t.Errorf("after the first ended: %v", err)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	begun, transfer, go_on := make(chan struct{}, 9), make(chan struct{}, 9), make(chan struct{})
	b := start(t, db(t), func(ctx context.Context, a args, p holdfast.Progress) (result, error) {
		p.Task("Take Snapshot")
		begun <- struct{}{}
		if a.N == 1 { // stays in the phase that may be cancelled
			<-ctx.Done()
			return result{}, context.Cause(ctx)
		}
		p.Cancellable(false)
		transfer <- struct{}{}
		<-go_on
		return result{1}, nil
	}, nil)
	j := b.enqueue(t, 1)
	<-begun
	if err := b.Cancel(t.Context(), j.ID); err != nil {
		t.Fatal(err)
	}
	if j := b.wait(t, j.ID); j.State != job.Cancelled || j.Failure == nil || j.Failure.Kind != holdfast.Canceled || j.Report.Tasks[0].State != job.Cancelled {
		t.Errorf("cancelled job: %+v", j)
	}
	if err := b.Cancel(t.Context(), j.ID); holdfast.KindOf(err) != holdfast.Conflict {
		t.Errorf("cancel of an ended job: %v", err)
	}

	j = b.enqueue(t, 2)
	<-transfer
	if err := b.Cancel(t.Context(), j.ID); holdfast.KindOf(err) != holdfast.Unsupported {
		t.Errorf("cancel while transferring: %v", err)
	}
	close(go_on)
	if j := b.wait(t, j.ID); j.State != job.Completed || !b.left(t, j.ID) {
		t.Errorf("a job that may not be cancelled: %+v", j)
	}
	if err := b.Cancel(t.Context(), "no-such-job"); holdfast.KindOf(err) != holdfast.NotFound {
		t.Errorf("cancel of no job: %v", err)
	}
}

// steps is work whose run stops at one of its steps until it is cancelled there.
type steps struct {
	at    string // where
	there chan struct{}
	done  bool // the work: from then on it stays
	away  error
}

func (s *steps) Run(ctx context.Context, a args, p holdfast.Progress) (result, error) {
	stop := func(step string) error {
		if step != s.at || ctx.Err() != nil {
			return ctx.Err()
		}
		s.there <- struct{}{}
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if s.done { // by an earlier run
		return result{2 * a.N}, nil
	}
	for _, step := range []string{"snapshot", "transfer", "before the commit"} {
		if err := stop(step); err != nil {
			return result{}, err
		}
	}
	s.done = true
	if err := stop("in the commit, after its last step"); err != nil {
		return result{}, err
	}
	_ = stop("after the commit") // nothing fails there any more
	return result{2 * a.N}, nil
}

func (s *steps) Undo(context.Context, args) (bool, error) { return s.done, s.away }

func (s *steps) Forget(context.Context, args) error { return nil }

// TestCancelAtEachStep: a job that says Cancelled has left nothing, and one whose
// work was done ends with it.
func TestCancelAtEachStep(t *testing.T) {
	t.Parallel()
	for step, want := range map[string]job.State{
		"snapshot": job.Cancelled, "transfer": job.Cancelled, "before the commit": job.Cancelled,
		"in the commit, after its last step": job.Completed, "after the commit": job.Completed,
	} {
		s := &steps{at: step, there: make(chan struct{})}
		b := startWork(t, db(t), s, nil, 0)
		j := b.enqueue(t, 21)
		<-s.there
		if err := b.Cancel(t.Context(), j.ID); err != nil {
			t.Fatal(err)
		}
		if j := b.wait(t, j.ID); j.State != want || b.left(t, j.ID) != (want == job.Completed) || s.done != (want == job.Completed) {
			t.Errorf("cancelled %s: %s, the work is done: %v; %+v", step, j.State, s.done, j.Failure)
		}
	}
	s := &steps{at: "transfer", there: make(chan struct{})}
	b := startWork(t, db(t), s, nil, 0)
	j := b.enqueue(t, 21)
	<-s.there
	s.away = errors.New("the host is away")
	if err := b.Cancel(t.Context(), j.ID); err != nil {
		t.Fatal(err)
	}
	if j := b.wait(t, j.ID); j.State != job.Failed || !strings.Contains(j.Failure.Message, "the host is away") {
		t.Errorf("nobody knows what was left, and yet: %+v", j)
	}
}

// TestNobodyCanBeAsked: a job that is cancelled while nobody can be asked whether its
// work was done says so; one that is not is begun all the same.
func TestNobodyCanBeAsked(t *testing.T) {
	t.Parallel()
	s := &steps{at: "in the commit, after its last step", there: make(chan struct{}),
		away: holdfast.Errorf(holdfast.Unreachable, "v", "The vault does not answer.").WithHint("Wait.").WithCause(holdfast.ErrUnsure)}
	b := startWork(t, db(t), s, nil, 0)
	j := b.enqueue(t, 21)
	<-s.there
	if err := b.Cancel(t.Context(), j.ID); err != nil {
		t.Fatal(err)
	}
	if j := b.wait(t, j.ID); j.State != job.Cancelled || j.Failure.Kind != holdfast.Canceled || j.Failure.Hint != "Wait." || !strings.Contains(j.Failure.Message, "cancelled by its user. The vault does not answer.") {
		t.Errorf("%s, %+v", j.State, j.Failure)
	}
}

func TestProgressIsSavedWhileRunning(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	b := start(t, db(t), func(_ context.Context, _ args, p holdfast.Progress) (result, error) {
		p.Bytes(7, 9)
		<-release
		return result{}, nil
	}, nil)
	j := b.enqueue(t, 1)
	deadline := time.Now().Add(20 * time.Second)
	for j.Report.Done != 7 && time.Now().Before(deadline) {
		err := b.cat.View(t.Context(), func(tx *catalog.Tx) (err error) { j, err = job.Get(tx, j.ID); return err })
		if err != nil {
			t.Fatal(err)
		}
	}
	if j.Report.Done != 7 || j.Final() {
		t.Errorf("running job: %+v", j)
	}
	close(release)
	b.wait(t, j.ID)
}

func TestGracefulStopLeavesTheJob(t *testing.T) {
	t.Parallel()
	path, begun := db(t), make(chan struct{})
	b := start(t, path, func(ctx context.Context, _ args, p holdfast.Progress) (result, error) {
		p.Cancellable(false)
		close(begun)
		<-ctx.Done()
		return result{}, errors.New("some error on the way out")
	}, nil)
	j := b.enqueue(t, 4)
	<-begun
	b.stop(t)
	b = start(t, path, func(_ context.Context, a args, _ holdfast.Progress) (result, error) { return result{2 * a.N}, nil }, nil)
	if j := b.wait(t, j.ID); j.State != job.Completed || j.Attempts != 1 || !b.left(t, j.ID) {
		t.Errorf("after a restart: %+v; want it completed, and the stopped run not counted", j)
	}
}

// TestKilledServer kills a process (SIGKILL) in the middle of a job, over and
// over; the next one runs it at once, and after Attempts deaths it fails.
func TestKilledServer(t *testing.T) {
	if path := os.Getenv("JOB_TEST_CATALOG"); path != "" {
		b := start(t, path, func(context.Context, args, holdfast.Progress) (result, error) {
			fmt.Println("begun")
			select {} // until killed
		}, nil)
		if os.Getenv("JOB_TEST_ENQUEUE") != "" {
			b.enqueue(t, 21)
		}
		select {}
	}
	t.Parallel()
	for _, c := range []struct {
		deaths      int
		cancelled   bool // in the last life of the job
		done        bool // the dead run had done the work
		undo        error
		want        job.State
		ran, forgot int
	}{
		{deaths: 1, want: job.Completed, ran: 1, forgot: 1},
		{deaths: 2, want: job.Failed}, // start sets Attempts: 2
		{deaths: 2, done: true, want: job.Completed, ran: 1, forgot: 1},
		{deaths: 1, cancelled: true, want: job.Cancelled},
		{deaths: 1, cancelled: true, done: true, want: job.Completed, ran: 1, forgot: 1},
		{deaths: 1, undo: errors.New("the host is away"), want: job.Failed},
	} {
		path := db(t)
		for i := range c.deaths {
			killWhenBegun(t, path, i == 0)
		}
		if c.cancelled {
			cancelInRow(t, path)
		}
		w := &counted{err: c.undo, done: c.done, forgotten: make(chan struct{}, 9)}
		b := startWork(t, path, w, nil, time.Nanosecond)
		var jobs []job.Job
		err := b.cat.View(t.Context(), func(tx *catalog.Tx) (err error) { jobs, err = job.List(tx, job.Filter{Scope: "/v"}); return err })
		if err != nil || len(jobs) != 1 {
			t.Fatalf("%+v: jobs %v, %v", c, jobs, err)
		}
		if j := b.wait(t, jobs[0].ID); j.State != c.want || j.Attempts != c.deaths+1 {
			t.Errorf("%+v: %+v", c, j)
		}
		for range c.forgot {
			select {
			case <-w.forgotten:
			case <-time.After(30 * time.Second):
				t.Fatalf("%+v: what was kept for Undo is not forgotten", c)
			}
		}
		b.stop(t)
		if w.undone != 1 || w.ran != c.ran || len(w.forgotten) > 0 {
			t.Errorf("%+v: undone %d times, run %d times, forgotten %d times too often", c, w.undone, w.ran, len(w.forgotten))
		}
	}
}

// counted counts what is asked of it.
type counted struct {
	ran, undone int
	done        bool // of Undo
	err         error
	forgotten   chan struct{}
}

func (c *counted) Run(_ context.Context, a args, _ holdfast.Progress) (result, error) {
	c.ran++
	return result{2 * a.N}, nil
}

func (c *counted) Undo(context.Context, args) (bool, error) {
	c.undone++
	return c.done, c.err
}

func (c *counted) Forget(context.Context, args) error {
	c.forgotten <- struct{}{}
	return nil
}

// TestUndoWaits leaves a job alone whose host is away when the server starts
// again, until it is back.
func TestUndoWaits(t *testing.T) {
	t.Parallel()
	path := db(t)
	killWhenBegun(t, path, true)
	asked := make(chan struct{}, 9)
	b := startWork(t, path, away(asked), nil, time.Hour)
	<-asked
	b.stop(t)
	b = start(t, path, func(_ context.Context, a args, _ holdfast.Progress) (result, error) { return result{2 * a.N}, nil }, nil)
	var jobs []job.Job
	err := b.cat.View(t.Context(), func(tx *catalog.Tx) (err error) { jobs, err = job.List(tx, job.Filter{Scope: "/v"}); return err })
	if err != nil || len(jobs) != 1 {
		t.Fatalf("jobs %v, %v", jobs, err)
	}
	if j := b.wait(t, jobs[0].ID); j.State != job.Completed || j.Attempts != 2 {
		t.Errorf("when the host was back: %+v", j)
	}
}

// away is work on a host that does not answer; it says when it was asked.
type away chan struct{}

func (a away) Run(context.Context, args, holdfast.Progress) (result, error) {
	return result{}, errors.New("run, though the earlier run is not undone")
}

func (a away) Undo(context.Context, args) (bool, error) {
	a <- struct{}{}
	return false, errors.New("the host is away")
}

func (a away) Forget(context.Context, args) error { return nil }

// cancelInRow cancels the job of a server that is dead, as one that died right
// after the cancellation leaves it.
func cancelInRow(t *testing.T, path string) {
	t.Helper()
	cat, err := catalog.Open(t.Context(), path, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	defer cat.Close()
	err = cat.Update(t.Context(), func(tx *catalog.Tx) error {
		_, err := tx.Exec(`UPDATE job SET state = ?`, job.Cancelling)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// killWhenBegun runs a process that works on the catalog and kills it when it
// has begun a job.
func killWhenBegun(t *testing.T, path string, enqueue bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledServer$")
	cmd.Env = append(os.Environ(), "JOB_TEST_CATALOG="+path)
	if enqueue {
		cmd.Env = append(cmd.Env, "JOB_TEST_ENQUEUE=1")
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 5)
	_, readErr := io.ReadFull(out, line)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if readErr != nil || string(line) != "begun" {
		t.Fatalf("the process said %q, %v", line, readErr)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	b := start(t, db(t), func(context.Context, args, holdfast.Progress) (result, error) { return result{}, nil }, nil)
	var ids []string
	for i := range 5 {
		op := []string{"ConfigureBackup", "DisableBackup"}[i%2]
		_ = b.cat.Update(t.Context(), func(tx *catalog.Tx) error {
			j, err := job.Record(tx, job.Spec{Operation: op, Scope: "/V", Entity: "vm"})
			ids = append(ids, j.ID)
			return err
		})
	}
	_ = b.cat.View(t.Context(), func(tx *catalog.Tx) error {
		page, err := job.List(tx, job.Filter{Scope: "/v", Limit: 2})
		if err != nil || len(page) != 2 || page[0].ID != ids[4] || page[0].State != job.Completed {
			t.Fatalf("first page: %+v, %v", page, err)
		}
		page, err = job.List(tx, job.Filter{Scope: "/v", Before: &page[1], Limit: 9})
		if err != nil || len(page) != 3 || page[2].ID != ids[0] {
			t.Errorf("second page: %+v, %v", page, err)
		}
		some, err := job.List(tx, job.Filter{Scope: "/v", Operation: "disablebackup", State: "completed"})
		if err != nil || len(some) != 2 {
			t.Errorf("by operation: %+v, %v", some, err)
		}
		none, err := job.List(tx, job.Filter{Scope: "/other"})
		if err != nil || len(none) != 0 {
			t.Errorf("other scope: %+v, %v", none, err)
		}
		return nil
	})
}
