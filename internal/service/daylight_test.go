package service

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/limits"
	"holdfast/internal/matrix"
)

// inBerlin is the policy of dailyFor with its times in Berlin, and another member.
func inBerlin(member string) json.RawMessage {
	return json.RawMessage(strings.Replace(dailyFor(400), `"timeZone":"UTC"`, `"timeZone":"W. Europe Standard Time"`+member, 1))
}

const follows = `,"holdfast":{"followDaylightSaving":true}`

// TestDaylightSaving: only extended limits take the option, and what is saved
// stays, also through a client that does not know it.
func TestDaylightSaving(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "ACT-11")
	y := newYear(t)
	put := func(member string) error {
		_, err := y.PutPolicy(t.Context(), y.vault(), "daily", inBerlin(member))
		return err
	}
	follow := func() bool {
		t.Helper()
		p, err := y.Policy(t.Context(), y.vault(), "daily")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(p.Properties), `"followDaylightSaving":true`)
	}
	if err := put(follows); holdfast.KindOf(err) != holdfast.Unsupported || !strings.Contains(err.Error(), "(ACT-11)") || !strings.Contains(err.Error(), "--limits extended") {
		t.Errorf("under azure: %v", err)
	}
	if _, err := y.PreviewPolicy(t.Context(), y.vault(), "daily", PreviewRequest{Properties: inBerlin(follows)}); err == nil {
		t.Error("a preview takes what cannot be saved")
	}
	y.Limits = limits.Extended
	for _, step := range []struct {
		limits limits.Choice
		member string
		want   bool
	}{
		{limits.Extended, follows, true},
		{limits.Extended, "", true}, // a client that does not know it
		{limits.Azure, "", true},    // what is saved goes on
		{limits.Azure, follows, true},
		{limits.Azure, `,"holdfast":null`, false},
		{limits.Extended, follows, true},
		{limits.Extended, `,"holdfast":{"followDaylightSaving":false}`, false},
		{limits.Extended, "", false},
	} {
		y.Limits = step.limits
		if err := put(step.member); err != nil || follow() != step.want {
			t.Errorf("%s %q: followed is %v, %v", step.limits, step.member, follow(), err)
		}
	}
}

// TestBackupsFollowTheWallClock lets a year pass in Berlin: one backup a day, at
// two there, or at three where there is no two.
func TestBackupsFollowTheWallClock(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "ACT-11")
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	y := newYear(t)
	y.Limits = limits.Extended
	if _, err := y.PutPolicy(t.Context(), y.vault(), "daily", inBerlin(follows)); err != nil {
		t.Fatal(err)
	}
	for _, week := range [][2]string{ // the clocks change on the Sunday in it
		{"2026-03-27", "27 02:00 CET, 28 02:00 CET, 29 03:00 CEST, 30 02:00 CEST, 31 02:00 CEST"},
		{"2026-10-23", "23 02:00 CEST, 24 02:00 CEST, 25 02:00 CEST, 26 02:00 CET, 27 02:00 CET"},
	} {
		from, err := time.ParseInLocation(time.DateOnly, week[0], berlin)
		if err != nil {
			t.Fatal(err)
		}
		y.pass(from.Sub(y.clock()))
		y.tick()
		var got []string
		for range 5 * 24 {
			y.pass(time.Hour)
			was := y.made()
			y.tick()
			for range y.made() - was {
				got = append(got, y.clock().In(berlin).Format("02 15:04 MST"))
			}
		}
		if got := strings.Join(got, ", "); got != week[1] {
			t.Errorf("backups from %s: %s; want %s", week[0], got, week[1])
		}
	}
}
