package service

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/job"
	"holdfast/internal/notify"
	"holdfast/internal/resource"
)

// post is a channel of the tests.
type post struct {
	fail error
	got  []string
}

func (*post) Name() string { return "post" }

func (p *post) Send(_ context.Context, a holdfast.Alert, s notify.State) error {
	if p.fail == nil {
		p.got = append(p.got, fmt.Sprintf("%s %s of %s", a.Kind, s, a.Entity))
	}
	return p.fail
}

// TestAlerts: what goes wrong is told once, and that it is over.
func TestAlerts(t *testing.T) {
	t.Parallel()
	y, p := newYear(t), &post{}
	y.Alerts.Channels = []notify.Channel{p}
	told := func(what string, want ...string) {
		t.Helper()
		y.pass(time.Minute)
		p.got = nil
		if err := y.Alerts.Deliver(t.Context()); err != nil {
			t.Fatal(err)
		}
		if strings.Join(p.got, ", ") != strings.Join(want, ", ") {
			t.Errorf("%s: told %v, want %v", what, p.got, want)
		}
	}
	y.pass(14 * time.Hour)
	y.tick()
	told("a backup that went well and in time")
	y.fail = holdfast.Errorf(holdfast.Full, "x", "No room.").WithHint("Make some.").WithCause(errors.New("secret"))
	y.pass(24 * time.Hour)
	y.tick()
	told("a backup that failed", "JobFailed Fired of web")
	told("again")
	all, err := y.AlertsOf(t.Context(), AlertFilter{})
	if err != nil || len(all) != 1 || all[0].Message != "Backup of web failed: No room." || all[0].Hint != "Make some." || all[0].Resource != y.item || all[0].Job == "" {
		t.Errorf("listed: %+v, %v", all, err)
	}
	y.fail = nil
	y.pass(27 * time.Hour)
	y.tick()
	told("a backup three hours late", "BackupMissed Fired of web")

	place := Place{Path: "/scratch", Kind: "scratch", Resource: "/subscriptions/s", Name: "here"}
	room := func(free ...int64) {
		t.Helper()
		for _, n := range free {
			if err := y.Room(t.Context(), place, n, 100); err != nil {
				t.Fatal(err)
			}
		}
	}
	room(11)
	told("enough room")
	room(9, 8, 15, 5)
	told("little room", "StorageNearlyFull Fired of here")
	room(30)
	told("enough again", "StorageNearlyFull Resolved of here")
	room(5)
	told("little room again", "StorageNearlyFull Fired of here")

	if _, err := y.DeleteItem(t.Context(), y.item); err != nil {
		t.Fatal(err)
	}
	told("points that were deleted", "ItemSoftDeleted Fired of web")
	if err := y.put(Protect{Undelete: true}); err != nil {
		t.Fatal(err)
	}
	told("and brought back", "ItemSoftDeleted Resolved of web")
}

// TestQuietVault: a vault may be told to raise no alerts.
func TestQuietVault(t *testing.T) {
	t.Parallel()
	y := newYear(t)
	settings := map[string]any{"monitoringSettings": map[string]any{"azureMonitorAlertSettings": map[string]any{"alertsForAllJobFailures": "Disabled"}, "classicAlertSettings": map[string]any{"alertsForCriticalOperations": "Disabled"}}}
	id := resource.IDOf(y.vault())
	if _, _, err := y.PutVault(t.Context(), id.Subscription, id.Group, id.Name(), VaultInput{Settings: settings}); err != nil {
		t.Fatal(err)
	}
	y.fail = holdfast.Errorf(holdfast.Full, "x", "No room.")
	y.pass(14 * time.Hour)
	y.tick()
	if _, err := y.DeleteItem(t.Context(), y.item); err != nil {
		t.Fatal(err)
	}
	if all, err := y.AlertsOf(t.Context(), AlertFilter{}); err != nil || len(all) != 0 || len(y.jobs("Backup")) != 1 {
		t.Errorf("alerts of a quiet vault: %+v, %v", all, err)
	}
}

// TestPruneBesideBackups: a prune that takes long keeps no backup from beginning.
func TestPruneBesideBackups(t *testing.T) {
	t.Parallel()
	y := newYear(t)
	y.days(6)
	y.mu.Lock()
	y.holdPrune = make(chan struct{})
	y.mu.Unlock()
	y.pass(24 * time.Hour)
	if err := y.RunDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	y.settle()
	if err := y.CleanUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	prune := y.jobs("DeleteRecoveryPoints")[0]
	if prune.Final() {
		t.Fatalf("no prune runs: %+v", prune)
	}
	made := y.made()
	for range 2 {
		y.pass(24 * time.Hour)
		if err := errors.Join(y.RunDue(t.Context()), y.CleanUp(t.Context())); err != nil {
			t.Fatal(err)
		}
		if j, err := y.Jobs.Wait(t.Context(), y.jobs("Backup")[0].ID); err != nil || j.State != job.Completed {
			t.Errorf("a backup beside the prune: %+v, %v", j, err)
		}
	}
	if y.made() != made+2 {
		t.Errorf("%d backups beside the prune, want 2", y.made()-made)
	}
	close(y.holdPrune)
	if j, err := y.Jobs.Wait(t.Context(), prune.ID); err != nil || j.State != job.Completed {
		t.Errorf("the prune: %+v, %v", j, err)
	}
}
