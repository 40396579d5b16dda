// Package guest talks to the agent inside a VM (qemu-guest-agent): who are you,
// freeze, thaw, run this. It speaks through hypervisor.Host only.
//
// It promises that every call ends by its timeout, and that Thaw has looked at
// the state afterwards. It does not promise that a guest that froze for longer
// than its own limits (Windows VSS: 10 s) is consistent.
//
// The commands are those of the QEMU guest agent protocol
// (https://www.qemu.org/docs/master/interop/qemu-ga-ref.html).
package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/hypervisor"
)

// Agent is the guest agent of one domain. It holds no state and is safe for
// concurrent use.
type Agent struct {
	host hypervisor.Host
	uuid string
}

// Of gives the agent of a domain. It does not ask whether there is one.
func Of(host hypervisor.Host, uuid string) Agent { return Agent{host, uuid} }

// ErrStillFrozen: the guest says that its file systems are frozen after a thaw.
var ErrStillFrozen = errors.New("the guest's file systems are still frozen")

// call runs one command and decodes its answer.
func (a Agent) call(ctx context.Context, name string, args, answer any, timeout time.Duration) error {
	command, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{name, args})
	if err != nil {
		return err
	}
	raw, err := a.host.Agent(ctx, a.uuid, command, timeout)
	if err != nil {
		return fmt.Errorf("guest agent, %s: %w", name, err)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		return fmt.Errorf("guest agent, %s: answer: %w", name, err)
	}
	return nil
}

// Ping asks for a sign of life.
func (a Agent) Ping(ctx context.Context, timeout time.Duration) error {
	return a.call(ctx, "guest-ping", nil, nil, timeout)
}

// OS is what the guest says of its operating system. Fields are empty when the
// guest does not say.
type OS struct {
	Name    string // such as Debian GNU/Linux 12 (bookworm)
	ID      string // debian, ubuntu, mswindows, …
	Version string // 12, 2019, …
	Variant string // coreos, server, …
	Kernel  string
	Machine string // x86_64, …
}

// Windows says that the guest is a Windows one.
func (o OS) Windows() bool { return o.ID == "mswindows" }

// OS asks for the operating system (guest-get-osinfo).
func (a Agent) OS(ctx context.Context, timeout time.Duration) (OS, error) {
	var r struct {
		Name    string `json:"pretty-name"`
		ID      string `json:"id"`
		Version string `json:"version-id"`
		Variant string `json:"variant-id"`
		Kernel  string `json:"kernel-release"`
		Machine string `json:"machine"`
	}
	if err := a.call(ctx, "guest-get-osinfo", nil, &r, timeout); err != nil {
		return OS{}, err
	}
	return OS(r), nil
}

// Time asks for the guest's clock (guest-get-time).
func (a Agent) Time(ctx context.Context, timeout time.Duration) (time.Time, error) {
	var ns int64
	err := a.call(ctx, "guest-get-time", nil, &ns, timeout)
	return time.Unix(0, ns), err
}

// Frozen asks whether the guest's file systems are frozen.
func (a Agent) Frozen(ctx context.Context, timeout time.Duration) (bool, error) {
	var status string
	if err := a.call(ctx, "guest-fsfreeze-status", nil, &status, timeout); err != nil {
		return false, err
	}
	return status == "frozen", nil
}

// Freeze flushes and freezes the guest's file systems and says how many.
func (a Agent) Freeze(ctx context.Context, timeout time.Duration) (int, error) {
	var n int
	err := a.call(ctx, "guest-fsfreeze-freeze", nil, &n, timeout)
	return n, err
}

// Thaw thaws the guest's file systems, asks whether they are thawed, and says
// how many this call has thawed: none means that somebody else did it before.
// Only the status counts, since a thaw may report an error although it worked
// (Windows VSS past its 10 s). ErrStillFrozen when they are not.
func (a Agent) Thaw(ctx context.Context, timeout time.Duration) (int, error) {
	var n int
	thawErr := a.call(ctx, "guest-fsfreeze-thaw", nil, &n, timeout)
	frozen, err := a.Frozen(ctx, timeout)
	switch {
	case err != nil:
		return n, errors.Join(thawErr, err)
	case frozen:
		return n, errors.Join(ErrStillFrozen, thawErr)
	}
	return n, nil
}
