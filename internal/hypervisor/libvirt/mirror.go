package libvirt

import (
	"context"

	rpc "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"holdfast/internal/hypervisor"
)

// Mirror begins a shallow block copy into an image that is there: libvirt's
// VIR_DOMAIN_BLOCK_COPY_REUSE_EXT lets it either have the chain of the original or
// be filled beforehand (virDomainBlockCopy). An empty backingStore says that it has
// no chain.
func (h *Host) Mirror(ctx context.Context, id, target, path, format string) error {
	dest, err := (&libvirtxml.DomainDisk{
		Driver:       &libvirtxml.DomainDiskDriver{Type: format},
		Source:       &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: path}},
		BackingStore: &libvirtxml.DomainDiskBackingStore{},
	}).Marshal()
	if err != nil {
		return err
	}
	return onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		return l.DomainBlockCopy(d, target, dest, nil, rpc.DomainBlockCopyShallow|rpc.DomainBlockCopyReuseExt|rpc.DomainBlockCopyTransientJob)
	})
}

// Pivot ends it (virDomainBlockJobAbort), and waits until it has ended.
func (h *Host) Pivot(ctx context.Context, id, target string) error {
	return onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		return l.DomainBlockJobAbort(d, target, rpc.DomainBlockJobAbortPivot)
	})
}

// mirrorFacts tells of the copying of a disk that goes on, of the running domain's
// XML.
func mirrorFacts(m *libvirtxml.DomainDiskMirror) *hypervisor.Mirror {
	if m == nil {
		return nil
	}
	_, path, _ := source(m.Source)
	return &hypervisor.Mirror{Path: path, Ready: m.Ready == "yes"}
}
