// Package restore brings disks or a whole VM back from a point.
//
// It promises: the bytes of the original's disks are not touched; no file or
// domain that was there before is overwritten; a restore that fails or is
// cancelled leaves nothing of its own, and one that is run again after a crash
// first removes what the dead run had made. A restored VM has a new name, UUID,
// generation id and MAC addresses (matrix RST-01, RST-02, MGT-09, NET-04). A VM
// whose disks are replaced is bootable at every moment, with the old ones or the
// new; the old ones stay where they are (RST-03, replace.go).
//
// It does not promise static addresses, nor that the restored VM's links to
// what lies outside it (load balancers, DNS) are there again: it lists them.
package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"holdfast"
	"holdfast/internal/disk"
	"holdfast/internal/disk/image"
	"holdfast/internal/hypervisor"
	"holdfast/internal/mover"
	"holdfast/internal/repository"
)

// The sub-tasks of a restore job.
const (
	taskDisks   = "Restore disks"
	taskVM      = "Create virtual machine"
	taskReplace = "Replace disks"
)

// Mover restores.
type Mover struct {
	Hosts        mover.Hosts
	Repositories mover.Repositories
	Grace        time.Duration // for a VM to power itself off; 0 is mover.Grace
	Look         time.Duration // how often is looked at a VM that runs from a point; 0 is 500 ms
}

// run is one attempt.
type run struct {
	args     holdfast.RestoreArgs
	progress holdfast.Progress
	mover    Mover
	repo     *repository.Repository
	host     hypervisor.Host
	point    repository.Point
	manifest mover.Manifest
	vaultToo bool // the point is read from the instant tier, and may be in the vault
	staging  staging
	// replaced are the paths of the disks that a VM has and that are of the format
	// of the new ones, by target.
	replaced map[string]string
	power    sync.Mutex // of the VM that runs from the point: who holds it may stop it and let it go on
	// use, if set, has the VM that runs from the point instead of its filling.
	use func(context.Context, holdfast.VMRef) error
}

// Run restores what a asks for.
func (m Mover) Run(ctx context.Context, a holdfast.RestoreArgs, progress holdfast.Progress) (holdfast.RestoreResult, error) {
	return m.run(ctx, &run{args: a, progress: progress})
}

// Boot makes the VM that a asks for, lets it run straight from the point, and
// gives it to use. It is not filled: its disks are there until use returns. What
// was made stays, and is taken away by whoever asked.
func (m Mover) Boot(ctx context.Context, a holdfast.RestoreArgs, progress holdfast.Progress, use func(context.Context, holdfast.VMRef) error) error {
	a.BootFirst = true
	_, err := m.run(ctx, &run{args: a, progress: progress, use: use})
	return err
}

func (m Mover) run(ctx context.Context, r *run) (holdfast.RestoreResult, error) {
	r.progress.Task(taskDisks)
	r.progress.Cancellable(true)
	err := r.openPlace(ctx, m)
	if r.host != nil {
		defer r.host.Close()
	}
	var res holdfast.RestoreResult
	if err == nil {
		res, err = r.restore(ctx, m)
	}
	return res, mover.Explain(err, "point "+r.args.PointID)
}

// Undo removes the files that an earlier run had made, unless it had made a VM
// of them: then the work is done.
func (m Mover) Undo(ctx context.Context, a holdfast.RestoreArgs) (done bool, err error) {
	err = m.atPlace(ctx, a, func(r *run) error {
		if a.Mode == holdfast.ReplaceDisks {
			if done, err = r.swapped(ctx); done {
				return err
			}
			return r.giveBack(ctx)
		}
		vm, err := r.made(ctx)
		if err != nil || vm != nil || r.wasBooted() {
			done = err == nil
			return err
		}
		return r.staging.remove()
	})
	return done, err
}

// Forget removes what says which files the restore has made.
func (m Mover) Forget(ctx context.Context, a holdfast.RestoreArgs) error {
	return m.atPlace(ctx, a, func(r *run) error { return r.staging.keep() })
}

// atPlace does something at the place that the restore writes to.
func (m Mover) atPlace(ctx context.Context, a holdfast.RestoreArgs, do func(*run) error) error {
	r := &run{args: a}
	err := r.openPlace(ctx, m)
	if r.host != nil {
		defer r.host.Close()
	}
	if err == nil {
		err = do(r)
	}
	return mover.Explain(err, "point "+a.PointID)
}

// openPlace finds the host and the place to write to.
func (r *run) openPlace(ctx context.Context, m Mover) (err error) {
	if r.host, err = m.Hosts(ctx, r.args.Site); err != nil {
		return err
	}
	dir := r.args.Directory
	if r.args.Pool != "" {
		pool, err := r.host.Pool(ctx, r.args.Pool)
		if err != nil {
			return err
		}
		dir = pool.Path
	}
	if r.args.Unmanaged {
		dir = filepath.Join(dir, holdfast.UnmanagedDir)
		if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) { // QEMU has to reach what is in it
			return err
		}
	}
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return holdfast.Errorf(holdfast.Invalid, "directory", "%s is not a directory that can be written to.", dir).WithCause(err)
	}
	r.staging = stagingIn(dir, r.args.RestoreID)
	return nil
}

func (r *run) restore(ctx context.Context, m Mover) (res holdfast.RestoreResult, err error) {
	if r.args.Mode == holdfast.ReplaceDisks {
		return r.replace(ctx, m)
	}
	if r.args.Mode == holdfast.CreateVM {
		done, err := r.alreadyMade(ctx)
		if done != nil && r.args.BootFirst {
			err = r.goOn(ctx, m, *done)
		}
		if done != nil || err != nil {
			return holdfast.RestoreResult{VM: done}, err
		}
	}
	if r.args.Mode == holdfast.CopyDisk {
		return r.filling(ctx, []string{r.args.FileName}, r.copyImage)
	}
	if err := r.openPoint(ctx, m); err != nil {
		return res, err
	}
	disks, err := r.chosen()
	if err != nil {
		return res, err
	}
	if err := r.keysFit(disks); err != nil {
		return res, err
	}
	if r.args.BootFirst {
		stop, err := r.serve(ctx)
		if err != nil {
			return res, err
		}
		defer stop()
	}
	res, err = r.filling(ctx, r.names(disks), func(ctx context.Context, res *holdfast.RestoreResult) error { return r.bringBack(ctx, disks, res) })
	switch {
	case err != nil:
	case r.use != nil:
		err = r.use(ctx, *res.VM)
	case r.args.BootFirst:
		err = r.complete(ctx, *res.VM)
	}
	return res, err
}

// filling makes files of these names, by fill. When it fails none of them stays.
func (r *run) filling(ctx context.Context, names []string, fill func(context.Context, *holdfast.RestoreResult) error) (res holdfast.RestoreResult, err error) {
	if err := r.staging.begin(names); err != nil {
		return res, err
	}
	defer func() {
		if err != nil {
			if left := r.staging.remove(); left != nil {
				r.progress.Warn(left.Error())
			}
		}
		r.showFiles(ctx)
	}()
	err = fill(ctx, &res)
	return res, err
}

// showFiles has the pool see the files that were made or removed; that it doesn't is
// no failure.
func (r *run) showFiles(ctx context.Context) {
	if r.args.Pool != "" {
		_ = r.host.RefreshPool(context.WithoutCancel(ctx), r.args.Pool)
	}
}

// bringBack writes disks of the point, and makes the VM of them.
func (r *run) bringBack(ctx context.Context, disks []mover.ManifestDisk, res *holdfast.RestoreResult) (err error) {
	undo, err := r.secrets(ctx, disks)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			undo()
		}
	}()
	switch {
	case r.args.Attach != nil:
		res.Disks = r.attached()
	case r.args.BootFirst:
		res.Disks, err = r.overlays(ctx, disks)
	default:
		res.Disks, err = r.disks(ctx, disks)
	}
	if err != nil {
		return err
	}
	if err := r.describe(ctx, res); err != nil {
		return err
	}
	if r.args.Mode == holdfast.CreateVM {
		r.progress.Task(taskVM)
		r.progress.Cancellable(false) // once it is there, somebody may use it
		res.VM, err = r.createVM(ctx, res)
	}
	if len(res.FollowUps) > 0 {
		r.progress.Property("Follow up", strings.Join(res.FollowUps, " "))
	}
	return err
}

// copyImage makes a disk of an image that nobody writes to meanwhile. The image
// has to be whole: a guest that writes the header of one that takes its bytes
// from another file would else be given that file of the host. So qcow2 is not
// named to OpenSource, which then refuses such images.
func (r *run) copyImage(ctx context.Context, res *holdfast.RestoreResult) error {
	from, name := r.args.Image, r.args.FileName
	if from.Format == image.Qcow2 {
		from.Format = ""
	}
	source, err := image.OpenSource(ctx, from.Path, from.Format)
	if err != nil {
		return err
	}
	defer source.Close()
	size := max(source.Size(), r.args.ImageSize)
	target, err := image.CreateTarget(ctx, r.staging.path(name), r.args.Format, size)
	if err != nil {
		return err
	}
	defer target.Close() // without Commit nothing stays
	stats, err := disk.Copy(ctx, target, source, disk.CopyOptions{Progress: r.progress.Bytes})
	if err == nil {
		err = source.Unchanged()
	}
	if err == nil {
		err = target.Commit()
	}
	if err != nil {
		return err
	}
	res.Disks = []holdfast.DiskResult{{Size: size, Read: stats.Written, Path: r.staging.final(name), Format: r.args.Format}}
	return r.staging.publish(name)
}

// chosen are the disks of the point that were asked for.
func (r *run) chosen() ([]mover.ManifestDisk, error) {
	all := r.manifest.Disks
	if r.args.LUNs == nil || r.args.Mode == holdfast.CreateVM {
		return all, nil
	}
	var disks []mover.ManifestDisk
	for _, lun := range r.args.LUNs {
		i := slices.IndexFunc(all, func(d mover.ManifestDisk) bool { return d.Fact.LUN == lun })
		if i < 0 {
			return nil, holdfast.Errorf(holdfast.Invalid, "restoreDiskLunList", "The point has no disk with LUN %d.", lun)
		}
		disks = append(disks, all[i])
	}
	return disks, nil
}

// name is the file that a disk of the point is restored to.
func (r *run) name(target string) string {
	if r.args.FileName != "" {
		return r.args.FileName
	}
	return r.args.NamePrefix + "-" + target + "." + r.args.Format
}

// nvramName is the file that the UEFI variables are restored to; "" when there
// are none.
func (r *run) nvramName() string {
	if len(r.manifest.NVRAM) == 0 || r.args.Mode != holdfast.CreateVM && r.args.Mode != holdfast.ReplaceDisks {
		return ""
	}
	return r.args.NamePrefix + "-nvram.fd"
}

func (r *run) names(disks []mover.ManifestDisk) []string {
	var names []string
	for _, d := range disks {
		if r.args.Attach == nil {
			names = append(names, r.name(d.Fact.Target))
		}
	}
	if r.described() {
		names = append(names, r.args.NamePrefix+templateSuffix, r.args.NamePrefix+definitionSuffix)
	}
	for _, f := range r.temporary() {
		names = append(names, r.name(f.Target))
	}
	if n := r.nvramName(); n != "" {
		names = append(names, n)
	}
	return names
}

// temporary are the disks of the VM that no point holds and that come back empty.
func (r *run) temporary() []holdfast.DiskFact {
	if r.args.Mode != holdfast.CreateVM {
		return nil
	}
	taken := func(f holdfast.DiskFact) bool {
		return slices.ContainsFunc(r.args.Attach, func(k holdfast.DiskFact) bool { return k.LUN == f.LUN })
	}
	return slices.DeleteFunc(slices.Clone(r.manifest.VM.Disks), func(f holdfast.DiskFact) bool { return !f.Temporary || taken(f) })
}

// empty makes the image of a temporary disk.
func (r *run) empty(ctx context.Context, f holdfast.DiskFact) error {
	target, err := image.CreateTarget(ctx, r.staging.path(r.name(f.Target)), r.args.Format, f.Size)
	if err != nil {
		return err
	}
	defer target.Close() // without Commit nothing stays
	if err := target.Commit(); err != nil {
		return err
	}
	r.progress.Property("Disk "+f.Target, "temporary: it comes back empty")
	return r.staging.publish(r.name(f.Target))
}

// disks writes the images.
func (r *run) disks(ctx context.Context, disks []mover.ManifestDisk) (results []holdfast.DiskResult, err error) {
	var total, before int64
	for _, d := range disks {
		total += d.Fact.Size
	}
	for _, d := range disks {
		progress := func(done, _ int64) { r.progress.Bytes(before+done, total) }
		res, err := r.disk(ctx, d, progress)
		if err != nil {
			return nil, err
		}
		before += d.Fact.Size
		results = append(results, res)
		r.progress.Property("Disk "+d.Fact.Target, fmt.Sprintf("%s; wrote %s of %s", res.Path, humanize.IBytes(uint64(res.Read)), humanize.IBytes(uint64(res.Size))))
	}
	return results, nil
}

// disk writes one image, from the tier that has it.
func (r *run) disk(ctx context.Context, d mover.ManifestDisk, progress func(done, total int64)) (holdfast.DiskResult, error) {
	res, err := r.writeDisk(ctx, d, progress)
	if err != nil && r.fromVault(ctx, d.Fact.Target, err) {
		res, err = r.writeDisk(ctx, d, progress)
	}
	if err != nil {
		return res, fmt.Errorf("disk %s to %s: %w", d.Fact.Target, res.Path, err)
	}
	return res, nil
}

func (r *run) writeDisk(ctx context.Context, d mover.ManifestDisk, progress func(done, total int64)) (res holdfast.DiskResult, err error) {
	res = holdfast.DiskResult{
		LUN: d.Fact.LUN, Target: d.Fact.Target, Size: d.Fact.Size,
		Path: r.staging.final(r.name(d.Fact.Target)), Format: r.args.Format, Secret: d.Fact.Secret,
	}
	target, err := r.target(ctx, d.Fact)
	if err != nil {
		return res, err
	}
	defer target.Close() // without Commit nothing stays
	if path := r.replaced[d.Fact.Target]; path != "" {
		_ = target.Clone(path) // what is not there is written
	}
	stats, err := r.repo.Restore(ctx, r.point, d.Fact.Target, target, repository.RestoreOptions{WriteRate: r.args.FillRate, Compare: !target.Fresh(), Progress: progress})
	if err != nil {
		return res, err
	}
	res.Read = stats.Written
	if err := target.Commit(); err != nil {
		return res, err
	}
	return res, r.staging.publish(r.name(d.Fact.Target))
}
