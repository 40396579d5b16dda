package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/internal/guest"
	"holdfast/internal/hypervisor"
)

// End ends what a dead process left of its snapshots of one domain: our backup
// job, our scratch files and sockets in scratchDir, a guest that is still frozen
// or that QEMU stopped because the scratch space was full. It needs no
// repository, so that nothing but the hypervisor can keep a guest waiting. A
// foreign job is not touched. hypervisor.ErrBusy when a living process holds a
// snapshot of the domain.
func End(ctx context.Context, host hypervisor.Host, uuid, scratchDir string) error {
	dead, err := deadWorkdirs(scratchDir, uuid)
	if err != nil {
		return err
	}
	defer func() {
		for _, w := range dead {
			w.lock.Close()
		}
	}()
	d, err := host.Domain(ctx, uuid)
	if errors.Is(err, hypervisor.ErrNoDomain) {
		return removeAll(dead)
	}
	if err != nil {
		return err
	}
	// A guest that cannot be thawed keeps its mark for the next try; its job
	// is ended all the same.
	thawed, thawErr := thawLeft(ctx, host, d, dead)
	if err := errors.Join(thawErr, endLeft(ctx, host, d, scratchDir, dead), forgetKeys(ctx, host, dead)); err != nil {
		return err
	}
	var over []*workdir
	for _, w := range dead {
		if thawed || !w.mayBeFrozen() {
			over = append(over, w)
		}
	}
	return removeAll(over)
}

// endDir ends the job of one dead process, by its working directory, if that is
// still there. It thaws nothing: while the guest may be frozen the directory stays.
func endDir(ctx context.Context, host hypervisor.Host, uuid, dir string) error {
	w := &workdir{path: dir}
	var err error
	if w.lock, err = lock(filepath.Join(dir, lockFile)); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	defer w.lock.Close()
	d, err := host.Domain(ctx, uuid)
	if errors.Is(err, hypervisor.ErrNoDomain) {
		return w.remove()
	}
	if err == nil {
		err = errors.Join(endLeft(ctx, host, d, filepath.Dir(dir), []*workdir{w}), forgetKeys(ctx, host, []*workdir{w}))
	}
	if err != nil || w.mayBeFrozen() {
		return err
	}
	return w.remove()
}

// endLeft ends the job that dead processes have left, and lets a guest run again
// that QEMU stopped because of it.
func endLeft(ctx context.Context, host hypervisor.Host, d hypervisor.Domain, scratchDir string, dead []*workdir) error {
	ended, err := endJob(ctx, host, d, scratchDir)
	switch {
	case err != nil:
		return err
	case ended:
		return resumeSpared(ctx, host, d.UUID, spareFor)
	case len(dead) > 0: // it ended by itself, and not just now
		return resumeSpared(ctx, host, d.UUID, 0)
	}
	return nil
}

// endJob ends the domain's backup job if it is ours, and says whether it was.
func endJob(ctx context.Context, host hypervisor.Host, d hypervisor.Domain, scratchDir string) (bool, error) {
	job, err := host.BackupJob(ctx, d.UUID)
	if err != nil || job == nil || !ours(scratchDir, job) {
		return false, err
	}
	return true, host.EndBackup(ctx, d.UUID)
}

// KeepOnly removes our checkpoints and bitmaps of a domain but keep's, the name
// of the last committed point's checkpoint ("": none is kept). Foreign ones are
// not touched.
func KeepOnly(ctx context.Context, host hypervisor.Host, uuid, keep string) error {
	d, err := host.Domain(ctx, uuid)
	if errors.Is(err, hypervisor.ErrNoDomain) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := dropCheckpoints(ctx, host, uuid, keep); err != nil {
		return err
	}
	return dropStrays(ctx, host, d, keep)
}

// deadWorkdirs finds the working directories of a domain whose process is gone,
// and locks them. ErrBusy when one's process lives.
func deadWorkdirs(scratchDir, uuid string) ([]*workdir, error) {
	entries, err := os.ReadDir(scratchDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var dead []*workdir
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), dirPrefix(uuid)) {
			continue
		}
		w := &workdir{path: filepath.Join(scratchDir, e.Name())}
		w.lock, err = lock(filepath.Join(w.path, lockFile))
		if errors.Is(err, os.ErrNotExist) {
			continue // its watchdog has ended it
		}
		if err != nil {
			for _, w := range dead {
				w.lock.Close()
			}
			return nil, err
		}
		dead = append(dead, w)
	}
	return dead, nil
}

func removeAll(dirs []*workdir) error {
	var errs []error
	for _, w := range dirs {
		errs = append(errs, w.remove())
	}
	return errors.Join(errs...)
}

// thawLeft thaws a guest that one of our dead processes may have left frozen,
// and says whether it is known not to be. A guest that is paused, or whose agent
// is away, cannot be asked now.
func thawLeft(ctx context.Context, host hypervisor.Host, d hypervisor.Domain, dead []*workdir) (bool, error) {
	if !slices.ContainsFunc(dead, (*workdir).mayBeFrozen) || !d.State.Active() {
		return true, nil
	}
	if d.State != hypervisor.Running || !d.AgentConnected {
		return false, nil
	}
	agent := guest.Of(host, d.UUID)
	if frozen, err := agent.Frozen(ctx, pingTimeout); err != nil || !frozen {
		return err == nil, err
	}
	_, err := agent.Thaw(ctx, thawTimeout)
	return err == nil, err
}

// dropCheckpoints deletes our checkpoints of a domain but keep.
func dropCheckpoints(ctx context.Context, host hypervisor.Host, uuid, keep string) error {
	names, err := host.Checkpoints(ctx, uuid)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == keep || !strings.HasPrefix(name, prefix) {
			continue
		}
		if err := host.DeleteCheckpoint(ctx, uuid, name); err != nil && !errors.Is(err, hypervisor.ErrNoCheckpoint) {
			return fmt.Errorf("checkpoint %s: %w", name, err)
		}
	}
	return nil
}

// dropStrays removes bitmaps of ours that libvirt does not know, as a domain
// leaves them that was undefined, or that stopped before its checkpoint was
// deleted. Only QEMU can remove them safely, so the domain must run; while it is
// off they wait.
func dropStrays(ctx context.Context, host hypervisor.Host, d hypervisor.Domain, keep string) error {
	if !d.State.Active() {
		return nil
	}
	strays := map[string][]string{} // name to targets
	for _, disk := range d.Disks {
		if disk.Format != "qcow2" || disk.Device != "disk" {
			continue
		}
		c, err := inspect(ctx, disk)
		if err != nil {
			continue // not readable from here: nothing to clean
		}
		for _, b := range c[0].Specific.Data.Bitmaps {
			if strings.HasPrefix(b.Name, prefix) && b.Name != keep {
				strays[b.Name] = append(strays[b.Name], disk.Target)
			}
		}
	}
	var errs []error
	for name, targets := range strays {
		if err := host.DropBitmaps(ctx, d.UUID, name, targets); err != nil {
			errs = append(errs, fmt.Errorf("stray bitmap %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
