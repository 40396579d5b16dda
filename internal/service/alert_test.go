package service

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/job"
)

// post is a notifier of the tests.
type post struct {
	fail error
	got  []holdfast.Alert
}

func (p *post) Notify(_ context.Context, a holdfast.Alert) error {
	if p.fail != nil {
		return p.fail
	}
	p.got = append(p.got, a)
	return nil
}

// TestAlerts: what goes wrong is told once, also when nobody takes it at first.
func TestAlerts(t *testing.T) {
	t.Parallel()
	y, p := newYear(t), &post{}
	y.Notify = p
	told := func(what string, want ...holdfast.AlertKind) {
		t.Helper()
		y.pass(time.Minute)
		p.got = nil
		if err := y.Deliver(t.Context()); err != nil && p.fail == nil {
			t.Fatal(err)
		}
		var kinds []string
		for _, a := range p.got {
			kinds = append(kinds, string(a.Kind))
			if a.ID == "" || a.Message == "" || a.Time.IsZero() || strings.Contains(a.Message, "secret") {
				t.Errorf("%s: %+v", what, a)
			}
		}
		var wanted []string
		for _, k := range want {
			wanted = append(wanted, string(k))
		}
		if strings.Join(kinds, " ") != strings.Join(wanted, " ") {
			t.Errorf("%s: told %v, want %v", what, kinds, want)
		}
	}
	y.pass(14 * time.Hour)
	y.tick()
	told("a backup that went well and in time")
	y.fail = holdfast.Errorf(holdfast.Full, "x", "No room.").WithHint("Make some.").WithCause(errors.New("secret"))
	y.pass(24 * time.Hour)
	y.tick()
	told("a backup that failed", holdfast.AlertFailed)
	told("again")
	y.fail = nil
	y.pass(27 * time.Hour)
	y.tick()
	told("a backup three hours late", holdfast.AlertMissed)

	place := Place{Path: "/scratch", Vaults: []string{y.vault()}, What: "scratch directory"}
	room := func(free int64) {
		t.Helper()
		if err := y.Room(t.Context(), place, free, 100); err != nil {
			t.Fatal(err)
		}
	}
	room(11)
	told("enough room")
	room(9)
	room(8)
	room(15)
	room(5)
	told("little room", holdfast.AlertNearlyFull)
	room(30)
	room(5)
	told("little room again", holdfast.AlertNearlyFull)

	y.pass(time.Minute)
	p.fail = errors.New("the mail server is away")
	if _, err := y.DeleteItem(t.Context(), y.item); err != nil {
		t.Fatal(err)
	}
	if err := y.Deliver(t.Context()); err == nil || !strings.Contains(err.Error(), "away") {
		t.Errorf("nobody takes it: %v", err)
	}
	y.pass(time.Hour)
	p.fail = nil
	told("an hour later", holdfast.AlertSoftDelete)
	all, err := y.Alerts(t.Context(), y.vault(), "", 3)
	if err != nil || len(all) != 3 || all[0].Kind != holdfast.AlertSoftDelete || all[0].Delivered.IsZero() || all[0].GivenUp {
		t.Errorf("listed: %+v, %v", all, err)
	}
	if more, err := y.Alerts(t.Context(), y.vault(), all[2].Alert.ID, 9); err != nil || len(more) != 2 {
		t.Errorf("the next page: %+v, %v", more, err)
	}
	p.fail = errors.New("gone")
	if err := y.put(Protect{Undelete: true}); err != nil {
		t.Fatal(err)
	}
	y.pass(time.Minute)
	if _, err := y.DeleteItem(t.Context(), y.item); err != nil {
		t.Fatal(err)
	}
	y.pass(25 * time.Hour)
	told("nobody took it for a day")
	if all, err = y.Alerts(t.Context(), y.vault(), "", 1); err != nil || !all[0].GivenUp {
		t.Errorf("given up: %+v, %v", all, err)
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
