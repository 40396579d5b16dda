// Package crash simulates a disk that loses power, under the real code of the
// local store. For tests only.
//
// A Disk knows of each file which bytes have been synced, and of each directory
// which entries. Every change is a Step; a hook sees each step before it
// happens, and can take the disk's state as after a power loss at that moment
// (PowerLoss), or make the step and so the process fail (CrashAt, or any error).
//
// After a power loss a file has its synced bytes and, of the rest, as many as
// chance wants, with pages of zeros in them; a directory has its synced entries
// and, of the later additions and removals, any subset. That is more cruel than
// journaling file systems are, and what POSIX allows.
//
//	disk := crash.NewDisk()
//	disk.Before(func(s crash.Step) error {
//		after := disk.PowerLoss(rng)
//		store, err := crash.Open(ctx, after) // the real local store
//		... check that the store holds what was committed
//		return nil
//	})
//	store, err := crash.Open(ctx, disk)
//	... work
package crash

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"holdfast/internal/objstore/local"
)

// ErrCrashed is what every call gets from a Disk whose process has died.
var ErrCrashed = errors.New("the simulated process has crashed")

// Step is one change to the disk that may or may not survive.
type Step struct {
	N    int    // counted from 1 over the disk's life
	Op   string // create, write, sync, link, remove, mkdir, syncdir
	Path string // of the file or directory; of a link, the new name
}

func (s Step) String() string { return fmt.Sprintf("%s %s", s.Op, s.Path) }

// Disk is a simulated disk with one directory tree. It is safe for concurrent
// use.
type Disk struct {
	hooks sync.Mutex // one hook at a time, outside of mu

	mu      sync.Mutex
	root    *node
	steps   int
	crashAt int // 0 = never
	crashed bool
	before  func(Step) error
}

// node is a file or a directory.
type node struct {
	dir bool

	data   []byte // of a file; only ever appended to
	synced int    // bytes of data that survive
	inUse  bool   // open by Create

	entries map[string]*node // of a directory
	pending []change         // since its last sync
}

// change is an addition to a directory, or a removal if node is nil.
type change struct {
	name string
	node *node
	old  *node // what the name meant before
}

// NewDisk returns an empty disk.
func NewDisk() *Disk {
	return &Disk{root: newDir()}
}

func newDir() *node { return &node{dir: true, entries: map[string]*node{}} }

// Open opens the local store on the disk, with what its opening repairs.
func Open(ctx context.Context, d *Disk) (*local.Store, error) {
	return local.New(ctx, d.FS(), "crash:")
}

// Before sets the hook that sees each step before it happens, one at a time.
// An error makes the step fail with it; a failed write may have written a part.
func (d *Disk) Before(hook func(Step) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before = hook
}

// CrashAt makes the disk die when the step n, counted from 1 over its life, is
// about to happen: that step and every call after it fail with ErrCrashed.
func (d *Disk) CrashAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crashAt = n
}

// Crash makes every call fail with ErrCrashed from now on.
func (d *Disk) Crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crashed = true
}

// Steps returns the number of steps so far.
func (d *Disk) Steps() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.steps
}

// Crashed says whether the disk has died.
func (d *Disk) Crashed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.crashed
}

// step announces a change. The caller must not hold mu, and makes the change
// when step returns nil.
func (d *Disk) step(op, path string) error {
	d.mu.Lock()
	if d.crashed {
		d.mu.Unlock()
		return ErrCrashed
	}
	d.steps++
	s := Step{d.steps, op, path}
	if d.crashAt > 0 && s.N >= d.crashAt {
		d.crashed = true
		d.mu.Unlock()
		return ErrCrashed
	}
	hook := d.before
	d.mu.Unlock()
	if hook == nil {
		return nil
	}
	d.hooks.Lock()
	defer d.hooks.Unlock()
	return hook(s)
}
