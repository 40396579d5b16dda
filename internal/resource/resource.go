// Package resource holds what is common to the resources of the control plane:
// the forms of their ids, what the catalog knows of each, how the catalog is read
// and changed for a caller, and the resources that others lie in or that lie on
// any other: subscriptions, resource groups, tags and locks.
//
// It promises that a change is made only while the precondition of its caller
// holds, in the same transaction; and that a name or an id which cannot be one is
// refused with a holdfast.Error that names the member of the request.
//
// It knows no machine and no vault, and it checks no right (server does).
package resource

import (
	"context"
	"strings"
	"time"

	"holdfast"
	"holdfast/internal/authz"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
)

// Service is the rules of subscriptions, groups and locks over one catalog. It is
// safe for concurrent use.
type Service struct{ Catalog *catalog.Catalog }

// Stamp is what the catalog knows of every resource.
type Stamp struct {
	ID      string    `json:"-"`
	ETag    string    `json:"-"`
	Created time.Time `json:"-"`
	Updated time.Time `json:"-"`
}

// StampOf is the Stamp of a row.
func StampOf(r catalog.Resource) Stamp {
	return Stamp{ID: r.ID, ETag: r.ETag, Created: r.Created, Updated: r.Updated}
}

// Read runs f in a transaction that sees one moment.
func Read[T any](ctx context.Context, c *catalog.Catalog, f func(*catalog.Tx) (T, error)) (v T, err error) {
	err = c.View(ctx, func(tx *catalog.Tx) error { v, err = f(tx); return err })
	return v, err
}

// Write runs f in a transaction that changes the catalog, once the caller's
// precondition holds.
func Write[T any](ctx context.Context, c *catalog.Catalog, f func(*catalog.Tx) (T, error)) (v T, err error) {
	err = c.Update(ctx, func(tx *catalog.Tx) error {
		if err := checkPrecondition(ctx, tx); err != nil {
			return err
		}
		v, err = f(tx)
		return err
	})
	return v, err
}

// List decodes every resource that a query picks.
func List[T any](tx *catalog.Tx, q catalog.Query, decode func(catalog.Resource) (T, error)) ([]T, error) {
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

// SameName compares names and ids as ARM does: without regard to case.
func SameName(a, b string) bool { return strings.EqualFold(a, b) }

// NotThere is nil for holdfast.NotFound.
func NotThere(err error) error {
	if err != nil && holdfast.KindOf(err) == holdfast.NotFound {
		return nil
	}
	return err
}

// Caller names who asks, for the job's row.
func Caller(ctx context.Context) string { return authz.CallerOf(ctx).Name }

// Operation is the job that an asynchronous operation of one of the callers is:
// the caller's own, or one on something that the caller may read.
func (s *Service) Operation(ctx context.Context, id string) (job.Job, error) {
	return Read(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) { return job.Get(tx, id) })
}
