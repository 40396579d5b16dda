package restore

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast"
	"holdfast/internal/mover"
)

// object is a JSON object.
type object = map[string]any

// vmAPI is the api-version of the VM in a generated template.
const vmAPI = "2024-07-01"

// templateOf is the ARM deployment template that makes a VM of restored disks
// (matrix RST-02). What its owner may want otherwise is a parameter: name, size,
// networks, availability set, host, zone, the disks and their class. The rest is
// the VM's as the point kept it; strings that the template language would take
// for expressions are escaped. point is the ARM id of the point, of which the
// firmware and the devices come.
//
// The form is Azure's: schema 2019-04-01 of deployment templates, and
// armcompute/v6 of the VM.
func templateOf(m mover.Manifest, site, point string, disks []holdfast.DiskResult, pools map[string]string) (json.RawMessage, error) {
	kept := escaped(m.VM.Kept).(object)
	p, parameters := object{}, templateParameters(m, kept, site)
	maps.Copy(p, child(kept, "properties"))
	for _, gone := range []string{"priority", "evictionPolicy", "billingProfile", "virtualMachineScaleSet", "hostGroup"} {
		delete(p, gone) // as with a new VM: regular, and by itself
	}
	p["hardwareProfile"] = object{"vmSize": "[parameters('virtualMachineSize')]"}
	p["networkProfile"] = object{"networkInterfaceConfigurations": templateNICs(m, kept)}
	p["availabilitySet"], p["host"] = optionalID("availabilitySetId"), optionalID("hostId")
	p["holdfast"] = object{"recoveryPointId": point, "start": "[parameters('start')]"}
	storage := object{"dataDisks": []any{}}
	maps.Copy(storage, child(p, "storageProfile")) // the image that the VM was made of
	for _, d := range disks {
		name, entry := "osDisk", templateDisk(m, kept, d)
		if d.LUN < 0 {
			entry["osType"] = "Linux"
			if m.VM.OSType == "Windows" {
				entry["osType"] = "Windows"
			}
			storage["osDisk"] = entry
		} else {
			name = fmt.Sprintf("dataDisk%d", d.LUN)
			entry["lun"] = d.LUN
			storage["dataDisks"] = append(storage["dataDisks"].([]any), entry)
		}
		entry["managedDisk"].(object)["id"] = "[resourceId('Microsoft.Compute/disks', parameters('" + name + "'))]"
		parameters[name] = parameter("string", holdfast.DiskName(pools[d.Path], d.Path), "Name of the restored disk "+d.Target+".")
	}
	p["storageProfile"] = storage
	vm := object{"type": "Microsoft.Compute/virtualMachines", "apiVersion": vmAPI, "name": "[parameters('virtualMachineName')]", "location": "[parameters('location')]",
		"tags": escapedTags(m.VM.Tags), "zones": "[if(empty(parameters('zone')), null(), createArray(parameters('zone')))]", "properties": p}
	for _, member := range []string{"identity", "plan"} {
		if v, ok := kept[member]; ok {
			vm[member] = v
		}
	}
	return json.MarshalIndent(object{
		"$schema":        "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
		"contentVersion": "1.0.0.0",
		"metadata":       object{"followUp": append([]string{}, links(m.VM)...)},
		"parameters":     parameters,
		"resources":      []any{vm},
	}, "", "  ")
}

func templateParameters(m mover.Manifest, kept object, site string) object {
	networks := []any{}
	for _, n := range m.VM.NICs {
		networks = append(networks, n.Network)
	}
	zone := ""
	if zones := list(kept, "zones"); len(zones) > 0 {
		zone, _ = zones[0].(string)
	}
	id := func(member string) string { s, _ := child(child(kept, "properties"), member)["id"].(string); return s }
	return object{
		"virtualMachineName": object{"type": "string", "metadata": object{"description": "Name of the VM to make."}},
		"virtualMachineSize": parameter("string", fmt.Sprintf("%d vCPU, %d MiB", m.VM.VCPUs, m.VM.MemoryBytes>>20), "Processors and memory."),
		"virtualNetworks":    parameter("array", networks, "The network of each NIC, in order; an empty one leaves the NIC where it was."),
		"availabilitySetId":  parameter("string", id("availabilitySet"), "Resource id of the availability set; empty is none."),
		"hostId":             parameter("string", id("host"), "Resource id of the dedicated host; empty is none."),
		"zone":               parameter("string", zone, "Zone that the VM is pinned to; empty is none."),
		"storageAccountType": parameter("string", "", "Class of all disks, such as Premium_LRS or Standard_LRS; empty is that of their pool."),
		"location":           parameter("string", escaped(site), "Location of the disks."),
		"start":              parameter("bool", true, "Start the VM."),
	}
}

func parameter(kind string, value any, description string) object {
	return object{"type": kind, "defaultValue": value, "metadata": object{"description": description}}
}

// optionalID refers to the resource whose id a parameter has, if it has one.
func optionalID(name string) string {
	return "[if(empty(parameters('" + name + "')), null(), createObject('id', parameters('" + name + "')))]"
}

// templateNICs are the NICs as the point's VM had them, with what they were linked
// to, each on the network that the parameter names.
func templateNICs(m mover.Manifest, kept object) []any {
	configs, nics := nicConfigs(kept), []any{}
	for i := range m.VM.NICs {
		nic := object{"name": fmt.Sprintf("nic%d", i), "properties": object{}}
		if i < len(configs) {
			if c, ok := configs[i].(object); ok {
				maps.Copy(nic, c)
			}
		}
		properties := maps.Clone(child(nic, "properties"))
		properties["primary"] = i == 0
		ips := slices.Clone(list(properties, "ipConfigurations"))
		if len(ips) == 0 {
			ips = []any{object{"name": "ipconfig1"}}
		}
		network := fmt.Sprintf("parameters('virtualNetworks')[%d]", i)
		for k, ip := range ips {
			one, _ := ip.(object)
			one = maps.Clone(one)
			of := maps.Clone(child(one, "properties"))
			of["subnet"] = "[if(empty(" + network + "), null(), createObject('id', resourceId('Microsoft.Network/virtualNetworks/subnets', " + network + ", 'default')))]"
			one["properties"], ips[k] = of, one
		}
		properties["ipConfigurations"] = ips
		nic["properties"] = properties
		nics = append(nics, nic)
	}
	return nics
}

func templateDisk(m mover.Manifest, kept object, d holdfast.DiskResult) object {
	disk := object{}
	maps.Copy(disk, child(child(kept, "disks"), d.Target))
	managed := maps.Clone(child(disk, "managedDisk"))
	managed["storageAccountType"] = "[if(empty(parameters('storageAccountType')), null(), parameters('storageAccountType'))]"
	disk["createOption"], disk["managedDisk"] = "Attach", managed
	return disk
}

// child is an object in another; an empty one when it is not there.
func child(of object, name string) object {
	c, _ := of[name].(object)
	if c == nil {
		return object{}
	}
	return c
}

// escaped is a copy of a JSON value in which no string is an expression
// (learn.microsoft.com/azure/azure-resource-manager/templates/template-expressions,
// escape characters).
func escaped(v any) any {
	switch v := v.(type) {
	case string:
		if strings.HasPrefix(v, "[") && strings.HasSuffix(v, "]") {
			return "[" + v
		}
		return v
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = escaped(e)
		}
		return out
	case object:
		out := object{}
		for k, e := range v {
			out[k] = escaped(e)
		}
		return out
	}
	return v
}

func escapedTags(tags map[string]string) object {
	out := object{}
	for k, v := range tags {
		out[k] = escaped(v)
	}
	return out
}
