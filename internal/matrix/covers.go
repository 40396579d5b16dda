package matrix

import (
	"fmt"
	"os"
)

// LogVariable names the environment variable with the file that Covers appends
// to. Without it nothing is recorded.
const LogVariable = "HOLDFAST_MATRIX_LOG"

// TB is the part of testing.TB that Covers needs. It keeps the package testing
// out of the binary.
type TB interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Skipped() bool
	Name() string
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// Covers says that the test asserts the behaviour of these rows. An id that
// isn't a row fails the test. When the test has ended, each id is recorded with
// its outcome; only "pass" shows the row.
//
// Call it from the test function itself, with the ids written out: the list of
// tests per row is read from the source.
func Covers(t TB, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if _, ok := Find(id); !ok {
			t.Fatalf("matrix.Covers: there is no row %q", id)
		}
	}
	path := os.Getenv(LogVariable)
	if path == "" {
		return
	}
	t.Cleanup(func() {
		if err := record(path, ids, t.Name(), outcome(t)); err != nil {
			t.Errorf("matrix.Covers: %v", err)
		}
	})
}

func outcome(t TB) string {
	switch {
	case t.Failed():
		return "fail"
	case t.Skipped():
		return "skip"
	}
	return "pass"
}

// record appends one line per id: id, test, outcome, parted by tabs. Packages
// are tested side by side, so all lines go out in one write to a file opened
// for appending.
func record(path string, ids []string, test, outcome string) error {
	var lines []byte
	for _, id := range ids {
		lines = fmt.Appendf(lines, "%s\t%s\t%s\n", id, test, outcome)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Write(lines); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
