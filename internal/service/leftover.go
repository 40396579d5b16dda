package service

import (
	"context"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
)

// typeLeftover is what is kept of points that nobody knows any more, since their
// group or collection is gone, and that could not be deleted.
const typeLeftover = "Holdfast.Compute/leftovers"

// leave keeps what a failed job was to delete, for the next clean-up.
func leave(tx *catalog.Tx, jobID string, a holdfast.DeletePointsArgs) error {
	_, err := catalog.Write(tx, catalog.Resource{ID: "/leftovers/" + jobID, Type: typeLeftover, Parent: "/"}, a)
	return err
}

// cleanLeftovers tries again to delete what was left.
func (s *Service) cleanLeftovers(ctx context.Context) error {
	if s.Delete == nil {
		return nil
	}
	_, err := write(ctx, s, func(tx *catalog.Tx) (any, error) {
		rows, err := tx.List(catalog.Query{Type: typeLeftover})
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			a, err := catalog.Decode[holdfast.DeletePointsArgs](r)
			if err != nil {
				return nil, err
			}
			if _, err := tx.Delete(r.ID); err != nil { // the job leaves it again if it fails
				return nil, err
			}
			spec := job.Spec{Operation: "DeleteRestorePoint", Scope: r.ID, Subject: r.ID, Entity: "what was left of restore points", Principal: caller(ctx)}
			if _, err := job.Enqueue(s.Jobs, tx, kindDeleteRestorePoint, spec, a); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
	return err
}
