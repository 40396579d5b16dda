package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/clock"
	"holdfast/internal/disk/disktest"
	"holdfast/internal/job"
	"holdfast/internal/keyring"
	"holdfast/internal/matrix"
	"holdfast/internal/objstore"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
)

// cutting is a vault's store: its user cancels the backup while the store does
// one of its writes, which takes place or doesn't, and is not heard of any more.
type cutting struct {
	objstore.Store
	writes atomic.Int64 // so far
	at     int64        // which is cut
	done   bool
	cancel func()
}

func (c *cutting) Put(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
	if c.writes.Add(1) != c.at {
		return c.Store.Put(ctx, name, body, opt)
	}
	if c.done {
		if err := c.Store.Put(ctx, name, body, opt); err != nil {
			return err
		}
	}
	c.cancel()
	<-ctx.Done()
	return context.Cause(ctx)
}

type nothing struct{}

// copying is the second phase of backups, each into a vault of its own.
type copying struct {
	from   *repository.Repository
	vaults []*repository.Repository
}

func (c *copying) Run(ctx context.Context, n int, p holdfast.Progress) (nothing, error) {
	t := &transfer{args: holdfast.BackupArgs{PointID: "1", Series: "s"}, progress: p, from: c.from, to: c.vaults[n], log: slog.New(slog.DiscardHandler)}
	return nothing{}, t.run(ctx)
}

func (c *copying) Undo(ctx context.Context, n int) (bool, error) {
	return c.has(ctx, n)
}

func (c *copying) has(ctx context.Context, n int) (bool, error) {
	_, err := c.vaults[n].Point(ctx, "1")
	if errors.Is(err, repository.ErrNoPoint) {
		return false, nil
	}
	return err == nil, err
}

func (*copying) Forget(context.Context, int) error { return nil }

// TestCancelAtEachWrite: under extended limits a backup can be cancelled while it
// transfers. At whatever write of the vault's store that comes, the job says
// Cancelled when the vault has no point, and Completed when it has.
func TestCancelAtEachWrite(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "ACT-05")
	c := &copying{from: withPoint(t)}
	cat, err := catalog.Open(t.Context(), filepath.Join(t.TempDir(), "catalog.db"), clock.System)
	if err != nil {
		t.Fatal(err)
	}
	runner := job.NewRunner(job.Config{Catalog: cat, CancelLate: []string{"copy"}, SaveEvery: time.Hour, Log: slog.New(slog.DiscardHandler)})
	job.Register(runner, "copy", c, func(*catalog.Tx, string, int, nothing, error) error { return nil })
	if err := runner.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(runner.Stop(context.Background()), cat.Close()); err != nil {
			t.Error(err)
		}
	})
	states := map[bool]map[job.State]int{true: {}, false: {}} // by: the write took place
	for _, done := range []bool{false, true} {
		for at, cut := 1, true; cut; at++ {
			var state job.State
			state, cut = cancelAt(t, cat, runner, c, at, done)
			if cut {
				states[done][state]++
			}
		}
	}
	if states[true][job.Completed] == 0 || states[true][job.Cancelled] < 2 || states[false][job.Cancelled] < 3 {
		t.Errorf("the backups ended as %v: were all writes met?", states)
	}
}

// cancelAt runs a backup that is cancelled at one write, and says how it ended
// and whether there was such a write.
func cancelAt(t *testing.T, cat *catalog.Catalog, runner *job.Runner, c *copying, at int, done bool) (job.State, bool) {
	t.Helper()
	store := &cutting{Store: mem.New(mem.Options{}), done: done}
	vault, err := repository.Init(t.Context(), store, keyring.WeakPassphrase("x"), repository.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.vaults = append(c.vaults, vault)
	store.at = store.writes.Load() + int64(at)
	var j job.Job
	enqueued := make(chan struct{})
	store.cancel = func() {
		<-enqueued
		if err := runner.Cancel(context.Background(), j.ID); err != nil {
			t.Error(err)
		}
	}
	err = cat.Update(t.Context(), func(tx *catalog.Tx) error {
		var err error
		j, err = job.Enqueue(runner, tx, "copy", job.Spec{Operation: "Backup", Scope: "/v", Subject: fmt.Sprint("/i/", len(c.vaults))}, len(c.vaults)-1)
		return err
	})
	close(enqueued)
	if err != nil {
		t.Fatal(err)
	}
	end, err := runner.Wait(t.Context(), j.ID)
	if err != nil {
		t.Fatal(err)
	}
	has, err := c.has(t.Context(), len(c.vaults)-1)
	if want := map[bool]job.State{true: job.Completed, false: job.Cancelled}[has]; err != nil || end.State != want {
		t.Errorf("cancelled at write %d, which took place: %v: the job is %s, the vault has the point: %v; %+v, %v", at, done, end.State, has, end.Failure, err)
	}
	return end.State, store.writes.Load() >= store.at
}

// withPoint is an operational repository with the point 1.
func withPoint(t *testing.T) *repository.Repository {
	t.Helper()
	r, err := repository.Init(t.Context(), mem.New(mem.Options{}), keyring.WeakPassphrase("x"), repository.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := r.Begin(t.Context(), repository.PointSpec{ID: "1", Series: "u", Created: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	content := disktest.New(1 << 20)
	disktest.Fill(content.Bytes, 1)
	if _, err := w.Disk(t.Context(), repository.DiskSpec{Name: "vda"}, content); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context(), repository.Manifest{Time: time.Now(), Attributes: holdfast.Marshal(nothing{})}); err != nil {
		t.Fatal(err)
	}
	return r
}
