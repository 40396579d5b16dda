package libvirt

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	rpc "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
	"libvirt.org/go/libvirtxml"

	"holdfast/internal/hypervisor"
)

// Pools lists the active storage pools that have a path, by name.
func (h *Host) Pools(ctx context.Context) ([]hypervisor.Pool, error) {
	return call(ctx, h, pools)
}

func pools(l *rpc.Libvirt) ([]hypervisor.Pool, error) {
	found, _, err := l.ConnectListAllStoragePools(1, rpc.ConnectListStoragePoolsActive)
	if err != nil {
		return nil, err
	}
	var all []hypervisor.Pool
	for _, p := range found {
		f, err := poolFacts(l, p)
		if err != nil {
			continue // it went away, or was stopped, meanwhile
		}
		if f.Path != "" {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b hypervisor.Pool) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func poolFacts(l *rpc.Libvirt, p rpc.StoragePool) (hypervisor.Pool, error) {
	doc, err := l.StoragePoolGetXMLDesc(p, 0)
	if err != nil {
		return hypervisor.Pool{}, err
	}
	var x libvirtxml.StoragePool
	if err := x.Unmarshal(doc); err != nil {
		return hypervisor.Pool{}, err
	}
	_, capacity, _, available, err := l.StoragePoolGetInfo(p)
	if err != nil {
		return hypervisor.Pool{}, err
	}
	f := hypervisor.Pool{Name: p.Name, UUID: uuid.UUID(p.UUID).String(), Type: x.Type,
		Capacity: int64(capacity), Available: int64(available)}
	if x.Target != nil {
		f.Path = x.Target.Path
	}
	return f, nil
}

// activePool finds a pool that can take volumes.
func activePool(l *rpc.Libvirt, name string) (rpc.StoragePool, error) {
	p, err := l.StoragePoolLookupByName(name)
	if err != nil {
		return p, err
	}
	state, _, _, _, err := l.StoragePoolGetInfo(p)
	if err != nil {
		return p, err
	}
	if rpc.StoragePoolState(state) != rpc.StoragePoolRunning {
		return p, fmt.Errorf("%w: %q is not active", hypervisor.ErrNoPool, name)
	}
	return p, nil
}

// Pool gives one active pool.
func (h *Host) Pool(ctx context.Context, name string) (hypervisor.Pool, error) {
	return call(ctx, h, func(l *rpc.Libvirt) (hypervisor.Pool, error) {
		p, err := activePool(l, name)
		if err != nil {
			return hypervisor.Pool{}, err
		}
		return poolFacts(l, p)
	})
}

// RefreshPool makes the pool see files that were made beside it.
func (h *Host) RefreshPool(ctx context.Context, name string) error {
	return do(ctx, h, func(l *rpc.Libvirt) error {
		p, err := activePool(l, name)
		if err != nil {
			return err
		}
		return l.StoragePoolRefresh(p, 0)
	})
}

// Networks lists all networks, active or not, by name.
func (h *Host) Networks(ctx context.Context) ([]hypervisor.Network, error) {
	return call(ctx, h, func(l *rpc.Libvirt) ([]hypervisor.Network, error) {
		found, _, err := l.ConnectListAllNetworks(1, 0)
		if err != nil {
			return nil, err
		}
		var all []hypervisor.Network
		for _, n := range found {
			doc, err := l.NetworkGetXMLDesc(n, 0)
			if err != nil {
				continue // it went away meanwhile
			}
			var x libvirtxml.Network
			if err := x.Unmarshal(doc); err != nil {
				return nil, err
			}
			active, err := l.NetworkIsActive(n)
			if err != nil {
				continue
			}
			f := hypervisor.Network{Name: n.Name, UUID: uuid.UUID(n.UUID).String(), Active: active == 1}
			if x.Bridge != nil {
				f.Bridge = x.Bridge.Name
			}
			if x.Forward != nil {
				f.Forward = x.Forward.Mode
			}
			all = append(all, f)
		}
		slices.SortFunc(all, func(a, b hypervisor.Network) int { return cmp.Compare(a.Name, b.Name) })
		return all, nil
	})
}
