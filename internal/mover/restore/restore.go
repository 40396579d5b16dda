// Package restore brings disks or a whole VM back from a point.
//
// It promises: the original VM and its disks are not touched; no file or
// domain that was there before is overwritten; a restore that fails or is
// cancelled leaves nothing of its own, and one that is run again after a crash
// first removes what the dead run had made. A restored VM has a new name, UUID,
// generation id and MAC addresses (matrix RST-01, RST-02, MGT-09, NET-04).
//
// It does not promise static addresses, nor that the restored VM's links to
// what lies outside it (load balancers, DNS) are there again: it lists them.
package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"holdfast"
	"holdfast/internal/disk/image"
	"holdfast/internal/hypervisor"
	"holdfast/internal/mover"
	"holdfast/internal/repository"
)

// The sub-tasks of a restore job.
const (
	taskDisks = "Restore disks"
	taskVM    = "Create virtual machine"
)

// Mover restores.
type Mover struct {
	Hosts        mover.Hosts
	Repositories mover.Repositories
}

// run is one attempt.
type run struct {
	args     holdfast.RestoreArgs
	progress holdfast.Progress
	repo     *repository.Repository
	host     hypervisor.Host
	point    repository.Point
	manifest mover.Manifest
	dir      string // where the files go
	files    *claimed
}

// Run restores what a asks for.
func (m Mover) Run(ctx context.Context, a holdfast.RestoreArgs, progress holdfast.Progress) (holdfast.RestoreResult, error) {
	progress.Task(taskDisks)
	progress.Cancellable(true)
	r := &run{args: a, progress: progress}
	err := r.open(ctx, m)
	if r.host != nil {
		defer r.host.Close()
	}
	if err != nil {
		return holdfast.RestoreResult{}, mover.Explain(err, "point "+a.PointID)
	}
	res, err := r.restore(ctx)
	return res, mover.Explain(err, "point "+a.PointID)
}

// open finds the point, its manifest, the host and the place to write to.
func (r *run) open(ctx context.Context, m Mover) (err error) {
	if r.repo, err = m.Repositories(ctx, r.args.Repository); err != nil {
		return err
	}
	if r.point, err = r.repo.Point(ctx, r.args.PointID); err != nil {
		return err
	}
	if r.manifest, err = mover.ReadManifest(r.point); err != nil {
		return err
	}
	if r.host, err = m.Hosts(ctx, r.args.Site); err != nil {
		return err
	}
	r.dir = r.args.Directory
	if r.args.Pool != "" {
		pool, err := r.host.Pool(ctx, r.args.Pool)
		if err != nil {
			return err
		}
		r.dir = pool.Path
	}
	info, err := os.Stat(r.dir)
	if err != nil || !info.IsDir() {
		return holdfast.Errorf(holdfast.Invalid, "directory", "%s is not a directory that can be written to.", r.dir).WithCause(err)
	}
	return nil
}

func (r *run) restore(ctx context.Context) (res holdfast.RestoreResult, err error) {
	if r.args.Mode == holdfast.CreateVM {
		if done, err := r.alreadyMade(ctx); done != nil || err != nil {
			return holdfast.RestoreResult{VM: done}, err
		}
	}
	disks, err := r.chosen()
	if err != nil {
		return res, err
	}
	if r.files, err = claim(r.dir, r.args.RestoreID, r.paths(disks)); err != nil {
		return res, err
	}
	defer func() {
		if cleanup := r.files.settle(err == nil); cleanup != nil {
			r.progress.Warn(cleanup.Error())
		}
		if r.args.Pool != "" {
			// The pool shows the new files; that it doesn't is no failure.
			_ = r.host.RefreshPool(context.WithoutCancel(ctx), r.args.Pool)
		}
	}()
	if res.Disks, err = r.disks(ctx, disks); err != nil {
		return res, err
	}
	if r.args.Mode == holdfast.CreateVM {
		r.progress.Task(taskVM)
		res.VM, err = r.createVM(ctx, &res)
	}
	if len(res.FollowUps) > 0 {
		r.progress.Property("Follow up", strings.Join(res.FollowUps, " "))
	}
	return res, err
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

// path is where a disk of the point is restored to.
func (r *run) path(target string) string {
	return filepath.Join(r.dir, r.args.NamePrefix+"-"+target+"."+r.args.Format)
}

// nvramPath is where the UEFI variables are restored to; "" when there are none.
func (r *run) nvramPath() string {
	if len(r.manifest.NVRAM) == 0 || r.args.Mode != holdfast.CreateVM {
		return ""
	}
	return filepath.Join(r.dir, r.args.NamePrefix+"-nvram.fd")
}

func (r *run) paths(disks []mover.ManifestDisk) []string {
	var paths []string
	for _, d := range disks {
		// With the name that it has while it is filled (package image).
		paths = append(paths, r.path(d.Fact.Target), r.path(d.Fact.Target)+".partial")
	}
	if p := r.nvramPath(); p != "" {
		paths = append(paths, p)
	}
	return paths
}

// disks writes the images.
func (r *run) disks(ctx context.Context, disks []mover.ManifestDisk) (results []holdfast.DiskResult, err error) {
	var total, before int64
	for _, d := range disks {
		total += d.Fact.Size
	}
	for _, d := range disks {
		res, err := r.disk(ctx, d, func(done, _ int64) { r.progress.Bytes(before+done, total) })
		if err != nil {
			return nil, fmt.Errorf("disk %s to %s: %w", d.Fact.Target, res.Path, err)
		}
		before += d.Fact.Size
		results = append(results, res)
		r.progress.Property("Disk "+d.Fact.Target, fmt.Sprintf("%s; wrote %d of %d bytes", res.Path, res.Read, res.Size))
	}
	return results, nil
}

func (r *run) disk(ctx context.Context, d mover.ManifestDisk, progress func(done, total int64)) (res holdfast.DiskResult, err error) {
	res = holdfast.DiskResult{
		LUN: d.Fact.LUN, Target: d.Fact.Target, Size: d.Fact.Size,
		Path: r.path(d.Fact.Target), Format: r.args.Format,
	}
	target, err := image.CreateTarget(ctx, res.Path, r.args.Format, d.Fact.Size)
	if err != nil {
		return res, err
	}
	defer target.Close() // without Commit nothing stays
	stats, err := r.repo.Restore(ctx, r.point, d.Fact.Target, target, repository.RestoreOptions{Progress: progress})
	if err != nil {
		return res, err
	}
	res.Read = stats.Written
	if err := target.Commit(); err != nil {
		return res, err
	}
	r.files.made = append(r.files.made, res.Path)
	return res, nil
}

// alreadyMade answers with the VM when an earlier run of this restore had made
// it, and refuses when the name belongs to another VM (matrix MGT-02).
func (r *run) alreadyMade(ctx context.Context) (*holdfast.VMRef, error) {
	d, err := r.host.DomainNamed(ctx, r.args.VMName)
	if errors.Is(err, hypervisor.ErrNoDomain) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	xml, err := r.host.DomainXML(ctx, d.UUID)
	if err != nil {
		return nil, err
	}
	if restoreOf(xml) != r.args.RestoreID {
		return nil, holdfast.Errorf(holdfast.Conflict, "targetVirtualMachineId", "A VM named %q exists already.", r.args.VMName).
			WithHint("Choose another name; to bring an existing VM back to this point, replace its disks.")
	}
	vm := &holdfast.VMRef{UUID: d.UUID, Name: d.Name}
	return vm, r.start(ctx, vm)
}

// createVM defines the new domain and, if asked, boots it. A VM that cannot
// be started is undefined again: a restore is whole or nothing.
func (r *run) createVM(ctx context.Context, res *holdfast.RestoreResult) (*holdfast.VMRef, error) {
	n := newDomain{
		Name: r.args.VMName, RestoreID: r.args.RestoreID, PointID: r.point.ID, Network: r.args.Network,
		Disks: map[string]string{}, Formats: map[string]string{}, NVRAM: r.nvramPath(),
	}
	for _, d := range res.Disks {
		n.Disks[d.Target], n.Formats[d.Target] = d.Path, d.Format
	}
	if n.NVRAM != "" {
		if err := writeFile(n.NVRAM, r.manifest.NVRAM); err != nil {
			return nil, err
		}
		r.files.made = append(r.files.made, n.NVRAM)
	}
	xml, notes, err := rewriteDomain(r.manifest.DomainXML, n)
	if err != nil {
		return nil, err
	}
	res.FollowUps = append(res.FollowUps, notes...)
	uuid, err := r.host.Define(ctx, xml)
	if err != nil {
		return nil, err
	}
	vm := &holdfast.VMRef{UUID: uuid, Name: r.args.VMName}
	if err := r.start(ctx, vm); err != nil {
		return nil, errors.Join(err, r.host.Undefine(context.WithoutCancel(ctx), uuid))
	}
	r.progress.Property("VM", vm.Name+" ("+vm.UUID+")")
	return vm, nil
}

func (r *run) start(ctx context.Context, vm *holdfast.VMRef) error {
	if !r.args.Start {
		return nil
	}
	return r.host.Start(ctx, vm.UUID)
}
