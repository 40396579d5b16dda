package verify

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/guest"
	"holdfast/internal/hypervisor"
)

// silent is a host whose guest agents don't answer and whose domain is in a state.
type silent struct {
	hypervisor.Host
	domain hypervisor.Domain
}

func (silent) Agent(context.Context, string, json.RawMessage, time.Duration) (json.RawMessage, error) {
	return nil, hypervisor.ErrNoAgent
}

func (s silent) Domain(context.Context, string) (hypervisor.Domain, error) { return s.domain, nil }

// A VM that died is not proved; one whose disks could not be read is not judged.
func TestWait(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		domain  hypervisor.Domain
		failure string
		kind    holdfast.Kind
	}{
		{"crashed", hypervisor.Domain{State: hypervisor.Crashed}, "did not stay up", ""},
		{"off", hypervisor.Domain{State: hypervisor.ShutOff}, "did not stay up", ""},
		{"no answer", hypervisor.Domain{State: hypervisor.Running}, "did not answer within", ""},
		{"disks away", hypervisor.Domain{State: hypervisor.Paused, StateReason: hypervisor.PausedIOError}, "", holdfast.Unreachable},
	} {
		host := silent{domain: c.domain}
		failure, err := wait(t.Context(), host, guest.Of(host, "u"), "u", time.Nanosecond)
		if (failure == "") != (c.failure == "") || !strings.Contains(failure, c.failure) || c.kind == "" && err != nil || c.kind != "" && holdfast.KindOf(err) != c.kind {
			t.Errorf("%s: %q, %v", c.name, failure, err)
		}
	}
}
