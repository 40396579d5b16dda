package repository

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// meter shows how far a command is, with rate and time left, on standard error:
// one line drawn again on a terminal, a line every few seconds elsewhere.
type meter struct {
	mu    sync.Mutex
	w     io.Writer
	tty   bool
	what  string
	begun time.Time
	shown time.Time
	drawn bool
}

// newMeter is a meter for a command; quiet ones show nothing.
func (f *common) newMeter(c *cobra.Command, what string) *meter {
	m := &meter{w: c.ErrOrStderr(), what: what, begun: time.Now()}
	m.shown = m.begun
	if f.quiet {
		m.w = io.Discard
	}
	if file, ok := m.w.(*os.File); ok {
		m.tty = term.IsTerminal(int(file.Fd()))
	}
	return m
}

// bytes shows done of total bytes.
func (m *meter) bytes(done, total int64) {
	m.show(func(passed time.Duration) string {
		rate := float64(done) / passed.Seconds()
		s := fmt.Sprintf("%s  %s of %s  %s/s", m.what, humanize.IBytes(uint64(done)), humanize.IBytes(uint64(total)), humanize.IBytes(uint64(rate)))
		if rate > 1 && total > done {
			left := time.Duration(float64(total-done) / rate * float64(time.Second))
			s += "  " + left.Round(time.Second).String() + " left"
		}
		return s
	})
}

// steps shows done of total steps of a phase.
func (m *meter) steps(phase string, done, total int64) {
	m.show(func(time.Duration) string { return fmt.Sprintf("%s: %s %d of %d", m.what, phase, done, total) })
}

func (m *meter) show(line func(time.Duration) string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	pause := 5 * time.Second
	if m.tty {
		pause = 200 * time.Millisecond
	}
	if now.Sub(m.shown) < pause {
		return
	}
	m.shown = now
	if m.tty {
		fmt.Fprintf(m.w, "\r\x1b[K%s", line(now.Sub(m.begun)))
		m.drawn = true
		return
	}
	fmt.Fprintln(m.w, line(now.Sub(m.begun)))
}

// end takes the line away.
func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.drawn {
		fmt.Fprint(m.w, "\r\x1b[K")
	}
}
