// Package verify proves that a VM comes up from a point: it boots it as a VM of its
// own, without any network and straight from the point, waits for its guest agent,
// runs a check in it, takes a picture of its console, and takes it away again.
//
// It promises that nothing of it stays, whatever dies when: the VM is known by its
// mark, and all its files lie in one directory; and that the guest reaches nothing
// but its own disks. A point that is not proved is a result, not an error: only what
// keeps from looking is an error, and so is a point that could not be read.
//
// It does not promise that what the guest serves is right: that is for the check.
package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"holdfast"
	"holdfast/internal/clock"
	"holdfast/internal/guest"
	"holdfast/internal/hypervisor"
	"holdfast/internal/mover"
)

// taskBoot follows the sub-tasks of the restore.
const taskBoot = "Boot in isolation"

const (
	// look is how often the agent of a guest that boots is asked.
	look = time.Second
	// answer is how long one such question may take.
	answer = 5 * time.Second
	// tidyPatience bounds taking everything away after the work, or its failure.
	tidyPatience = 2 * time.Minute
	// maxOutput is how much of what a check prints is kept, bytes.
	maxOutput = 4 << 10
)

// Boot makes the VM, which runs straight from the point while use has it:
// mover/restore's Boot.
type Boot func(ctx context.Context, a holdfast.RestoreArgs, p holdfast.Progress, use func(context.Context, holdfast.VMRef) error) error

// Mover verifies points.
type Mover struct {
	Hosts mover.Hosts
	Boot  Boot
	Clock clock.Clock
}

// Undo takes away what an earlier run had made; its work is not done by that.
func (m Mover) Undo(ctx context.Context, a holdfast.VerifyArgs) (bool, error) {
	host, err := m.Hosts(ctx, a.Restore.Site)
	if err != nil {
		return false, mover.Explain(err, "site "+a.Restore.Site.Name)
	}
	defer host.Close()
	return false, mover.Explain(tidy(ctx, host, a), "VM "+a.Restore.VMName)
}

// Forget does nothing: nothing of the work stays.
func (Mover) Forget(context.Context, holdfast.VerifyArgs) error { return nil }

// Run restores, boots, looks and takes away.
func (m Mover) Run(ctx context.Context, a holdfast.VerifyArgs, p holdfast.Progress) (r holdfast.VerifyResult, err error) {
	p.Cancellable(true)
	host, err := m.Hosts(ctx, a.Restore.Site)
	if err != nil {
		return r, mover.Explain(err, "site "+a.Restore.Site.Name)
	}
	defer host.Close()
	if err := os.Mkdir(a.Restore.Directory, 0o711); err != nil { // QEMU passes through it
		return r, mover.Explain(err, a.Restore.Directory)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyPatience)
		defer cancel()
		if left := tidy(ctx, host, a); left != nil {
			p.Warn(fmt.Sprintf("What was made to look at the point could not all be taken away: %v.", left))
		}
	}()
	err = m.Boot(ctx, a.Restore, cancellable{p}, func(ctx context.Context, vm holdfast.VMRef) (err error) {
		p.Task(taskBoot)
		r, err = m.look(ctx, host, vm.UUID, a)
		return mover.Explain(err, "VM "+vm.Name)
	})
	if err == nil {
		tell(p, r)
	}
	return r, err
}

// cancellable is the progress of a restore that may be cancelled to its end:
// nobody else uses what it makes.
type cancellable struct{ holdfast.Progress }

func (cancellable) Cancellable(bool) {}

// look waits for the guest, runs the check and takes the picture.
func (m Mover) look(ctx context.Context, host hypervisor.Host, uuid string, a holdfast.VerifyArgs) (r holdfast.VerifyResult, err error) {
	r.PointID = a.Restore.PointID
	began := m.Clock()
	agent := guest.Of(host, uuid)
	if r.Failure, err = wait(ctx, host, agent, uuid, a.Patience); err != nil {
		return r, err
	}
	if r.Failure == "" {
		r.Answered = m.Clock().Sub(began)
		if r.Output, r.Failure, err = check(ctx, agent, a); err != nil {
			return r, err
		}
	}
	r.Screen, err = screen(ctx, host, uuid)
	r.Time = m.Clock().UTC()
	return r, err
}

// wait asks the agent until it answers; failure says that it didn't. A VM that
// stopped because it could not read or write its disks says nothing of the point.
func wait(ctx context.Context, host hypervisor.Host, agent guest.Agent, uuid string, patience time.Duration) (failure string, err error) {
	over := time.After(patience)
	for {
		if agent.Ping(ctx, answer) == nil {
			return "", nil
		}
		d, err := host.Domain(ctx, uuid)
		if err != nil {
			return "", err
		}
		if d.State == hypervisor.Paused && d.StateReason == hypervisor.PausedIOError {
			return "", holdfast.Errorf(holdfast.Unreachable, d.Name, "The VM stopped, as its disks could not be read from the point or written to.").
				WithHint("Check that the point's repository answers and that the scratch directory has room, and verify again.")
		}
		if d.State != hypervisor.Running {
			return fmt.Sprintf("The VM did not stay up: it is %s.", d.State), nil
		}
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-over:
			return fmt.Sprintf("The guest agent did not answer within %s of the VM's start.", patience), nil
		case <-time.After(look):
		}
	}
}

// check runs the program that was asked for in the guest.
func check(ctx context.Context, agent guest.Agent, a holdfast.VerifyArgs) (output, failure string, err error) {
	if len(a.Check) == 0 {
		return "", "", nil
	}
	res, err := agent.Run(ctx, guest.Command{Path: a.Check[0], Args: a.Check[1:]}, a.Patience)
	output = cut(append(res.Stdout, res.Stderr...))
	switch {
	case ctx.Err() != nil:
		return output, "", context.Cause(ctx)
	case errors.Is(err, guest.ErrTimeout):
		return output, fmt.Sprintf("The check %s did not end within %s.", a.Check[0], a.Patience), nil
	case err != nil:
		return output, fmt.Sprintf("The check %s could not be run in the guest: %v.", a.Check[0], err), nil
	case res.Code != 0:
		return output, fmt.Sprintf("The check %s ended with %d.", a.Check[0], res.Code), nil
	}
	return output, "", nil
}

func cut(b []byte) string { return strings.ToValidUTF8(string(b[:min(len(b), maxOutput)]), "") }

// tidy takes the VM and its files away; what isn't there is no error, and a VM
// of that name that this work has not made stays as it is.
func tidy(ctx context.Context, host hypervisor.Host, a holdfast.VerifyArgs) error {
	d, err := host.DomainNamed(ctx, a.Restore.VMName)
	if err == nil {
		err = remove(ctx, host, d.UUID, a.Restore.RestoreID)
	}
	if err != nil && !errors.Is(err, hypervisor.ErrNoDomain) {
		return err // its files are in use
	}
	return os.RemoveAll(a.Restore.Directory)
}

// remove takes a VM away that a restore has made.
func remove(ctx context.Context, host hypervisor.Host, uuid, restoreID string) error {
	definition, err := host.DomainXML(ctx, uuid)
	if err != nil || mover.RestoreOf(definition) != restoreID {
		return err
	}
	return errors.Join(host.Destroy(ctx, uuid), host.Undefine(ctx, uuid))
}

// tell gives the job's user what was seen.
func tell(p holdfast.Progress, r holdfast.VerifyResult) {
	if r.Answered > 0 {
		p.Property("Guest answered after", r.Answered.Round(100*time.Millisecond).String())
	}
	if r.Output != "" {
		p.Property("Check printed", r.Output)
	}
	if r.Failure != "" {
		p.Property("Outcome", "not proved")
		p.Warn("The point is not proved. " + r.Failure)
		return
	}
	p.Property("Outcome", "proved")
}
