package service

import (
	"context"
	"time"

	"holdfast/internal/catalog"
	"holdfast/internal/policy"
	"holdfast/internal/resource"
)

// mayDelete refuses to delete an item with points whose time is not over from an
// immutable vault.
func mayDelete(tx *catalog.Tx, v Vault, i Item) error {
	if !v.Immutable() {
		return nil
	}
	b, err := believed(tx)
	if err != nil {
		return err
	}
	points, err := pointsOf(tx, i.ID)
	if err != nil {
		return err
	}
	for _, p := range points {
		if p.Expires.IsZero() || b.Time.IsZero() || p.Expires.After(b.Time) {
			return v.immutable(i.VM, "%q has a recovery point, %s, that is kept until %s.", i.VM, p.Name, until(p.Expires))
		}
	}
	return nil
}

// until says until when a point is kept, for messages.
func until(t time.Time) string {
	if t.IsZero() {
		return "it is told otherwise"
	}
	return t.Format(time.RFC3339)
}

// mayStop judges the end of an item's backups. An immutable vault allows it: its
// points stay.
func mayStop(ctx context.Context, tx *catalog.Tx, i Item) error {
	v, err := findVault(tx, i.Vault)
	if err != nil {
		return err
	}
	return permitted(ctx, tx, v, weakenItem)
}

// mayChange judges another policy for an item, or a change of which disks are in.
func mayChange(ctx context.Context, tx *catalog.Tx, i Item, row Policy, disks bool) error {
	v, err := findVault(tx, i.Vault)
	if err != nil {
		return err
	}
	p, err := policy.Parse(row.Properties)
	if err != nil {
		return err
	}
	shorter := ""
	if was, err := findPolicy(tx, i.Vault, i.Policy); i.Policy != "" && err == nil {
		if old, err := policy.Parse(was.Properties); err == nil {
			shorter = p.Retention.Shorter(old.Retention)
		}
	}
	if shorter != "" && v.Immutable() {
		return v.immutable("properties.policyId", "The policy %q keeps less (%s) than %q, which %q has now.", row.Name, shorter, i.Policy, i.VM)
	}
	points, err := pointsOf(tx, i.ID)
	if err != nil {
		return err
	}
	for n, m := range p.Remark(asMade(points)) { // of an item that was stopped, too
		if !v.Immutable() && sooner(m.Expires, points[n].Expires) {
			shorter = row.Name
		}
	}
	if shorter == "" && !disks {
		return nil
	}
	return permitted(ctx, tx, v, weakenItem)
}

// Protection is what the immutability of a vault keeps, or would keep.
type Protection struct {
	State     string // it has now
	Points    int    // not expired yet
	Until     time.Time
	ForEver   bool // some are kept until somebody says otherwise
	HoldDays  int  // for how long the store itself refuses to delete; 0: it does not
	WouldHold int  // for how long it would be asked to in a locked vault
}

// Protection says what locking a vault means: which points nobody can delete any
// more, and until when. Nothing is changed.
func (s *Service) Protection(ctx context.Context, sub, group, name string) (Protection, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (p Protection, err error) {
		v, err := findVault(tx, resource.InGroup(sub, group, resource.TypeVault, name))
		if err != nil {
			return p, err
		}
		p.State = v.Immutability()
		if p.State == "" {
			p.State = "Disabled"
		}
		p.HoldDays, p.WouldHold = v.HoldDays, v.SoftDeleteDays()
		b, err := believed(tx)
		if err != nil {
			return p, err
		}
		items, err := resource.List(tx, catalog.Query{Type: resource.TypeItem, Parent: v.ID}, decodeItem)
		for _, i := range items {
			points, listErr := pointsOf(tx, i.ID)
			if err = listErr; err != nil {
				break
			}
			for _, point := range points {
				if point.Expires.IsZero() || point.Expires.After(b.Time) {
					p.Points++
				}
				p.ForEver = p.ForEver || point.Expires.IsZero()
				if point.Expires.After(p.Until) {
					p.Until = point.Expires
				}
			}
		}
		return p, err
	})
}
