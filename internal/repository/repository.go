// Package repository keeps points of disks: the engine of a vault.
//
// A [Repository] lives in an object store and is opened by a key. Begin makes a
// [Writer], whose Disk stores a disk.Source and whose Commit makes the point
// visible; OpenDisk and Restore bring a disk of a point back; DeletePoint and
// Collect free what no point needs; Verify and Check tell what is wrong.
//
// It promises: a point is visible only when all of it is durable; any point
// restores without another; a crash at any time leaves garbage only; what is
// damaged is named and never handed out; the next backup stores again what was
// lost where the source still has it; memory stays below a bound that doesn't
// depend on the size of disks or store. It trusts no clock and no file time.
//
// It does not promise to keep a secret from who holds a key, nor to notice that
// the store was put back to an older state as a whole (threat-model.md).
//
// The format is in docs/design/repository-format.md, the order of durable steps
// in write-order.md, and what may run beside what in locking.md.
package repository

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/clock"
	"holdfast/internal/keyring"
	"holdfast/internal/objstore"
	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/seal"
)

// The errors of this package. Errors of the store pass through and are told by
// the sentinels of objstore; a wrong key is keyring.ErrWrongKey.
var (
	ErrNotRepository = errors.New("there is no repository here")
	ErrExists        = errors.New("there is a repository already")
	ErrNoDisk        = errors.New("the point has no such disk")
	ErrVersion       = seal.ErrVersion
	ErrDamaged       = seal.ErrDamaged
	ErrBusy          = ledger.ErrBusy
	ErrFenced        = ledger.ErrFenced
	ErrPointExists   = ledger.ErrPointExists
	ErrNoPoint       = ledger.ErrNoPoint
)

// Format is the version that this release writes; MinFormat the oldest that it
// reads. Every release reads format 1.
const (
	Format    = 2
	MinFormat = 1
)

// Owner says who runs sessions, so that what a dead process left is known to
// be dead at once (locking.md). The zero Owner is a stranger to everyone: its
// sessions are given up only when they stop beating.
type Owner struct {
	// ID is the same for every run of one owner, such as one server's data
	// directory, which one process at a time holds locked.
	ID string
	// Instance is different for every run.
	Instance string
	// Alive reports whether the run called instance still lives; nil means
	// that only the present one does.
	Alive func(instance string) bool
}

// Options changes how a repository is used. The zero value works.
type Options struct {
	Owner Owner
	// CacheDir keeps index segments beside the server between runs; "" keeps
	// large ones in temporary files only.
	CacheDir string
	// Workers is how many frames are made or opened at once; 0 means one for
	// each processor that Go runs on, and 16 at most.
	Workers int
	// Quick is for a repository near the disks that it is filled from, whose points
	// are kept for days: it compresses for speed before size (one of format 1
	// doesn't), and looks at what a new point relies on (rely.go).
	Quick bool
	// LeaseTimeout is how long a foreign session may go without a beat before
	// it is taken for dead, on the watcher's own clock; 0 means 10 minutes.
	LeaseTimeout time.Duration
	// Clock stamps and measures patience; nil means the machine's.
	Clock clock.Clock
	// After paces heartbeats; nil means time.After.
	After func(time.Duration) <-chan time.Time
}

func (o Options) withDefaults() Options {
	if o.Workers <= 0 {
		o.Workers = min(runtime.GOMAXPROCS(0), 16)
	}
	if o.LeaseTimeout <= 0 {
		o.LeaseTimeout = 10 * time.Minute
	}
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.After == nil {
		o.After = time.After
	}
	if o.Owner.Instance == "" {
		o.Owner.Instance = randomHex(8)
	}
	return o
}

// Repository is an open repository. It is safe for concurrent use. Close gives
// back its temporary files and memory.
type Repository struct {
	store  objstore.Store
	config Config
	ring   *keyring.Ring
	slot   keyring.Slot // that opened it
	keys   *seal.Keys
	namer  *chunk.Namer
	log    *ledger.Log
	opt    Options
	shelf  *shelf
	blobs  *blobs

	compressed atomic.Int64 // frames of chunks that went through the compressor

	watch struct {
		sync.Mutex
		beats map[ledger.Session]beat
	}
}

// Init makes a repository in an empty place and opens it.
func Init(ctx context.Context, store objstore.Store, key keyring.Key, opt Options) (*Repository, error) {
	opt = opt.withDefaults()
	id := randomHex(16)
	ring, err := keyring.NewRing(id, rand.Reader)
	if err != nil {
		return nil, err
	}
	cfg := newConfig(id, opt.Clock())
	slot, err := writeFirst(ctx, store, cfg, ring, key)
	if err != nil {
		return nil, err
	}
	return open(ctx, store, cfg, ring, slot, opt)
}

// Open opens the repository in store. It fails with ErrNotRepository,
// keyring.ErrWrongKey, ErrVersion or ErrDamaged. A repository of a newer format
// may open for reading only: then whatever would change it fails with ErrVersion.
func Open(ctx context.Context, store objstore.Store, key keyring.Key, opt Options) (*Repository, error) {
	cfg, err := readConfig(ctx, store)
	if err != nil {
		return nil, err
	}
	slots, err := readSlots(ctx, store)
	if err != nil {
		return nil, err
	}
	ring, slot, err := keyring.Unlock(ctx, key, slots)
	if err != nil {
		return nil, fmt.Errorf("open repository %s: %w", store, err)
	}
	if ring.Repository != cfg.ID {
		return nil, fmt.Errorf("open repository %s: %w", store,
			seal.Damaged("config is of repository %s, the keys of %s", cfg.ID, ring.Repository))
	}
	return open(ctx, store, cfg, ring, slot, opt.withDefaults())
}

func open(ctx context.Context, store objstore.Store, cfg Config, ring *keyring.Ring, slot keyring.Slot, opt Options) (*Repository, error) {
	r := bare(store, ring, seal.NewKeys(ring), opt)
	r.config, r.slot = cfg, slot
	r.log.Refuse = r.writable()
	state, err := r.log.Read(ctx)
	if err == nil && state.Seq == 0 {
		err = r.unbegun(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("open repository %s: %w", store, err)
	}
	return r, nil
}

// unbegun fails with ErrDamaged if there are packs or points though the ledger
// has no record: nothing is stored before the first. Without its ledger a
// repository looks empty, and a collection would take all of it for garbage.
func (r *Repository) unbegun(ctx context.Context) error {
	for _, prefix := range []string{"packs/", "points/"} {
		for _, err := range r.store.List(ctx, prefix, "") {
			if err != nil {
				return err
			}
			// The first record may have come since we looked.
			state, err := r.log.Read(ctx)
			if err == nil && state.Seq == 0 {
				err = seal.Damaged("there are %s but no ledger", strings.TrimSuffix(prefix, "/"))
			}
			return err
		}
	}
	return nil
}

// writable answers why this release may only read, or nil.
func (r *Repository) writable() error { return r.config.writable() }

// bare is a repository of which nothing has been read.
func bare(store objstore.Store, ring *keyring.Ring, keys *seal.Keys, opt Options) *Repository {
	hold := &held{Store: store, clock: opt.Clock}
	store = hold
	r := &Repository{store: store, ring: ring, keys: keys, namer: chunk.NewNamer(keys.IDKeys()), opt: opt,
		log: ledger.New(store, keys, opt.Clock)}
	hold.retention = r.log.Retention
	r.shelf = newShelf(store, keys, opt.CacheDir)
	r.blobs = newBlobs(r)
	r.log.Adopt = r.adopt
	r.watch.beats = map[ledger.Session]beat{}
	return r
}

// ID is the repository's own name, made at Init.
func (r *Repository) ID() string { return r.config.ID }

// Config is what the repository says of itself.
func (r *Repository) Config() Config { return r.config }

// CacheDir is the directory in which the repository keeps what may be lost; "" is
// none.
func (r *Repository) CacheDir() string { return r.opt.CacheDir }

// Present answers nil if the repository is still where it was opened: its place
// may have been emptied, or holds another one since. It fails as Open does.
func (r *Repository) Present(ctx context.Context) error {
	cfg, err := readConfig(ctx, r.store)
	if err != nil {
		return err
	}
	if cfg.ID != r.config.ID {
		return fmt.Errorf("%w: %s holds %s now, not %s", ErrNotRepository, r.store, cfg.ID, r.config.ID)
	}
	state, err := r.log.Read(ctx)
	if err == nil && state.Seq == 0 {
		err = r.unbegun(ctx)
	}
	return err
}

// Close gives back temporary files and memory. The repository must not be used
// any more.
func (r *Repository) Close() error { return r.shelf.close() }

func randomHex(n int) string {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		panic("no randomness: " + err.Error()) // crypto/rand never fails on supported systems
	}
	return hex.EncodeToString(b)
}
