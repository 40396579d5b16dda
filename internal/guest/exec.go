package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrTimeout: a command in the guest did not end in its time.
var ErrTimeout = errors.New("the command in the guest did not end in time")

// maxOutput bounds what is kept of a command's output, bytes per stream. The
// agent itself stops at 16 MiB.
const maxOutput = 1 << 20

// Command is a program to run in the guest.
type Command struct {
	Path  string
	Args  []string
	Env   []string // KEY=value
	Stdin []byte
}

// Result is how a command ended.
type Result struct {
	Code           int // exit code; 128+signal when it was killed
	Stdout, Stderr []byte
	Truncated      bool // output was longer than what is kept
}

// execPoll is the first and longest pause between two looks at a command.
const (
	execPollFirst = 20 * time.Millisecond
	execPollMost  = 500 * time.Millisecond
)

// agentTimeout bounds one short exchange with the agent.
const agentTimeout = 10 * time.Second

// Run runs a command in the guest and waits for its end (guest-exec,
// guest-exec-status). ErrTimeout after the timeout: the agent cannot kill what
// it started, so the command may still run.
func (a Agent) Run(ctx context.Context, c Command, timeout time.Duration) (Result, error) {
	type exec struct {
		Path   string   `json:"path"`
		Args   []string `json:"arg,omitempty"`
		Env    []string `json:"env,omitempty"`
		Stdin  []byte   `json:"input-data,omitempty"` // base64, as encoding/json does it
		Output bool     `json:"capture-output"`
	}
	var started struct {
		PID int `json:"pid"`
	}
	e := exec{Path: c.Path, Args: c.Args, Env: c.Env, Stdin: c.Stdin, Output: true}
	if err := a.call(ctx, "guest-exec", e, &started, agentTimeout); err != nil {
		return Result{}, err
	}
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for pause := execPollFirst; ; pause = min(2*pause, execPollMost) {
		r, exited, err := a.status(ctx, started.PID)
		if err != nil || exited {
			return r, err
		}
		select {
		case <-ctx.Done():
			return Result{}, ctx.Err()
		case <-deadline.C:
			return Result{}, fmt.Errorf("%w: %s, %s", ErrTimeout, c.Path, timeout)
		case <-time.After(pause):
		}
	}
}

// status asks once how a command is doing.
func (a Agent) status(ctx context.Context, pid int) (Result, bool, error) {
	var s struct {
		Exited       bool            `json:"exited"`
		Code         int             `json:"exitcode"`
		Signal       int             `json:"signal"`
		Out          []byte          `json:"out-data"`
		Err          []byte          `json:"err-data"`
		OutTruncated json.RawMessage `json:"out-truncated"`
		ErrTruncated json.RawMessage `json:"err-truncated"`
	}
	args := map[string]int{"pid": pid}
	if err := a.call(ctx, "guest-exec-status", args, &s, agentTimeout); err != nil {
		return Result{}, false, err
	}
	r := Result{Code: s.Code, Stdout: s.Out, Stderr: s.Err}
	if s.Signal != 0 {
		r.Code = 128 + s.Signal
	}
	r.Truncated = s.OutTruncated != nil || s.ErrTruncated != nil
	for _, stream := range []*[]byte{&r.Stdout, &r.Stderr} {
		if len(*stream) > maxOutput {
			*stream, r.Truncated = (*stream)[:maxOutput], true
		}
	}
	return r, s.Exited, nil
}
