package restore

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/beevik/etree"

	"holdfast"
)

// A VM is known outside of its host by names and addresses that no restore brings
// back: they have to be given to the new VM by somebody who may. Which they were
// is in the point, in Azure's own words: in the VM's networkInterfaceConfigurations
// (armcompute/v6, VirtualMachineNetworkInterfaceConfiguration) and in tags named
// hidden-link:RESOURCE ID, with which Azure's portal links resources.

// hiddenLink begins the name of such a tag.
const hiddenLink = "hidden-link:"

// linkKinds says of each type of resource what there is to do, by row of the matrix.
var linkKinds = []struct{ part, what, row string }{
	{"/loadbalancers/", "Add the VM to the load balancer", "NET-02"},
	{"/applicationgateways/", "Add the VM to the application gateway", "NET-02"},
	{"/publicipaddresses/", "Associate the public address", "NET-05"},
	{"/trafficmanagerprofiles/", "Add the VM's endpoint to the traffic manager profile", "NET-09"},
	{"/dnszones/", "Point the record at the VM's new address in the DNS zone", "NET-10"},
	{"/privatednszones/", "Point the record at the VM's new address in the private DNS zone", "NET-10"},
}

// links are the follow-up actions for what a VM was linked to.
func links(vm holdfast.VMFact) (steps []string) {
	add := func(id string) {
		for _, k := range linkKinds {
			if line := fmt.Sprintf("%s %s (%s).", k.what, id, k.row); strings.Contains(strings.ToLower(id), k.part) && !slices.Contains(steps, line) {
				steps = append(steps, line)
				return
			}
		}
	}
	for _, tag := range slices.Sorted(maps.Keys(vm.Tags)) {
		if id, ok := strings.CutPrefix(tag, hiddenLink); ok {
			add(id)
		}
	}
	for i, nic := range nicConfigs(vm.Kept) {
		eachString(nic, func(path []string, value string) {
			if slices.Contains(path, "publicIPAddressConfiguration") && path[len(path)-1] == "domainNameLabel" {
				steps = append(steps, fmt.Sprintf("Give the public address of NIC %d the DNS name %s again (NET-10).", i, value))
			}
			if path[len(path)-1] == "id" {
				add(value)
			}
		})
		if n := len(list(nic, "properties", "ipConfigurations")); n > 1 {
			steps = append(steps, fmt.Sprintf("NIC %d had %d addresses; give it the others again (NET-03).", i, n))
		}
		if servers := list(nic, "properties", "dnsSettings", "dnsServers"); len(servers) > 0 {
			steps = append(steps, fmt.Sprintf("NIC %d had its own DNS servers, %v: see that its network gives them (NET-11).", i, servers))
		}
	}
	return steps
}

// staticAddresses tells which addresses the NICs of a definition were given: a
// restored NIC is dynamic (matrix NET-07).
func staticAddresses(dom *etree.Element) (notes []string) {
	for i, ip := range dom.FindElements("devices/interface/ip") {
		notes = append(notes, fmt.Sprintf("A NIC had the static address %s; the restored one is dynamic (NET-07).", ip.SelectAttrValue("address", fmt.Sprint(i))))
	}
	return notes
}

// nicConfigs are the NICs as their ARM resource has them.
func nicConfigs(kept map[string]any) []any {
	return list(kept, "properties", "networkProfile", "networkInterfaceConfigurations")
}

// list is a list in a JSON object; nil when there is none.
func list(of any, path ...string) []any {
	for _, key := range path {
		m, _ := of.(map[string]any)
		of = m[key]
	}
	l, _ := of.([]any)
	return l
}

// eachString walks the strings of a JSON value in order.
func eachString(v any, see func(path []string, value string), path ...string) {
	switch v := v.(type) {
	case string:
		see(path, v)
	case []any:
		for _, e := range v {
			eachString(e, see, append(path, "[]")...)
		}
	case map[string]any:
		for _, key := range sortedKeys(v) {
			eachString(v[key], see, append(slices.Clone(path), key)...)
		}
	}
}
