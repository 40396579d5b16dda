package server

import (
	"fmt"
	"testing"
	"time"

	"holdfast/internal/arm"
)

func TestLimiter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	l := newLimiter(2, 3)
	for i := range 3 {
		if wait := l.take("a", now); wait != 0 {
			t.Errorf("request %d waits %v", i, wait)
		}
	}
	if wait := l.take("a", now); wait < 400*time.Millisecond || wait > 600*time.Millisecond {
		t.Errorf("the fourth waits %v, want about half a second", wait)
	}
	if !l.spent("a", now) || l.spent("b", now) {
		t.Error("one caller's requests count for another")
	}
	now = now.Add(time.Second)
	first, second, third := l.take("a", now), l.take("a", now), l.take("a", now)
	if first != 0 || second != 0 || third == 0 {
		t.Error("a second does not bring two back")
	}
	for i := range maxLimiters + 10 {
		l.take(fmt.Sprint(i), now.Add(time.Duration(i)*time.Second))
	}
	if len(l.keys) > maxLimiters {
		t.Errorf("%d keys are remembered", len(l.keys))
	}
}

func TestRoutesAreWhole(t *testing.T) {
	t.Parallel()
	for what, table := range map[string][]route{
		"no action":  {{method: "GET", pattern: "/a", handler: (*Server).health}},
		"no handler": {{method: "GET", pattern: "/a", action: "a/read"}},
		"twice":      {get("/a/{x}", "a/read", (*Server).health), get("/A/{x}", "a/read", (*Server).health)},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a table with %s is taken", what)
				}
			}()
			compile(table)
		}()
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	routes := compile(allRoutes())
	for path, want := range map[string]string{
		"/subscriptions/S/resourcegroups/G": "/subscriptions/{sub}/resourceGroups/{rg}",
		"/subscriptions/S/resourceGroups/G/providers/Microsoft.RecoveryServices//vaults/V/providers/Microsoft.Authorization/locks/L": "/{scope...}/providers/Microsoft.Authorization/locks/{name}",
		"/Subscriptions/S/resourceGroups/G/providers/Microsoft.RecoveryServices/vaults/V/backupPolicies/":                            policyPath,
		"/subscriptions/S/providers/Microsoft.Authorization/locks":                                                                   "/{scope...}/providers/Microsoft.Authorization/locks",
		"/providers/Microsoft.Authorization/roleDefinitions":                                                                         "/providers/Microsoft.Authorization/roleDefinitions",
		"/subscriptions/S/nothing/here": "",
	} {
		got := ""
		for _, r := range routes {
			segs, err := arm.Segments(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := r.fits(segs); ok && r.method == "GET" {
				got = r.pattern
				break
			}
		}
		if got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
}
