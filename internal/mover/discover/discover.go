// Package discover answers what a site has: its host, pools, networks and VMs,
// and what a backup of a VM would meet.
//
// It promises live answers from libvirt and that asking changes nothing. It
// does not promise that the guest agents answered: what is not known is left
// empty.
package discover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast"
	"holdfast/internal/hypervisor"
	"holdfast/internal/mover"
	"holdfast/internal/snapshot"
)

// patience bounds one question to a site.
const patience = 30 * time.Second

// Mover asks sites.
type Mover struct {
	Hosts mover.Hosts
}

// Discover lists what the site has now.
func (m Mover) Discover(ctx context.Context, site holdfast.SiteRef) (holdfast.DiscoverResult, error) {
	var r holdfast.DiscoverResult
	err := m.ask(ctx, site, func(ctx context.Context, host hypervisor.Host) error {
		info, err := host.Info(ctx)
		if err != nil {
			return err
		}
		r.Host, r.Libvirt, r.QEMU = info.Host, info.Libvirt, info.QEMU
		pools, err := host.Pools(ctx)
		if err != nil {
			return err
		}
		for _, p := range pools {
			r.Pools = append(r.Pools, holdfast.PoolFact{Name: p.Name, Path: p.Path, Type: p.Type, Available: p.Available})
		}
		networks, err := host.Networks(ctx)
		if err != nil {
			return err
		}
		for _, n := range networks {
			r.Networks = append(r.Networks, n.Name)
		}
		domains, err := host.Domains(ctx)
		if err != nil {
			return err
		}
		for _, d := range domains {
			r.VMs = append(r.VMs, mover.Facts(ctx, host, d, false))
		}
		return nil
	})
	return r, err
}

// VM gives the facts of one VM by name, asking its guest agent too.
// holdfast.NotFound when the site has none of that name.
func (m Mover) VM(ctx context.Context, site holdfast.SiteRef, name string) (holdfast.VMFact, error) {
	var f holdfast.VMFact
	err := m.ask(ctx, site, func(ctx context.Context, host hypervisor.Host) error {
		d, err := named(ctx, host, site, name)
		if err != nil {
			return err
		}
		f = mover.Facts(ctx, host, d, true)
		return nil
	})
	return f, err
}

// Check looks at what a backup of one VM would meet. holdfast.NotFound when the
// site has none of that name.
func (m Mover) Check(ctx context.Context, site holdfast.SiteRef, name string) ([]holdfast.Finding, error) {
	var all []holdfast.Finding
	err := m.ask(ctx, site, func(ctx context.Context, host hypervisor.Host) error {
		d, err := named(ctx, host, site, name)
		if err != nil {
			return err
		}
		found, err := snapshot.Preflight(ctx, host, d.UUID, site.ScratchDir)
		for _, f := range found {
			all = append(all, holdfast.Finding{Severity: holdfast.Severity(f.Severity), Subject: f.Subject, Text: f.Text, Fix: f.Fix})
		}
		return err
	})
	return all, err
}

// Guest says what the guest agent of one VM tells of its system.
// holdfast.NotFound when the site has none of that name.
func (m Mover) Guest(ctx context.Context, site holdfast.SiteRef, name string) (f holdfast.GuestFact, err error) {
	err = m.ask(ctx, site, func(ctx context.Context, host hypervisor.Host) error {
		d, err := named(ctx, host, site, name)
		if err == nil {
			f = mover.GuestFacts(ctx, host, d)
		}
		return err
	})
	return f, err
}

// named finds a VM of the site, or says that there is none.
func named(ctx context.Context, host hypervisor.Host, site holdfast.SiteRef, name string) (hypervisor.Domain, error) {
	d, err := host.DomainNamed(ctx, name)
	if errors.Is(err, hypervisor.ErrNoDomain) {
		return d, holdfast.Errorf(holdfast.NotFound, name, "The site %s has no VM named %q.", site.Name, name).
			WithHint("List what there is: `holdfast vm list`.").WithCause(err)
	}
	return d, err
}

// ask opens the site's host for the length of one question.
func (m Mover) ask(ctx context.Context, site holdfast.SiteRef, question func(context.Context, hypervisor.Host) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	host, err := m.Hosts(ctx, site)
	if err != nil {
		return mover.Explain(err, fmt.Sprintf("site %s (%s)", site.Name, site.URI))
	}
	defer host.Close()
	return mover.Explain(question(ctx, host), fmt.Sprintf("site %s (%s)", site.Name, site.URI))
}
