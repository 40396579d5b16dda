package capture

import (
	"strings"
	"testing"
	"time"

	"holdfast/internal/guest/guesttest"
	"holdfast/internal/hypervisor"
	"holdfast/internal/matrix"
)

// TestAsk: what a guest tells becomes warnings of the point, and one that does
// not answer holds nobody up.
func TestAsk(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "LOS-06", "ACT-13")
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	mounts := func(text string) any {
		return map[string]any{"exited": true, "exitcode": 0, "out-data": []byte(text)}
	}
	for _, c := range []struct {
		what    string
		state   hypervisor.State
		answers map[string]any
		want    []string
	}{
		{"all is well", hypervisor.Running, map[string]any{"guest-get-time": now.Add(4 * time.Minute).UnixNano(), "guest-exec": map[string]any{"pid": 1}, "guest-exec-status": mounts("mount ext4 /\n")}, nil},
		{"a network mount", hypervisor.Running, map[string]any{"guest-get-time": now.UnixNano(), "guest-exec": map[string]any{"pid": 1}, "guest-exec-status": mounts("mount nfs4 /srv\nmount cifs /mnt/x\n")}, []string{"/srv, /mnt/x"}},
		{"a clock a year ahead", hypervisor.Running, map[string]any{"guest-get-time": now.AddDate(1, 0, 0).UnixNano()}, []string{"8760h0m0s ahead of"}},
		{"a clock behind", hypervisor.Running, map[string]any{"guest-get-time": now.Add(-6 * time.Minute).UnixNano()}, []string{"6m0s behind"}},
		{"nobody answers", hypervisor.Running, nil, nil},
		{"it is off", hypervisor.ShutOff, map[string]any{"guest-get-time": 1}, nil},
	} {
		r := &run{Maker: &Maker{Clock: func() time.Time { return now }}, host: guesttest.Host{Answers: c.answers}}
		got := <-r.ask(t.Context(), hypervisor.Domain{UUID: "u", State: c.state, AgentConnected: true})
		if len(got) != len(c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
			continue
		}
		for i := range c.want {
			if !strings.Contains(got[i], c.want[i]) {
				t.Errorf("%s: %q, want %q", c.what, got, c.want)
			}
		}
	}
}
