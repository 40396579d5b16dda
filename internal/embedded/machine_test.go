package embedded_test

import (
	"context"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"

	"holdfast"
	"holdfast/internal/authz"
	"holdfast/internal/job"
)

// The world's machines and disks, with the contracts of service.Machines.

func (w *world) machine() job.Func[holdfast.MachineArgs, holdfast.MachineResult] { return w.actOn }

func (w *world) actOn(ctx context.Context, a holdfast.MachineArgs, p holdfast.Progress) (r holdfast.MachineResult, err error) {
	if err := w.wait(ctx, string(a.Action)+" "+a.VM.Name); err != nil {
		return r, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.machines = append(w.machines, a)
	i := slices.IndexFunc(w.vms, func(vm holdfast.VMFact) bool { return vm.UUID == a.VM.UUID })
	vm := &w.vms[i]
	switch a.Action {
	case holdfast.MachineStart, holdfast.MachineRestart:
		vm.State = "running"
	case holdfast.MachineStop:
		vm.State = "shutoff"
	case holdfast.MachineDelete:
		w.vms = slices.Delete(w.vms, i, i+1)
	case holdfast.MachineConvert:
		vm.Disks = slices.Clone(vm.Disks)
		for _, v := range a.Move {
			k := &vm.Disks[slices.IndexFunc(vm.Disks, func(k holdfast.DiskFact) bool { return k.Target == v.Target })]
			k.Pool, k.Path = a.Pool, "/pool/"+v.Name
		}
	case holdfast.MachineDisks:
		vm.Disks = slices.DeleteFunc(slices.Clone(vm.Disks), func(k holdfast.DiskFact) bool { return slices.Contains(a.Detach, k.Target) })
		for _, k := range a.Attach {
			k.Target, k.Pool, k.Size = "vd"+string(rune('a'+len(vm.Disks))), "default", 1<<30
			vm.Disks = append(vm.Disks, k)
		}
	}
	return r, nil
}

func (w *world) SetTags(_ context.Context, _ holdfast.SiteRef, vm holdfast.VMRef, tags map[string]string) error {
	return w.change(vm, func(f *holdfast.VMFact) { f.Tags = tags })
}

func (w *world) SetKept(_ context.Context, _ holdfast.SiteRef, vm holdfast.VMRef, kept map[string]any) error {
	return w.change(vm, func(f *holdfast.VMFact) { f.Kept = kept })
}

func (w *world) change(vm holdfast.VMRef, do func(*holdfast.VMFact)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.vms {
		if w.vms[i].UUID == vm.UUID {
			do(&w.vms[i])
		}
	}
	return nil
}

func (w *world) Disks(_ context.Context, site holdfast.SiteRef) ([]holdfast.VolumeFact, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := slices.Clone(w.volumes)
	for _, vm := range w.vms {
		for _, k := range vm.Disks {
			i := slices.IndexFunc(all, func(v holdfast.VolumeFact) bool { return v.Path == k.Path })
			if i < 0 {
				i = len(all)
				all = append(all, holdfast.VolumeFact{Name: path.Base(k.Path), Pool: k.Pool, Path: k.Path, Format: k.Format, Size: k.Size})
			}
			all[i].VM, all[i].Target, all[i].Running = vm.VMRef, k.Target, vm.State == "running"
			all[i].EncryptionSet = vm.EncryptionSet(k.Target)
		}
	}
	return all, w.reach(site)
}

func (w *world) CreateDisk(_ context.Context, _ holdfast.SiteRef, v holdfast.VolumeFact) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if v.Pool != "default" {
		return holdfast.Errorf(holdfast.NotFound, v.Pool, "The site has no such active storage pool.")
	}
	v.Path = "/pool/" + v.Name
	w.volumes = append(w.volumes, v)
	return nil
}

func (w *world) GrowDisk(_ context.Context, _ holdfast.SiteRef, v holdfast.VolumeFact, size int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.volumes {
		if w.volumes[i].Path == v.Path {
			w.volumes[i].Size = size
		}
	}
	return nil
}

func (w *world) DeleteDisk(_ context.Context, _ holdfast.SiteRef, v holdfast.VolumeFact) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.volumes = slices.DeleteFunc(w.volumes, func(o holdfast.VolumeFact) bool { return o.Path == v.Path })
	return nil
}

// done follows a long operation of the SDK to its end.
func done[T any](t *testing.T, p *runtime.Poller[T], err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	v, err := p.PollUntilDone(t.Context(), &runtime.PollUntilDoneOptions{Frequency: 1e7})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (s *sdk) power(t *testing.T, name string) string {
	t.Helper()
	v, err := s.vms.InstanceView(t.Context(), "lab", name, nil)
	if err != nil {
		t.Fatal(err)
	}
	return *v.Statuses[1].Code
}

func TestPowerOfMachines(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	off, err := s.vms.BeginPowerOff(t.Context(), "lab", "web", &armcompute.VirtualMachinesClientBeginPowerOffOptions{SkipShutdown: to.Ptr(true)})
	done(t, off, err)
	if got := s.power(t, "web"); got != "PowerState/deallocated" || !s.machines[0].Force {
		t.Errorf("after powerOff: %s, %+v", got, s.machines[0])
	}
	s.refuses(t, []refused{{"restart of what is off", "POST", s.vmID("web") + "/restart", "", 409, "OperationNotAllowed", "started"}})
	on, err := s.vms.BeginStart(t.Context(), "lab", "web", nil)
	done(t, on, err)
	again, err := s.vms.BeginRestart(t.Context(), "lab", "web", nil)
	done(t, again, err)
	if got := s.power(t, "web"); got != "PowerState/running" {
		t.Errorf("after start and restart: %s", got)
	}
	free, err := s.vms.BeginDeallocate(t.Context(), "lab", "db", nil)
	done(t, free, err)
	gone, err := s.vms.BeginDelete(t.Context(), "lab", "db", nil)
	done(t, gone, err)
	if _, err := s.vms.Get(t.Context(), "lab", "db", nil); err == nil {
		t.Error("a deleted VM is there")
	}
	s.failed(t)
}

// failed: an operation whose work fails says so; two at once are refused, and
// neither can be followed by who may not see the machine.
func (s *sdk) failed(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	s.hold, s.fail = make(chan struct{}), holdfast.Errorf(holdfast.Unreachable, "web", "The libvirt host does not answer.")
	hold := s.hold
	s.mu.Unlock()
	p, err := s.vms.BeginPowerOff(t.Context(), "lab", "web", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.refuses(t, []refused{{"two at once", "POST", s.vmID("web") + "/start", "", 409, "Conflict", "already running"}})
	_, _, h := s.send(t, "GET", s.vmID("web")+"?api-version=2024-11-01", "")
	_ = h
	stranger := s.member(t, "", "")
	jobs := s.machineJobs(t)
	if code, _ := s.as(t, stranger, "GET", "/subscriptions/"+s.sub+"/providers/Microsoft.Resources/operations/"+jobs+"/status?api-version=2024-11-01", ""); code != 404 {
		t.Errorf("a stranger follows an operation: %d", code)
	}
	close(hold)
	if _, err := p.PollUntilDone(t.Context(), &runtime.PollUntilDoneOptions{Frequency: 1e7}); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("failed work: %v", err)
	}
}

// machineJobs is the id of the operation that a refusal names: of the running job.
func (s *sdk) machineJobs(t *testing.T) string {
	t.Helper()
	_, out, _ := s.send(t, "POST", s.vmID("web")+"/start?api-version=2024-11-01", "")
	message := out["error"].(map[string]any)["message"].(string)
	_, id, _ := strings.Cut(message, "already running: ")
	id, _, _ = strings.Cut(id, ".")
	return id
}

func TestTagsOfMachines(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	p, err := s.vms.BeginUpdate(t.Context(), "lab", "web", armcompute.VirtualMachineUpdate{Tags: map[string]*string{"tier": to.Ptr("gold")}}, nil)
	if vm := done(t, p, err); *vm.Tags["tier"] != "gold" {
		t.Errorf("PATCH: %v", vm.Tags)
	}
	vm, err := s.vms.Get(t.Context(), "lab", "web", nil)
	if err != nil || *vm.Tags["tier"] != "gold" {
		t.Fatalf("GET: %v, %v", vm.Tags, err)
	}
	// As az vm update does: what was read is sent back.
	vm.Tags["tier"] = to.Ptr("silver")
	q, err := s.vms.BeginCreateOrUpdate(t.Context(), "lab", "web", vm.VirtualMachine, nil)
	if vm := done(t, q, err); *vm.Tags["tier"] != "silver" {
		t.Errorf("PUT: %v", vm.Tags)
	}
	s.refuses(t, []refused{
		{"tag name", "PATCH", s.vmID("web"), `{"tags":{"a<b":"c"}}`, 400, "InvalidParameter", "tag name"},
		{"size", "PATCH", s.vmID("web"), `{"properties":{"hardwareProfile":{"vmSize":"Standard_D2s_v5"}}}`, 409, "OperationNotAllowed", "2 vCPU, 1 GiB"},
		{"a new VM", "PUT", s.vmID("fresh"), `{"location":"site1","properties":{"hardwareProfile":{"vmSize":"Standard_D2s_v5"}}}`, 409, "OperationNotAllowed", "recovery point"},
		{"no such VM", "PATCH", s.vmID("fresh"), `{"tags":{}}`, 404, "ResourceNotFound", "fresh"},
	})
}

func TestDisks(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	disks, err := armcompute.NewDisksClient(s.sub, s.cred, s.options)
	if err != nil {
		t.Fatal(err)
	}
	spec := armcompute.Disk{Location: to.Ptr(site), Properties: &armcompute.DiskProperties{DiskSizeGB: to.Ptr(int32(3)), CreationData: &armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionEmpty)}}}
	p, err := disks.BeginCreateOrUpdate(t.Context(), "lab", "extra", spec, nil)
	made := done(t, p, err)
	if *made.Properties.DiskSizeGB != 3 || *made.Properties.DiskState != armcompute.DiskStateUnattached {
		t.Errorf("made: %+v", made.Properties)
	}
	g, err := disks.BeginUpdate(t.Context(), "lab", "extra", armcompute.DiskUpdate{Properties: &armcompute.DiskUpdateProperties{DiskSizeGB: to.Ptr(int32(5))}}, nil)
	if grown := done(t, g, err); *grown.Properties.DiskSizeGB != 5 {
		t.Errorf("grown: %+v", grown.Properties)
	}
	vm, err := s.vms.Get(t.Context(), "lab", "web", nil)
	if err != nil {
		t.Fatal(err)
	}
	kept := vm.Properties.StorageProfile.DataDisks
	with := func(d []*armcompute.DataDisk) armcompute.VirtualMachineUpdate {
		return armcompute.VirtualMachineUpdate{Properties: &armcompute.VirtualMachineProperties{StorageProfile: &armcompute.StorageProfile{DataDisks: d}}}
	}
	extra := &armcompute.DataDisk{Lun: to.Ptr(int32(1)), CreateOption: to.Ptr(armcompute.DiskCreateOptionTypesAttach), ManagedDisk: &armcompute.ManagedDiskParameters{ID: made.ID}}
	u, err := s.vms.BeginUpdate(t.Context(), "lab", "web", with(append(slices.Clone(kept), extra)), nil)
	if vm := done(t, u, err); len(vm.Properties.StorageProfile.DataDisks) != 2 {
		t.Errorf("after attaching: %d data disks", len(vm.Properties.StorageProfile.DataDisks))
	}
	now, err := disks.Get(t.Context(), "lab", "extra", nil)
	if err != nil || *now.ManagedBy != s.vmID("web") || *now.Properties.DiskState != armcompute.DiskStateAttached {
		t.Errorf("attached: %+v, %v", now, err)
	}
	s.diskRefusals(t, *made.ID)
	u, err = s.vms.BeginUpdate(t.Context(), "lab", "web", with(kept), nil)
	done(t, u, err)
	d, err := disks.BeginDelete(t.Context(), "lab", "extra", nil)
	done(t, d, err)
	page, err := disks.NewListByResourceGroupPager("lab", nil).NextPage(t.Context())
	if err != nil || len(page.Value) != 2 || *page.Value[1].Name != "pool~b" {
		t.Errorf("disks of the group: %+v, %v", page.Value, err)
	}
}

func (s *sdk) diskRefusals(t *testing.T, extra string) {
	t.Helper()
	disk := func(name string) string { return strings.TrimSuffix(extra, "extra") + name }
	s.refuses(t, []refused{
		{"delete while attached", "DELETE", extra, "", 409, "OperationNotAllowed", "attached"},
		{"smaller", "PATCH", extra, `{"properties":{"diskSizeGB":1}}`, 409, "OperationNotAllowed", "not made smaller"},
		{"no such disk", "DELETE", disk("none"), "", 404, "ResourceNotFound", "none"},
		{"no size", "PUT", disk("x"), `{"location":"site1","properties":{"creationData":{"createOption":"Empty"}}}`, 400, "InvalidParameter", "diskSizeGB"},
		{"no location", "PUT", disk("x"), `{"properties":{"diskSizeGB":1,"creationData":{"createOption":"Empty"}}}`, 400, "InvalidParameter", "location"},
		{"from what", "PUT", disk("x"), `{"location":"site1","properties":{"diskSizeGB":1,"creationData":{"createOption":"Upload"}}}`, 409, "OperationNotAllowed", "Empty, Copy, Import, Restore"},
		{"a path", "PUT", disk("default~..x"), `{"location":"site1","properties":{"diskSizeGB":1,"creationData":{"createOption":"Empty"}}}`, 400, "InvalidParameter", "name"},
		{"no such pool", "PUT", disk("gold~x"), `{"location":"site1","properties":{"diskSizeGB":1,"creationData":{"createOption":"Empty"}}}`, 404, "ResourceNotFound", "pool"},
		{"tags", "PUT", disk("x"), `{"location":"site1","tags":{"a":"b"},"properties":{"diskSizeGB":1}}`, 409, "OperationNotAllowed", "tags"},
		{"attached elsewhere", "PATCH", s.vmID("db"), `{"properties":{"storageProfile":{"dataDisks":[{"lun":0,"name":"vdb"},{"managedDisk":{"id":"` + extra + `"}}]}}}`, 409, "Conflict", "attached to"},
		{"LUN", "PATCH", s.vmID("web"), `{"properties":{"storageProfile":{"dataDisks":[{"lun":7,"name":"vdb"}]}}}`, 409, "OperationNotAllowed", "LUN 0"},
		{"a disk by no id", "PATCH", s.vmID("web"), `{"properties":{"storageProfile":{"dataDisks":[{"lun":7,"name":"new","createOption":"Empty"}]}}}`, 400, "InvalidParameter", "made first"},
	})
	// Who may write the machine but no disk cannot take another's disk.
	bearer := s.member(t, authz.Contributor, s.vmID("db"))
	if code, word := s.as(t, bearer, "PATCH", s.vmID("db")+"?api-version=2024-11-01", `{"properties":{"storageProfile":{"dataDisks":[{"lun":0,"name":"vdb"},{"managedDisk":{"id":"`+extra+`"}}]}}}`); code != 403 || word != "AuthorizationFailed" {
		t.Errorf("a disk of others: %d %s", code, word)
	}
}

// TestNoChangeWhileBackedUp: what a backup reads is not taken away under it.
func TestNoChangeWhileBackedUp(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.hold = make(chan struct{})
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	raw := s.backupNow(t)
	<-w.begun
	s.refuses(t, []refused{
		{"delete", "DELETE", s.vmID("web"), "", 409, "Conflict", "backup job"},
		{"detach", "PATCH", s.vmID("web"), `{"properties":{"storageProfile":{"dataDisks":[]}}}`, 409, "Conflict", "backup job"},
	})
	close(w.hold)
	s.job(t, raw)
}

func TestNetworkInterfaces(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	group := "/subscriptions/" + s.sub + "/resourceGroups/lab/providers/Microsoft.Network/"
	_, out, _ := s.send(t, "GET", group+"networkInterfaces?api-version=2024-05-01", "")
	all := out["value"].([]any)
	if len(all) != 2 {
		t.Fatalf("interfaces: %v", out)
	}
	nic := all[0].(map[string]any)
	code, one, _ := s.send(t, "GET", nic["id"].(string)+"?api-version=2024-05-01", "")
	p := one["properties"].(map[string]any)
	if code != 200 || p["macAddress"] != "52-54-00-00-00-01" || p["virtualMachine"].(map[string]any)["id"] != s.vmID("web") {
		t.Fatalf("interface: %d %v", code, one)
	}
	ip := p["ipConfigurations"].([]any)[0].(map[string]any)["properties"].(map[string]any)
	subnet := ip["subnet"].(map[string]any)["id"].(string)
	if code, out, _ := s.send(t, "GET", subnet+"?api-version=2024-05-01", ""); code != 200 || out["id"] != subnet {
		t.Errorf("the subnet of the interface: %d %v", code, out)
	}
	if code, _, _ := s.send(t, "GET", group+"networkInterfaces/none?api-version=2024-05-01", ""); code != 404 {
		t.Errorf("no such interface: %d", code)
	}
}
