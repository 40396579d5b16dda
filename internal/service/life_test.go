package service

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/matrix"
	"holdfast/internal/policy"
	"holdfast/internal/resource"
)

// vault is the id of the item's vault.
func (y *year) vault() string {
	vault, _, _ := strings.Cut(y.item, "/backupFabrics")
	return vault
}

// days lets days pass, with a tick after each.
func (y *year) days(n int) {
	y.t.Helper()
	for range n {
		y.pass(24 * time.Hour)
		y.tick()
	}
}

// put is PUT on the item.
func (y *year) put(in Protect) error {
	in.Source = resource.InGroup(resource.IDOf(y.vault()).Subscription, "lab", resource.TypeVM, "web")
	_, err := y.PutItem(y.t.Context(), y.vault(), "IaasVMContainer;"+resource.ItemName("lab", "web"), "VM;"+resource.ItemName("lab", "web"), in)
	return err
}

// jobs are the jobs of an operation, newest first.
func (y *year) jobs(operation string) []job.Job {
	y.t.Helper()
	jobs, err := y.VaultJobs(y.t.Context(), y.vault(), job.Filter{Operation: operation})
	if err != nil {
		y.t.Fatal(err)
	}
	return jobs
}

// TestClockJumps: a clock that runs ahead, is put back or stands still deletes
// nothing early and loses no run.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, c := range []struct {
		name string
		jump time.Duration
		then time.Duration // after some days, put right
	}{
		{"a year ahead, then put right", 365 * day, -365 * day},
		{"a year ahead", 365 * day, 0},
		{"a day back, then put right", -day, day},
		{"a day back", -day, 0},
		{"a year back, then put right", -365 * day, 365 * day},
		{"ten minutes back", -10 * time.Minute, 10 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			y := newYear(t)
			y.days(5)
			if len(y.listed()) != 5 {
				t.Fatalf("at first: %v", y.listed())
			}
			y.jump(c.jump)
			y.tick()
			for n := range 3 {
				made := y.made()
				y.days(1)
				if got := y.made() - made; got != 1 {
					t.Errorf("day %d after the jump: %d backups, want 1", n+1, got)
				}
			}
			y.jump(c.then)
			y.tick()
			made := y.made()
			y.days(1)
			if got := y.made() - made; got != 1 {
				t.Errorf("after the clock was put right: %d backups a day, want 1", got)
			}
			if got := y.listed(); len(got) < 5 {
				t.Errorf("%d points are left: %v of %v", len(got), got, y.points)
			}
			for _, lived := range y.lived {
				if lived < 5*24*time.Hour {
					t.Errorf("a point was deleted after %v", lived)
				}
			}
		})
	}
}

// TestFrozenClock: nothing happens while the clock stands, and one run makes up
// for it.
func TestFrozenClock(t *testing.T) {
	t.Parallel()
	y := newYear(t)
	y.days(6)
	made, kept := y.made(), len(y.listed())
	for range 100 {
		y.tick()
	}
	if y.made() != made || len(y.listed()) != kept {
		t.Errorf("with a clock that stands: %d backups, %d points", y.made()-made, len(y.listed()))
	}
	y.jump(30 * 24 * time.Hour)
	y.tick()
	y.tick()
	if y.made() != made+1 || len(y.listed()) != kept+1 {
		t.Errorf("when it went on: %d backups, %d points, had %d", y.made()-made, len(y.listed()), kept)
	}
	y.pass(8 * 24 * time.Hour)
	y.tick()
	if len(y.listed()) >= kept {
		t.Errorf("a week later %d points are left", len(y.listed()))
	}
}

// TestLockKeepsPoints: under a delete lock nothing is pruned, which is recorded;
// at the limit backups fail and name the lock; without the lock all heals.
func TestLockKeepsPoints(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "ACT-03", "FRQ-01")
	y := newYear(t)
	y.maxPoints = 8
	sub := resource.IDOf(y.vault()).Subscription
	if _, _, err := y.Resources.PutLock(t.Context(), resource.Lock{Scope: resource.GroupID(sub, "lab"), Name: "keep", Level: resource.CanNotDelete}); err != nil {
		t.Fatal(err)
	}
	y.days(12)
	if got := y.listed(); len(got) != 8 || len(y.deleted) > 0 {
		t.Errorf("under the lock: %d points, %d deleted; want 8 and 0", len(got), len(y.deleted))
	}
	refusals := y.jobs("DeleteRecoveryPoints")
	if n := len(refusals); n < 5 || n > 7 || refusals[0].State != job.Failed || !strings.Contains(refusals[0].Failure.Message, "locks/keep") {
		t.Errorf("%d refusals are recorded, want one a day since the sixth: %+v", len(refusals), refusals)
	}
	if b := y.jobs("Backup")[0]; b.State != job.Failed || b.Failure.Kind != holdfast.Unsupported || !strings.Contains(b.Failure.Message, "locks/keep") {
		t.Errorf("the backup at the limit: %+v", b)
	}
	if _, err := y.BackupNow(t.Context(), y.item, time.Time{}); holdfast.KindOf(err) != holdfast.Unsupported || !strings.Contains(err.Error(), "locks/keep") {
		t.Errorf("on demand at the limit: %v", err)
	}
	if _, err := y.Resources.DeleteLock(t.Context(), resource.GroupID(sub, "lab"), "keep"); err != nil {
		t.Fatal(err)
	}
	y.tick()
	y.days(6)
	if got := y.listed(); len(got) != 5 || y.jobs("Backup")[0].State != job.Completed {
		t.Errorf("without the lock: %d points, want 5; %+v", len(got), y.jobs("Backup")[0])
	}
	y.maxPoints = 5
	if _, err := y.BackupNow(t.Context(), y.item, time.Time{}); err == nil || !strings.Contains(err.Error(), "Shorten") {
		t.Errorf("at the limit without a lock: %v", err)
	}
}

// TestPurge: a soft-deleted item goes when its days are over, and not because the
// clock says so at once.
func TestPurge(t *testing.T) {
	t.Parallel()
	y := newYear(t)
	y.days(3)
	if _, err := y.DeleteItem(t.Context(), y.item); err != nil {
		t.Fatal(err)
	}
	y.days(13)
	y.jump(300 * 24 * time.Hour)
	y.tick()
	if len(y.listed()) != 3 || len(y.deleted) > 0 {
		t.Errorf("after 13 days and a jump: %v are left, %v deleted", y.listed(), y.deleted)
	}
	y.jump(-300 * 24 * time.Hour)
	y.days(2)
	if _, err := y.Item(t.Context(), y.item); holdfast.KindOf(err) != holdfast.NotFound || len(y.deleted) != 3 {
		t.Errorf("after 15 days: %v, %d deleted of 3", err, len(y.deleted))
	}
	if err := y.put(Protect{PolicyID: resource.PolicyID(y.vault(), "daily")}); err != nil {
		t.Errorf("protecting the machine anew: %v", err)
	}
}

// TestItemLife goes through every operation in every state of an item.
func TestItemLife(t *testing.T) {
	t.Parallel()
	states := map[string]func(*year) error{
		"active":    func(*year) error { return nil },
		"stopped":   func(y *year) error { return y.put(Protect{Hold: Stopped}) },
		"suspended": func(y *year) error { return y.put(Protect{Hold: Suspended}) },
		"deleted":   func(y *year) error { _, err := y.DeleteItem(y.t.Context(), y.item); return err },
	}
	operations := map[string]func(*year) error{
		"protect":  func(y *year) error { return y.put(Protect{PolicyID: resource.PolicyID(y.vault(), "daily")}) },
		"stop":     func(y *year) error { return y.put(Protect{Hold: Stopped}) },
		"suspend":  func(y *year) error { return y.put(Protect{Hold: Suspended}) },
		"delete":   func(y *year) error { _, err := y.DeleteItem(y.t.Context(), y.item); return err },
		"undelete": func(y *year) error { return y.put(Protect{Undelete: true}) },
		"backup": func(y *year) error {
			_, err := y.BackupNow(y.t.Context(), y.item, time.Time{})
			y.settle()
			return err
		},
		"expire": func(y *year) error {
			_, err := y.ExpirePoint(y.t.Context(), y.item, y.listed()[0], y.clock().Add(time.Hour))
			return err
		},
	}
	after := map[string]map[string]string{ // state -> operation -> state after it; "" is refused
		"active":    {"protect": "active", "stop": "stopped", "suspend": "suspended", "delete": "deleted", "backup": "active", "expire": "active"},
		"stopped":   {"protect": "active", "stop": "stopped", "suspend": "suspended", "delete": "deleted", "expire": "stopped"},
		"suspended": {"protect": "active", "stop": "stopped", "suspend": "suspended", "delete": "deleted", "expire": "suspended"},
		"deleted":   {"undelete": "stopped"},
	}
	for state, begin := range states {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			y := newYear(t)
			y.days(2)
			if err := begin(y); err != nil {
				t.Fatal(err)
			}
			before, err := y.Item(t.Context(), y.item)
			if err != nil {
				t.Fatal(err)
			}
			for operation, do := range operations {
				if _, err := resource.Write(t.Context(), y.Catalog, func(tx *catalog.Tx) (any, error) { return nil, putItem(tx, before) }); err != nil {
					t.Fatal(err)
				}
				points := len(y.listed())
				err := do(y)
				want := after[state][operation]
				if refused := err != nil; refused != (want == "") || refused && holdfast.KindOf(err) == holdfast.Internal {
					t.Errorf("%s: %v; want it refused: %v", operation, err, want == "")
				}
				i, err := y.Item(t.Context(), y.item)
				if err != nil {
					t.Fatal(err)
				}
				is := map[Hold]string{Active: "active", Stopped: "stopped", Suspended: "suspended"}[i.Held]
				if !i.DeleteAfter.IsZero() {
					is = "deleted"
				}
				if want == "" {
					want = state
				}
				if is != want || len(y.listed()) < points {
					t.Errorf("%s: the item is %s with %d points, want %s with %d", operation, is, len(y.listed()), want, points)
				}
			}
		})
	}
}

// A broken policy keeps its own item from being cleaned up and nobody else's.
func TestCleanUpOfABrokenPolicy(t *testing.T) {
	t.Parallel()
	y := newYear(t)
	y.days(6)
	_, err := resource.Write(t.Context(), y.Catalog, func(tx *catalog.Tx) (any, error) {
		return nil, errors.Join(putPolicy(tx, y.vault(), "broken", []byte(`{"timeZone":"Nowhere"}`)),
			putItem(tx, Item{Stamp: resource.Stamp{ID: resource.ItemID(y.vault(), "lab", "a-first")}, Vault: y.vault(), VM: "a-first", Policy: "broken"}))
	})
	if err != nil {
		t.Fatal(err)
	}
	y.policy(y.vault(), 2)
	if err := y.CleanUp(t.Context()); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("clean-up: %v", err)
	}
	y.settle()
	if got := len(y.listed()); got != 2 {
		t.Errorf("%d points of the other item are left, want 2", got)
	}
}

// TestNineThousandPoints: at the limit listing, marking anew, pruning and a
// preview stay fast, and the backup beyond it is refused.
func TestNineThousandPoints(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "FRQ-01")
	points := policy.MaxPoints
	if testing.Short() { // the race detector makes ten of one
		points = 999
	}
	y := newYear(t)
	y.maxPoints = points
	y.pass(24 * time.Hour)
	start := y.clock().AddDate(0, 0, -points)
	_, err := resource.Write(t.Context(), y.Catalog, func(tx *catalog.Tx) (any, error) {
		for n := range points {
			at := start.AddDate(0, 0, n)
			p := Point{Item: y.item, Name: newPointID(at), Scheduled: true, Previous: at.AddDate(0, 0, -1), Result: holdfast.BackupResult{Time: at}}
			if err := putPoint(tx, p); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// How long each takes is printed, and judged by nobody here.
	timed := func(what string, do func() error) {
		t.Helper()
		began := time.Now()
		if err := do(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		t.Logf("%s of %d points took %v", what, points, time.Since(began).Round(time.Millisecond))
	}
	if _, err := y.BackupNow(t.Context(), y.item, time.Time{}); holdfast.KindOf(err) != holdfast.Unsupported || !strings.Contains(err.Error(), strconv.Itoa(points)) {
		t.Errorf("the backup beyond the limit: %v", err)
	}
	timed("a page", func() error {
		page, err := y.Points(t.Context(), y.item, PointFilter{Limit: 100})
		if len(page) != 100 {
			t.Errorf("a page of %d", len(page))
		}
		return err
	})
	timed("a preview", func() error {
		_, err := y.PreviewPolicy(t.Context(), y.vault(), "daily", PreviewRequest{Properties: []byte(dailyFor(9000)), Item: y.item})
		return err
	})
	timed("a clean-up", func() error { return y.CleanUp(t.Context()) })
	y.settle()
	if got := len(y.listed()); got != 5 {
		t.Errorf("after the clean-up there are %d points, want 5", got)
	}
}

// TestHeldDaily: a locked vault whose store holds has what it needs held on to, at
// once when it is locked and then daily, though nothing is to be deleted.
func TestHeldDaily(t *testing.T) {
	t.Parallel()
	y := newYear(t)
	y.found = holdfast.ProvisionResult{RepositoryID: "r", CanHold: true}
	if _, err := y.UpdateVault(t.Context(), resource.IDOf(y.vault()).Subscription, "lab", "safe", VaultInput{Settings: Set(nil, "Locked", "securitySettings", "immutabilitySettings", "state")}); err != nil {
		t.Fatal(err)
	}
	y.settle()
	for day := range 5 {
		if n := len(y.jobs(opHold)); n != day+1 {
			t.Fatalf("day %d: %d jobs", day, n)
		}
		for range 24 {
			y.pass(time.Hour)
			y.tick()
		}
	}
}
