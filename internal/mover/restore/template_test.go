package restore

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/beevik/etree"

	"holdfast"
	"holdfast/internal/matrix"
	"holdfast/internal/mover"
	"holdfast/internal/template"
)

const keptOfAll = `{"zones":["2"],"plan":{"name":"p","publisher":"[concat('x')]","product":"q"},"identity":{"type":"SystemAssigned"},
	"disks":{"vdb":{"caching":"ReadOnly"}},
	"properties":{"priority":"Spot","evictionPolicy":"Delete","licenseType":"RHEL_BYOS","availabilitySet":{"id":"/sets/s"},"host":{"id":"/hosts/h"},
	"networkProfile":{"networkInterfaceConfigurations":[{"name":"first","properties":{"dnsSettings":{"dnsServers":["10.0.0.53"]},"ipConfigurations":[
		{"name":"a","properties":{"loadBalancerBackendAddressPools":[{"id":"/x/providers/Microsoft.Network/loadBalancers/front/backendAddressPools/b"}],
			"publicIPAddressConfiguration":{"name":"pip","properties":{"dnsSettings":{"domainNameLabel":"shop"}}}}},
		{"name":"b","properties":{"publicIPAddressConfiguration":{"name":"pip2"}}}]}}]}}}`

// linked is a VM with all that a template can carry.
func linked(t *testing.T) mover.Manifest {
	t.Helper()
	m := mover.Manifest{VM: holdfast.VMFact{VCPUs: 2, MemoryBytes: 3 << 30, OSType: "Windows",
		NICs: []holdfast.NICFact{{MAC: "m1", Network: "default"}, {MAC: "m2", Kind: "bridge"}},
		Tags: map[string]string{"a": "[resourceGroup().id]",
			"hidden-link:/x/providers/Microsoft.Network/trafficManagerProfiles/world": "Resource",
			"hidden-link:/x/providers/Microsoft.Network/dnszones/example.org":         "Resource",
			"hidden-link:/x/providers/Microsoft.Network/publicIPAddresses/extra":      "Resource"}}}
	if err := json.Unmarshal([]byte(keptOfAll), &m.VM.Kept); err != nil {
		t.Fatal(err)
	}
	return m
}

// expanded is the one resource of a generated template with these parameters.
func expanded(t *testing.T, text json.RawMessage, parameters string) (template.Resource, map[string]any) {
	t.Helper()
	var given map[string]json.RawMessage
	if err := json.Unmarshal([]byte(parameters), &given); err != nil {
		t.Fatal(err)
	}
	plan, err := template.Expand(text, given, template.Env{Subscription: "s", Group: "lab", Deployment: "d", Location: "home"})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var body map[string]any
	if err := json.Unmarshal(plan.Resources[0].Body, &body); err != nil || len(plan.Resources) != 1 {
		t.Fatal(err, len(plan.Resources))
	}
	return plan.Resources[0], body
}

// at is a member of a JSON value, as JSON.
func at(t *testing.T, body map[string]any, path string) string {
	t.Helper()
	var v any = body
	for key := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			v = x[int(key[0]-'0')]
		default:
			v = nil
		}
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestTemplate expands a generated template as it is and with every parameter
// otherwise: what the VM was comes with it, and nothing that was kept is taken for
// an expression.
func TestTemplate(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RST-02", "CMP-02", "CMP-04", "CMP-12", "CMP-13", "MGT-05", "NET-02", "NET-04")
	m := linked(t)
	disks := []holdfast.DiskResult{{LUN: -1, Target: "vda", Path: "/pool/w-vda.qcow2"}, {LUN: 3, Target: "vdb", Path: "/fast/w-vdb.qcow2"}}
	text, err := templateOf(m, "home", "/the/point", disks, map[string]string{"/pool/w-vda.qcow2": "default", "/fast/w-vdb.qcow2": "fast"})
	if err != nil {
		t.Fatal(err)
	}
	const nics, disk = "properties.networkProfile.networkInterfaceConfigurations", "/subscriptions/s/resourceGroups/lab/providers/Microsoft.Compute/disks/"
	const network = "/subscriptions/s/resourceGroups/lab/providers/Microsoft.Network/virtualNetworks/"
	r, body := expanded(t, text, `{"virtualMachineName":{"value":"new"}}`)
	if r.ID != "/subscriptions/s/resourceGroups/lab/providers/Microsoft.Compute/virtualMachines/new" {
		t.Errorf("it makes %s", r.ID)
	}
	for path, want := range map[string]string{
		"location": `"home"`, "tags.a": `"[resourceGroup().id]"`, "plan.publisher": `"[concat('x')]"`, "identity.type": `"SystemAssigned"`, "zones": `["2"]`,
		"properties.hardwareProfile.vmSize": `"2 vCPU, 3072 MiB"`, "properties.licenseType": `"RHEL_BYOS"`, "properties.priority": `null`, "properties.evictionPolicy": `null`,
		"properties.availabilitySet.id": `"/sets/s"`, "properties.host.id": `"/hosts/h"`,
		"properties.storageProfile.osDisk.osType": `"Windows"`, "properties.storageProfile.osDisk.createOption": `"Attach"`,
		"properties.storageProfile.osDisk.managedDisk.id":      `"` + disk + `w-vda.qcow2"`,
		"properties.storageProfile.dataDisks.0.managedDisk.id": `"` + disk + `fast~w-vdb.qcow2"`,
		"properties.storageProfile.dataDisks.0.lun":            `3`, "properties.storageProfile.dataDisks.0.caching": `"ReadOnly"`,
		nics + ".0.properties.ipConfigurations.0.properties.subnet.id":                                                           `"` + network + `default/subnets/default"`,
		nics + ".0.properties.ipConfigurations.0.properties.publicIPAddressConfiguration.properties.dnsSettings.domainNameLabel": `"shop"`,
		nics + ".0.properties.dnsSettings.dnsServers":                                                                            `["10.0.0.53"]`,
		nics + ".0.properties.ipConfigurations.1.name":                                                                           `"b"`,
		nics + ".1.properties.ipConfigurations.0.properties.subnet":                                                              `null`,
		"properties.holdfast.recoveryPointId":                                                                                    `"/the/point"`, "properties.holdfast.start": `true`,
	} {
		if got := at(t, body, path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	_, body = expanded(t, text, `{"virtualMachineName":{"value":"n"},"virtualMachineSize":{"value":"4 vCPU, 8 GiB"},"virtualNetworks":{"value":["a","b"]},"availabilitySetId":{"value":""},
		"hostId":{"value":"/hosts/other"},"zone":{"value":""},"storageAccountType":{"value":"Premium_LRS"},"osDisk":{"value":"mine"},"start":{"value":false}}`)
	for path, want := range map[string]string{
		"zones": `null`, "properties.availabilitySet": `null`, "properties.host.id": `"/hosts/other"`, "properties.hardwareProfile.vmSize": `"4 vCPU, 8 GiB"`,
		"properties.storageProfile.osDisk.managedDisk.id": `"` + disk + `mine"`, "properties.storageProfile.dataDisks.0.managedDisk.storageAccountType": `"Premium_LRS"`,
		nics + ".1.properties.ipConfigurations.0.properties.subnet.id": `"` + network + `b/subnets/default"`, "properties.holdfast.start": `false`,
	} {
		if got := at(t, body, path); got != want {
			t.Errorf("with parameters %s is %s, want %s", path, got, want)
		}
	}
}

// TestLinks: what the VM was linked to is a list of things to do, each by its row.
func TestLinks(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "NET-02", "NET-03", "NET-05", "NET-09", "NET-10", "NET-11")
	all := strings.Join(links(linked(t).VM), "\n")
	for _, want := range []string{"loadBalancers/front/backendAddressPools/b (NET-02)", "2 addresses; give it the others again (NET-03)", "publicIPAddresses/extra (NET-05)",
		"trafficManagerProfiles/world (NET-09)", "dnszones/example.org (NET-10)", "DNS name shop again (NET-10)", "[10.0.0.53]: see that its network gives them (NET-11)"} {
		if strings.Count(all, want) != 1 {
			t.Errorf("%q is not told once:\n%s", want, all)
		}
	}
	if got := links(holdfast.VMFact{}); got != nil {
		t.Errorf("a VM of no links: %q", got)
	}
}

func nic(mac, network, more string) string {
	return `<interface type="network"><mac address="` + mac + `"/><source network="` + network + `"/>` + more + `</interface>`
}

// TestNICs: as many as when the VM was protected, in that order, dynamic, with
// fresh MAC addresses, each on its network or all on the chosen one.
func TestNICs(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "NET-01", "NET-04", "NET-07", "NET-08", "MGT-10")
	xml := strings.Replace(domainXML(), "</devices>", nic("b", "two", `<ip address="192.0.2.7" prefix="24"/>`)+nic("z", "late", "")+"</devices>", 1)
	xml = strings.Replace(xml, "52:54:00:00:00:01", "a", 1)
	protected := []holdfast.NICFact{{MAC: "A", Network: "default"}, {MAC: "gone", Network: "lost", Model: "e1000"}, {MAC: "b", Network: "two"}}
	for _, c := range []struct {
		n    newDomain
		want []string
		told string
	}{
		{newDomain{Name: "n"}, []string{"default", "two", "late"}, "192.0.2.7"},
		{newDomain{Name: "n", NICs: protected}, []string{"default", "lost", "two"}, "came after the VM was protected"},
		{newDomain{Name: "n", NICs: protected, Network: "lab"}, []string{"lab", "lab", "lab"}, "192.0.2.7"},
		{newDomain{Name: "n", Networks: []string{"", "x"}}, []string{"default", "x"}, "192.0.2.7"},
		{newDomain{Name: "n", Networks: []string{"x", "", "", "y"}}, []string{"x", "two", "late", "y"}, "192.0.2.7"},
	} {
		out, notes, err := rewriteDomain(xml, c.n)
		if err != nil {
			t.Fatal(err)
		}
		doc := etree.NewDocument()
		if err := doc.ReadFromString(out); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range doc.FindElements("/domain/devices/interface") {
			got = append(got, e.SelectElement("source").SelectAttrValue("network", ""))
			if e.SelectElement("mac") != nil || e.SelectElement("ip") != nil {
				t.Errorf("a NIC keeps its address: %s", out)
			}
		}
		if !slices.Equal(got, c.want) || !strings.Contains(strings.Join(notes, " "), c.told) {
			t.Errorf("%+v: networks %v, want %v; told %q", c.n, got, c.want, notes)
		}
	}
}

// TestOwnMembers: a VM of attached disks has the size, tags and members that were
// asked for, and not the point's.
func TestOwnMembers(t *testing.T) {
	t.Parallel()
	xml := strings.Replace(domainXML(diskXML("/old", "raw", "vda", "")), "<genid>", `<metadata><holdfast:tags xmlns:holdfast="`+mover.TagsSpace+`"><tag name="old">1</tag></holdfast:tags></metadata>`+
		`<memory unit="GiB">1</memory><currentMemory unit="GiB">1</currentMemory><vcpu current="1">2</vcpu><cpu><topology sockets="1" cores="2" threads="1"/></cpu><genid>`, 1)
	out, _, err := rewriteDomain(xml, newDomain{Name: "n", Own: true, Tags: map[string]string{"new": "<2>"}, Kept: map[string]any{"zones": []any{"1"}}, VCPUs: 4, Memory: 2 << 30,
		Disks: map[string]string{"vda": "/new"}, Formats: map[string]string{"vda": "raw"}, LUNs: map[string]int{"vdb": 7},
		Extra: []holdfast.DiskFact{{LUN: 7, Target: "vdb", Bus: "virtio", Path: "/extra", Format: "qcow2"}}})
	if err != nil {
		t.Fatal(err)
	}
	_, inner, _ := strings.Cut(out, "<metadata>")
	inner, _, _ = strings.Cut(inner, "</metadata>")
	if tags := mover.Tags(inner); len(tags) != 1 || tags["new"] != "<2>" {
		t.Errorf("tags %v in\n%s", tags, out)
	}
	if kept := mover.Kept(inner); len(kept) != 1 || kept["zones"] == nil {
		t.Errorf("kept %v in\n%s", kept, out)
	}
	for _, want := range []string{"<vcpu>4</vcpu>", `<memory unit="KiB">2097152</memory>`, `file="/extra"`, `target="vdb" lun="7"`} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is not in\n%s", want, out)
		}
	}
	for _, gone := range []string{"topology", "currentMemory", "current=", "/old"} {
		if strings.Contains(out, gone) {
			t.Errorf("%s is still in\n%s", gone, out)
		}
	}
}
