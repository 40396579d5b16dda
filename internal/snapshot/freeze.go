package snapshot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/guest"
	"holdfast/internal/hypervisor"
)

// Times of one freeze.
const (
	// pingTimeout is how long a guest agent may take to show that it is there.
	pingTimeout = 5 * time.Second
	// thawTimeout bounds one try to thaw.
	thawTimeout = 10 * time.Second
	// thawTries are made here; the watchdog goes on after them.
	thawTries = 3
)

// freezer stops and restarts the guest's file systems around the instant. The
// watchdog stands by.
type freezer struct {
	t       *taken
	agent   guest.Agent
	windows bool
	scripts *guest.Scripts // nil without

	at    time.Time // when the freeze was asked for
	err   error     // why the guest is not frozen
	quiet bool      // the pre-script has run well
	stuck error     // the guest could not be thawed; the watchdog goes on
}

// freezer gets ready to freeze. It gives nil when the guest will not be frozen,
// and has then written down why.
func (t *taken) freezer(ctx context.Context) *freezer {
	f, why := t.readyFreezer(ctx)
	if f == nil {
		t.snap.Consistency, t.snap.Reason = Crash, why
		if t.r.Want != Crash {
			t.snap.Warnings = append(t.snap.Warnings, "crash-consistent only: "+why)
		}
	}
	return f
}

func (t *taken) readyFreezer(ctx context.Context) (*freezer, string) {
	switch {
	case t.r.Want == Crash:
		return nil, "no more was asked for"
	case t.dog == nil:
		return nil, "nothing would thaw the guest if this process died: the watchdog does not start"
	case t.domain.State == hypervisor.Paused:
		return nil, "the virtual machine is paused, so its guest agent cannot answer"
	case !t.domain.AgentChannel:
		return nil, "the virtual machine has no channel for a guest agent (org.qemu.guest_agent.0)"
	case !t.domain.AgentConnected:
		return nil, "no guest agent is connected: install and start qemu-guest-agent in the guest"
	}
	agent := t.agent()
	if err := agent.Ping(ctx, pingTimeout); err != nil {
		return nil, err.Error()
	}
	// Left frozen by somebody else: it is theirs to thaw.
	if frozen, err := agent.Frozen(ctx, pingTimeout); err != nil || frozen {
		return nil, fmt.Sprintf("the guest's file systems are frozen already, or it does not say (%v)", err)
	}
	os, _ := agent.OS(ctx, pingTimeout) // optional: old agents do not know it
	f := &freezer{t: t, agent: agent, windows: os.Windows()}
	if t.r.Want == Application && !f.windows {
		f.readScripts(ctx)
	}
	return f, ""
}

// freeze stops the guest's file systems. A guest that does not freeze is
// snapshotted all the same; thaw says so.
func (f *freezer) freeze(ctx context.Context) {
	if f.err = f.t.dir.frozen(); f.err != nil {
		return
	}
	if f.scripts != nil && !f.scripts.Freeze {
		return
	}
	if f.err = f.t.dog.freeze(); f.err != nil {
		return
	}
	f.at = time.Now()
	n, err := f.agent.Freeze(ctx, f.t.r.FreezeDeadline*3/4)
	if err == nil && n == 0 {
		err = errors.New("the guest froze none of its file systems")
	}
	f.err = err
}

// thaw restarts the guest's file systems, and says what the snapshot is: only
// a guest that this thaw has thawed was frozen at the instant.
func (f *freezer) thaw(ctx context.Context) (c Consistency, reason string, frozenFor time.Duration) {
	if f.at.IsZero() {
		return f.unfrozen()
	}
	// The guest is thawed even when the caller has given up.
	ctx = context.WithoutCancel(ctx)
	var n int
	var err error
	for range thawTries {
		if n, err = f.agent.Thaw(ctx, thawTimeout); err == nil {
			break
		}
	}
	frozenFor = time.Since(f.at)
	f.at = time.Time{}
	if err != nil {
		f.stuck = fmt.Errorf("the guest could not be thawed, the watchdog goes on trying: %w", err)
		return Crash, f.stuck.Error(), frozenFor
	}
	f.t.dog.thawed()
	switch {
	case f.err != nil:
		return Crash, "the guest did not freeze: " + f.err.Error(), frozenFor
	case n == 0:
		return Crash, fmt.Sprintf("the guest was thawed before the snapshot was complete (%.1f s)", frozenFor.Seconds()), frozenFor
	case f.quiet:
		return Application, "the guest's pre-script stopped its applications, and its file systems were frozen", frozenFor
	case f.windows:
		return Application, "frozen through VSS by the guest agent", frozenFor
	}
	return FileSystem, fmt.Sprintf("%d file systems frozen by the guest agent", n), frozenFor
}

// unfrozen says what a snapshot is whose guest was not to be frozen, or could
// not be.
func (f *freezer) unfrozen() (Consistency, string, time.Duration) {
	switch {
	case f.err != nil:
		return Crash, "the guest was not frozen: " + f.err.Error(), 0
	case f.quiet:
		return Application, "the guest's pre-script stopped its applications; its configuration asks for no freeze", 0
	}
	return Crash, "the guest's script configuration asks for no freeze", 0
}

// close takes back the note that the guest may be frozen, unless it is: then the
// watchdog works on.
func (f *freezer) close() {
	if f.stuck == nil {
		f.t.dir.thawed()
	}
}
