package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"holdfast/internal/hypervisor"
	"holdfast/internal/luks"
)

// planned is one disk and what will be done with it.
type planned struct {
	disk        hypervisor.Disk
	track       bool     // the new checkpoint records its writes
	incremental bool     // read since Request.Last
	reason      string   // why not incremental
	base        int64    // size at Request.Last, bytes
	also        []Range  // changed since it, whatever the bitmap says
	scratch     string   // path
	key         luks.Key // nil: it is not encrypted
	secret      string   // UUID
}

// changeID identifies the image that a target is: path and, where it is a file
// that this host can see, its inode. A copy, a swap, a rename over it and an
// overlay (external snapshot) all change it; writing and growing do not. The
// device number is left out: it may change with a reboot. So does encryption, turned
// on or off.
func changeID(d hypervisor.Disk) string {
	id := d.Path
	var st syscall.Stat_t
	if d.Kind == "file" || d.Kind == "volume" {
		if err := syscall.Stat(d.Path, &st); err == nil && st.Mode&syscall.S_IFMT == syscall.S_IFREG {
			id += fmt.Sprintf("|%d", st.Ino)
		}
	}
	if d.Encrypted {
		id += "|" + d.Cipher
	}
	return id
}

// decide says for each disk whether it is tracked from now on and whether it
// can be read incrementally, and validates the bitmaps that this rests on.
func (t *taken) decide(ctx context.Context) error {
	t.classify(ctx)
	for {
		var targets []string
		for _, p := range t.plan {
			if p.incremental {
				targets = append(targets, p.disk.Target)
			}
		}
		if len(targets) == 0 {
			return nil
		}
		err := t.r.Host.RedefineCheckpoint(ctx, t.r.UUID, t.r.Last.XML, targets)
		var broken *hypervisor.BitmapError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &broken):
			t.demote(broken.Target, "its dirty bitmap is missing or broken")
		case errors.Is(err, hypervisor.ErrUnreachable), errors.Is(err, hypervisor.ErrNotRunning), ctx.Err() != nil:
			return err
		default:
			t.demote("", fmt.Sprintf("libvirt does not take its checkpoint: %v", err))
		}
	}
}

// classify is decide's first step, by what is known without asking libvirt.
func (t *taken) classify(ctx context.Context) {
	for i := range t.plan {
		p := &t.plan[i]
		img, err := inspect(ctx, p.disk)
		switch {
		case p.disk.Format != "qcow2":
			p.reason = p.disk.Format + " images cannot record changes"
			continue
		case err == nil && img.version2():
			p.reason = "the image is qcow2 version 2, which cannot record changes (qemu-img amend -o compat=1.1)"
			continue
		}
		p.track = true
		p.since(t.r.Last)
	}
}

// since compares a disk with what the last checkpoint tracked.
func (p *planned) since(last *Checkpoint) {
	if last == nil {
		p.reason = "no earlier point has a checkpoint"
		return
	}
	i := slices.IndexFunc(last.Disks, func(c CheckpointDisk) bool { return c.Target == p.disk.Target })
	if i < 0 {
		p.reason = "the last checkpoint did not track this disk"
		return
	}
	switch c := last.Disks[i]; {
	case c.ChangeID != changeID(p.disk):
		p.reason = "it is another image than at the last point"
	case p.disk.Size < c.Size:
		p.reason = fmt.Sprintf("it shrank from %d to %d bytes", c.Size, p.disk.Size)
	default:
		p.incremental, p.base, p.also = true, c.Size, c.Also
	}
}

// demote makes one disk, or with "" each, a full read.
func (t *taken) demote(target, reason string) {
	found := false
	for i := range t.plan {
		if p := &t.plan[i]; p.incremental && (target == "" || p.disk.Target == target) {
			p.incremental, p.reason, found = false, reason, true
		}
	}
	if !found && target != "" {
		t.demote("", reason) // libvirt named a disk that is not ours to name
	}
}

// exists says whether a path is there.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
