package libvirt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	rpc "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"holdfast/internal/hypervisor"
)

// Volumes lists the files that active pools hold, by path. A volume that goes
// away meanwhile is left out.
func (h *Host) Volumes(ctx context.Context) ([]hypervisor.Volume, error) {
	return call(ctx, h, func(l *rpc.Libvirt) ([]hypervisor.Volume, error) {
		pools, _, err := l.ConnectListAllStoragePools(1, rpc.ConnectListStoragePoolsActive)
		if err != nil {
			return nil, err
		}
		var all []hypervisor.Volume
		for _, p := range pools {
			found, _, err := l.StoragePoolListAllVolumes(p, 1, 0)
			if err != nil {
				continue // it was stopped meanwhile
			}
			for _, v := range found {
				if f, err := volumeFacts(l, v); err == nil && f.Format != "" {
					all = append(all, f)
				}
			}
		}
		slices.SortFunc(all, func(a, b hypervisor.Volume) int { return cmp.Compare(a.Path, b.Path) })
		return all, nil
	})
}

// volumeFacts reads one volume; one without a format (a directory) has Format "".
func volumeFacts(l *rpc.Libvirt, v rpc.StorageVol) (hypervisor.Volume, error) {
	doc, err := l.StorageVolGetXMLDesc(v, 0)
	if err != nil {
		return hypervisor.Volume{}, err
	}
	var x libvirtxml.StorageVolume
	if err := x.Unmarshal(doc); err != nil {
		return hypervisor.Volume{}, err
	}
	f := hypervisor.Volume{Name: x.Name, Pool: v.Pool}
	if x.Target != nil {
		f.Path = x.Target.Path
		if x.Target.Format != nil && (x.Type == "" || x.Type == "file" || x.Type == "block") {
			f.Format = x.Target.Format.Type
		}
	}
	if x.Capacity != nil {
		f.Size = int64(x.Capacity.Value) // libvirt gives bytes
	}
	if x.Allocation != nil {
		f.Allocated = int64(x.Allocation.Value)
	}
	if x.BackingStore != nil {
		f.Backing = x.BackingStore.Path
	}
	return f, nil
}

// CreateVolume makes an empty volume.
func (h *Host) CreateVolume(ctx context.Context, v hypervisor.Volume) (string, error) {
	return call(ctx, h, func(l *rpc.Libvirt) (string, error) {
		p, err := activePool(l, v.Pool)
		if err != nil {
			return "", err
		}
		x := libvirtxml.StorageVolume{
			Name: v.Name, Capacity: &libvirtxml.StorageVolumeSize{Unit: "bytes", Value: uint64(v.Size)}, Allocation: &libvirtxml.StorageVolumeSize{Value: 0},
			Target: &libvirtxml.StorageVolumeTarget{Format: &libvirtxml.StorageVolumeTargetFormat{Type: v.Format}},
		}
		doc, err := x.Marshal()
		if err != nil {
			return "", fmt.Errorf("%w: volume: %w", hypervisor.ErrInvalid, err)
		}
		made, err := l.StorageVolCreateXML(p, doc, 0)
		if err != nil {
			return "", err
		}
		return l.StorageVolGetPath(made)
	})
}

// ResizeVolume grows a volume that no running domain has open.
func (h *Host) ResizeVolume(ctx context.Context, path string, size int64) error {
	return do(ctx, h, func(l *rpc.Libvirt) error {
		v, err := l.StorageVolLookupByPath(path)
		if err != nil {
			return err
		}
		return l.StorageVolResize(v, uint64(size), 0)
	})
}

// DeleteVolume deletes a volume and its bytes.
func (h *Host) DeleteVolume(ctx context.Context, path string) error {
	return do(ctx, h, func(l *rpc.Libvirt) error {
		v, err := l.StorageVolLookupByPath(path)
		if err != nil {
			return err
		}
		return l.StorageVolDelete(v, 0)
	})
}

// AttachDisk gives a domain a disk of a file.
func (h *Host) AttachDisk(ctx context.Context, id string, k hypervisor.Disk) error {
	x := libvirtxml.DomainDisk{
		Device: "disk", Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: k.Format, Discard: "unmap"},
		Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: k.Path}},
		Target: &libvirtxml.DomainDiskTarget{Dev: k.Target, Bus: k.Bus}, Serial: k.Serial,
	}
	doc, err := x.Marshal()
	if err != nil {
		return fmt.Errorf("%w: disk: %w", hypervisor.ErrInvalid, err)
	}
	return onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		impact, err := impact(l, d)
		if err != nil {
			return err
		}
		return l.DomainAttachDeviceFlags(d, doc, uint32(impact))
	})
}

// DetachDisk takes a disk away. A guest may keep a disk: libvirt then says that
// the device is still there, which is ErrBusy.
func (h *Host) DetachDisk(ctx context.Context, id, target string) error {
	return onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		doc, err := l.DomainGetXMLDesc(d, 0)
		if err != nil {
			return err
		}
		var x libvirtxml.Domain
		if err := x.Unmarshal(doc); err != nil {
			return err
		}
		i := slices.IndexFunc(x.Devices.Disks, func(k libvirtxml.DomainDisk) bool { return k.Target != nil && k.Target.Dev == target })
		if i < 0 {
			return fmt.Errorf("%w: disk %s", hypervisor.ErrNoVolume, target)
		}
		one, err := x.Devices.Disks[i].Marshal()
		if err != nil {
			return err
		}
		impact, err := impact(l, d)
		if err != nil {
			return err
		}
		err = l.DomainDetachDeviceFlags(d, one, uint32(impact))
		var e rpc.Error
		if errors.As(err, &e) && rpc.ErrorNumber(e.Code) == rpc.ErrDeviceMissing {
			return nil // gone already
		}
		return err
	})
}

// ResizeDisk grows the disk of a running domain, file and device.
func (h *Host) ResizeDisk(ctx context.Context, id, target string, size int64) error {
	return onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		return l.DomainBlockResize(d, target, uint64(size), rpc.DomainBlockResizeBytes)
	})
}
