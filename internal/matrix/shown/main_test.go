package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	log := "ACT-01\tTestA\tpass\nACT-01\tTestB\tskip\nSTO-09\tTestC\tpass\nSTO-09\tTestD\tfail\nWIN-01\tTestE\tskip\n"
	shown, err := read(log)
	if err != nil {
		t.Fatal(err)
	}
	if len(shown) != 1 || !shown["ACT-01"] {
		t.Errorf("shown: %v; a skip shows nothing, a failure disproves", shown)
	}
	var out strings.Builder
	_ = report(&out, log) // whether rows that hold whole are in this log is not the matter here
	for _, want := range []string{"matrix: 1 of 160 rows shown\n", "WIN-01…07"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q isn't in:\n%s", want, out.String())
		}
	}
}

func TestReadRefusesWhatIsNotALog(t *testing.T) {
	t.Parallel()
	for _, log := range []string{"ACT-01 pass\n", "ACT-99\tTestA\tpass\n", "\n"} {
		if _, err := read(log); err == nil {
			t.Errorf("%q was read", log)
		}
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	have := ranges([]string{"WIN-01", "WIN-02", "WIN-03", "LNX-01", "LNX-02", "NET-09", "NET-10", "NET-11"})
	if want := "WIN-01…03 LNX-01 LNX-02 NET-09…11"; have != want {
		t.Errorf("%s, want %s", have, want)
	}
}
