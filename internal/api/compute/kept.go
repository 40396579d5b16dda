package compute

import (
	"encoding/json"
	"slices"
	"strings"

	sdk "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"

	"holdfast"
	"holdfast/internal/api/resources"
	"holdfast/internal/service"
)

// keptMembers are the members of a VM that libvirt has no word for. What a
// client sends of them is kept as it is and comes back as it is; the rest of a
// VM is what its definition says (armcompute/v6, VirtualMachine).
var keptMembers = []string{
	"zones", "plan", "identity",
	"properties.additionalCapabilities", "properties.applicationProfile", "properties.availabilitySet", "properties.billingProfile",
	"properties.capacityReservation", "properties.diagnosticsProfile", "properties.evictionPolicy", "properties.extensionsTimeBudget",
	"properties.networkProfile.networkInterfaceConfigurations",
	"properties.host", "properties.hostGroup", "properties.licenseType", "properties.platformFaultDomain", "properties.priority",
	"properties.proximityPlacementGroup", "properties.scheduledEventsProfile", "properties.securityProfile.encryptionAtHost",
	"properties.securityProfile.encryptionIdentity", "properties.virtualMachineScaleSet", "properties.storageProfile.imageReference",
}

// keptOfDisk are those of a disk (DataDisk and OSDisk).
var keptOfDisk = []string{
	"caching", "diffDiskSettings", "encryptionSettings", "writeAcceleratorEnabled",
	"managedDisk.diskEncryptionSet", "managedDisk.securityProfile", "managedDisk.storageAccountType",
}

// pick takes the members of the given paths out of a body. A null is taken too:
// it removes (RFC 7396). nil when there is none of them.
func pick(body map[string]any, paths []string) map[string]any {
	var out map[string]any
	for _, path := range paths {
		out = put(out, strings.Split(path, "."), body)
	}
	return out
}

// put copies one member, when it is there, and the objects on the way to it.
func put(out map[string]any, path []string, from map[string]any) map[string]any {
	v, ok := from[path[0]]
	if !ok {
		return out
	}
	if len(path) > 1 {
		inner, _ := v.(map[string]any)
		below, _ := out[path[0]].(map[string]any)
		if below = put(below, path[1:], inner); below == nil {
			return out
		}
		v = below
	}
	if out == nil {
		out = map[string]any{}
	}
	out[path[0]] = v
	return out
}

// kept reads what of a body is to be kept, and refuses what is not of its form.
func kept(body []byte) (map[string]any, error) {
	all, err := resources.Decode[map[string]any](body)
	if err != nil {
		return nil, err
	}
	m := pick(all, keptMembers)
	return m, into(m, &sdk.VirtualMachine{})
}

// keptDisk reads what of a disk of a machine is to be kept.
func keptDisk(body json.RawMessage) (map[string]any, error) {
	var all map[string]any
	if len(body) > 0 {
		if err := json.Unmarshal(body, &all); err != nil {
			return nil, holdfast.Errorf(holdfast.Invalid, "properties.storageProfile", "A disk is not a JSON object.")
		}
	}
	m := pick(all, keptOfDisk)
	return m, into(m, &sdk.DataDisk{})
}

// into reads kept members into a wire type. Words of a fixed set are checked.
func into(kept map[string]any, wire interface{ UnmarshalJSON([]byte) error }) error {
	b, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	if kept != nil {
		err = wire.UnmarshalJSON(b)
	}
	if err != nil {
		return holdfast.Errorf(holdfast.Invalid, "properties", "A member of the VM is not of its form: %v.", err)
	}
	switch v := wire.(type) {
	case *sdk.VirtualMachine:
		if p := v.Properties; p != nil {
			return word("properties.priority", p.Priority, sdk.PossibleVirtualMachinePriorityTypesValues())
		}
	case *sdk.DataDisk:
		if err := word("caching", v.Caching, sdk.PossibleCachingTypesValues()); err != nil || v.ManagedDisk == nil {
			return err
		}
		return word("managedDisk.storageAccountType", v.ManagedDisk.StorageAccountType, sdk.PossibleStorageAccountTypesValues())
	}
	return nil
}

// word refuses a value that is none of its set.
func word[T ~string](field string, v *T, all []T) error {
	if v == nil || slices.Contains(all, *v) {
		return nil
	}
	return holdfast.Errorf(holdfast.Invalid, field, "%s is %q; it is one of %v.", field, *v, all)
}

// withKept is a machine on the wire with what is kept of it, and nothing else.
// What was kept has been of its form when it came.
func withKept(vm service.VM) *sdk.VirtualMachine {
	wire := &sdk.VirtualMachine{}
	read(pick(vm.Kept, keptMembers), wire)
	if wire.Properties == nil {
		wire.Properties = &sdk.VirtualMachineProperties{}
	}
	if wire.Properties.StorageProfile == nil {
		wire.Properties.StorageProfile = &sdk.StorageProfile{}
	}
	return wire
}

// read fills a wire type with kept members; what somebody put into the
// definition by hand and is not of its form is left out.
func read(kept map[string]any, wire interface{ UnmarshalJSON([]byte) error }) {
	if b, err := json.Marshal(kept); kept != nil && err == nil {
		_ = wire.UnmarshalJSON(b)
	}
}
