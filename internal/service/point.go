package service

import (
	"context"
	"slices"
	"strings"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/policy"
	"holdfast/internal/resource"
)

// Point is a recovery point of an item. Its time is its creation.
type Point struct {
	resource.Stamp
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

// PointFilter picks points of an item.
type PointFilter struct {
	From, To time.Time // of the points, inclusive; zero is open
	After    string    // name of the point after which a listing goes on
	Limit    int       // at most so many; 0 is all
}

// Verified is what was seen of a point. The job has more: the console's picture.
type Verified struct {
	Time     time.Time     `json:"time"`
	Failure  string        `json:"failure,omitempty"` // "" when the point is proved
	Answered time.Duration `json:"answered,omitempty"`
	Job      string        `json:"job"`
}

// Managed says whether the VM of the point had all of its disks in storage pools.
func (p Point) Managed() bool {
	return !slices.ContainsFunc(p.Result.Disks, func(d holdfast.DiskResult) bool { return d.Pool == "" })
}

// InInstantTier says whether the point is in the instant tier.
func (p Point) InInstantTier() bool { return p.Instant != holdfast.RepositoryRef{} }

// ref is the point in its operational repository.
func (p Point) ref() holdfast.PointRef {
	return holdfast.PointRef{Repository: p.Instant, PointID: p.Name}
}

// Points lists the points of an item, newest first.
func (s *Service) Points(ctx context.Context, item string, f PointFilter) ([]Point, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]Point, error) {
		i, err := findItem(tx, item)
		if err != nil {
			return nil, err
		}
		q := catalog.Query{Type: resource.TypePoint, Parent: i.ID, From: f.From, To: f.To, Limit: f.Limit, Newest: true}
		if f.After != "" {
			q.After = resource.PointID(i.ID, f.After)
		}
		return resource.List(tx, q, decodePoint)
	})
}

// Point returns one point of an item.
func (s *Service) Point(ctx context.Context, item, name string) (Point, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Point, error) { return findPoint(tx, item, name) })
}

// PointCount says how many points an item has, and since when.
func (s *Service) PointCount(ctx context.Context, item string) (n int, oldest time.Time, err error) {
	_, err = resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) {
		const where = ` FROM resource WHERE parent = ? AND type = ?`
		var micros int64
		err := tx.QueryRow(`SELECT count(*), coalesce(min(created), 0)`+where, strings.ToLower(item), strings.ToLower(resource.TypePoint)).Scan(&n, &micros)
		oldest = catalog.Time(micros)
		return nil, err
	})
	return n, oldest, err
}

// findPoint returns a point of an item, or holdfast.NotFound.
func findPoint(tx *catalog.Tx, item, name string) (Point, error) {
	r, err := tx.Get(resource.PointID(item, name))
	if err != nil {
		if holdfast.KindOf(err) == holdfast.NotFound {
			err = holdfast.Errorf(holdfast.NotFound, name, "The recovery point %q was not found.", name)
		}
		return Point{}, err
	}
	return decodePoint(r)
}

// putPoint writes a point as it is to be.
func putPoint(tx *catalog.Tx, p Point) error {
	_, err := catalog.Write(tx, catalog.Resource{ID: resource.PointID(p.Item, p.Name), Type: resource.TypePoint, Parent: p.Item, Created: p.Result.Time}, p)
	return err
}

// decodePoint reads a row.
func decodePoint(r catalog.Resource) (Point, error) {
	p, err := catalog.Decode[Point](r)
	p.Stamp = resource.StampOf(r)
	return p, err
}

// pointsOf are the points of an item, oldest first.
func pointsOf(tx *catalog.Tx, item string) ([]Point, error) {
	points, err := resource.List(tx, catalog.Query{Type: resource.TypePoint, Parent: item, Newest: true}, decodePoint)
	slices.Reverse(points)
	return points, err
}

// ExpirePoint sets until when a point is kept, whatever its item's policy says
// from then on.
func (s *Service) ExpirePoint(ctx context.Context, item, name string, expires time.Time) (Point, error) {
	const member = "properties.recoveryPointProperties.expiryTime"
	if err := checkExpiry(member, expires, s.Clock()); err != nil {
		return Point{}, err
	}
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (Point, error) {
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

// sooner says whether a point that is kept until end goes sooner than one that
// is kept until other; zero is for ever.
func sooner(end, other time.Time) bool {
	return !end.IsZero() && (other.IsZero() || end.Before(other))
}

// asMade are points, oldest first, as retention sees them.
func asMade(points []Point) []policy.Made {
	made := make([]policy.Made, len(points))
	var before time.Time
	for n, p := range points {
		made[n] = policy.Made{Name: p.Name, Time: p.Result.Time, Previous: p.Previous, Fixed: !p.Scheduled, Expires: p.Expires}
		if p.Scheduled {
			if p.Previous.IsZero() {
				made[n].Previous = before
			}
			before = p.Result.Time
		}
	}
	return made
}
