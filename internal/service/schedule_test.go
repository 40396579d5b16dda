package service

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/matrix"
	"holdfast/internal/resource"
)

// year is a server with one protected VM, a clock that the test turns, and
// movers that succeed at once.
type year struct {
	*Service
	t    *testing.T
	item string

	mu      sync.Mutex
	now     time.Time
	away    error         // of the inventory
	passed  time.Duration // truly, whatever the clock says
	points  []string
	madeAt  []time.Duration // passed when the point was made
	lived   []time.Duration // what the deleted points did, in that time
	deleted []string
	fail    error // of backups
	cut     error // of their second phase
	asked   []holdfast.BackupArgs
	vaulted map[string]bool // points that are in the vault
	instant map[string]bool // and in the operational repository
	hold    chan struct{}   // if set, backups wait for it

	holdPrune chan struct{} // if set, deletions wait for it

	found holdfast.ProvisionResult // if set, what new vaults' places are
}

func (y *year) clock() time.Time {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.now
}

// pass lets time go on while the server looks at its clock.
func (y *year) pass(d time.Duration) {
	y.t.Helper()
	_, err := resource.Write(y.t.Context(), y.Catalog, func(tx *catalog.Tx) (any, error) {
		b, err := believed(tx)
		for ; err == nil && d > 0; d -= longestStep {
			y.jump(min(d, longestStep))
			y.mu.Lock()
			y.passed += min(d, longestStep)
			y.mu.Unlock()
			b = b.look(y.clock())
		}
		_, writeErr := catalog.Write(tx, catalog.Resource{ID: clockID, Type: "Holdfast.Server/clocks", Parent: "/"}, b)
		return nil, errors.Join(err, writeErr)
	})
	if err != nil {
		y.t.Fatal(err)
	}
}

// jump puts the clock on or back at once.
func (y *year) jump(d time.Duration) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.now = y.now.Add(d)
}

func (y *year) Discover(context.Context, holdfast.SiteRef) (holdfast.DiscoverResult, error) {
	return holdfast.DiscoverResult{}, nil
}

func (y *year) VM(context.Context, holdfast.SiteRef, string) (holdfast.VMFact, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	return holdfast.VMFact{VMRef: holdfast.VMRef{UUID: "u", Name: "web"}, VCPUs: 2, MemoryBytes: 1 << 30, Disks: []holdfast.DiskFact{{LUN: -1, Target: "vda", Pool: "default"}}}, y.away
}

func (y *year) Check(context.Context, holdfast.SiteRef, string) ([]holdfast.Finding, error) {
	return nil, nil
}

func (y *year) Guest(context.Context, holdfast.SiteRef, string) (holdfast.GuestFact, error) {
	return holdfast.GuestFact{}, nil
}

func (y *year) Stored(context.Context, holdfast.RepositoryRef) (int64, error) {
	return 0, nil
}

func (y *year) TryKey(context.Context, string) error { return nil }

func (y *year) Usable(holdfast.RepositoryRef) error {
	return nil
}

func (y *year) Provision(context.Context, holdfast.ProvisionArgs) (holdfast.ProvisionResult, error) {
	if y.found.RepositoryID != "" {
		return y.found, nil
	}
	return holdfast.ProvisionResult{RepositoryID: "r"}, nil
}

func (y *year) backup(ctx context.Context, a holdfast.BackupArgs, p holdfast.Progress) (holdfast.BackupResult, error) {
	y.mu.Lock()
	hold := y.hold
	y.mu.Unlock()
	if hold != nil {
		<-hold
	}
	y.mu.Lock()
	y.asked = append(y.asked, a)
	fail, cut, now := y.fail, y.cut, y.now
	if fail == nil && !y.instant[a.PointID] {
		y.instant[a.PointID] = true
		y.points, y.madeAt = append(y.points, a.PointID), append(y.madeAt, y.passed)
	}
	y.mu.Unlock()
	if fail != nil {
		return holdfast.BackupResult{}, fail
	}
	res := holdfast.BackupResult{PointID: a.PointID, Time: now, Consistency: holdfast.FileSystemConsistent}
	if err := p.Reached(res); err != nil || cut != nil {
		return res, errors.Join(err, cut)
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.vaulted[a.PointID] = true
	for _, id := range a.Waiting {
		if !y.instant[id] {
			res.Lost = append(res.Lost, id)
			continue
		}
		y.vaulted[id] = true
		res.Copied = append(res.Copied, id)
	}
	return res, nil
}

func (y *year) remove(_ context.Context, a holdfast.DeletePointsArgs, _ holdfast.Progress) (holdfast.DeletePointsResult, error) {
	y.mu.Lock()
	hold := y.holdPrune
	y.mu.Unlock()
	if hold != nil {
		<-hold
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.deleted = append(y.deleted, a.PointIDs...)
	for _, id := range a.PointIDs {
		delete(y.vaulted, id)
	}
	for _, ref := range a.Instant {
		if ref.Repository == y.operational(Site{Name: "home"}) {
			delete(y.instant, ref.PointID)
		}
	}
	for _, id := range a.PointIDs {
		if n := slices.Index(y.points, id); n >= 0 { // else the test wrote it itself
			y.lived = append(y.lived, y.passed-y.madeAt[n])
		}
	}
	return holdfast.DeletePointsResult{Deleted: len(a.PointIDs)}, nil
}

// newYear begins on New Year's Day of 2026, with a policy of daily backups at
// two, kept for five days.
func newYear(t *testing.T) *year {
	t.Helper()
	y := &year{t: t, vaulted: map[string]bool{}, instant: map[string]bool{}, now: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	cat, err := catalog.Open(t.Context(), filepath.Join(t.TempDir(), "catalog.db"), y.clock)
	if err != nil {
		t.Fatal(err)
	}
	runner := job.NewRunner(job.Config{Catalog: cat, Clock: y.clock, Log: slog.New(slog.DiscardHandler)})
	y.Service = New(Deps{Catalog: cat, Jobs: runner, Inventory: y, Provisioner: y, Clock: y.clock, DataDir: t.TempDir(), ScratchDir: t.TempDir(),
		Backup:  job.Func[holdfast.BackupArgs, holdfast.BackupResult](y.backup),
		Restore: job.Func[holdfast.RestoreArgs, holdfast.RestoreResult](nil),
		Delete:  job.Func[holdfast.DeletePointsArgs, holdfast.DeletePointsResult](y.remove),
		Machine: job.Func[holdfast.MachineArgs, holdfast.MachineResult](nil),
	})
	if err := runner.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(runner.Stop(context.Background()), cat.Close()); err != nil {
			t.Error(err)
		}
	})
	sub, err := y.Resources.Found(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := y.PutSite(t.Context(), sub.SubscriptionID, "home", Site{URI: "qemu:///system", Group: "lab"}); err != nil {
		t.Fatal(err)
	}
	v, _, err := y.PutVault(t.Context(), sub.SubscriptionID, "lab", "safe", VaultInput{Location: "home", SKU: map[string]any{"name": "Standard"}})
	if err != nil {
		t.Fatal(err)
	}
	y.policy(v.ID, 5)
	y.item = resource.ItemID(v.ID, "lab", "web")
	if _, err := y.PutItem(t.Context(), v.ID, "IaasVMContainer;"+resource.ItemName("lab", "web"), "VM;"+resource.ItemName("lab", "web"),
		Protect{Source: resource.InGroup(sub.SubscriptionID, "lab", resource.TypeVM, "web"), PolicyID: resource.PolicyID(v.ID, "daily")}); err != nil {
		t.Fatal(err)
	}
	return y
}

// policy writes the policy: daily at two, kept for so many days.
func (y *year) policy(vault string, days int) {
	y.t.Helper()
	if _, err := y.PutPolicy(y.t.Context(), vault, "daily", []byte(dailyFor(days))); err != nil {
		y.t.Fatal(err)
	}
}

// dailyFor is a policy: daily at two, kept for so many days.
func dailyFor(days int) string {
	return `{"backupManagementType":"AzureIaasVM","schedulePolicy":{"schedulePolicyType":"SimpleSchedulePolicy","scheduleRunFrequency":"Daily","scheduleRunTimes":["2026-01-01T02:00:00Z"]},` +
		`"retentionPolicy":{"retentionPolicyType":"LongTermRetentionPolicy","dailySchedule":{"retentionTimes":["2026-01-01T02:00:00Z"],"retentionDuration":{"count":` + string(holdfast.Marshal(days)) + `,"durationType":"Days"}}},"timeZone":"UTC"}`
}

// tick is what the server does each minute, and waits for what that began.
func (y *year) tick() {
	y.t.Helper()
	if err := y.WatchClock(y.t.Context()); err != nil && !strings.Contains(err.Error(), "ran ahead") {
		y.t.Fatal(err)
	}
	for _, do := range []func(context.Context) error{y.RunDue, y.CleanUp} {
		if err := do(y.t.Context()); err != nil {
			y.t.Fatal(err)
		}
		y.settle()
	}
}

func (y *year) settle() {
	y.t.Helper()
	jobs, err := resource.Read(y.t.Context(), y.Catalog, func(tx *catalog.Tx) ([]job.Job, error) { return job.List(tx, job.Filter{}) })
	for _, j := range jobs {
		if err == nil && !j.Final() {
			_, err = y.Jobs.Wait(y.t.Context(), j.ID)
		}
	}
	if err != nil {
		y.t.Fatal(err)
	}
}

// listed are the names of the item's points, oldest first.
func (y *year) listed() (names []string) {
	y.t.Helper()
	points, err := y.Points(y.t.Context(), y.item, PointFilter{})
	if err != nil {
		y.t.Fatal(err)
	}
	for _, p := range slices.Backward(points) {
		names = append(names, p.Name)
	}
	return names
}

func (y *year) made() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return len(y.points)
}

// TestSchedule lets days pass: each run once, whatever happens in between.
func TestSchedule(t *testing.T) {
	t.Parallel()
	y := newYear(t)
	want := func(what string, n int) {
		t.Helper()
		if got := y.made(); got != n {
			t.Errorf("%s: %d backups, want %d", what, got, n)
		}
	}
	y.tick()
	want("on the first day after its hour", 0)
	y.pass(14 * time.Hour) // 2 January, 2:00
	y.tick()
	y.tick()
	want("at two", 1)
	for range 24 * 60 / 10 {
		y.pass(10 * time.Minute)
		if err := y.RunDue(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	y.settle()
	want("a day later", 2)
	y.pass(10 * 24 * time.Hour)
	y.tick()
	y.tick()
	want("after ten days away", 3)

	y.hold = make(chan struct{})
	if _, err := y.BackupNow(t.Context(), y.item, time.Time{}); err != nil {
		t.Fatal(err)
	}
	y.pass(24 * time.Hour)
	if err := y.RunDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(y.hold)
	y.settle()
	want("while another backup runs", 4)
	y.tick()
	want("when that has ended", 5)

	y.away = errors.New("libvirt is down")
	y.pass(24 * time.Hour)
	y.tick()
	i, err := y.Item(t.Context(), y.item)
	if err != nil || i.LastBackupStatus != "Failed" {
		t.Errorf("without its machine: %+v, %v", i, err)
	}
	want("without its machine", 5)
	y.away = nil
	y.tick()
	want("a failed run is not repeated", 5)
	y.pass(24 * time.Hour)
	y.tick()
	want("the day after", 6)
}

// A policy that cannot be read stops its own items and nobody else's.
func TestScheduleOfABrokenPolicy(t *testing.T) {
	t.Parallel()
	y := newYear(t)
	vault, _, _ := strings.Cut(y.item, "/backupFabrics")
	_, err := resource.Write(t.Context(), y.Catalog, func(tx *catalog.Tx) (any, error) {
		if err := putPolicy(tx, vault, "broken", []byte(`{"timeZone":"Nowhere"}`)); err != nil {
			return nil, err
		}
		return nil, putItem(tx, Item{Stamp: resource.Stamp{ID: resource.ItemID(vault, "lab", "a-first")}, Vault: vault, VM: "a-first", Policy: "broken"})
	})
	if err != nil {
		t.Fatal(err)
	}
	y.pass(24 * time.Hour)
	if err := y.RunDue(t.Context()); err == nil || !strings.Contains(err.Error(), "a-first") {
		t.Errorf("a broken policy: %v", err)
	}
	y.settle()
	if y.made() != 1 {
		t.Errorf("%d backups of the other item, want 1", y.made())
	}
}

// TestRetention keeps five days of points, then more, then fewer.
func TestRetention(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "ACT-04")
	y := newYear(t)
	vault, _, _ := strings.Cut(y.item, "/backupFabrics")
	day := func() { y.pass(24 * time.Hour); y.tick() }
	kept := func(what string, n int) {
		t.Helper()
		if got := y.listed(); len(got) != n || !slices.Equal(got, y.points[len(y.points)-n:]) {
			t.Errorf("%s: %d points are kept, want the last %d of %d", what, len(got), n, len(y.points))
		}
		if len(y.deleted) != len(y.points)-n {
			t.Errorf("%s: %d points were deleted of %d", what, len(y.deleted), len(y.points))
		}
	}
	for range 10 {
		day()
	}
	kept("ten days", 5)
	y.policy(vault, 8)
	for range 2 {
		day()
	}
	kept("longer retention, two days on", 7)
	for range 4 {
		day()
	}
	kept("longer retention, six days on", 8)
	y.policy(vault, 3)
	kept("shorter, before the clean-up", 8)
	y.tick()
	kept("shorter", 3)

	y.fail = errors.New("no backup succeeds")
	for range 30 {
		day()
	}
	if got := y.listed(); len(got) != 3 {
		t.Errorf("after a month without a backup %d points are left, want 3: nothing goes by the clock alone", len(got))
	}
}

// TestCleanUpWaitsForRestores lets a restore run while points expire.
func TestCleanUpWaitsForRestores(t *testing.T) {
	t.Parallel()
	y := newYear(t)
	vault, _, _ := strings.Cut(y.item, "/backupFabrics")
	for range 5 {
		y.pass(24 * time.Hour)
		y.tick()
	}
	var id string
	if err := y.Catalog.Update(t.Context(), func(tx *catalog.Tx) error {
		j, err := job.Record(tx, job.Spec{Operation: "Restore", Scope: vault})
		if err != nil {
			return err
		}
		id = j.ID
		_, err = tx.Exec(`UPDATE job SET state = ?, ended = 0 WHERE id = ?`, job.InProgress, id)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	y.policy(vault, 2)
	if err := y.CleanUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	begun, err := resource.Read(t.Context(), y.Catalog, func(tx *catalog.Tx) ([]job.Job, error) {
		return job.List(tx, job.Filter{Operation: "DeleteRecoveryPoints"})
	})
	if err != nil || len(begun) > 0 {
		t.Errorf("while a restore runs a deletion was begun: %v, %v", begun, err)
	}
	if err := y.Catalog.Update(t.Context(), func(tx *catalog.Tx) error {
		_, err := tx.Exec(`UPDATE job SET state = ?, ended = 1 WHERE id = ?`, job.Completed, id)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	y.tick()
	if got := y.listed(); len(got) != 2 {
		t.Errorf("after the restore %d points are left, want 2", len(got))
	}
}
