// Package service holds the rules of the control plane: what may be asked of
// sites, vaults, policies, protected items, points and jobs, and what changes
// when it is.
//
// It promises that a request is refused before anything changes, with a
// holdfast.Error that names the field and the rule; that a resource and the job
// which works on it change in one transaction; and that what a job found is
// applied in the transaction that ends the job.
//
// It does not decode requests nor check rights (server), does not touch a disk,
// a hypervisor or a repository: quick questions go through the ports Inventory
// and Provisioner, long work goes to a mover in a job.
package service

import (
	"context"
	"sync/atomic"
	"time"

	"holdfast"
	"holdfast/internal/authz"
	"holdfast/internal/catalog"
	"holdfast/internal/clock"
	"holdfast/internal/job"
	"holdfast/internal/notify"
	"holdfast/internal/policy"
)

// Inventory says what a site has. The answers are live: VMs are not stored.
type Inventory interface {
	// Discover lists what the site has now.
	Discover(ctx context.Context, site holdfast.SiteRef) (holdfast.DiscoverResult, error)
	// VM returns one VM by name, or holdfast.NotFound.
	VM(ctx context.Context, site holdfast.SiteRef, name string) (holdfast.VMFact, error)
	// Check says what a backup of one VM would meet, host first, or
	// holdfast.NotFound. It changes nothing.
	Check(ctx context.Context, site holdfast.SiteRef, name string) ([]holdfast.Finding, error)
	// Guest says what the guest agent of one VM tells of its system, or
	// holdfast.NotFound. It changes nothing in the guest.
	Guest(ctx context.Context, site holdfast.SiteRef, name string) (holdfast.GuestFact, error)
}

// Provisioner makes or finds the repository of a vault.
type Provisioner interface {
	Provision(ctx context.Context, a holdfast.ProvisionArgs) (holdfast.ProvisionResult, error)
	// Usable says why nothing can be written to or read from a repository that is
	// there, as far as can be seen without its store: its key may be gone. nil is
	// that nothing is wrong.
	Usable(ref holdfast.RepositoryRef) error
	// Stored is how much a repository keeps in its store by its own books, bytes.
	// The store is not listed for it.
	Stored(ctx context.Context, ref holdfast.RepositoryRef) (int64, error)
	// TryKey says why a key of a key service cannot be used to seal and to open; nil is
	// that it can.
	TryKey(ctx context.Context, url string) error
}

// Deps is what the rules need.
type Deps struct {
	Catalog     *catalog.Catalog
	Jobs        *job.Runner // not started: New registers what runs
	Inventory   Inventory
	Provisioner Provisioner
	Machines    Machines
	Clock       clock.Clock
	DataDir     string // where vaults go that name no repository, absolute
	ScratchDir  string // where sites go that name no scratch directory, absolute
	Limits      Limits // "" is AzureLimits

	// Alerts keeps what people are told; nil keeps it and brings it to nobody.
	Alerts *notify.Outbox
	// Ended, if set, is told of every job once its end is durable.
	Ended func(Job)
	// Run, if set, is told of scheduled backups: RunDue, RunStarted, RunMissed.
	Run func(what string)

	// The movers.
	Backup  job.Work[holdfast.BackupArgs, holdfast.BackupResult]
	Restore job.Work[holdfast.RestoreArgs, holdfast.RestoreResult]
	Delete  job.Work[holdfast.DeletePointsArgs, holdfast.DeletePointsResult] // nil: points cannot be deleted
	Machine job.Work[holdfast.MachineArgs, holdfast.MachineResult]
	// Verify boots points in isolation; nil: none is verified.
	Verify job.Work[holdfast.VerifyArgs, holdfast.VerifyResult]
	// RestorePoint makes restore points, and Contents reads what is in them; nil:
	// there are none, or none are read.
	RestorePoint job.Work[holdfast.RestorePointArgs, holdfast.RestorePointResult]
	Contents     Contents
	// Examiner says whether restore points can be read; nil: nobody looks.
	Examiner Examiner
	// Deploy makes the resources of deployments; nil: there are none.
	Deploy job.Work[DeployArgs, DeployResult]
}

// The job kinds.
const (
	kindBackup  = "backup"
	kindRestore = "restore"
	kindDelete  = "delete"
	kindMachine = "machine"
)

// Service is the rules over one catalog. It is safe for concurrent use.
type Service struct {
	Deps
	maxPoints int // of one item
	// waiting says that due runs wait for room, and wake that there is some.
	waiting atomic.Bool
	wake    chan struct{}
}

// New makes the service and registers its job kinds with d.Jobs.
func New(d Deps) *Service {
	s := &Service{Deps: d, maxPoints: policy.MaxPoints, wake: make(chan struct{}, 1)}
	if s.Alerts == nil {
		s.Alerts = notify.New(notify.Config{Catalog: d.Catalog, Clock: d.Clock})
	}
	d.Jobs.OnEnd(s.jobEnded)
	job.Register(d.Jobs, kindBackup, d.Backup, s.backupDone)
	job.OnReached(d.Jobs, kindBackup, s.backupReached)
	job.Register(d.Jobs, kindRestore, awaiting{d.Restore, d.Jobs}, s.restoreDone)
	job.Register(d.Jobs, kindMachine, d.Machine, machineDone)
	if d.Delete != nil {
		job.Register(d.Jobs, kindDelete, d.Delete, s.deleteDone)
		job.Register(d.Jobs, kindPrune, d.Delete, s.pruneDone)
		job.Register(d.Jobs, kindDeleteRestorePoint, d.Delete, s.restorePointGone)
	}
	if d.Verify != nil {
		job.Register(d.Jobs, kindVerify, d.Verify, s.verifyDone)
	}
	if d.RestorePoint != nil {
		job.Register(d.Jobs, kindRestorePoint, d.RestorePoint, s.restorePointDone)
	}
	if d.Deploy != nil {
		job.Register(d.Jobs, kindDeploy, d.Deploy, s.deployDone)
	}
	return s
}

// Job is what its user sees of long work.
type Job = job.Job

// Failure is why a job, or a part of one, failed.
type Failure = job.Failure

// caller names who asks, for the job's row.
func caller(ctx context.Context) string { return authz.CallerOf(ctx).Name }

// read runs f in a transaction that sees one moment.
func read[T any](ctx context.Context, s *Service, f func(*catalog.Tx) (T, error)) (v T, err error) {
	err = s.Catalog.View(ctx, func(tx *catalog.Tx) error { v, err = f(tx); return err })
	return v, err
}

// write runs f in a transaction that changes the catalog, once the caller's
// precondition holds.
func write[T any](ctx context.Context, s *Service, f func(*catalog.Tx) (T, error)) (v T, err error) {
	err = s.Catalog.Update(ctx, func(tx *catalog.Tx) error {
		if err := checkPrecondition(ctx, tx); err != nil {
			return err
		}
		v, err = f(tx)
		return err
	})
	return v, err
}

// list decodes every resource that a query picks.
func list[T any](tx *catalog.Tx, q catalog.Query, decode func(catalog.Resource) (T, error)) ([]T, error) {
	rows, err := tx.List(q)
	if err != nil {
		return nil, err
	}
	all := make([]T, len(rows))
	for i, r := range rows {
		if all[i], err = decode(r); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Stamp is what the catalog knows of every resource.
type Stamp struct {
	ID      string    `json:"-"`
	ETag    string    `json:"-"`
	Created time.Time `json:"-"`
	Updated time.Time `json:"-"`
}

func stamp(r catalog.Resource) Stamp {
	return Stamp{ID: r.ID, ETag: r.ETag, Created: r.Created, Updated: r.Updated}
}

// JobState is how far a job is.
type JobState = job.State
