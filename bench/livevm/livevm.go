// Package livevm backs up a running VM the way the backup mover does, in as
// few lines as it takes: snapshot, operational repository, release. It is what the live
// bench compares with virtnbdbackup, without server, catalog and jobs.
//
// It promises the same safety as the mover by the same rooms; it does not do
// what only the mover does (several disks, policies, reports).
package livevm

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"holdfast/bench/engine"
	"holdfast/internal/disk/image"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/libvirt"
	"holdfast/internal/repository"
	"holdfast/internal/snapshot"
)

// Job says which domain goes where.
type Job struct {
	URI     string
	Domain  string // name
	Store   string // folder of the repository
	Scratch string // folder that QEMU reaches
	Point   string
	Base    string // the point before, "" for a full backup
	Target  string // folder that Restore writes to
	Format  string // and what: raw or qcow2
}

// Connect reaches a libvirt, for the watchdog that thaws a guest.
func Connect(ctx context.Context, uri string) (hypervisor.Host, error) {
	return libvirt.Connect(ctx, uri)
}

// Create makes the repository.
func Create(ctx context.Context, j Job) error {
	r, err := engine.Create(ctx, j.Store, engine.Operational)
	if err != nil {
		return err
	}
	return r.Close()
}

// Backup takes a point of the running domain.
func Backup(ctx context.Context, j Job) error {
	if err := snapshot.Yield(); err != nil { // as the server does
		return err
	}
	r, err := engine.Open(ctx, j.Store, engine.Operational)
	if err != nil {
		return err
	}
	defer r.Close()
	host, err := libvirt.Connect(ctx, j.URI)
	if err != nil {
		return err
	}
	defer host.Close()
	domain, err := host.DomainNamed(ctx, j.Domain)
	if err != nil {
		return err
	}
	request := snapshot.Request{Host: host, URI: j.URI, UUID: domain.UUID, ScratchDir: j.Scratch}
	var base repository.Point
	if j.Base != "" {
		if base, err = r.Point(ctx, j.Base); err != nil {
			return err
		}
		request.Last = new(snapshot.Checkpoint)
		if err := json.Unmarshal(base.Attributes, request.Last); err != nil {
			return err
		}
	}
	s, err := snapshot.Take(ctx, request)
	if err != nil {
		return err
	}
	err = store(ctx, r, s, j, base)
	if e := s.Release(context.WithoutCancel(ctx), err == nil); err == nil {
		err = e
	}
	return err
}

// store writes the disks of the snapshot and commits the point.
func store(ctx context.Context, r *repository.Repository, s *snapshot.Snapshot, j Job, base repository.Point) error {
	w, err := r.Begin(ctx, repository.PointSpec{ID: j.Point, Series: j.Domain, Created: time.Now()})
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, d := range s.Disks {
		if j.Base != "" && !d.Incremental {
			return fmt.Errorf("disk %s is read in full: %s", d.Target, d.Reason)
		}
		if err := doubt(ctx, r, d, base); err != nil {
			return err
		}
		if _, err := w.Disk(ctx, repository.DiskSpec{Name: d.Target, Base: base.Disk(d.Target)}, d.Source); err != nil {
			return err
		}
	}
	if err := s.Check(ctx); err != nil {
		return err
	}
	checkpoint, err := json.Marshal(s.Checkpoint)
	if err != nil {
		return err
	}
	_, err = w.Commit(ctx, repository.Manifest{Time: s.Time, Attributes: checkpoint})
	return err
}

// doubts is how many unchanged blocks the mover compares, too.
const doubts = 32

// doubt checks a sample of what the bitmap calls unchanged.
func doubt(ctx context.Context, r *repository.Repository, d snapshot.Disk, base repository.Point) error {
	if !d.Incremental {
		return nil
	}
	was, err := r.OpenDisk(ctx, base, d.Target)
	if err != nil {
		return err
	}
	return snapshot.SelfCheck(ctx, d.Source, was, doubts, rand.New(rand.NewPCG(1, 2)))
}

// Restore writes every disk of the point as an image into the target folder, under
// the name of its target device.
func Restore(ctx context.Context, j Job) error {
	r, err := engine.Open(ctx, j.Store, engine.Operational)
	if err != nil {
		return err
	}
	defer r.Close()
	p, err := r.Point(ctx, j.Point)
	if err != nil {
		return err
	}
	for _, d := range p.Disks {
		if err := restore(ctx, r, p, d, j.Target+"/"+d.Name+"."+j.Format, j.Format); err != nil {
			return err
		}
	}
	return nil
}

func restore(ctx context.Context, r *repository.Repository, p repository.Point, d repository.Disk, path, format string) error {
	t, err := image.CreateTarget(ctx, path, format, d.Size)
	if err != nil {
		return err
	}
	defer t.Close()
	if _, err := r.Restore(ctx, p, d.Name, t, repository.RestoreOptions{}); err != nil {
		return err
	}
	return t.Commit()
}
