package snapshot

import (
	"context"
	"fmt"
	"io"
	"iter"

	"holdfast/internal/disk"
	"holdfast/internal/nbd"
)

// connections is how many NBD connections are made to one export.
const connections = 2

// openOnline connects to each disk of the running job.
func (t *taken) openOnline() error {
	for _, p := range t.plan {
		if err := t.open(p, t.dir.socket, p.disk.Target, "backup-"+p.disk.Target); err != nil {
			return err
		}
	}
	return nil
}

// open connects to one export and adds its disk to the snapshot.
func (t *taken) open(p planned, socket, export, bitmap string) error {
	contexts := []string{nbd.ContextAllocation}
	dirty := ""
	if p.incremental {
		dirty = nbd.DirtyContext(bitmap)
		contexts = append(contexts, dirty)
	}
	client, err := nbd.Dial(t.life, "unix", socket, export, nbd.Options{Contexts: contexts, Connections: connections})
	if err != nil {
		return fmt.Errorf("disk %s: %w", p.disk.Target, err)
	}
	t.closers = append(t.closers, client.Close)
	src, err := nbd.NewSource(client, nbd.SourceOptions{DirtyContext: dirty})
	if err != nil {
		return fmt.Errorf("disk %s: %w", p.disk.Target, err)
	}
	t.snap.Disks = append(t.snap.Disks, Disk{
		Target: p.disk.Target, Size: src.Size(), Incremental: p.incremental, Reason: p.reason, Secret: p.secret,
		Source: &source{Source: src, take: t, doubts: doubts{p.base, p.also}},
	})
	return nil
}

// source is a disk of the snapshot. It fails with the snapshot's own reason
// when the snapshot has ended, and calls nothing unchanged that is in doubt.
type source struct {
	disk.Source
	take   *taken
	doubts doubts
}

// why puts the snapshot's end before what the wire said of it.
func (s *source) why(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if cause := context.Cause(s.take.life); cause != nil {
		return fmt.Errorf("%w (%w)", cause, err)
	}
	return err
}

// ReadAt reads the disk as it was at the snapshot.
func (s *source) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.Source.ReadAt(p, off)
	return n, s.why(err)
}

// Extents streams the disk's map.
func (s *source) Extents(ctx context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		d := s.doubts
		for e, err := range s.Source.Extents(ctx) {
			if err != nil {
				yield(disk.Extent{}, s.why(err))
				return
			}
			for _, part := range d.apply(e) {
				if !yield(part, nil) {
					return
				}
			}
		}
	}
}
