package service

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
)

const (
	// onDemandLife is how long an on-demand point is kept when its request does
	// not say, as in Azure.
	onDemandLife = 30 * 24 * time.Hour
	// maxLife is the longest retention (FRQ-02).
	maxLifeYears = 99
)

// BackupNow starts a backup of an item. expires is when its point may go; zero
// is 30 days from now. A second backup of one item at a time is a Conflict.
func (s *Service) BackupNow(ctx context.Context, item string, expires time.Time) (Job, error) {
	now := s.Clock()
	if expires.IsZero() {
		expires = now.Add(onDemandLife)
	}
	if err := checkExpiry("properties.recoveryPointExpiryTimeInUTC", expires, now); err != nil {
		return Job{}, err
	}
	return s.backUp(ctx, item, expires)
}

// backUp starts a backup of an item; a point whose expires is zero is kept as the
// policy says.
func (s *Service) backUp(ctx context.Context, item string, expires time.Time) (Job, error) {
	i, err := s.Item(ctx, item)
	if err != nil {
		return Job{}, err
	}
	if i.Held != Active {
		return Job{}, holdfast.Errorf(holdfast.Unsupported, i.VM, "The protection of %q is stopped: %s.", i.VM, i.Held).WithHint("Resume it with a policy first.")
	}
	vm, err := s.machineOf(ctx, i)
	if err != nil {
		return Job{}, err
	}
	return write(ctx, s, func(tx *catalog.Tx) (Job, error) {
		i, err := findItem(tx, i.ID)
		if err != nil {
			return Job{}, err
		}
		if err := s.supported(tx, vm, i.Exclusion, holdfast.GuestFact{}); err != nil {
			return Job{}, err
		}
		if err := s.hasRoom(tx, i); err != nil {
			return Job{}, err
		}
		if err := job.Idle(tx, creationOf(vm.ID), vm.Name); err != nil {
			return Job{}, err
		}
		if !expires.IsZero() { // else it stands for a scheduled one
			if err := s.checkOnDemand(tx, i); err != nil {
				return Job{}, err
			}
		}
		return s.enqueueBackup(ctx, tx, i, vm, expires)
	})
}

// hasRoom refuses a backup of an item that has as many points as it may have
// (FRQ-01), and names the lock that keeps the old ones (ACT-03).
func (s *Service) hasRoom(tx *catalog.Tx, i Item) error {
	n, err := tx.Count(catalog.Query{Type: TypePoint, Parent: i.ID})
	if err != nil || n < s.maxPoints {
		return err
	}
	l, locked, err := lockOn(tx, i.ID, true)
	if err != nil {
		return err
	}
	if locked {
		return holdfast.Errorf(holdfast.Unsupported, l.ID, "%q has %d recovery points, as many as it may have, and the lock %s keeps expired ones from being deleted.", i.VM, n, l.ID).
			WithHint("Remove the lock; the next clean-up makes room.")
	}
	return holdfast.Errorf(holdfast.Unsupported, i.VM, "%q has %d recovery points, as many as it may have.", i.VM, n).
		WithHint("Shorten how long points are kept; the next clean-up makes room.")
}

// checkExpiry judges until when a point shall be kept (FRQ-02).
func checkExpiry(member string, expires, now time.Time) error {
	if !expires.After(now) {
		return holdfast.Errorf(holdfast.Invalid, member, "%s is %s, which has passed.", member, expires.Format(time.RFC3339))
	}
	if expires.After(now.AddDate(maxLifeYears, 0, 1)) {
		return holdfast.Errorf(holdfast.Invalid, member, "%s is %s; a point is kept %d years at most.", member, expires.Format(time.RFC3339), maxLifeYears)
	}
	return nil
}

// machineOf finds the VM of an item, and sees that it is still the same machine.
func (s *Service) machineOf(ctx context.Context, i Item) (VM, error) {
	src := idOf(i.Source)
	vm, err := s.VM(ctx, src.Subscription, src.Group, src.Name())
	if err != nil {
		return vm, err
	}
	if vm.UUID != i.UUID {
		return vm, holdfast.Errorf(holdfast.Conflict, i.VM, "The VM %q is another machine now (UUID %s); the protected one had UUID %s.", i.VM, vm.UUID, i.UUID).
			WithHint("Protect it again to go on with this machine under the same history.")
	}
	return vm, nil
}

// newPointID is 19 decimal digits that sort by time: milliseconds and chance.
// It names the point in the API and in the repository.
func newPointID(now time.Time) string {
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
	if err != nil {
		panic("internal error: " + err.Error()) // crypto/rand does not fail
	}
	return fmt.Sprintf("%013d%06d", now.UnixMilli(), n)
}

// backupDone applies what a backup found, in the transaction that ends its job.
func (s *Service) backupDone(tx *catalog.Tx, jobID string, a holdfast.BackupArgs, r holdfast.BackupResult, runErr error) error {
	j, err := job.Get(tx, jobID)
	if err != nil {
		return err
	}
	i, err := findItem(tx, j.Subject)
	if err != nil {
		return err
	}
	s.roomAgain(tx)
	i.LastBackupTime, i.LastBackupStatus = j.Created, "Failed"
	if runErr == nil {
		i.LastBackupStatus = "Completed"
		if err := errors.Join(arrived(tx, i, r), pointMade(tx, &i, a, r, false)); err != nil {
			return err
		}
	} else if _, err := findPoint(tx, i.ID, a.PointID); err != nil && j.Attempts > 1 {
		i.Left = append(i.Left, holdfast.PointRef{Repository: a.Operational, PointID: a.PointID})
	}
	return putItem(tx, i)
}

func putPoint(tx *catalog.Tx, p Point) error {
	_, err := catalog.Write(tx, catalog.Resource{ID: PointID(p.Item, p.Name), Type: TypePoint, Parent: p.Item, Created: p.Result.Time}, p)
	return err
}

// Point is a recovery point of an item. Its time is its creation.
type Point struct {
	Stamp
	Item   string                `json:"item"` // ARM id
	Name   string                `json:"name"`
	Result holdfast.BackupResult `json:"result"`
	// Expires is until when it is kept; zero is until its item is deleted.
	Expires time.Time `json:"expires,omitzero"`
	// Scheduled says that the policy made the point and says how long it is kept.
	Scheduled bool `json:"scheduled,omitempty"`
	// Previous is when the scheduled point before this one was made.
	Previous time.Time `json:"previous,omitzero"`
	Excluded []int     `json:"excluded,omitempty"` // LUNs left out
	Verified *Verified `json:"verified,omitempty"` // nil: never looked at
	// Instant is the operational repository that has the point, too: the instant
	// tier; zero is none.
	Instant holdfast.RepositoryRef `json:"instant,omitzero"`
	// Waiting says that the vault does not have the point yet.
	Waiting bool `json:"waiting,omitempty"`
}

// PointID is the ARM id of a point.
func PointID(item, name string) string { return item + "/recoveryPoints/" + name }

// PointFilter picks points of an item.
type PointFilter struct {
	From, To time.Time // of the points, inclusive; zero is open
	After    string    // name of the point after which a listing goes on
	Limit    int       // at most so many; 0 is all
}

// Points lists the points of an item, newest first.
func (s *Service) Points(ctx context.Context, item string, f PointFilter) ([]Point, error) {
	return read(ctx, s, func(tx *catalog.Tx) ([]Point, error) {
		i, err := findItem(tx, item)
		if err != nil {
			return nil, err
		}
		q := catalog.Query{Type: TypePoint, Parent: i.ID, From: f.From, To: f.To, Limit: f.Limit, Newest: true}
		if f.After != "" {
			q.After = PointID(i.ID, f.After)
		}
		return list(tx, q, decodePoint)
	})
}

// Point returns one point of an item.
func (s *Service) Point(ctx context.Context, item, name string) (Point, error) {
	return read(ctx, s, func(tx *catalog.Tx) (Point, error) { return findPoint(tx, item, name) })
}

// PointCount says how many points an item has, and since when.
func (s *Service) PointCount(ctx context.Context, item string) (n int, oldest time.Time, err error) {
	_, err = read(ctx, s, func(tx *catalog.Tx) (any, error) {
		const where = ` FROM resource WHERE parent = ? AND type = ?`
		var micros int64
		err := tx.QueryRow(`SELECT count(*), coalesce(min(created), 0)`+where, strings.ToLower(item), strings.ToLower(TypePoint)).Scan(&n, &micros)
		oldest = catalog.Time(micros)
		return nil, err
	})
	return n, oldest, err
}

func findPoint(tx *catalog.Tx, item, name string) (Point, error) {
	r, err := tx.Get(PointID(item, name))
	if err != nil {
		if holdfast.KindOf(err) == holdfast.NotFound {
			err = holdfast.Errorf(holdfast.NotFound, name, "The recovery point %q was not found.", name)
		}
		return Point{}, err
	}
	return decodePoint(r)
}

func decodePoint(r catalog.Resource) (Point, error) {
	p, err := catalog.Decode[Point](r)
	p.Stamp = stamp(r)
	return p, err
}

// ExpirePoint sets until when a point is kept, whatever its item's policy says
// from then on.
func (s *Service) ExpirePoint(ctx context.Context, item, name string, expires time.Time) (Point, error) {
	const member = "properties.recoveryPointProperties.expiryTime"
	if err := checkExpiry(member, expires, s.Clock()); err != nil {
		return Point{}, err
	}
	return write(ctx, s, func(tx *catalog.Tx) (Point, error) {
		i, err := findItem(tx, item)
		if err != nil {
			return Point{}, err
		}
		p, err := findPoint(tx, item, name)
		if err != nil {
			return p, err
		}
		v, err := findVault(tx, i.Vault)
		switch {
		case err != nil:
			return p, err
		case !i.DeleteAfter.IsZero():
			return p, holdfast.Errorf(holdfast.Unsupported, i.VM, "The item %q is soft-deleted.", i.VM).WithHint("Undelete it first.")
		case v.Immutable() && sooner(expires, p.Expires):
			return p, v.immutable(member, "The recovery point %s is kept until %s, which cannot become sooner.", name, until(p.Expires))
		case sooner(expires, p.Expires):
			if err := permitted(ctx, tx, v, weakenItem); err != nil {
				return p, err
			}
		}
		p.Expires, p.Scheduled = expires.UTC(), false
		if err := putPoint(tx, p); err != nil {
			return p, err
		}
		return findPoint(tx, item, name)
	})
}
