package service

import (
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/limits"
	"holdfast/internal/matrix"
	"holdfast/internal/resource"
)

// TestPreview: what a preview says is what happens.
func TestPreview(t *testing.T) {
	t.Parallel()
	y := newYear(t)
	y.days(7)
	show := func(days int, in PreviewRequest) Preview {
		t.Helper()
		if days > 0 {
			in.Properties = []byte(dailyFor(days))
		}
		p, err := y.PreviewPolicy(t.Context(), y.vault(), "daily", in)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := show(0, PreviewRequest{}); len(p.Items) != 1 || len(p.Items[0].Deleted) > 0 || p.Items[0].Shortened+p.Items[0].Lengthened > 0 || len(p.Points) != 0 {
		t.Errorf("of the policy that is saved: %+v", p)
	}
	if p := show(9, PreviewRequest{Item: y.item}).Items[0]; p.Lengthened != 5 || p.Shortened != 0 || len(p.Deleted) != 0 {
		t.Errorf("longer: %+v", p)
	}
	in20 := PreviewRequest{Item: y.item, At: y.clock().AddDate(0, 0, 20)}
	later := show(2, in20)
	change := later.Items[0]
	if change.Points != 5 || change.Shortened != 5 || len(change.Deleted) != 3 {
		t.Errorf("shorter: %+v", change)
	}
	before := y.listed()
	if len(before) != 5 || len(y.deleted) != 2 {
		t.Fatalf("the preview changed something: %v, %v", before, y.deleted)
	}
	y.policy(y.vault(), 2)
	y.tick()
	var names []string
	for _, m := range change.Deleted {
		names = append(names, m.Name)
	}
	if got := y.deleted[2:]; !slices.Equal(got, names) {
		t.Errorf("saving it deleted %v, the preview said %v", got, names)
	}
	y.days(20)
	points, err := y.Points(t.Context(), y.item, PointFilter{})
	if err != nil || len(points) != len(later.Points) {
		t.Fatalf("20 days later there are %d points, the preview said %d: %v", len(points), len(later.Points), err)
	}
	for n, p := range later.Points {
		// The tests' days end at noon, and their backups are made then.
		if at := points[len(points)-1-n].Result.Time; at.Sub(p.Time) != 10*time.Hour || !slices.Equal(p.Tags, []string{"Daily"}) {
			t.Errorf("point %d was made at %s, the preview said %s", n, at, p.Time)
		}
	}
	for name, c := range map[string]struct {
		policy string
		in     PreviewRequest
		says   string
	}{
		"past":        {"daily", PreviewRequest{At: y.clock().Add(-time.Hour)}, "at is"},
		"far":         {"daily", PreviewRequest{At: y.clock().AddDate(100, 0, 0)}, "99 years"},
		"no policy":   {"none", PreviewRequest{}, "not found"},
		"bad policy":  {"none", PreviewRequest{Properties: []byte(`{}`)}, "backupManagementType"},
		"other item":  {"daily", PreviewRequest{Item: "/x"}, "not found"},
		"not an item": {"daily", PreviewRequest{Item: resource.PolicyID(y.vault(), "daily")}, "not an item"},
	} {
		if _, err := y.PreviewPolicy(t.Context(), y.vault(), c.policy, c.in); err == nil || holdfast.KindOf(err) == holdfast.Internal || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// TestSchedulesADay: one scheduled backup a day under azure's limits; under
// extended ones as many as the policy says, and they run.
func TestSchedulesADay(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "ACT-07", "FRQ-03")
	y := newYear(t)
	twice := []byte(strings.Replace(dailyFor(5), `"scheduleRunTimes":["2026-01-01T02:00:00Z"]`, `"scheduleRunTimes":["2026-01-01T14:00:00Z","2026-01-01T02:00:00Z"]`, 1))
	if _, err := y.PutPolicy(t.Context(), y.vault(), "daily", twice); holdfast.KindOf(err) != holdfast.Invalid || !strings.Contains(err.Error(), "scheduleRunTimes has 2 times") || !strings.Contains(err.Error(), "extended") {
		t.Errorf("two a day under azure: %v", err)
	}
	if _, err := y.PreviewPolicy(t.Context(), y.vault(), "daily", PreviewRequest{Properties: twice}); err == nil {
		t.Error("a preview takes what cannot be saved")
	}
	y.Limits = limits.Extended
	if _, err := y.PutPolicy(t.Context(), y.vault(), "daily", twice); err != nil {
		t.Errorf("two a day under extended: %v", err)
	}
	y.Limits = limits.Azure // what is saved goes on
	for range 6 {
		y.pass(12 * time.Hour)
		y.tick()
	}
	if y.made() != 6 {
		t.Errorf("%d backups in three days, want 6", y.made())
	}
}
