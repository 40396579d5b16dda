package snapshot

import (
	"context"
	"errors"

	"holdfast/internal/hypervisor"
)

// WatchdogCommand is the argument with which this program runs WatchdogMain.
const WatchdogCommand = "snapshot-watchdog"

// Take freezes, snapshots and thaws. Being built: it fails until it is whole.
func Take(ctx context.Context, r Request) (*Snapshot, error) {
	return nil, errors.New("snapshot.Take is not built yet")
}

type taken struct{}

func (t *taken) release(ctx context.Context, keep bool) error { return nil }

// Reconcile ends what a dead process left of its snapshots of one domain: our
// backup job, our scratch files and sockets in scratchDir, our checkpoints but
// keep, a guest that is still frozen. Foreign jobs and checkpoints are not
// touched. keep is the name of the last committed point's checkpoint, or "".
func Reconcile(ctx context.Context, host hypervisor.Host, uuid, scratchDir, keep string) error {
	return errors.New("snapshot.Reconcile is not built yet")
}

// WatchdogMain is the process that thaws a guest when its parent cannot. It is
// started by Take with the arguments after WatchdogCommand and returns the
// exit code.
func WatchdogMain(args []string) int { return 1 }
