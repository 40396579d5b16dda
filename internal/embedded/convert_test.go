package embedded_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"holdfast"
	"holdfast/internal/authz"
	"holdfast/internal/matrix"
)

// TestConvertToManagedDisks goes the SDK's way, which is az vm convert's.
func TestConvertToManagedDisks(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "MGT-07")
	w := newWorld()
	w.vms[0].Disks = []holdfast.DiskFact{{LUN: -1, Target: "vda", Path: "/away/a", Format: "qcow2"}, {LUN: 0, Target: "vdb", Path: "/away/b", Format: "raw"}, {LUN: 1, Target: "vdc", Path: "/away/disk.raw", Format: "raw"}}
	w.volumes = []holdfast.VolumeFact{{Name: "disk.raw", Pool: "default", Path: "/pool/disk.raw", Format: "raw"}, {Name: "b", Pool: "other", Path: "/other/b", Format: "raw"}}
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	path := s.vmID("web") + "/convertToManagedDisks"
	s.refuses(t, []refused{{"a running one", "POST", path, "", 409, "OperationNotAllowed", "az vm deallocate"}})
	change := func(do func(*holdfast.VMFact)) { w.change(w.vms[0].VMRef, do) }
	change(func(vm *holdfast.VMFact) { vm.State, vm.Saved = "shutoff", true })
	s.refuses(t, []refused{{"one that sleeps", "POST", path, "", 409, "Conflict", "managedsave-remove"}})
	change(func(vm *holdfast.VMFact) { vm.Saved = false; vm.Disks[1].Shared = true })
	s.refuses(t, []refused{{"a shared disk", "POST", path, "", 409, "OperationNotAllowed", "pool-define-as"}})
	change(func(vm *holdfast.VMFact) { vm.Disks[1].Shared = false; vm.Disks[1].Path = "" })
	s.refuses(t, []refused{{"no file", "POST", path, "", 409, "OperationNotAllowed", "pool-define-as"}})
	change(func(vm *holdfast.VMFact) { vm.Disks[1].Path = "/away/b" })
	pool := func(name string) string {
		return `{"properties":{"holdfast":{"storageAccountId":"~G/providers/Microsoft.Storage/storageAccounts/` + name + `"}}}`
	}
	s.refuses(t, []refused{
		{"no such pool", "POST", path, pool("none"), 404, "ResourceNotFound", `pool "none"`},
		{"no such VM", "POST", s.vmID("ghost") + "/convertToManagedDisks", "", 404, "ResourceNotFound", "ghost"},
	})
	if code, _ := s.as(t, s.member(t, authz.Reader, "/subscriptions/"+s.sub), "POST", path+"?api-version=2024-11-01", ""); code != http.StatusForbidden {
		t.Errorf("a reader converts: %d", code)
	}
	p, err := s.vms.BeginConvertToManagedDisks(t.Context(), "lab", "web", nil)
	done(t, p, err)
	a := w.machines[len(w.machines)-1]
	want := []holdfast.DiskMove{{Target: "vda", From: "/away/a", Name: "web-vda"}, {Target: "vdb", From: "/away/b", Name: "b"}, {Target: "vdc", From: "/away/disk.raw", Name: "web-vdc.raw"}}
	if a.Action != holdfast.MachineConvert || a.Pool != "default" || !slices.Equal(a.Move, want) {
		t.Errorf("%+v", a)
	}
	s.refuses(t, []refused{{"a managed one", "POST", path, "", 409, "OperationNotAllowed", "managed disks already"}})
	s.choosesPool(t, w)
}

// choosesPool: the pool of another disk, the only one, or none that is sure.
func (s *sdk) choosesPool(t *testing.T, w *world) {
	t.Helper()
	vm := w.vms[1].VMRef
	path := s.vmID("db") + "/convertToManagedDisks"
	w.change(vm, func(vm *holdfast.VMFact) {
		vm.State = "shutoff"
		vm.Disks = []holdfast.DiskFact{{LUN: -1, Target: "vda", Path: "/away/a", Format: "qcow2"}, {LUN: 0, Target: "vdb", Path: "/slow/x", Pool: "slow", Format: "raw"}}
	})
	p, err := s.vms.BeginConvertToManagedDisks(t.Context(), "lab", "db", nil)
	done(t, p, err)
	if a := w.machines[len(w.machines)-1]; a.Pool != "slow" || len(a.Move) != 1 {
		t.Errorf("beside its other disk: %+v", a)
	}
	w.mu.Lock()
	w.noDefault, w.pools = true, []holdfast.PoolFact{{Name: "one"}, {Name: "two"}}
	w.mu.Unlock()
	w.change(vm, func(vm *holdfast.VMFact) { vm.Disks = vm.Disks[:1]; vm.Disks[0].Pool = "" })
	s.refuses(t, []refused{{"which pool", "POST", path, "", 400, "InvalidParameter", "--pool"}})
	w.mu.Lock()
	w.pools = w.pools[1:]
	w.mu.Unlock()
	p, err = s.vms.BeginConvertToManagedDisks(t.Context(), "lab", "db", nil)
	done(t, p, err)
	if a := w.machines[len(w.machines)-1]; a.Pool != "two" {
		t.Errorf("the only one: %+v", a)
	}
}

// TestUnmanagedComesBackSo restores a point from before the move to a pool: its
// disks are in none again, unless somebody says otherwise, and the template makes
// a machine of them; of no other file of the host.
func TestUnmanagedComesBackSo(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "MGT-06", "MGT-07")
	w := newWorld()
	w.change(w.vms[0].VMRef, func(vm *holdfast.VMFact) {
		vm.Disks = []holdfast.DiskFact{{LUN: -1, Target: "vda", Path: "/away/a", Format: "qcow2", Size: 2 << 30}, {LUN: 0, Target: "vdb", Path: "/away/b", Format: "qcow2", Size: 1 << 30}}
	})
	w.restored = []holdfast.DiskResult{{LUN: -1, Target: "vda", Path: "/away/back-vda.qcow2", Format: "qcow2", Size: 2 << 30}}
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	s.job(t, s.backupNow(t))
	managed(w)
	const disks, vm = `"recoveryType":"RestoreDisks"`, `"recoveryType":"AlternateLocation","targetVirtualMachineId":"~G/providers/Microsoft.Compute/virtualMachines/new"`
	const pool, group = `,"storageAccountId":"~G/providers/Microsoft.Storage/storageAccounts/default"`, `,"targetResourceGroupId":"~G"`
	for _, c := range []struct {
		name, members   string
		directory, pool string
		unmanaged       bool
	}{
		{"disks, no place", disks + group, "/away", "", false},
		{"VM, no place", vm, "/away", "", false},
		{"disks, to an account and no group", disks + pool, "", "default", true},
		{"VM, to an account and no group", vm + pool, "", "default", true},
		{"disks, to a group", disks + pool + group, "", "default", false},
		{"VM, to a group", vm + pool + group, "", "default", false},
		{"disks, managed", disks + pool + `,"restoreWithManagedDisks":true`, "", "default", false},
	} {
		code, says, a := s.placed(t, w, c.members)
		if code != http.StatusAccepted || a.Directory != c.directory || a.Pool != c.pool || a.Unmanaged != c.unmanaged {
			t.Errorf("%s: %d %s, to %q, %q, unmanaged %v", c.name, code, says, a.Directory, a.Pool, a.Unmanaged)
		}
	}
	body := func(disk string) string {
		return `{"location":"site1","properties":{"storageProfile":{"osDisk":{"createOption":"Attach","managedDisk":{"id":"~G/providers/Microsoft.Compute/disks/` + disk + `"}}},"holdfast":{"recoveryPointId":"` + s.itemPath() + "/recoveryPoints/" + *s.points(t)[0].Name + `","start":false}}}`
	}
	s.refuses(t, []refused{{"a file that no restore made", "PUT", s.vmID("x"), body("etc~shadow"), 404, "ResourceNotFound", "etc~shadow"}})
	s.follow(t, "PUT", s.vmID("back"), strings.ReplaceAll(body("away~back-vda.qcow2"), "~G", "/subscriptions/"+s.sub+"/resourceGroups/lab"), http.StatusCreated)
	if a := w.restores[len(w.restores)-1]; len(a.Attach) != 1 || a.Attach[0].Path != "/away/back-vda.qcow2" || a.Attach[0].Format != "qcow2" {
		t.Errorf("%+v", a.Attach)
	}
	// A point of managed disks comes back so, unless az is told otherwise.
	s.job(t, s.backupNow(t))
	for members, unmanaged := range map[string]bool{disks + pool: true, disks + pool + group: false, vm + pool: false} {
		if code, says, a := s.placed(t, w, members); code != http.StatusAccepted || a.Unmanaged != unmanaged {
			t.Errorf("%s: %d %s, %+v", members, code, says, a)
		}
	}
}
