package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"holdfast/internal/client"
)

// play shows a job that moves 8 MiB a second for some seconds, and returns what
// a screen of a width got (0: no screen).
func play(width, seconds int) string {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	p := newProgress(&out, nil)
	p.width, p.now = func() int { return width }, func() time.Time { return now }
	j := client.Job{Operation: "Backup", Status: client.JobInProgress, Total: 80 << 20,
		Tasks: []client.Task{{Name: "Take Snapshot", Status: "Completed"}, {Name: "Transfer", Status: client.JobInProgress}}}
	for i := range seconds {
		j.Done = int64(i) * 8 << 20
		p.show(j)
		now = now.Add(time.Second)
	}
	j.Status, j.Tasks[1].Status = client.JobCompleted, "Completed"
	p.show(j)
	return out.String()
}

func TestProgressOnATerminal(t *testing.T) {
	t.Parallel()
	got := play(100, 6)
	frames := strings.Split(got, "\r\x1b[K")
	last := frames[len(frames)-2]
	for _, want := range []string{"  Transfer  [====================>", "]   50%", "40 MiB of 80 MiB", "8.0 MiB/s", "ETA 5s"} {
		if !strings.Contains(last, want) {
			t.Errorf("the last frame lacks %q: %q", want, last)
		}
	}
	for _, f := range frames {
		if len(strings.TrimRight(f, "\n")) > 99 {
			t.Errorf("a frame is wider than the terminal: %q", f)
		}
	}
	if !strings.HasSuffix(got, "\r\x1b[K  Transfer: Completed\n") {
		t.Errorf("the live line is left on the screen: %q", frames[len(frames)-1])
	}
	if narrow := play(30, 6); strings.Contains(narrow, "[=") {
		t.Errorf("a bar where there is no room: %q", narrow)
	}
}

func TestProgressWithoutATerminal(t *testing.T) {
	t.Parallel()
	got := play(0, 12)
	if strings.ContainsAny(got, "\r\x1b") {
		t.Errorf("control characters in %q", got)
	}
	if n := strings.Count(got, "MiB/s"); n != 2 {
		t.Errorf("%d lines in 12 seconds, want one every 5:\n%s", n, got)
	}
	if n := strings.Count(got, "Take Snapshot: Completed"); n != 1 {
		t.Errorf("the end of a step is told %d times:\n%s", n, got)
	}
}

func TestMeter(t *testing.T) {
	t.Parallel()
	var m meter
	at := func(s float64, done int64) { m.add(time.Unix(0, int64(s*1e9)), done) }
	at(1, 0)
	at(2, 100)
	if m.rate != 100 {
		t.Errorf("rate %v, want 100", m.rate)
	}
	at(2, 100) // the same moment again
	for s := 3.0; s < 60; s++ {
		at(s, m.done+50)
	}
	if m.rate < 49 || m.rate > 52 {
		t.Errorf("rate %v after a minute at 50", m.rate)
	}
	if left, ok := m.left(m.done + 500); !ok || left < 9*time.Second || left > 11*time.Second {
		t.Errorf("left %v, %v", left, ok)
	}
	at(61, 10) // another step counts anew
	if _, ok := m.left(500); ok || m.rate != 0 {
		t.Errorf("it remembers the step before: %+v", m)
	}
	at(62, 10)
	if _, ok := m.left(500); ok {
		t.Error("an end is foretold where nothing moves")
	}
}

func TestBarIsAsWideAsAsked(t *testing.T) {
	t.Parallel()
	for _, part := range []float64{0, 0.01, 0.5, 0.999, 1} {
		if got := bar(part, 20); len(got) != 20 {
			t.Errorf("part %v: %q", part, got)
		}
	}
}
