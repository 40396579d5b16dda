package service

import (
	"context"
	"slices"
	"strings"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

// The instant tier: points in the operational repository of the VM's site, from
// where they are copied to the vault (docs/design/operational.md).

// backupReached lists the point of a backup that goes on to copy it to the vault.
func (s *Service) backupReached(tx *catalog.Tx, jobID string, a holdfast.BackupArgs, r holdfast.BackupResult) error {
	j, err := job.Get(tx, jobID)
	if err != nil {
		return err
	}
	i, err := findItem(tx, j.Subject)
	if err != nil {
		return err
	}
	if err := pointMade(tx, &i, a, r, true); err != nil {
		return err
	}
	return putItem(tx, i)
}

// pointMade writes the point that a backup has made. waits says that the vault
// doesn't have it yet. What its user changed since it was listed stays.
func pointMade(tx *catalog.Tx, i *Item, a holdfast.BackupArgs, r holdfast.BackupResult, waits bool) error {
	r.Copied, r.Lost = nil, nil
	p, err := findPoint(tx, i.ID, a.PointID)
	switch {
	case err == nil:
		p.Result, p.Waiting = r, waits
	case holdfast.KindOf(err) != holdfast.NotFound:
		return err
	default:
		p = Point{Item: i.ID, Name: a.PointID, Result: r, Expires: a.Expires, Scheduled: a.Expires.IsZero(), Excluded: a.ExcludeLUNs, Instant: a.Operational, Waiting: waits}
		if p.Scheduled {
			p.Previous, i.LastScheduled = i.LastScheduled, r.Time
		}
	}
	if r.Time.After(i.LastPoint) {
		i.LastPoint = r.Time
	}
	if err := putPoint(tx, p); err != nil {
		return err
	}
	v, err := findVault(tx, i.Vault)
	if err != nil {
		return err
	}
	_, err = remark(tx, map[string]scheduled{}, v, *i)
	return err
}

// arrived applies what became of points that waited for a backup.
func arrived(tx *catalog.Tx, i Item, r holdfast.BackupResult) error {
	for _, name := range r.Lost {
		if _, err := tx.Delete(resource.PointID(i.ID, name)); err != nil {
			return err
		}
	}
	for _, name := range r.Copied {
		p, err := findPoint(tx, i.ID, name)
		if err != nil {
			if err := resource.NotThere(err); err != nil {
				return err
			}
			continue // deleted meanwhile
		}
		p.Waiting = false
		if err := putPoint(tx, p); err != nil {
			return err
		}
	}
	return nil
}

// waitingOf names the points of an item, oldest first, that are in an operational
// repository and not yet in the vault; elsewhere are those in another one.
func waitingOf(tx *catalog.Tx, i Item, at holdfast.RepositoryRef) (names []string, elsewhere []holdfast.PointRef, err error) {
	points, err := pointsOf(tx, i.ID)
	for _, p := range points {
		switch {
		case !p.Waiting:
		case p.Instant == at:
			names = append(names, p.Name)
		default:
			elsewhere = append(elsewhere, p.ref())
		}
	}
	return names, elsewhere, err
}

// transferAgain goes on with a backup whose point is there and waits for its copy.
// ok is false when there is no such point.
func (s *Service) transferAgain(ctx context.Context, old job.Job, a holdfast.BackupArgs) (j job.Job, ok bool, err error) {
	j, err = resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) {
		i, err := findItem(tx, old.Subject)
		if err != nil {
			return old, err
		}
		p, err := findPoint(tx, i.ID, a.PointID)
		if ok = err == nil && p.Waiting && i.DeleteAfter.IsZero(); !ok {
			return old, resource.NotThere(err)
		}
		if a.Waiting, a.Elsewhere, err = waitingOf(tx, i, a.Operational); err != nil {
			return old, err
		}
		a.Waiting = slices.DeleteFunc(a.Waiting, func(name string) bool { return name == a.PointID })
		spec := i.spec(ctx, "Backup")
		spec.Exclusive = backupOf(i.ID)
		return job.Enqueue(s.Jobs, tx, kindBackup, spec, a)
	})
	return j, ok, err
}

// outdated are the points of an item, given oldest first, whose time in the instant
// tier is over, by the clock and by the item's newest point, and that the vault
// has. The newest stays, which the next snapshot is read against, and so does the
// newest that the vault has, which the next copy is.
func outdated(points []Point, keep time.Duration, now time.Time) (refs []holdfast.PointRef) {
	if len(points) == 0 {
		return nil
	}
	newest := points[len(points)-1].Result.Time
	copied := false // a newer one
	for _, p := range slices.Backward(points) {
		if p.Waiting || !p.InInstantTier() {
			continue
		}
		if end := p.Result.Time.Add(keep); copied && !end.After(now) && !end.After(newest) {
			refs = append(refs, p.ref())
		}
		copied = true
	}
	return refs
}

// leftOf are points that broken-off backups of an item may have left in an
// operational repository without being listed. They go once there are newer ones,
// which need them no more.
func leftOf(i Item, points []Point) (refs []holdfast.PointRef) {
	for _, ref := range i.Left {
		// Names of points sort by time.
		if len(points) > 0 && ref.PointID < points[len(points)-1].Name {
			refs = append(refs, ref)
		}
	}
	return refs
}

// forgetInstant writes down that points are not in the instant tier any more.
func forgetInstant(tx *catalog.Tx, i Item, refs []holdfast.PointRef) error {
	left := slices.DeleteFunc(slices.Clone(i.Left), func(r holdfast.PointRef) bool { return slices.Contains(refs, r) })
	if len(left) != len(i.Left) {
		i.Left = left
		if err := putItem(tx, i); err != nil {
			return err
		}
	}
	for _, ref := range refs {
		p, err := findPoint(tx, i.ID, ref.PointID)
		if err != nil {
			if err := resource.NotThere(err); err != nil {
				return err
			}
			continue
		}
		if p.Instant != ref.Repository {
			continue
		}
		p.Instant = holdfast.RepositoryRef{}
		if err := putPoint(tx, p); err != nil {
			return err
		}
	}
	return nil
}

// leaveInstant writes down that an operational repository has no recovery points any
// more: they are in their vaults alone.
func leaveInstant(tx *catalog.Tx, at holdfast.RepositoryRef) error {
	points, err := instantAt(tx, at)
	if err != nil {
		return err
	}
	for _, p := range points {
		p.Instant = holdfast.RepositoryRef{}
		if err := putPoint(tx, p); err != nil {
			return err
		}
	}
	return nil
}

// pointsSealed refuses to forget a disk encryption set while recovery points are
// sealed under its key.
func pointsSealed(tx *catalog.Tx, e EncryptionSet) error {
	points, err := resource.List(tx, catalog.Query{Type: resource.TypePoint}, decodePoint)
	for _, p := range points {
		if strings.HasSuffix(p.Instant.URL, "."+e.GUID) {
			return holdfast.Errorf(holdfast.Conflict, e.ID, "The recovery point %s is in the instant tier under the key of the disk encryption set %q.", p.ID, e.Name).
				WithHint("It leaves the instant tier after the days that its policy says.")
		}
	}
	return err
}

// instantAt lists the recovery points that an operational repository has.
func instantAt(tx *catalog.Tx, at holdfast.RepositoryRef) (found []Point, err error) {
	points, err := resource.List(tx, catalog.Query{Type: resource.TypePoint}, decodePoint)
	for _, p := range points {
		if p.Instant == at {
			found = append(found, p)
		}
	}
	return found, err
}
