package repository

import (
	"context"
	"errors"
	"fmt"

	"holdfast/internal/repository/index"
	"holdfast/internal/repository/ledger"
)

// adopt finds the points that sessions had stored whole when the last record of
// the ledger was lost: that record may have been their commit. A body is stored
// after all that it refers to, so a body that opens is a whole point.
func (r *Repository) adopt(ctx context.Context, open []ledger.OpenSession) (points []ledger.Point, segments []index.ID, err error) {
	for _, o := range open {
		p, err := r.body(ctx, ledger.Point{Session: o.Session})
		if errors.Is(err, ErrDamaged) {
			continue // missing, or of no use
		}
		if err != nil {
			return nil, nil, err
		}
		for i := range p.Disks {
			p.Disks[i].Attributes = nil
		}
		points = append(points, p.Point)
		for info, err := range r.store.List(ctx, "index/"+o.Session.String(), "") {
			if err != nil {
				return nil, nil, fmt.Errorf("list index: %w", err)
			}
			var id index.ID
			if id.UnmarshalText([]byte(info.Name[len("index/"):])) == nil {
				segments = append(segments, id)
			}
		}
	}
	return points, segments, nil
}
