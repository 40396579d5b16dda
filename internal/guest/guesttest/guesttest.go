// Package guesttest plays guest agents for tests that know only what the agent
// answers, such as that of Windows.
//
// It promises the errors that a real host gives for them; it plays nothing else
// of a host.
package guesttest

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"holdfast/internal/hypervisor"
)

// Host is a host whose guest agent gives these answers, by command. An error is
// one that the agent reports, as it does for a command that is not here.
type Host struct {
	hypervisor.Host
	Answers map[string]any
}

// Agent answers a command.
func (h Host) Agent(_ context.Context, _ string, command json.RawMessage, _ time.Duration) (json.RawMessage, error) {
	var c struct {
		Execute string `json:"execute"`
	}
	if err := json.Unmarshal(command, &c); err != nil {
		return nil, err
	}
	switch a := h.Answers[c.Execute].(type) {
	case nil:
		return nil, fmt.Errorf("%w: the command %s has not been found", hypervisor.ErrAgentFailed, c.Execute)
	case error:
		return nil, fmt.Errorf("%w: %w", hypervisor.ErrAgentFailed, a)
	default:
		return json.Marshal(a)
	}
}
