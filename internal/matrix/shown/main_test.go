package main

import (
	"slices"
	"strings"
	"testing"

	"holdfast/internal/matrix"
)

func TestReport(t *testing.T) {
	t.Parallel()
	rows := matrix.Rows()
	open := rows[slices.IndexFunc(rows, func(r matrix.Row) bool { return r.Open != "" })].ID
	log := open + "\tTestA\tpass\n" + open + "\tTestB\tskip\nSTO-09\tTestC\tpass\nSTO-09\tTestD\tfail\nFLR-01\tTestE\tskip\n"
	shown, err := read(log)
	if err != nil {
		t.Fatal(err)
	}
	if len(shown) != 1 || !shown[open] {
		t.Errorf("shown: %v; a skip shows nothing, a failure disproves", shown)
	}
	var out strings.Builder
	_ = report(&out, log) // whether rows that hold whole are in this log is not the matter here
	for _, want := range []string{"matrix: shown in part, the rest is open: " + open, "matrix: 0 of 160 rows shown, 1 more in part\n"} {
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
