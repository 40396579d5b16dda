package service

import (
	"context"
	"strings"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

// restoreDisk makes a disk of one in a recovery point.
func (s *Service) restoreDisk(ctx context.Context, site Site, d Disk, in DiskRequest) (job.Job, error) {
	at := strings.LastIndex(in.Source[:strings.LastIndexByte(in.Source, '/')], "/")
	item, point := in.Source[:at], resource.LastName(in.Source)
	r, err := s.restoreOf(ctx, item, point)
	if err != nil {
		return job.Job{}, err
	}
	if r.site.ID != site.ID {
		return job.Job{}, holdfast.Errorf(holdfast.Unsupported, "location", "The point is in %s; its disks come back there.", r.site.Name).
			WithHint("Make the disk with location " + r.site.Name + ".")
	}
	if err := in.sameSize(); err != nil {
		return job.Job{}, err
	}
	args := holdfast.RestoreArgs{Site: site.Ref(), Repository: r.vault.Repository, Instant: r.point.Instant, PointID: r.point.Result.PointID, RestoreID: uuid.NewString(),
		Mode: holdfast.RestoreDisks, Pool: d.Pool, FileName: d.VolumeFact.Name, Format: d.Format}
	if err := checkLUNs(&args, r, RestoreRequest{LUNs: []int{in.LUN}}); err != nil {
		return job.Job{}, err
	}
	spec := r.item.spec(ctx, "Restore")
	spec.Exclusive = "restore:" + d.ID
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) {
		if _, err := findPoint(tx, item, point); err != nil { // still there
			return job.Job{}, err
		}
		return job.Enqueue(s.Jobs, tx, KindRestore, spec, args)
	})
}
