package service

import (
	"context"
	"path"
	"slices"
	"strings"

	"holdfast"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

// ConvertVM starts the job that moves the disks of a machine that are in no
// storage pool into one, so that it has managed disks (MGT-07). pool is the ARM id
// of a storage account; "" is the pool that another disk of the machine is in,
// "default", or the only one. As in Azure the machine has to be deallocated
// (armcompute/v6, VirtualMachinesClient.BeginConvertToManagedDisks).
func (s *Service) ConvertVM(ctx context.Context, sub, group, name, pool string) (job.Job, error) {
	vm, site, err := s.machine(ctx, sub, group, name)
	if err != nil {
		return job.Job{}, err
	}
	if err := vm.convertible(); err != nil {
		return job.Job{}, err
	}
	args := holdfast.MachineArgs{Site: site.Ref(), VM: vm.VMRef, Action: holdfast.MachineConvert}
	if args.Pool, err = s.poolForConverted(ctx, site, vm, pool); err != nil {
		return job.Job{}, err
	}
	all, err := s.disksOf(ctx, site)
	if err != nil {
		return job.Job{}, err
	}
	taken := map[string]bool{}
	for _, d := range all {
		taken[d.VolumeFact.Name] = taken[d.VolumeFact.Name] || d.Pool == args.Pool
	}
	for _, k := range vm.Disks {
		if k.Pool != "" {
			continue
		}
		file := path.Base(k.Path)
		if taken[file] { // of another machine, most often: disk.qcow2
			file = vm.Name + "-" + k.Target + path.Ext(k.Path)
		}
		if taken[file] {
			return job.Job{}, holdfast.Errorf(holdfast.Conflict, k.Target, "The storage pool %s has disks named %s and %s already.", args.Pool, path.Base(k.Path), file).
				WithHint("Name another pool (properties.holdfast.storageAccountId), or rename the file of the disk.")
		}
		taken[file] = true
		args.Move = append(args.Move, holdfast.DiskMove{Target: k.Target, From: k.Path, Name: file})
	}
	return s.machineJob(ctx, vm, args)
}

// convertible refuses a machine whose disks cannot be moved into a pool.
func (vm VM) convertible() error {
	unmanaged := func(k holdfast.DiskFact) bool { return k.Pool == "" }
	switch {
	case !slices.ContainsFunc(vm.Disks, unmanaged):
		return holdfast.Errorf(holdfast.Unsupported, vm.ID, "The virtual machine %q has managed disks already: each is in a storage pool.", vm.Name).WithHint("There is nothing to convert.")
	case vm.Transient:
		return holdfast.Errorf(holdfast.Unsupported, vm.ID, "The virtual machine %q is transient: libvirt would forget it when it goes off.", vm.Name).
			WithHint("Define it first (`virsh define`).")
	case vm.State != "shutoff":
		return holdfast.Errorf(holdfast.Unsupported, vm.ID, "The virtual machine %q is %s; one whose disks are converted has to be deallocated.", vm.Name, vm.State).
			WithHint("Deallocate it first (`az vm deallocate`), and start it when it is converted.")
	case vm.Saved:
		return holdfast.Errorf(holdfast.Conflict, vm.ID, "The virtual machine %q is off with its memory saved, which names its disks where they are now.", vm.Name).
			WithHint("Start it and shut it down, or drop the memory: `virsh managedsave-remove`.")
	}
	for _, k := range vm.Disks {
		what, instead := "", "Define a pool that holds it (`virsh pool-define-as`): then it is managed."
		switch {
		case !unmanaged(k):
		case k.Shared:
			what, instead = "is shared between machines", "Define a pool where it is (`virsh pool-define-as`), or detach it from the others."
		case k.NVMe || k.Path == "":
			what = "is no file"
		}
		if what != "" {
			return holdfast.Errorf(holdfast.Unsupported, vm.ID, "The disk %s of the virtual machine %q %s.", k.Target, vm.Name, what).WithHint(instead)
		}
	}
	return nil
}

// poolForConverted is the pool that a machine's disks go to.
func (s *Service) poolForConverted(ctx context.Context, site Site, vm VM, named string) (string, error) {
	const member = "properties.holdfast.storageAccountId"
	have, err := s.Inventory.Discover(ctx, site.Ref())
	if err != nil {
		return "", err
	}
	if named != "" {
		id, err := resource.ParseAs(member, named, resource.TypePool)
		if err != nil {
			return "", err
		}
		return poolNamed(have.Pools, member, site, id.Name())
	}
	for _, k := range vm.Disks {
		if k.Pool != "" {
			return k.Pool, nil
		}
	}
	var names []string
	for _, p := range have.Pools {
		names = append(names, p.Name)
	}
	switch {
	case slices.Contains(names, holdfast.DefaultPool):
		return holdfast.DefaultPool, nil
	case len(names) == 1:
		return names[0], nil
	case len(names) == 0:
		return "", holdfast.Errorf(holdfast.Unsupported, member, "The site %q has no storage pool that disks could go to.", site.Name).WithHint("Make one: `virsh pool-define-as`.")
	}
	return "", holdfast.Errorf(holdfast.Invalid, member, "The site %q has the storage pools %s, of which none is named %s: it is not clear which one is meant.", site.Name, strings.Join(names, ", "), holdfast.DefaultPool).
		WithHint("Name one: holdfast vm convert --pool, or " + member + " in the body.")
}

// poolNamed finds a pool of a site; member says where it was named.
func poolNamed(pools []holdfast.PoolFact, member string, site Site, name string) (string, error) {
	i := slices.IndexFunc(pools, func(p holdfast.PoolFact) bool { return resource.SameName(p.Name, name) })
	if i < 0 {
		return "", holdfast.Errorf(holdfast.NotFound, member, "The site %q has no storage pool %q.", site.Name, name)
	}
	return pools[i].Name, nil
}
