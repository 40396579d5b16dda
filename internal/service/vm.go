package service

import (
	"context"
	"slices"
	"strings"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/resource"
)

// VM is a machine of a site, as it is now.
type VM struct {
	ID       string // ARM id
	Location string // the site
	Group    string
	holdfast.VMFact
	site Site
}

// Site is where the machine is.
func (vm VM) Site() Site { return vm.site }

// keptProperty is a member of the VM's properties that libvirt has no word for.
func (vm VM) keptProperty(name string) any {
	properties, _ := vm.Kept["properties"].(map[string]any)
	return properties[name]
}

// NIC is a network interface of a machine.
type NIC struct {
	ID        string // ARM id
	Name      string // the machine's name and the MAC's digits
	Location  string
	VM        string // ARM id of the machine
	NetworkID string // ARM id of its network
	Primary   bool   // the first of its machine
	holdfast.NICFact
}

// NICs lists the network interfaces of a subscription's machines, or of those
// of one group.
func (s *Service) NICs(ctx context.Context, sub, group string) ([]NIC, error) {
	vms, err := s.VMs(ctx, sub, group)
	var all []NIC
	for _, vm := range vms {
		all = append(all, vm.Interfaces()...)
	}
	return all, err
}

// Interfaces lists the machine's network interfaces.
func (vm VM) Interfaces() []NIC {
	var all []NIC
	for i, f := range vm.NICs {
		name, sub := vm.Name+"-"+strings.ReplaceAll(f.MAC, ":", ""), vm.site.Subscription
		all = append(all, NIC{ID: resource.InGroup(sub, vm.Group, resource.TypeNIC, name), Name: name, Location: vm.Location, VM: vm.ID,
			NetworkID: resource.InGroup(sub, vm.Group, resource.TypeNetwork, f.Network), Primary: i == 0, NICFact: f})
	}
	return all
}

// NIC returns one network interface by its group and name.
func (s *Service) NIC(ctx context.Context, sub, group, name string) (NIC, error) {
	all, err := s.NICs(ctx, sub, group)
	if err != nil {
		return NIC{}, err
	}
	i := slices.IndexFunc(all, func(n NIC) bool { return resource.SameName(n.Name, name) })
	if i < 0 {
		return NIC{}, holdfast.Errorf(holdfast.NotFound, name, "The network interface %q was not found.", name)
	}
	return all[i], nil
}

// Part is a pool or a network of a site: something that is only named.
type Part struct {
	ID       string // ARM id
	Name     string
	Location string
	Pool     holdfast.PoolFact // of a pool
}

// VMs lists the machines of a subscription's sites, or of one resource group
// when group is not "". A site that does not answer is an error: a list that
// silently lacks machines would be taken for the truth.
func (s *Service) VMs(ctx context.Context, sub, group string) ([]VM, error) {
	var all []VM
	err := s.eachSite(ctx, sub, group, func(site Site, have holdfast.DiscoverResult) {
		for _, f := range have.VMs {
			all = append(all, vmOf(site, f))
		}
	})
	return all, err
}

// VM returns one machine by its group and name.
func (s *Service) VM(ctx context.Context, sub, group, name string) (VM, error) {
	return onSite(ctx, s, sub, group, name, func(site Site) (VM, error) {
		f, err := s.Inventory.VM(ctx, site.Ref(), name)
		return vmOf(site, f), err
	})
}

// onSite asks the sites of a group until one has the machine of that name.
func onSite[T any](ctx context.Context, s *Service, sub, group, name string, ask func(Site) (T, error)) (T, error) {
	var none T
	sites, err := s.sitesOf(ctx, sub, group)
	if err != nil {
		return none, err
	}
	for _, site := range sites {
		v, err := ask(site)
		if err == nil {
			return v, nil
		}
		if holdfast.KindOf(err) != holdfast.NotFound {
			return none, err
		}
	}
	id := resource.InGroup(sub, group, resource.TypeVM, name)
	return none, holdfast.Errorf(holdfast.NotFound, id, "The virtual machine %q was not found in the resource group %q.", name, group)
}

// vmOf is the machine that a site tells of.
func vmOf(site Site, f holdfast.VMFact) VM {
	return VM{ID: resource.InGroup(site.Subscription, site.Group, resource.TypeVM, f.Name), Location: site.Name, Group: site.Group, VMFact: f, site: site}
}

// Pools lists the storage pools of a subscription's sites: the staging places
// of restores.
func (s *Service) Pools(ctx context.Context, sub, group string) ([]Part, error) {
	var all []Part
	err := s.eachSite(ctx, sub, group, func(site Site, have holdfast.DiscoverResult) {
		for _, p := range have.Pools {
			all = append(all, Part{ID: resource.InGroup(sub, site.Group, resource.TypePool, p.Name), Name: p.Name, Location: site.Name, Pool: p})
		}
	})
	return all, err
}

// Networks lists the libvirt networks of a subscription's sites.
func (s *Service) Networks(ctx context.Context, sub, group string) ([]Part, error) {
	var all []Part
	err := s.eachSite(ctx, sub, group, func(site Site, have holdfast.DiscoverResult) {
		for _, n := range have.Networks {
			all = append(all, Part{ID: resource.InGroup(sub, site.Group, resource.TypeNetwork, n), Name: n, Location: site.Name})
		}
	})
	return all, err
}

// Pick returns the part of a name, or holdfast.NotFound.
func Pick(parts []Part, what, name string) (Part, error) {
	i := slices.IndexFunc(parts, func(p Part) bool { return strings.EqualFold(p.Name, name) })
	if i < 0 {
		return Part{}, holdfast.Errorf(holdfast.NotFound, name, "The %s %q was not found.", what, name)
	}
	return parts[i], nil
}

// sitesOf are the sites whose machines appear in a group; all for "".
func (s *Service) sitesOf(ctx context.Context, sub, group string) ([]Site, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]Site, error) {
		if group != "" {
			if _, err := resource.FindGroup(tx, sub, group); err != nil {
				return nil, err
			}
		}
		sites, err := sitesIn(tx, sub)
		return slices.DeleteFunc(sites, func(site Site) bool { return group != "" && !resource.SameName(site.Group, group) }), err
	})
}

func (s *Service) eachSite(ctx context.Context, sub, group string, f func(Site, holdfast.DiscoverResult)) error {
	sites, err := s.sitesOf(ctx, sub, group)
	if err != nil {
		return err
	}
	for _, site := range sites {
		have, err := s.Inventory.Discover(ctx, site.Ref())
		if err != nil {
			return err
		}
		f(site, have)
	}
	return nil
}
