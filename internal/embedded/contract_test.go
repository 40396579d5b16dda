package embedded_test

import (
	"context"
	"testing"

	"holdfast"
	"holdfast/internal/contracttest"
	"holdfast/internal/embedded"
	"holdfast/internal/job"
	"holdfast/internal/limits"
)

// TestContract sends every operation of the clients' contract with Azure's SDK.
// e2e.TestContract does it with a real machine.
func TestContract(t *testing.T) {
	t.Parallel()
	r := serveWith(t, t.TempDir(), func(c *embedded.Config) {
		c.Limits = limits.Extended // it backs up until one can be cancelled
		c.Backup = job.Func[holdfast.BackupArgs, holdfast.BackupResult](slowly(c.Backup))
		withPoints(c)
	})
	contracttest.Drive(t, contracttest.Lab{Env: r.env, Client: r.hc, URI: "qemu:///system", VM: "web", Pool: "default"})
}

// slowly is work whose second run and those after it wait to be cancelled.
func slowly(w job.Work[holdfast.BackupArgs, holdfast.BackupResult]) func(context.Context, holdfast.BackupArgs, holdfast.Progress) (holdfast.BackupResult, error) {
	runs := make(chan struct{}, 1)
	runs <- struct{}{}
	return func(ctx context.Context, a holdfast.BackupArgs, p holdfast.Progress) (holdfast.BackupResult, error) {
		select {
		case <-runs:
			return w.Run(ctx, a, p)
		default:
			p.Task("Take Snapshot")
			<-ctx.Done()
			return holdfast.BackupResult{}, context.Cause(ctx)
		}
	}
}
