package embedded_test

import (
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"
)

// Members that libvirt has no word for stay as a client sent them, until it
// removes them; what libvirt does know cannot be talked over.
func TestKeptMembers(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	p, err := s.vms.BeginUpdate(t.Context(), "lab", "web", armcompute.VirtualMachineUpdate{
		Zones: []*string{to.Ptr("2")},
		Plan:  &armcompute.Plan{Name: to.Ptr("p"), Product: to.Ptr("x"), Publisher: to.Ptr("y")},
		Properties: &armcompute.VirtualMachineProperties{
			Priority: to.Ptr(armcompute.VirtualMachinePriorityTypesSpot), LicenseType: to.Ptr("RHEL_BYOS"), VMID: to.Ptr("not so"),
			DiagnosticsProfile: &armcompute.DiagnosticsProfile{BootDiagnostics: &armcompute.BootDiagnostics{Enabled: to.Ptr(true)}},
			StorageProfile: &armcompute.StorageProfile{
				ImageReference: &armcompute.ImageReference{Publisher: to.Ptr("debian")},
				OSDisk:         &armcompute.OSDisk{CreateOption: to.Ptr(armcompute.DiskCreateOptionTypesAttach), Caching: to.Ptr(armcompute.CachingTypesReadOnly)},
				DataDisks: []*armcompute.DataDisk{{Lun: to.Ptr[int32](0), Name: to.Ptr("vdb"), CreateOption: to.Ptr(armcompute.DiskCreateOptionTypesAttach),
					WriteAcceleratorEnabled: to.Ptr(true), ManagedDisk: &armcompute.ManagedDiskParameters{StorageAccountType: to.Ptr(armcompute.StorageAccountTypesUltraSSDLRS)}}},
			}},
	}, nil)
	done(t, p, err)
	vm := s.kept(t)
	sp := vm.Properties.StorageProfile
	if *vm.Zones[0] != "2" || *vm.Plan.Publisher != "y" || *vm.Properties.Priority != "Spot" || *vm.Properties.LicenseType != "RHEL_BYOS" ||
		!*vm.Properties.DiagnosticsProfile.BootDiagnostics.Enabled || *sp.ImageReference.Publisher != "debian" ||
		*sp.OSDisk.Caching != "ReadOnly" || !*sp.DataDisks[0].WriteAcceleratorEnabled || *sp.DataDisks[0].ManagedDisk.StorageAccountType != "UltraSSD_LRS" {
		t.Errorf("not kept: %+v", vm.Properties)
	}
	if *vm.Properties.VMID == "not so" || *sp.OSDisk.Name != "vda" || *sp.DataDisks[0].ManagedDisk.ID == "" {
		t.Error("what libvirt says was talked over")
	}
	// What is read and sent back changes nothing; null removes one member.
	q, err := s.vms.BeginCreateOrUpdate(t.Context(), "lab", "web", vm, nil)
	done(t, q, err)
	q, err = s.vms.BeginCreateOrUpdate(t.Context(), "lab", "web", armcompute.VirtualMachine{Location: vm.Location,
		Properties: &armcompute.VirtualMachineProperties{Priority: azcore.NullValue[*armcompute.VirtualMachinePriorityTypes]()}}, nil)
	done(t, q, err)
	if vm = s.kept(t); vm.Properties.Priority != nil || *vm.Properties.LicenseType != "RHEL_BYOS" || *vm.Zones[0] != "2" {
		t.Errorf("after null: %+v", vm.Properties)
	}
	s.refuses(t, []refused{
		{"a word that is none", "PATCH", s.vmID("web"), `{"properties":{"priority":"Cheap"}}`, 400, "InvalidParameter", "Regular"},
		{"a caching that is none", "PATCH", s.vmID("web"), `{"properties":{"storageProfile":{"osDisk":{"caching":"All"}}}}`, 400, "InvalidParameter", "ReadWrite"},
		{"zones of another form", "PATCH", s.vmID("web"), `{"zones":{"a":1}}`, 400, "InvalidParameter", "form"},
	})
}

func (s *sdk) kept(t *testing.T) armcompute.VirtualMachine {
	t.Helper()
	vm, err := s.vms.Get(t.Context(), "lab", "web", nil)
	if err != nil {
		t.Fatal(err)
	}
	return vm.VirtualMachine
}
