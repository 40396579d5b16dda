package service

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"holdfast/internal/policy"
	"holdfast/internal/resource"
)

// fleet is many items on several sites under a clock that the test turns. It
// decides by the same functions as RunDue (runs.dueAt, jitter, rooms.choose), and
// keeps in memory what that keeps in the catalog.
type fleet struct {
	items    []Item
	policies []policy.Policy // item n has policy n modulo their number
	sites    int
	served   []int // runs of each item
	twice    int   // runs that were served again
	ends     []end // backups that run, oldest first
	longest  time.Duration
}

type end struct {
	site string
	at   time.Time
}

func newFleet(b testing.TB, items, policies, sites int, start time.Time) *fleet {
	f := &fleet{sites: sites, served: make([]int, items)}
	for n := range policies {
		at := start.Truncate(24 * time.Hour).Add(time.Duration(n%48) * 30 * time.Minute).Format(time.RFC3339)
		p, err := policy.Parse([]byte(fmt.Sprintf(`{"backupManagementType":"AzureIaasVM","schedulePolicy":{"schedulePolicyType":"SimpleSchedulePolicy","scheduleRunFrequency":"Daily","scheduleRunTimes":[%q]},`+
			`"retentionPolicy":{"retentionPolicyType":"LongTermRetentionPolicy","dailySchedule":{"retentionDuration":{"count":5,"durationType":"Days"}}},"timeZone":"W. Europe Standard Time"}`, at)))
		if err != nil {
			b.Fatal(err)
		}
		f.policies = append(f.policies, p)
	}
	for n := range items {
		f.items = append(f.items, Item{Stamp: resource.Stamp{ID: fmt.Sprintf("/item/%d", n)}, Vault: fmt.Sprintf("/vault/%d", n%sites), Scheduled: start})
	}
	return f
}

// tick is one RunDue at a moment; each backup lasts so long.
func (f *fleet) tick(now time.Time, lasts time.Duration) {
	for len(f.ends) > 0 && !f.ends[0].at.After(now) {
		f.ends = f.ends[1:]
	}
	r := rooms{map[string]int{}, map[string]string{}}
	for n := range f.sites {
		vault := fmt.Sprintf("/vault/%d", n)
		r.siteOf[vault], r.free[vault] = vault, defaultBackups
	}
	for _, e := range f.ends {
		r.free[e.site]--
	}
	last := make([]runs, len(f.policies))
	for n, p := range f.policies {
		last[n] = scheduled{Policy: p}.at(now)
	}
	spread := spreadOf(len(f.items))
	var due []dueRun
	for n, i := range f.items {
		run := last[n%len(last)]
		if !run.latest.After(i.Scheduled) { // as dueAt says, without the hash
			continue
		}
		if at, ok := run.dueAt(i.Scheduled, now, jitter(i.ID, spread)); ok {
			due = append(due, dueRun{item: i, at: at, policy: fmt.Sprint(n)})
		}
	}
	chosen, _ := r.choose(due)
	for _, d := range chosen {
		var n int
		if _, err := fmt.Sscan(d.policy, &n); err != nil {
			panic(err)
		}
		if !d.at.After(f.items[n].Scheduled) {
			f.twice++
		}
		f.items[n].Scheduled = d.at
		f.served[n]++
		f.longest = max(f.longest, now.Sub(d.at))
		f.ends = append(f.ends, end{d.item.Vault, now.Add(lasts)})
	}
}

// TestFleet: 10,000 machines and a fake clock: no run is lost, none is served
// twice, memory is bounded. A month; with HOLDFAST_SOAK a year.
func TestFleet(t *testing.T) {
	t.Parallel()
	days := 30
	if os.Getenv("HOLDFAST_SOAK") != "" {
		days = 365
	}
	const step = 10 * time.Minute
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	f := newFleet(t, 10_000, 48, 50, start)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	now := start
	for end := start.AddDate(0, 0, days); now.Before(end); {
		now = now.Add(step)
		f.tick(now, step)
	}
	lost := 0
	for n, got := range f.served {
		if got < days-1 || got > days+1 {
			t.Fatalf("item %d was served %d runs in %d days", n, got, days)
		}
		lost += max(0, days-1-got)
	}
	if after := heap(); after > before+64<<20 {
		t.Errorf("memory grew from %d to %d MiB", before>>20, after>>20)
	}
	if f.twice > 0 || lost > 0 || f.longest > 20*time.Hour {
		t.Errorf("%d runs served twice, %d lost; the longest wait was %v", f.twice, lost, f.longest)
	}
	t.Logf("%d runs in %d days, the longest wait %v", sum(f.served), days, f.longest)
}

func sum(all []int) (n int) {
	for _, v := range all {
		n += v
	}
	return n
}

// BenchmarkTick is one look at the schedules of 10,000 items, most of them not due.
func BenchmarkTick(b *testing.B) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	f := newFleet(b, 10_000, 48, 50, now)
	for b.Loop() {
		now = now.Add(time.Minute)
		f.tick(now, time.Minute)
	}
}

// TestSiteLimit: a site begins as many backups as it may, the others wait for
// room and begin when it is there; on-demand ones count.
func TestSiteLimit(t *testing.T) {
	t.Parallel()
	r := rooms{map[string]int{"a": 2, "b": 0}, map[string]string{"/va": "a", "/vb": "b"}}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var due []dueRun
	for n := range 6 {
		vault := "/VA"
		if n%2 == 1 {
			vault = "/VB"
		}
		due = append(due, dueRun{item: Item{Vault: vault, VM: fmt.Sprint(n)}, at: at.Add(-time.Duration(n) * time.Hour)})
	}
	due = append(due, dueRun{item: Item{Vault: "/VB", VM: "broken"}, broken: context.Canceled})
	due = append(due, dueRun{item: Item{Vault: "/VA", Site: "b", VM: "far"}, at: at.Add(-24 * time.Hour)}) // it is read at b
	now, waiting := r.choose(due)
	names := ""
	for _, d := range now {
		names += d.item.VM + " "
	}
	if names != "broken 4 2 " || waiting != 5 {
		t.Errorf("%q begin and %d wait; want the broken one and the two of site a that have waited longest", names, waiting)
	}
}

func TestJitter(t *testing.T) {
	t.Parallel()
	if spreadOf(1) != time.Second || jitter("x", spreadOf(1)) != 0 || spreadOf(10_000) != maxSpread {
		t.Error("one machine waits, or many are spread over too long")
	}
	buckets := map[int]int{}
	for n := range 10_000 {
		j := jitter(fmt.Sprintf("/item/%d", n), maxSpread)
		if j < 0 || j >= maxSpread || j != jitter(fmt.Sprintf("/item/%d", n), maxSpread) {
			t.Fatalf("jitter %v", j)
		}
		buckets[int(j/time.Minute)]++
	}
	for minute, n := range buckets {
		if n < 400 || n > 1000 {
			t.Errorf("%d of 10,000 begin in minute %d of 15", n, minute)
		}
	}
}
