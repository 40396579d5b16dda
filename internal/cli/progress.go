package cli

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"holdfast/internal/client"
)

// meter measures how fast bytes go by: a mean that forgets (time constant
// meterMemory), so that a pause shows and a jolt does not.
type meter struct {
	at   time.Time
	done int64
	rate float64 // bytes per second; 0 is not known yet
}

const meterMemory = 8 * time.Second

// add says how many bytes are done at a time. A count that goes back starts
// anew: another step of the job has begun to count.
func (m *meter) add(now time.Time, done int64) {
	dt := now.Sub(m.at).Seconds()
	if m.at.IsZero() || done < m.done || done == 0 {
		*m = meter{at: now, done: done}
		return
	}
	if dt <= 0 {
		return
	}
	current := float64(done-m.done) / dt
	if m.rate == 0 {
		m.rate = current
	} else {
		m.rate += (current - m.rate) * (1 - math.Exp(-dt/meterMemory.Seconds()))
	}
	m.at, m.done = now, done
}

// left is how long the rest takes at this rate, if that can be said.
func (m *meter) left(total int64) (time.Duration, bool) {
	const forever = 1000 * time.Hour
	if m.rate < 1 || total <= m.done {
		return 0, false
	}
	seconds := float64(total-m.done) / m.rate
	if seconds > forever.Seconds() {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}

// progress shows a running job: on a terminal as one line that is drawn again
// and again, elsewhere as a line every few seconds. Steps that are over keep a
// line of their own.
type progress struct {
	w     io.Writer
	width func() int // of the terminal; 0 is none
	every time.Duration
	now   func() time.Time

	meter   meter
	began   time.Time
	printed time.Time
	told    map[string]bool // steps whose end was told
	drawn   bool            // the live line is on the screen
}

// plainEvery is the pause between two lines where there is no terminal.
const plainEvery = 5 * time.Second

func newProgress(w io.Writer, getenv func(string) string) *progress {
	return &progress{w: w, every: plainEvery, now: time.Now, told: map[string]bool{},
		width: func() int { return terminal(w, getenv) }}
}

// show shows the state of a job.
func (p *progress) show(j client.Job) {
	now := p.now()
	if p.began.IsZero() {
		p.began, p.printed = now, now
	}
	p.meter.add(now, j.Done)
	for _, t := range j.Tasks {
		if over := t.Status != client.JobInProgress && t.Status != "NotStarted" && t.Status != ""; over && !p.told[t.Name] {
			p.told[t.Name] = true
			p.line(fmt.Sprintf("  %s: %s", t.Name, t.Status))
		}
	}
	if j.Ended() {
		p.clear()
		return
	}
	switch width := p.width(); {
	case width > 0:
		fmt.Fprint(p.w, "\r\x1b[K"+cut(p.text(j, width), width-1))
		p.drawn = true
	case now.Sub(p.printed) >= p.every:
		p.printed = now
		fmt.Fprintln(p.w, p.text(j, 0))
	}
}

// line prints a line that stays.
func (p *progress) line(s string) {
	p.clear()
	fmt.Fprintln(p.w, printable(s))
}

// clear takes the live line off the screen.
func (p *progress) clear() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

// text is the line of a running job; width 0 draws no bar.
func (p *progress) text(j client.Job, width int) string {
	head := j.Running()
	if head == "" {
		head = j.Operation
	}
	head = "  " + printable(head)
	if j.Done == 0 && j.Total == 0 {
		return fmt.Sprintf("%s: %s", head, took(p.now().Sub(p.began)))
	}
	tail := size(j.Done)
	part := 0.0
	if j.Total > 0 {
		part = min(1, float64(j.Done)/float64(j.Total))
		tail = fmt.Sprintf("%3.0f%%  %s of %s", 100*part, tail, size(j.Total))
	}
	if p.meter.rate >= 1 {
		tail += "  " + size(int64(p.meter.rate)) + "/s"
	}
	if left, ok := p.meter.left(j.Total); ok {
		tail += "  ETA " + left.Round(time.Second).String()
	}
	room := width - len(head) - len(tail) - 6
	if room < 10 || j.Total == 0 {
		return head + "  " + tail
	}
	return head + "  [" + bar(part, min(room, 40)) + "]  " + tail
}

// bar is a bar of a width, filled to a part of it.
func bar(part float64, width int) string {
	full := int(part * float64(width))
	if full >= width {
		return strings.Repeat("=", width)
	}
	return strings.Repeat("=", full) + ">" + strings.Repeat(" ", width-full-1)
}

// cut is s in no more than width characters.
func cut(s string, width int) string {
	r := []rune(s)
	if width > 0 && len(r) > width {
		return string(r[:width])
	}
	return s
}
