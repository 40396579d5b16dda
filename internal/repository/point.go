package repository

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/objstore"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/seal"
	"holdfast/internal/repository/tree"

	"golang.org/x/sync/errgroup"
)

// DiskStats is what storing a disk cost, in bytes.
type DiskStats = ledger.Stats

// Point is one committed point.
type Point struct {
	ID         string          `json:"id"`
	Series     string          `json:"series"`
	Created    time.Time       `json:"created"` // as given at Begin
	Time       time.Time       `json:"time"`    // the moment that it shows
	Order      uint64          `json:"order"`   // grows with every commit
	Disks      []Disk          `json:"disks"`
	Attributes json.RawMessage `json:"attributes,omitempty"` // filled by Repository.Point and Commit, not by Points

	session ledger.Session
}

// Disk is one disk of a point. As DiskSpec.Base it is what the next backup's
// Same extents refer to.
type Disk struct {
	Name       string          `json:"name"`
	Size       int64           `json:"size"` // bytes
	Stats      DiskStats       `json:"stats"`
	Attributes json.RawMessage `json:"attributes,omitempty"` // like Point.Attributes

	point string
	level uint8
	root  tree.Ref
}

// Root is the content id of the disk's tree, in hex: two disks of one
// repository with equal size and root have equal content.
func (d Disk) Root() string { return d.root.ID.String() }

// Disk finds a disk of the point by name, or answers nil.
func (p *Point) Disk(name string) *Disk {
	for i := range p.Disks {
		if p.Disks[i].Name == name {
			return &p.Disks[i]
		}
	}
	return nil
}

// body is the stored form of a point.
type body struct {
	ledger.Point
	Attributes json.RawMessage `json:"attributes,omitempty"`
}

func fromLedger(l ledger.LivePoint) Point {
	p := Point{ID: l.ID, Series: l.Series, Created: l.Created, Time: l.Time, Order: l.Committed, session: l.Session}
	for _, d := range l.Disks {
		disk := Disk{Name: d.Name, Size: d.Size, Stats: d.Stats, Attributes: d.Attributes, point: l.ID, level: d.Level}
		if d.Root != nil {
			disk.root = *d.Root
		}
		p.Disks = append(p.Disks, disk)
	}
	return p
}

// Points are the points of a series, or of all for "", in order of commit.
// Their Attributes are left out: ask Point for those.
func (r *Repository) Points(ctx context.Context, series string) ([]Point, error) {
	state, err := r.log.Read(ctx)
	if err != nil {
		return nil, fmt.Errorf("list points: %w", err)
	}
	points := []Point{}
	for _, l := range state.Points {
		if l.Deleted == 0 && (series == "" || l.Series == series) {
			points = append(points, fromLedger(l))
		}
	}
	return points, nil
}

// Point is one point with its attributes, or ErrNoPoint. A point whose body is
// damaged is answered without attributes and with an ErrDamaged: its disks can
// still be restored.
func (r *Repository) Point(ctx context.Context, id string) (Point, error) {
	state, err := r.log.Read(ctx)
	if err != nil {
		return Point{}, fmt.Errorf("read point %s: %w", id, err)
	}
	l, ok := state.Point(id)
	if !ok {
		return Point{}, fmt.Errorf("%w: %s", ErrNoPoint, id)
	}
	p := fromLedger(l)
	b, err := r.body(ctx, l.Point)
	if err != nil {
		if errors.Is(err, ErrDamaged) {
			err = &DamageError{Artifact: l.Object(), Cause: err, Points: []Hurt{{Point: id, Attributes: true}}}
		}
		return p, fmt.Errorf("read point %s: %w", id, err)
	}
	p.Attributes = b.Attributes
	for i := range min(len(p.Disks), len(b.Disks)) {
		p.Disks[i].Attributes = b.Disks[i].Attributes
	}
	return p, nil
}

func (r *Repository) body(ctx context.Context, l ledger.Point) (body, error) {
	var b body
	raw, err := ledger.Fetch(ctx, r.store, l.Object())
	if errors.Is(err, objstore.ErrNotExist) {
		return b, seal.Damaged("%s is missing", l.Object())
	}
	if err != nil {
		return b, err
	}
	return b, r.openBody(l.Object(), raw, &b)
}

func (r *Repository) openBody(object string, raw []byte, b *body) error {
	content, err := r.keys.OpenBox(seal.Point, object, raw)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, b); err != nil {
		return seal.Damaged("point body: %v", err)
	}
	return nil
}

// DeletePoint takes a point out of the repository, or fails with ErrNoPoint.
// What only it needed is freed by Collect.
func (r *Repository) DeletePoint(ctx context.Context, id string) error {
	return r.DeletePoints(ctx, id)
}

// DeletePoints deletes all the points named, or none.
func (r *Repository) DeletePoints(ctx context.Context, ids ...string) error {
	var objects []string
	_, err := r.log.Append(ctx, func(s *ledger.State) (*ledger.Record, error) {
		points, err := s.Named(ids)
		if err != nil {
			return nil, err
		}
		objects = objects[:0]
		for _, p := range points {
			objects = append(objects, p.Object())
		}
		return &ledger.Record{Op: ledger.Delete, Points: ids}, nil
	})
	if err != nil {
		return fmt.Errorf("delete point: %w", err)
	}
	r.discard(ctx, objects) // the points are gone already
	return nil
}

// discard deletes objects that nothing refers to any more. What stays, for
// whatever reason, is garbage for Collect.
func (r *Repository) discard(ctx context.Context, objects []string) {
	var g errgroup.Group
	g.SetLimit(16)
	for _, o := range objects {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			_ = r.store.Delete(ctx, o)
			return nil
		})
	}
	_ = g.Wait()
}
