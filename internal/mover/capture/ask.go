package capture

import (
	"context"
	"fmt"
	"strings"
	"time"

	"holdfast/internal/guest"
	"holdfast/internal/hypervisor"
)

const (
	// askPatience bounds one question to a guest whose disks are read meanwhile.
	askPatience = 10 * time.Second
	// drift is how far a guest's clock may be from the server's.
	drift = 5 * time.Minute
)

// ask asks a running guest, while its disks are read, for what its user should
// know of the point: file systems of the network that are not in it (LOS-06),
// and a clock that is far from the server's (ACT-13). It gives warnings, once; a
// guest that does not answer gives none.
func (r *run) ask(ctx context.Context, d hypervisor.Domain) <-chan []string {
	said := make(chan []string, 1)
	go func() {
		var all []string
		if d.State == hypervisor.Running && d.AgentConnected {
			agent := guest.Of(r.host, d.UUID)
			if at, err := agent.Time(ctx, askPatience); err == nil {
				all = append(all, clockWarning(at, r.Clock())...)
			}
			if mounts, err := agent.Mounts(ctx, askPatience); err == nil && len(mounts) > 0 {
				all = append(all, fmt.Sprintf("What is mounted from the network is not in the point: %s (LOS-06).", strings.Join(mounts, ", ")))
			}
		}
		said <- all
	}()
	return said
}

// clockWarning speaks of a guest's clock that is far from the server's. Points
// are ordered and kept by the server's clock alone.
func clockWarning(guest, server time.Time) []string {
	off := guest.Sub(server).Round(time.Second)
	if off.Abs() <= drift {
		return nil
	}
	word := "ahead of"
	if off < 0 {
		word = "behind"
	}
	return []string{fmt.Sprintf("The guest's clock is %s %s the server's. The point has the server's time, and is kept by it; a VM whose clock was in the future may not come back well (ACT-13).", off.Abs(), word)}
}
