package server

import (
	"context"
	"strings"

	"holdfast/internal/api/compute"
	"holdfast/internal/api/resources"
	"holdfast/internal/service"
)

// What the sites have: machines, pools as storage accounts, networks. The
// listings of a subscription and of a group are one handler each.
var computeRoutes = []route{
	get(subPath+"/providers/Microsoft.Compute/virtualMachines", "Microsoft.Compute/virtualMachines/read", (*Server).vms),
	get(groupPath+"/providers/Microsoft.Compute/virtualMachines", "Microsoft.Compute/virtualMachines/read", (*Server).vms),
	get(groupPath+"/providers/Microsoft.Compute/virtualMachines/{name}", "Microsoft.Compute/virtualMachines/read", (*Server).vm),
	get(groupPath+"/providers/Microsoft.Compute/virtualMachines/{name}/instanceView", "Microsoft.Compute/virtualMachines/instanceView/read", (*Server).instanceView),

	get(groupPath+"/providers/Microsoft.Compute/virtualMachines/{name}/providers/Holdfast.Site/preflights/current", "Holdfast.Site/preflights/read", (*Server).preflight),

	get(subPath+"/providers/Microsoft.Storage/storageAccounts", "Microsoft.Storage/storageAccounts/read", (*Server).pools),
	get(groupPath+"/providers/Microsoft.Storage/storageAccounts", "Microsoft.Storage/storageAccounts/read", (*Server).pools),
	get(groupPath+"/providers/Microsoft.Storage/storageAccounts/{name}", "Microsoft.Storage/storageAccounts/read", (*Server).pool),

	get(subPath+"/providers/Microsoft.Network/virtualNetworks", "Microsoft.Network/virtualNetworks/read", (*Server).networks),
	get(groupPath+"/providers/Microsoft.Network/virtualNetworks", "Microsoft.Network/virtualNetworks/read", (*Server).networks),
	get(groupPath+"/providers/Microsoft.Network/virtualNetworks/{name}", "Microsoft.Network/virtualNetworks/read", (*Server).network),
	get(groupPath+"/providers/Microsoft.Network/virtualNetworks/{name}/subnets", "Microsoft.Network/virtualNetworks/subnets/read", (*Server).subnets),
	get(groupPath+"/providers/Microsoft.Network/virtualNetworks/{name}/subnets/default", "Microsoft.Network/virtualNetworks/subnets/read", (*Server).subnet),

	get(subPath+"/providers/Microsoft.Network/networkInterfaces", "Microsoft.Network/networkInterfaces/read", (*Server).nics),
	get(groupPath+"/providers/Microsoft.Network/networkInterfaces", "Microsoft.Network/networkInterfaces/read", (*Server).nics),
	get(groupPath+"/providers/Microsoft.Network/networkInterfaces/{name}", "Microsoft.Network/networkInterfaces/read", (*Server).nic),
}

func (s *Server) vms(r *request) (answer, error) {
	all, err := s.Service.VMs(r.Context(), r.sub(), r.group())
	view := strings.EqualFold(r.URL.Query().Get("$expand"), "instanceView") || strings.EqualFold(r.URL.Query().Get("statusOnly"), "true")
	return listOf(all, err, func(vm service.VM) map[string]any { return compute.Machine(vm, view) })
}

func (s *Server) vm(r *request) (answer, error) {
	vm, err := s.Service.VM(r.Context(), r.sub(), r.group(), r.name())
	if err != nil {
		return answer{}, err
	}
	return ok(compute.Machine(vm, strings.EqualFold(r.URL.Query().Get("$expand"), "instanceView")))
}

func (s *Server) instanceView(r *request) (answer, error) {
	vm, err := s.Service.VM(r.Context(), r.sub(), r.group(), r.name())
	if err != nil {
		return answer{}, err
	}
	return ok(compute.InstanceView(vm))
}

func (s *Server) preflight(r *request) (answer, error) {
	c, err := s.Service.CheckVM(r.Context(), r.sub(), r.group(), r.name())
	if err != nil {
		return answer{}, err
	}
	return ok(compute.Check(c))
}

func (s *Server) pools(r *request) (answer, error) {
	all, err := s.Service.Pools(r.Context(), r.sub(), r.group())
	return listOf(all, err, compute.Account)
}

func (s *Server) networks(r *request) (answer, error) {
	all, err := s.Service.Networks(r.Context(), r.sub(), r.group())
	return listOf(all, err, compute.Network)
}

func (s *Server) pool(r *request) (answer, error) {
	return part(r, "storage account", s.Service.Pools, compute.Account)
}

func (s *Server) network(r *request) (answer, error) {
	return part(r, "virtual network", s.Service.Networks, compute.Network)
}

func (s *Server) subnets(r *request) (answer, error) {
	a, err := part(r, "virtual network", s.Service.Networks, compute.Subnet)
	if err != nil {
		return a, err
	}
	return listed([]any{a.body})
}

func (s *Server) subnet(r *request) (answer, error) {
	return part(r, "virtual network", s.Service.Networks, compute.Subnet)
}

func (s *Server) nics(r *request) (answer, error) {
	all, err := s.Service.NICs(r.Context(), r.sub(), r.group())
	return listOf(all, err, compute.NIC)
}

func (s *Server) nic(r *request) (answer, error) {
	n, err := s.Service.NIC(r.Context(), r.sub(), r.group(), r.name())
	if err != nil {
		return answer{}, err
	}
	return ok(compute.NIC(n))
}

// part answers with the one of a group's parts that the path names.
func part(r *request, what string, all func(context.Context, string, string) ([]service.Part, error), wire func(service.Part) resources.Resource) (answer, error) {
	parts, err := all(r.Context(), r.sub(), r.group())
	if err != nil {
		return answer{}, err
	}
	p, err := service.Pick(parts, what, r.name())
	if err != nil {
		return answer{}, err
	}
	return ok(wire(p))
}
