package snapshot

import (
	"errors"
	"strings"
	"testing"

	"holdfast/internal/guest"
	"holdfast/internal/guest/guesttest"
)

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) Close() error                { return nil }

// TestWhatAFreezeProves goes through the answers of agents, those of Windows too,
// which no machine here can give: what a point is then called, and why.
func TestWhatAFreezeProves(t *testing.T) {
	t.Parallel()
	vss := errors.New("couldn't hold writes: fsfreeze is limited up to 10 seconds")
	for _, c := range []struct {
		what                 string
		windows, quiet       bool
		freeze, thaw, status any
		want                 Consistency
		reason               string
	}{
		{"Linux", false, false, 2, 2, "thawed", FileSystem, "2 file systems frozen"},
		{"Linux with its scripts", false, true, 2, 2, "thawed", Application, "pre-script"},
		{"Linux refuses", false, false, errors.New("no permission"), 0, "thawed", Crash, "did not freeze: guest agent"},
		{"Linux has nothing to freeze", false, false, 0, 0, "thawed", Crash, "froze none"},
		{"Linux stays frozen", false, false, 2, 0, "frozen", Crash, "could not be thawed"},
		{"Windows", true, false, 3, 3, "thawed", Application, "VSS"},
		{"Windows let go before the instant was over", true, false, 3, vss, "thawed", Crash, "thawed before the snapshot was complete"},
		{"Windows does not freeze", true, false, vss, 0, "thawed", Crash, "10 seconds"},
	} {
		host := guesttest.Host{Answers: map[string]any{"guest-fsfreeze-freeze": c.freeze, "guest-fsfreeze-thaw": c.thaw, "guest-fsfreeze-status": c.status}}
		f := &freezer{t: &taken{r: Request{FreezeDeadline: defaultDeadline}, dir: &workdir{path: t.TempDir()}, dog: &watchdog{orders: nowhere{}}},
			agent: guest.Of(host, "u"), windows: c.windows, quiet: c.quiet}
		f.freeze(t.Context())
		got, reason, _ := f.thaw(t.Context())
		if got != c.want || !strings.Contains(reason, c.reason) || (f.stuck != nil) != (c.status == "frozen") {
			t.Errorf("%s: %s, %q; stuck %v", c.what, got, reason, f.stuck)
		}
	}
}
