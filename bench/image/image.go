// Package image makes the disk that the benches back up: a whole Debian
// system on ext4 in a raw file, and a chain of days in the life of it.
//
// The bytes are those of real packages installed by mmdebstrap, plus what a
// machine in use has of its own: a PostgreSQL and an SQLite database, logs,
// photos, documents and a source tree. A day upgrades, installs or removes
// packages, runs transactions against the databases, writes logs, edits
// sources, adds and deletes user files, all through the kernel's ext4. QEMU
// watches the writes (a qcow2 overlay exported over FUSE under the loop
// device), so a day's dirty map is what a dirty bitmap of 64 KiB would say,
// blocks rewritten with the same bytes included.
//
// What this package generates follows from the seed; the packages are those of
// the mirror on the day of the build, and time stamps are the build's. Two
// builds are alike, not equal: compare figures of one build only.
//
// It needs root, loop devices, FUSE and the network.
package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Granularity is the resolution of a dirty map in bytes: that of QEMU's
// bitmaps by default, and of a qcow2 cluster.
const Granularity = 64 << 10

// Spec says which image to build.
type Spec struct {
	Size int64  // bytes of the disk, at least 2 GiB
	Seed uint64 // of everything generated here
	Days int    // changes after the base
	Dir  string // where images are kept between runs
}

// Chain is a built image: the base and the days after it.
type Chain struct {
	Spec Spec  `json:"-"`
	Size int64 `json:"size"` // of the disk, bytes
	Used int64 `json:"used"` // bytes allocated in the base
	Days []Day `json:"days"`
}

// Day is one day's change.
type Day struct {
	Number int   `json:"number"` // from 1
	Dirty  int64 `json:"dirty"`  // bytes in the dirty map
}

func (s Spec) dir() string {
	return filepath.Join(s.Dir, fmt.Sprintf("%dMiB-seed%d", s.Size>>20, s.Seed))
}

// Base is the raw image before the first day.
func (c *Chain) Base() string { return filepath.Join(c.Spec.dir(), "base.raw") }

// DirtyMap is the file of day n's dirty extents, one JSON object
// {"offset":…,"length":…} in bytes per line, in order of offset.
func (c *Chain) DirtyMap(n int) string { return dayFile(c.Spec, n, "dirty") }

// Data is the file of the bytes of the extents of DirtyMap, one after the other.
func (c *Chain) Data(n int) string { return dayFile(c.Spec, n, "data") }

func dayFile(s Spec, n int, kind string) string {
	return filepath.Join(s.dir(), fmt.Sprintf("day-%02d.%s", n, kind))
}

// Build returns the image of the spec, building what is not there yet. A build
// that was cut off goes on after its last whole day.
func Build(ctx context.Context, s Spec, say func(format string, a ...any)) (*Chain, error) {
	if s.Size < 2<<30 || s.Size%(1<<20) != 0 {
		return nil, fmt.Errorf("image size %d: at least 2 GiB and whole MiB", s.Size)
	}
	if err := os.MkdirAll(s.dir(), 0o755); err != nil {
		return nil, err
	}
	c := &Chain{Spec: s}
	if err := c.load(); err != nil {
		return nil, err
	}
	c.Size = s.Size
	if c.Used == 0 {
		say("building the base image of %d MiB: packages, then data", s.Size>>20)
		if err := c.buildBase(ctx, say); err != nil {
			return nil, fmt.Errorf("base image: %w", err)
		}
	}
	if len(c.Days) < s.Days {
		if err := c.buildDays(ctx, say); err != nil {
			return nil, err
		}
	}
	c.Days = c.Days[:s.Days]
	return c, nil
}

func (c *Chain) record() string { return filepath.Join(c.Spec.dir(), "image.json") }

func (c *Chain) load() error {
	b, err := os.ReadFile(c.record())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(b, c)
}

// save makes what was built count: the record is written last and by rename.
func (c *Chain) save() error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.record()+".part", append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(c.record()+".part", c.record())
}
