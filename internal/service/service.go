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

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/clock"
	"holdfast/internal/identity"
	"holdfast/internal/job"
	"holdfast/internal/limits"
	"holdfast/internal/notify"
	"holdfast/internal/policy"
	"holdfast/internal/resource"
)

// Deps is what the rules need.
type Deps struct {
	Catalog     *catalog.Catalog
	Jobs        *job.Runner // not started: New registers what runs
	Inventory   Inventory
	Provisioner Provisioner
	Machines    Machines
	Clock       clock.Clock
	DataDir     string        // where vaults go that name no repository, absolute
	ScratchDir  string        // where sites go that name no scratch directory, absolute
	Limits      limits.Choice // "" is AzureLimits

	// Alerts keeps what people are told; nil keeps it and brings it to nobody.
	Alerts *notify.Outbox
	// Ended, if set, is told of every job once its end is durable.
	Ended func(job.Job)
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

// Service is the rules over one catalog. It is safe for concurrent use.
type Service struct {
	Deps
	Resources *resource.Service
	Identity  *identity.Service

	// FromPoint starts the job that makes a disk of one in a recovery point.
	FromPoint func(context.Context, Site, Disk, DiskRequest) (job.Job, error)
	// Sealed refuses to forget a disk encryption set while recovery points are sealed
	// under its key.
	Sealed func(*catalog.Tx, EncryptionSet) error
	// TakeOver gives a new vault the items of the points that its repository had.
	TakeOver func(context.Context, *catalog.Tx, Vault, holdfast.ProvisionResult) error

	maxPoints int // of one item
	// waiting says that due runs wait for room, and wake that there is some.
	waiting atomic.Bool
	wake    chan struct{}
}

// New makes the service and registers its job kinds with d.Jobs.
func New(d Deps) *Service {
	s := &Service{Deps: d, Resources: &resource.Service{Catalog: d.Catalog}, Identity: &identity.Service{Catalog: d.Catalog},
		maxPoints: policy.MaxPoints, wake: make(chan struct{}, 1)}
	s.FromPoint, s.Sealed, s.TakeOver = s.restoreDisk, pointsSealed, s.takeOver
	if s.Alerts == nil {
		s.Alerts = notify.New(notify.Config{Catalog: d.Catalog, Clock: d.Clock})
	}
	s.registerCompute()
	s.registerRecovery()
	s.registerRestore()
	s.registerDeployments()
	return s
}
