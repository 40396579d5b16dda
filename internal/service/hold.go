package service

import (
	"context"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

// hold asks the store of a locked vault to refuse deletions itself, for as long
// as the vault's soft delete lasts, and says for how many days it does; 0 when it
// cannot. What a point needs is held so long again and again while the point
// lives (docs/design/retention.md): the vault refuses to let it go before its
// time, the store keeps it from who has the store's credentials.
func (s *Service) hold(ctx context.Context, v Vault) (int, error) {
	if v.Immutability() != locked || v.HoldDays >= v.SoftDeleteDays() {
		return v.HoldDays, nil
	}
	made, err := s.Provisioner.Provision(ctx, holdfast.ProvisionArgs{Repository: v.Repository, HoldDays: v.SoftDeleteDays()})
	if err != nil || !made.CanHold {
		return v.HoldDays, err
	}
	return v.SoftDeleteDays(), nil
}

// opHold is the operation of the job that extends what a store holds.
const opHold = "HoldRecoveryPoints"

// holdEvery is how often what a store holds is extended; much more often than it
// has to be for the shortest hold, of 14 days (docs/design/retention.md).
const holdEvery = 20 * time.Hour

// extend starts the job that has the store of a locked vault hold on to what its
// points need, also to what was there before it was locked. A deletion of expired
// points that runs does that, too.
func (s *Service) extend(ctx context.Context, tx *catalog.Tx, v Vault) error {
	spec := job.Spec{Operation: opHold, Scope: v.ID, Subject: v.ID, Entity: v.Name, Principal: resource.Caller(ctx), Exclusive: "prune:" + v.ID}
	if v.HoldDays == 0 || s.Delete == nil || job.Idle(tx, spec.Exclusive, v.Name) != nil {
		return nil
	}
	_, err := job.Enqueue(s.Jobs, tx, kindPrune, spec, holdfast.DeletePointsArgs{Repository: v.Repository, Rate: collectRate(tx, v)})
	return err
}

// extendDaily is extend, when the last one that went well is a day ago. What runs
// by itself must not depend on whether there is anything to delete.
func (s *Service) extendDaily(ctx context.Context, tx *catalog.Tx, v Vault) error {
	if v.HoldDays == 0 {
		return nil
	}
	last, err := job.List(tx, job.Filter{Scope: v.ID, Subject: v.ID, Operation: opHold, From: tx.Now().Add(-holdEvery)})
	if err != nil {
		return err
	}
	for _, j := range last {
		if j.State != job.Failed {
			return nil
		}
	}
	return s.extend(ctx, tx, v)
}

// kindPrune is the job that deletes expired points of a vault.
const kindPrune = "prune"

// collectRate is how fast collections of a vault's repository go.
func collectRate(tx *catalog.Tx, v Vault) int64 {
	site, _ := siteAt(tx, v.sub(), "location", v.Location) // one that is gone says nothing
	return site.collectRate()
}
