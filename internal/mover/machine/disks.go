package machine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"holdfast"
	"holdfast/internal/hypervisor"
	"holdfast/internal/mover"
)

// gone is err, but nil when what was to go is not there any more.
func gone(err error) error {
	if errors.Is(err, hypervisor.ErrNoDomain) || errors.Is(err, hypervisor.ErrNoVolume) {
		return nil
	}
	return err
}

// changeDisks detaches and attaches what is not yet so. The LUNs are written down
// first: those of the other disks stay, whenever this ends.
func changeDisks(ctx context.Context, host hypervisor.Host, a holdfast.MachineArgs) error {
	for _, target := range a.Detach {
		if err := keepLUNs(ctx, host, a.VM.UUID, holdfast.DiskFact{LUN: -1}); err != nil {
			return err
		}
		if err := detach(ctx, host, a.VM.UUID, target); err != nil {
			return err
		}
	}
	for _, k := range a.Attach {
		d, err := host.Domain(ctx, a.VM.UUID)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(d.Disks, func(have hypervisor.Disk) bool { return have.Path == k.Path }) {
			continue // an earlier run did it
		}
		disk := hypervisor.Disk{Path: k.Path, Format: k.Format, Bus: k.Bus, Target: freeTarget(d.Disks, k.Bus)}
		if err := keepLUNs(ctx, host, a.VM.UUID, holdfast.DiskFact{Target: disk.Target, LUN: k.LUN}); err != nil {
			return err
		}
		if err := host.AttachDisk(ctx, a.VM.UUID, disk); err != nil {
			return err
		}
	}
	return nil
}

// keepLUNs writes down which LUNs the disks of a machine have, and that of one
// that comes: the one it asks for, or the lowest free one if that is taken.
func keepLUNs(ctx context.Context, host hypervisor.Host, uuid string, comes holdfast.DiskFact) error {
	d, err := host.Domain(ctx, uuid)
	if err != nil {
		return err
	}
	facts, taken := mover.DiskFacts(d), map[int]bool{}
	for _, f := range facts {
		taken[f.LUN] = true
	}
	if comes.LUN >= 0 {
		if taken[comes.LUN] {
			comes.LUN = mover.FreeLUN(taken)
		}
		facts = append(facts, comes)
	}
	element, err := mover.LUNsElement(facts)
	if err != nil {
		return err
	}
	return host.SetMetadata(ctx, uuid, mover.LUNsSpace, mover.TagsPrefix, element)
}

// detach takes a disk away and waits until a running guest has let go of it.
func detach(ctx context.Context, host hypervisor.Host, uuid, target string) error {
	deadline, see := time.After(letGo), time.NewTicker(look)
	defer see.Stop()
	if err := gone(host.DetachDisk(ctx, uuid, target)); err != nil {
		return err
	}
	for {
		d, err := host.Domain(ctx, uuid)
		if err != nil || !slices.ContainsFunc(d.Disks, func(k hypervisor.Disk) bool { return k.Target == target }) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline:
			return holdfast.Errorf(holdfast.Conflict, target, "The guest did not let go of the disk %s within %s.", target, letGo).
				WithHint("Unmount it in the guest, or power the VM off, and try again.")
		case <-see.C:
		}
	}
}

// freeTarget is the first free name of a disk on a bus
// (libvirt.org/formatdomain.html, disk target).
func freeTarget(disks []hypervisor.Disk, bus string) string {
	prefix := "vd"
	if bus != "virtio" {
		prefix = "sd"
	}
	for i := 0; ; i++ {
		name := prefix
		if i >= 26 {
			name += string(rune('a' + i/26 - 1))
		}
		name += string(rune('a' + i%26))
		if !slices.ContainsFunc(disks, func(k hypervisor.Disk) bool { return k.Target == name }) {
			return name
		}
	}
}

// ask opens the site's host for the length of one quick piece of work.
func (m Mover) ask(ctx context.Context, site holdfast.SiteRef, what string, work func(context.Context, hypervisor.Host) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	host, err := m.Hosts(ctx, site)
	if err != nil {
		return mover.Explain(err, fmt.Sprintf("site %s (%s)", site.Name, site.URI))
	}
	defer host.Close()
	return mover.Explain(work(ctx, host), what)
}

// SetTags replaces the tags of a machine.
func (m Mover) SetTags(ctx context.Context, site holdfast.SiteRef, vm holdfast.VMRef, tags map[string]string) error {
	element, err := mover.TagsElement(tags)
	if err != nil {
		return holdfast.Errorf(holdfast.Invalid, "tags", "The tags cannot be kept in libvirt: %v.", err)
	}
	return m.ask(ctx, site, vm.Name, func(ctx context.Context, host hypervisor.Host) error {
		return host.SetMetadata(ctx, vm.UUID, mover.TagsSpace, mover.TagsPrefix, element)
	})
}

// SetKept replaces the members of a machine that libvirt has no word for.
func (m Mover) SetKept(ctx context.Context, site holdfast.SiteRef, vm holdfast.VMRef, kept map[string]any) error {
	element, err := mover.KeptElement(kept)
	if err != nil {
		return holdfast.Errorf(holdfast.Invalid, "properties", "The VM's members cannot be kept in libvirt: %v.", err)
	}
	return m.ask(ctx, site, vm.Name, func(ctx context.Context, host hypervisor.Host) error {
		return host.SetMetadata(ctx, vm.UUID, mover.KeptSpace, mover.TagsPrefix, element)
	})
}

// Disks lists the disk images of a site's pools and machines, by path.
func (m Mover) Disks(ctx context.Context, site holdfast.SiteRef) (all []holdfast.VolumeFact, err error) {
	err = m.ask(ctx, site, "site "+site.Name, func(ctx context.Context, host hypervisor.Host) error {
		volumes, err := host.Volumes(ctx)
		if err != nil {
			return err
		}
		domains, err := host.Domains(ctx)
		if err != nil {
			return err
		}
		all = merge(volumes, domains)
		return nil
	})
	return all, err
}

// merge joins what pools hold with what machines use.
func merge(volumes []hypervisor.Volume, domains []hypervisor.Domain) (all []holdfast.VolumeFact) {
	at := map[string]int{}
	for _, v := range volumes {
		if v.Format != "qcow2" && v.Format != "raw" {
			continue // an ISO image is no disk
		}
		at[v.Path] = len(all)
		all = append(all, holdfast.VolumeFact{Name: v.Name, Pool: v.Pool, Path: v.Path, Format: v.Format, Size: v.Size, Allocated: v.Allocated, Backing: v.Backing})
	}
	for _, d := range domains {
		kept := holdfast.VMFact{Kept: mover.Kept(d.Metadata)}
		for _, k := range d.Disks {
			if k.Path == "" || k.Device != "disk" && k.Device != "lun" {
				continue
			}
			i, known := at[k.Path]
			if !known {
				i = len(all)
				at[k.Path] = i
				all = append(all, holdfast.VolumeFact{Name: filepath.Base(k.Path), Path: k.Path, Format: k.Format, Size: k.Size, Backing: k.Backing})
			}
			all[i].VM, all[i].Target, all[i].Running = holdfast.VMRef{UUID: d.UUID, Name: d.Name}, k.Target, d.State.Active()
			all[i].EncryptionSet = kept.EncryptionSet(k.Target)
		}
	}
	slices.SortFunc(all, func(a, b holdfast.VolumeFact) int { return cmp.Compare(a.Path, b.Path) })
	return all
}

// CreateDisk makes an empty disk in a pool.
func (m Mover) CreateDisk(ctx context.Context, site holdfast.SiteRef, v holdfast.VolumeFact) error {
	return m.ask(ctx, site, v.Name, func(ctx context.Context, host hypervisor.Host) error {
		_, err := host.CreateVolume(ctx, hypervisor.Volume{Name: v.Name, Pool: v.Pool, Format: v.Format, Size: v.Size})
		return err
	})
}

// GrowDisk makes a disk larger, under a running machine too.
func (m Mover) GrowDisk(ctx context.Context, site holdfast.SiteRef, v holdfast.VolumeFact, size int64) error {
	return m.ask(ctx, site, v.Name, func(ctx context.Context, host hypervisor.Host) error {
		if v.Running {
			return host.ResizeDisk(ctx, v.VM.UUID, v.Target, size)
		}
		return host.ResizeVolume(ctx, v.Path, size)
	})
}

// DeleteDisk deletes a disk of a pool and its bytes.
func (m Mover) DeleteDisk(ctx context.Context, site holdfast.SiteRef, v holdfast.VolumeFact) error {
	return m.ask(ctx, site, v.Name, func(ctx context.Context, host hypervisor.Host) error {
		return gone(host.DeleteVolume(ctx, v.Path))
	})
}
