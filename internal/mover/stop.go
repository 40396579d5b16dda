package mover

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/hypervisor"
)

// Times of a machine that is asked to power itself off.
const (
	// Grace is how long a guest may take to power itself off, as in Azure.
	Grace = 5 * time.Minute
	// repeat is how often it is asked: a guest that boots misses the button.
	repeat = 10 * time.Second
	// look is how often its state is read.
	look = 250 * time.Millisecond
)

// Stop powers a machine off: it asks the guest, and takes the power away from
// one that does not listen within grace (0 is Grace), and at once from one that is
// paused, which cannot listen. warn is told of both.
func Stop(ctx context.Context, host hypervisor.Host, uuid string, grace time.Duration, warn func(string)) error {
	if grace == 0 {
		grace = Grace
	}
	deadline, ask := time.After(grace), time.NewTicker(repeat)
	defer ask.Stop()
	see := time.NewTicker(look)
	defer see.Stop()
	if err := host.Shutdown(ctx, uuid); err != nil {
		return err
	}
	for {
		d, err := host.Domain(ctx, uuid)
		if err != nil || d.State == hypervisor.ShutOff {
			return err
		}
		if d.State == hypervisor.Paused && (d.StateReason == hypervisor.PausedUser || d.StateReason == hypervisor.PausedIOError) {
			warn("The VM was paused, so that its guest could not be asked to power itself off; its power was taken away.")
			return host.Destroy(ctx, uuid)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline:
			warn(fmt.Sprintf("The guest did not power itself off within %s; its power was taken away.", grace))
			return host.Destroy(ctx, uuid)
		case <-ask.C:
			if err := host.Shutdown(ctx, uuid); err != nil {
				return err
			}
		case <-see.C:
		}
	}
}
