// Package engine runs the repository inside the bench's own process, where it
// can be profiled and given disks that no file system holds. The figures that
// are compared with peers are never taken here: those are of the binary.
package engine

import (
	"context"
	"iter"
	"os"
	"time"

	"holdfast/bench/image"
	"holdfast/internal/disk"
	"holdfast/internal/disk/raw"
	"holdfast/internal/keyring"
	"holdfast/internal/objstore/local"
	"holdfast/internal/repository"
)

// Kind says which of a server's repositories is meant.
type Kind bool

// The kinds: a vault's, and a site's operational repository, which is quick.
const (
	Vault       Kind = false
	Operational Kind = true
)

// options are those of a server, which has a cache beside it: here, dir with
// ".cache" behind.
func options(dir string, k Kind) repository.Options {
	return repository.Options{CacheDir: dir + ".cache", Quick: k == Operational}
}

// Create makes a repository in the directory.
func Create(ctx context.Context, dir string, k Kind) (*repository.Repository, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	store, err := local.Create(ctx, dir)
	if err != nil {
		return nil, err
	}
	return repository.Init(ctx, store, keyring.Raw(keyring.Secret{1}), options(dir, k))
}

// Open opens the repository that Create made in the directory.
func Open(ctx context.Context, dir string, k Kind) (*repository.Repository, error) {
	store, err := local.Open(ctx, dir)
	if err != nil {
		return nil, err
	}
	return repository.Open(ctx, store, keyring.Raw(keyring.Secret{1}), options(dir, k))
}

// Backup stores src as the only disk of a new point. base is an earlier point
// or "".
func Backup(ctx context.Context, r *repository.Repository, id, base string, src disk.Source) (repository.DiskStats, error) {
	w, err := r.Begin(ctx, repository.PointSpec{ID: id, Series: "bench", Created: time.Now()})
	if err != nil {
		return repository.DiskStats{}, err
	}
	defer w.Abort()
	spec := repository.DiskSpec{Name: "disk"}
	if base != "" {
		p, err := r.Point(ctx, base)
		if err != nil {
			return repository.DiskStats{}, err
		}
		spec.Base = p.Disk("disk")
	}
	stats, err := w.Disk(ctx, spec, src)
	if err != nil {
		return stats, err
	}
	_, err = w.Commit(ctx, repository.Manifest{Time: time.Now()})
	return stats, err
}

// Changed is a Source of which only some extents changed since its base.
type Changed struct {
	disk.Source
	Dirty []image.Extent // in order
}

// Extents yields the dirty ranges as Data and the others as Same.
func (c Changed) Extents(context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		at := int64(0)
		for _, e := range c.Dirty {
			if e.Offset > at && !yield(disk.Extent{Offset: at, Length: e.Offset - at, Kind: disk.Same}, nil) {
				return
			}
			if !yield(disk.Extent{Offset: e.Offset, Length: e.Length, Kind: disk.Data}, nil) {
				return
			}
			at = e.Offset + e.Length
		}
		if at < c.Size() {
			yield(disk.Extent{Offset: at, Length: c.Size() - at, Kind: disk.Same}, nil)
		}
	}
}

// Import stores a raw image; dirty, if not nil, are the extents that changed
// since base, in order.
func Import(ctx context.Context, r *repository.Repository, id, base, path string, dirty []image.Extent) (repository.DiskStats, error) {
	f, err := raw.OpenSource(path)
	if err != nil {
		return repository.DiskStats{}, err
	}
	defer f.Close()
	if dirty == nil {
		return Backup(ctx, r, id, base, f)
	}
	return Backup(ctx, r, id, base, Changed{f, dirty})
}
