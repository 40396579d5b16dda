package server

import (
	"slices"
	"strings"

	"holdfast"
	"holdfast/internal/api/compute"
	"holdfast/internal/api/resources"
	"holdfast/internal/resource"
)

// Providers and the generic listing of resources, which generic commands ask
// (az resource, Terraform).
var providerRoutes = []route{
	get(subPath+"/providers", "Microsoft.Resources/subscriptions/providers/read", (*Server).providers),
	get(subPath+"/providers/{ns}", "Microsoft.Resources/subscriptions/providers/read", (*Server).provider),
	post(subPath+"/providers/{ns}/register", "Microsoft.Resources/subscriptions/providers/register/action", (*Server).provider),
	get(subPath+"/resources", "Microsoft.Resources/subscriptions/resources/read", (*Server).allResources),
	get(groupPath+"/resources", "Microsoft.Resources/subscriptions/resourceGroups/resources/read", (*Server).allResources),
}

// versions are those that the clients were seen to ask for (arm-contract, 4).
var versions = []string{"2026-11-01", "2025-02-01", "2024-11-01", "2024-04-01", "2023-04-01", "2022-10-01", "2022-09-01-preview", "2022-08-01", "2021-04-01"}

// namespaces derives the providers and their resource types from what is offered.
func (s *Server) namespaces() map[string][]string {
	found := map[string][]string{"Microsoft.Resources": {"subscriptions", "resourceGroups"}}
	for _, route := range s.routes {
		segs := strings.Split(route.pattern, "/")
		at := len(segs) - 1 // the last provider: that of an extension resource
		for at >= 0 && segs[at] != "providers" {
			at--
		}
		if at < 0 || at+2 >= len(segs) || strings.HasPrefix(segs[at+1], "{") {
			continue
		}
		var types []string
		for i := at + 2; i < len(segs); i += 2 {
			types = append(types, segs[i])
		}
		ns, t := segs[at+1], strings.Join(types, "/")
		if !slices.Contains(found[ns], t) {
			found[ns] = append(found[ns], t)
		}
	}
	return found
}

func wireProvider(sub, ns string, types []string) map[string]any {
	list := []map[string]any{}
	for _, t := range types {
		list = append(list, map[string]any{"resourceType": t, "locations": []string{}, "apiVersions": versions, "capabilities": "None"})
	}
	return map[string]any{"id": "/subscriptions/" + sub + "/providers/" + ns, "namespace": ns, "registrationState": "Registered", "registrationPolicy": "RegistrationFree", "resourceTypes": list}
}

func (s *Server) providers(r *request) (answer, error) {
	out := []map[string]any{}
	for ns, types := range s.namespaces() {
		out = append(out, wireProvider(r.sub(), ns, types))
	}
	slices.SortFunc(out, func(a, b map[string]any) int {
		return strings.Compare(a["namespace"].(string), b["namespace"].(string))
	})
	return listed(out)
}

func (s *Server) provider(r *request) (answer, error) {
	for ns, types := range s.namespaces() {
		if strings.EqualFold(ns, r.captures["ns"]) {
			return ok(wireProvider(r.sub(), ns, types))
		}
	}
	return answer{}, holdfast.Errorf(holdfast.NotFound, r.captures["ns"], "The resource provider %q was not found.", r.captures["ns"])
}

// allResources lists what has a place in a resource group, of one or of all. A
// site that does not answer shows no machines here; its own listing says why.
func (s *Server) allResources(r *request) (answer, error) {
	f, err := r.filter("resourceType", "resourceGroup", "name", "tagName", "tagValue")
	if err != nil {
		return answer{}, err
	}
	group := r.group()
	if group == "" {
		group = f.Get("resourceGroup")
	}
	var all []resources.Resource
	add := func(one resources.Resource) {
		if f.Matches("resourceType", one.Type) && f.Matches("name", one.Name) && tagged(f, one.Tags) {
			one.Properties, one.ETag = nil, ""
			all = append(all, one)
		}
	}
	vaults, err := s.Service.Vaults(r.Context(), r.sub(), group)
	if err != nil {
		return answer{}, err
	}
	for _, v := range vaults {
		add(resources.Vault(v))
	}
	collections, err := s.Service.Collections(r.Context(), r.sub(), group)
	if err != nil {
		return answer{}, err
	}
	for _, c := range collections {
		add(compute.Collection(c, nil))
	}
	sets, err := s.Service.EncryptionSets(r.Context(), r.sub(), group)
	if err != nil {
		return answer{}, err
	}
	for _, e := range sets {
		add(compute.EncryptionSet(e))
	}
	vms, err := s.Service.VMs(r.Context(), r.sub(), group)
	if err != nil && holdfast.KindOf(err) != holdfast.Unreachable {
		return answer{}, err
	}
	for _, vm := range vms {
		add(resources.Resource{ID: vm.ID, Name: vm.Name, Type: resource.TypeVM, Location: resource.Location(vm.Location), Tags: vm.Tags})
	}
	pools, _ := s.Service.Pools(r.Context(), r.sub(), group) // as with the VMs
	for _, p := range pools {
		add(compute.Account(p))
	}
	networks, _ := s.Service.Networks(r.Context(), r.sub(), group)
	for _, n := range networks {
		add(compute.Network(n))
	}
	disks, _ := s.Service.Disks(r.Context(), r.sub(), group)
	for _, d := range disks {
		add(compute.Disk(d))
	}
	for _, vm := range vms {
		for _, n := range vm.Interfaces() {
			add(compute.NIC(n))
		}
	}
	return listed(all)
}
