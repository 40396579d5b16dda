package libvirt

import (
	"context"

	rpc "github.com/digitalocean/go-libvirt"
)

// Pull begins a block pull (virDomainBlockPull).
func (h *Host) Pull(ctx context.Context, id, target string, rate int64) error {
	return onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		return l.DomainBlockPull(d, target, uint64(rate), rpc.DomainBlockPullBandwidthBytes)
	})
}

// Pulling says how far it is.
func (h *Host) Pulling(ctx context.Context, id, target string) (done, total int64, running bool, err error) {
	err = onDomain(ctx, h, id, func(l *rpc.Libvirt, d rpc.Domain) error {
		found, kind, _, cur, end, err := l.DomainGetBlockJobInfo(d, target, 0)
		done, total = int64(cur), int64(end)
		running = found == 1 && rpc.DomainBlockJobType(kind) == rpc.DomainBlockJobTypePull
		return err
	})
	return done, total, running, err
}
