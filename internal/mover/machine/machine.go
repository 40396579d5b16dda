// Package machine does to the machines and disks of a site what their owners
// ask for: power, tags, disks made, grown, deleted, attached and detached.
//
// It promises that a disk is never deleted with its machine, and that one that is
// moved into a pool is whole in one place at every moment; that a guest is
// asked to power itself off before its power is taken away, unless the caller
// says otherwise; and that work run again after a crash ends as one run would
// have, but that a restart may happen twice.
package machine

import (
	"context"
	"fmt"
	"time"

	"holdfast"
	"holdfast/internal/hypervisor"
	"holdfast/internal/mover"
)

// Times of a machine's work.
const (
	// look is how often a disk is looked for that a guest is to let go of.
	look = 250 * time.Millisecond
	// letGo is how long a guest may take to let go of a disk.
	letGo = 30 * time.Second
	// patience bounds one quick question to a site.
	patience = 30 * time.Second
)

// Mover works on machines and disks.
type Mover struct {
	Hosts mover.Hosts
	Grace time.Duration // instead of mover.Grace; 0 is that
}

// Run does one action on a machine.
func (m Mover) Run(ctx context.Context, a holdfast.MachineArgs, p holdfast.Progress) (r holdfast.MachineResult, err error) {
	p.Task(string(a.Action))
	host, err := m.Hosts(ctx, a.Site)
	if err != nil {
		return r, mover.Explain(err, a.VM.Name)
	}
	defer host.Close()
	if err := m.act(ctx, host, a, p); err != nil {
		return r, mover.Explain(err, a.VM.Name)
	}
	if a.Action == holdfast.MachineDelete {
		return r, nil
	}
	d, err := host.Domain(ctx, a.VM.UUID)
	return holdfast.MachineResult{State: string(d.State)}, mover.Explain(err, a.VM.Name)
}

// Undo does nothing: every action can be done again.
func (Mover) Undo(context.Context, holdfast.MachineArgs) (bool, error) { return false, nil }

// Forget does nothing: nothing is kept for Undo.
func (Mover) Forget(context.Context, holdfast.MachineArgs) error { return nil }

func (m Mover) act(ctx context.Context, host hypervisor.Host, a holdfast.MachineArgs, p holdfast.Progress) error {
	switch a.Action {
	case holdfast.MachineStart:
		return start(ctx, host, a.VM.UUID)
	case holdfast.MachineStop:
		return m.stop(ctx, host, a, p)
	case holdfast.MachineRestart:
		if err := m.stop(ctx, host, a, p); err != nil {
			return err
		}
		return start(ctx, host, a.VM.UUID)
	case holdfast.MachineDelete:
		if err := host.Destroy(ctx, a.VM.UUID); err != nil {
			return gone(err)
		}
		return gone(host.Undefine(ctx, a.VM.UUID))
	case holdfast.MachineDisks:
		return changeDisks(ctx, host, a)
	case holdfast.MachineConvert:
		return convert(ctx, host, a, p)
	}
	return fmt.Errorf("unknown action %q", a.Action)
}

func start(ctx context.Context, host hypervisor.Host, uuid string) error {
	if err := host.Start(ctx, uuid); err != nil {
		return err
	}
	return host.Resume(ctx, uuid)
}

// stop powers a machine off: it asks the guest, and takes the power away from
// one that does not listen.
func (m Mover) stop(ctx context.Context, host hypervisor.Host, a holdfast.MachineArgs, p holdfast.Progress) error {
	if a.Force {
		return host.Destroy(ctx, a.VM.UUID)
	}
	return mover.Stop(ctx, host, a.VM.UUID, m.Grace, p.Warn)
}
