package matrix

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeTB is a test whose end and outcome the test decides.
type fakeTB struct {
	failed, skipped bool
	fatal           string
	atEnd           []func()
}

func (f *fakeTB) Helper()                           {}
func (f *fakeTB) Cleanup(fn func())                 { f.atEnd = append(f.atEnd, fn) }
func (f *fakeTB) Failed() bool                      { return f.failed }
func (f *fakeTB) Skipped() bool                     { return f.skipped }
func (f *fakeTB) Name() string                      { return "TestFake" }
func (f *fakeTB) Fatalf(format string, args ...any) { f.fatal = fmt.Sprintf(format, args...); panic(f) }
func (f *fakeTB) Errorf(format string, args ...any) { f.fatal = fmt.Sprintf(format, args...) }

func (f *fakeTB) end() {
	for _, fn := range f.atEnd {
		fn()
	}
}

var _ TB = testing.TB(nil)

func TestCoversRecordsTheOutcomeAtTheEnd(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	t.Setenv(LogVariable, log)
	for _, c := range []struct {
		end  func(*fakeTB)
		want string
	}{
		{func(*fakeTB) {}, "pass"},
		{func(f *fakeTB) { f.failed = true }, "fail"},
		{func(f *fakeTB) { f.skipped = true }, "skip"},
	} {
		tb := &fakeTB{}
		before, _ := os.ReadFile(log)
		Covers(tb, "ACT-01", "STO-09")
		if now, _ := os.ReadFile(log); len(now) != len(before) {
			t.Errorf("recorded before the end of the test: %q", now)
		}
		c.end(tb)
		tb.end()
		after, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("ACT-01\tTestFake\t%[1]s\nSTO-09\tTestFake\t%[1]s\n", c.want)
		if have := string(after[len(before):]); have != want {
			t.Errorf("recorded %q, want %q", have, want)
		}
	}
}

func TestCoversRefusesAnUnknownRow(t *testing.T) {
	t.Parallel()
	tb := &fakeTB{}
	func() {
		defer func() { _ = recover() }()
		Covers(tb, "ACT-01", "ACT-99")
	}()
	if !strings.Contains(tb.fatal, `"ACT-99"`) {
		t.Errorf("said %q", tb.fatal)
	}
}

func TestCoversFailsATestThatItCannotRecord(t *testing.T) {
	t.Setenv(LogVariable, filepath.Join(t.TempDir(), "missing", "log"))
	tb := &fakeTB{}
	Covers(tb, "ACT-01")
	tb.end()
	if tb.fatal == "" {
		t.Error("a row that couldn't be recorded went unnoticed")
	}
}
