// Package content opens the disks of points for who reads them byte by byte: the
// access to a disk restore point.
//
// It promises that every byte it gives was proved against the point. It decides
// nothing about who may read.
package content

import (
	"context"
	"errors"

	"holdfast"
	"holdfast/internal/disk"
	"holdfast/internal/mover"
	"holdfast/internal/repository"
)

// Mover opens disks.
type Mover struct {
	Repositories mover.Repositories
}

// OpenDisk opens a disk of a point by its libvirt target, or answers
// holdfast.NotFound. ctx bounds every later read.
func (m Mover) OpenDisk(ctx context.Context, ref holdfast.RepositoryRef, point, target string) (holdfast.Content, error) {
	repo, err := m.Repositories(ctx, ref)
	if err != nil {
		return nil, mover.Explain(mover.Gone(ref, err), "the repository of the point")
	}
	p, err := repo.Point(ctx, point)
	if err != nil {
		return nil, mover.Explain(err, "point "+point)
	}
	d, err := repo.OpenDisk(ctx, p, target)
	if errors.Is(err, repository.ErrNoDisk) {
		return nil, holdfast.Errorf(holdfast.NotFound, target, "The point %s has no disk %s.", point, target).WithCause(err)
	}
	if err != nil {
		return nil, mover.Explain(err, "point "+point)
	}
	return reader{d}, nil
}

// reader is a disk of a point as holdfast.Content.
type reader struct{ *repository.DiskReader }

// Filled calls f for each range of data.
func (r reader) Filled(ctx context.Context, f func(off, length int64) bool) error {
	for e, err := range r.Extents(ctx) {
		if err != nil {
			return err
		}
		if e.Kind == disk.Data && !f(e.Offset, e.Length) {
			return nil
		}
	}
	return nil
}
