package embedded_test

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"

	"holdfast"
	"holdfast/internal/catalog/catalogtest"
	"holdfast/internal/embedded"
	"holdfast/internal/limits"
	"holdfast/internal/matrix"
)

// TestRestorePointStory is the life of a collection, through the official clients.
func TestRestorePointStory(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RPT-01", "RPT-07", "RPT-12", "RPT-19", "RPT-20", "RPT-21", "RPT-22", "RPT-26", "RPT-31")
	p := servePoints(t, nil)
	p.site(t, "site1", "qemu:///system", "lab")
	vm := &p.world.vms[0]
	vm.UEFI, vm.SecureBoot, vm.TPM = true, true, true
	vm.Kept = map[string]any{"zones": []any{"1"}, "plan": map[string]any{"name": "p"}, "identity": map[string]any{"type": "SystemAssigned"},
		"properties": map[string]any{"licenseType": "Windows_Server", "proximityPlacementGroup": map[string]any{"id": "ppg"}, "storageProfile": map[string]any{"imageReference": map[string]any{"publisher": "x"}}},
		"disks":      map[string]any{"vdb": map[string]any{"caching": "ReadOnly", "managedDisk": map[string]any{"storageAccountType": "Premium_LRS"}}}}
	c := p.collection(t, "lab", "rpc", "site1", p.vmID("web"))
	if *c.Properties.Source.ID != p.vmID("web") || *c.Properties.Source.Location != "site1" || *c.Properties.ProvisioningState != "Succeeded" || len(*c.Properties.RestorePointCollectionID) != 36 {
		t.Errorf("the collection: %+v", c.Properties)
	}
	u, err := p.collections.Update(t.Context(), "lab", "rpc", armcompute.RestorePointCollectionUpdate{Tags: map[string]*string{"a": to.Ptr("b")}}, nil)
	if err != nil || *u.Tags["a"] != "b" {
		t.Errorf("update: %+v, %v", u, err)
	}

	made := p.point(t, "lab", "rpc", "first", armcompute.RestorePointProperties{})
	m := made.Properties.SourceMetadata
	if *made.Properties.ProvisioningState != "Succeeded" || *made.Properties.ConsistencyMode != armcompute.ConsistencyModeTypesFileSystemConsistent || p.store.asked[0].Want != holdfast.ApplicationConsistent {
		t.Errorf("the point: %+v, asked %+v", made.Properties, p.store.asked[0])
	}
	if *m.VMID != "u-1" || *m.Location != "site1" || *m.LicenseType != "Windows_Server" || *m.HyperVGeneration != armcompute.HyperVGenerationTypesV2 || m.HardwareProfile.VMSize == nil || *m.OSProfile.ComputerName != "web" ||
		*m.SecurityProfile.SecurityType != armcompute.SecurityTypesTrustedLaunch || !*m.SecurityProfile.UefiSettings.VTpmEnabled {
		t.Errorf("the machine: %+v", m)
	}
	data := m.StorageProfile.DataDisks[0]
	if m.StorageProfile.OSDisk.DiskRestorePoint == nil || *data.Lun != 0 || *data.Caching != armcompute.CachingTypesReadOnly || *data.ManagedDisk.StorageAccountType != armcompute.StorageAccountTypesPremiumLRS ||
		!strings.HasSuffix(*data.ManagedDisk.ID, "/disks/b") || *data.DiskRestorePoint.Encryption.Type != armcompute.RestorePointEncryptionTypeEncryptionAtRestWithPlatformKey {
		t.Errorf("the data disk: %+v", data)
	}
	// What Azure's model has no word for is kept, too.
	_, out, _ := p.send(t, "GET", *made.ID+"?api-version=2024-11-01", "")
	beside := out["properties"].(map[string]any)["sourceMetadata"].(map[string]any)["holdfast"].(map[string]any)
	if text := fmt.Sprint(beside); !strings.Contains(text, "SystemAssigned") || !strings.Contains(text, "ppg") || !strings.Contains(text, "qemu-guest-agent") || !strings.Contains(text, "52:54:00") || !strings.Contains(text, "publisher") {
		t.Errorf("beside: %v", beside)
	}

	view, err := p.points.Get(t.Context(), "lab", "rpc", "first", &armcompute.RestorePointsClientGetOptions{Expand: to.Ptr(armcompute.RestorePointExpandOptionsInstanceView)})
	if err != nil || len(view.Properties.InstanceView.DiskRestorePoints) != 2 || *view.Properties.InstanceView.DiskRestorePoints[1].ReplicationStatus.CompletionPercent != 100 {
		t.Errorf("instance view: %+v, %v", view.Properties.InstanceView, err)
	}
	p.point(t, "lab", "rpc", "second", armcompute.RestorePointProperties{ConsistencyMode: to.Ptr(armcompute.ConsistencyModeTypesCrashConsistent), ExcludeDisks: []*armcompute.APIEntityReference{{ID: data.ManagedDisk.ID}}})
	full, err := p.collections.Get(t.Context(), "lab", "rpc", &armcompute.RestorePointCollectionsClientGetOptions{Expand: to.Ptr(armcompute.RestorePointCollectionExpandOptionsRestorePoints)})
	if err != nil || len(full.Properties.RestorePoints) != 2 {
		t.Fatalf("expanded: %+v, %v", full.Properties, err)
	}
	second := full.Properties.RestorePoints[1].Properties
	if *second.ConsistencyMode != armcompute.ConsistencyModeTypesCrashConsistent || len(second.ExcludeDisks) != 1 || second.SourceMetadata.StorageProfile.DataDisks[0].DiskRestorePoint != nil || !slices.Equal(p.store.asked[1].ExcludeLUNs, []int{0}) {
		t.Errorf("the second: %+v", second)
	}
	for _, list := range [][]*armcompute.RestorePointCollection{page(t, p.collections.NewListPager("lab", nil)).Value, page(t, p.collections.NewListAllPager(nil)).Value} {
		if len(list) != 1 || list[0].Properties.RestorePoints != nil {
			t.Errorf("listed: %+v", list)
		}
	}
	if _, out, _ := p.send(t, "GET", "/subscriptions/"+p.sub+"/resources?api-version=2021-04-01&$filter="+url.QueryEscape("resourceType eq 'Microsoft.Compute/restorePointCollections'"), ""); len(out["value"].([]any)) != 1 {
		t.Errorf("among the resources: %v", out)
	}
	gone, err := p.points.BeginDelete(t.Context(), "lab", "rpc", "first", nil)
	done(t, gone, err)
	if _, err := p.points.Get(t.Context(), "lab", "rpc", "first", nil); status(err) != 404 || len(p.store.points) != 1 {
		t.Errorf("deleted, and yet: %v, %d", err, len(p.store.points))
	}
	all, err := p.collections.BeginDelete(t.Context(), "lab", "rpc", nil)
	done(t, all, err)
	if _, err := p.collections.Get(t.Context(), "lab", "rpc", nil); status(err) != 404 || len(p.store.points) != 0 {
		t.Errorf("deleted, and yet: %v, %d", err, len(p.store.points))
	}
	again, err := p.collections.BeginDelete(t.Context(), "lab", "rpc", nil) // 204
	done(t, again, err)
}

// TestRestorePointRefusals: what the rows refuse, each by its name, and what is
// wrong.
func TestRestorePointRefusals(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RPT-02", "RPT-03", "RPT-04", "RPT-05", "RPT-06", "RPT-09", "RPT-11", "RPT-13", "RPT-14", "RPT-24", "RPT-32", "RPT-33", "RPT-34", "RPT-35", "RPL-01", "RPO-03")
	p := servePoints(t, nil)
	p.site(t, "site1", "qemu:///system", "lab")
	p.collection(t, "lab", "rpc", "site1", p.vmID("web"))
	const collections = "~G/providers/Microsoft.Compute/restorePointCollections/"
	const at = collections + "rpc/restorePoints/"
	of := func(source string) string {
		return `{"location":"site1","properties":{"source":{"id":"` + source + `"}}}`
	}
	const app, crash = `{}`, `{"properties":{"consistencyMode":"CrashConsistent"}}`
	p.refuses(t, []refused{
		{"an old version", "PUT", at + "x?api-version=2020-12-01", app, 400, "InvalidParameter", "RPT-34"},
		{"an old version, crash", "PUT", at + "x?api-version=2021-03-01", crash, 400, "InvalidParameter", "RPT-35"},
		{"an old collection", "PUT", collections + "new?api-version=2020-12-01", of("~G/providers/Microsoft.Compute/virtualMachines/web"), 400, "InvalidParameter", "RPT-34"},
		{"of a set", "PUT", collections + "new", of("~G/providers/Microsoft.Compute/availabilitySets/a"), 409, "OperationNotAllowed", "RPT-13"},
		{"of an instance", "PUT", collections + "new", of("~G/providers/Microsoft.Compute/virtualMachineScaleSets/a/virtualMachines/0"), 409, "OperationNotAllowed", "RPT-14"},
		{"of a disk", "PUT", collections + "new", of("~G/providers/Microsoft.Compute/disks/a"), 400, "InvalidParameter", "virtual machine"},
		{"of nothing", "PUT", collections + "new", `{"location":"site1"}`, 400, "InvalidParameter", "properties.source.id"},
		{"of no VM", "PUT", collections + "new", of("~G/providers/Microsoft.Compute/virtualMachines/ghost"), 404, "ResourceNotFound", "ghost"},
		{"nowhere", "PUT", collections + "new", strings.Replace(of("~G/providers/Microsoft.Compute/virtualMachines/web"), "site1", "mars", 1), 400, "InvalidParameter", "Known locations"},
		{"another source", "PUT", collections + "rpc", of("~G/providers/Microsoft.Compute/virtualMachines/db"), 409, "Conflict", "cannot change"},
		{"another place", "PUT", collections + "rpc", `{"location":"mars"}`, 409, "Conflict", "cannot change"},
		{"a patched source", "PATCH", collections + "rpc", of("~G/providers/Microsoft.Compute/virtualMachines/db"), 409, "OperationNotAllowed", "does not change"},
		{"in no collection", "PUT", collections + "none/restorePoints/x", app, 404, "ResourceNotFound", "none"},
		{"a bad name", "PUT", at + "a%20b", app, 400, "InvalidParameter", "cannot name"},
		{"a bad mode", "PUT", at + "x", `{"properties":{"consistencyMode":"Best"}}`, 400, "InvalidParameter", "consistencyMode"},
		{"a bad disk", "PUT", at + "x", `{"properties":{"excludeDisks":[{"id":"/nothing"}]}}`, 400, "InvalidParameter", "excludeDisks[0]"},
		{"no disk left", "PUT", at + "x", `{"properties":{"excludeDisks":[{"id":"~G/providers/Microsoft.Compute/disks/a"},{"id":"~G/providers/Microsoft.Compute/disks/b"}]}}`, 400, "InvalidParameter", "no disk is left"},
		{"a copy here", "PUT", at + "x", `{"properties":{"sourceRestorePoint":{"id":"~G/providers/Microsoft.Compute/restorePointCollections/rpc/restorePoints/y"}}}`, 400, "InvalidParameter", "no copies"},
		{"no point", "GET", at + "x", "", 404, "ResourceNotFound", "x"},
		{"the collection moved", "POST", "~G/moveResources", `{"resources":["~G/providers/Microsoft.Compute/restorePointCollections/rpc"],"targetResourceGroup":"~S/resourceGroups/other"}`, 404, "ResourceNotFound", "other"},
	})
	vm := func(change func(vm *holdfast.VMFact)) {
		w := newWorld().vms[0]
		w.Disks = slices.Clone(w.Disks)
		w.Disks[1].Pool = "default"
		change(&w)
		p.world.mu.Lock()
		defer p.world.mu.Unlock()
		p.world.vms[0] = w
	}
	data := func(member string, v any) func(*holdfast.VMFact) {
		return func(vm *holdfast.VMFact) {
			vm.Kept = map[string]any{"disks": map[string]any{"vdb": map[string]any{member: v}}}
		}
	}
	class := func(c string) func(*holdfast.VMFact) {
		return data("managedDisk", map[string]any{"storageAccountType": c})
	}
	without := func(disk string) string {
		return `"excludeDisks":[{"id":"/subscriptions/` + p.sub + `/resourceGroups/lab/providers/Microsoft.Compute/disks/` + disk + `"}]`
	}
	for i, c := range []struct {
		row, mode string
		change    func(*holdfast.VMFact)
		excluded  bool // then it goes without the disk
	}{
		{"RPT-02", "ApplicationConsistent", func(vm *holdfast.VMFact) { vm.Disks[1].Pool = "" }, false},
		{"RPT-03", "CrashConsistent", class("UltraSSD_LRS"), true},
		{"RPT-04", "CrashConsistent", class("PremiumV2_LRS"), true},
		{"RPT-05", "CrashConsistent", data("diffDiskSettings", map[string]any{"option": "Local"}), true},
		{"RPT-06", "CrashConsistent", func(vm *holdfast.VMFact) { vm.Disks[1].Shared = true }, true},
		{"RPT-09", "CrashConsistent", func(vm *holdfast.VMFact) { vm.Confidential = "sev" }, false},
	} {
		vm(c.change)
		p.refuses(t, []refused{{c.row, "PUT", at + "x", `{"properties":{"consistencyMode":"` + c.mode + `"}}`, 409, "OperationNotAllowed", c.row}})
		// A collection of its own has its own name, and the hour is lifted by deleting.
		disk := "b"
		if c.row == "RPT-02" {
			disk = "pool~b" // the name of one in no pool
		}
		body := `{"properties":{"consistencyMode":"` + c.mode + `",` + without(disk) + `}}`
		if !c.excluded {
			p.refuses(t, []refused{{c.row + " left out", "PUT", at + "x", body, 409, "OperationNotAllowed", c.row}})
			continue
		}
		p.made(t, at+fmt.Sprint("p", i), body)
		p.deleted(t, at+fmt.Sprint("p", i))
	}
	// Ultra disks are in application-consistent points, temporary and NVMe ones in none.
	vm(class("UltraSSD_LRS"))
	p.made(t, at+"app", app)
	vm(func(vm *holdfast.VMFact) { vm.Disks[1].Temporary, vm.Disks[1].Pool = true, "" })
	p.made(t, at+"temp", `{"properties":{"consistencyMode":"crashconsistent"}}`) // words are compared without case
	if disks := page(t, p.disks.NewListByRestorePointPager("lab", "rpc", "temp", nil)).Value; len(disks) != 1 {
		t.Errorf("a temporary disk is in the point: %d disks", len(disks))
	}
	p.deleted(t, at+"temp")
	vm(func(vm *holdfast.VMFact) { vm.Disks[1].NVMe, vm.Disks[1].Pool, vm.AgentUp = true, "", false })
	p.made(t, at+"nvme", crash) // and no system is asked
	if got := p.store.asked[len(p.store.asked)-1].ExcludeLUNs; !slices.Equal(got, []int{0}) {
		t.Errorf("NVMe: left out %v", got)
	}
	p.collection(t, "lab", "other", "site1", p.vmID("web")) // points are counted over all collections
	p.refuses(t, []refused{
		{"the same name", "PUT", at + "nvme", crash, 409, "Conflict", "there already"},
		{"too soon", "PUT", collections + "other/restorePoints/soon", crash, 409, "OperationNotAllowed", "RPT-33"},
		{"too soon, application", "PUT", at + "soon", app, 409, "OperationNotAllowed", "RPT-32"},
	})
}

// TestOneRestorePointAtATime: of many that are asked for at once exactly one is
// made, and the others are refused.
func TestOneRestorePointAtATime(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RPL-03")
	for name, place := range map[string]func() string{"SQLite": func() string { return "" }, "PostgreSQL": func() string { return catalogtest.Postgres(t) }} {
		t.Run(name, func(t *testing.T) { oneAtATime(t, place()) })
	}
}

// oneAtATime is the race on one catalog.
func oneAtATime(t *testing.T, catalog string) {
	t.Helper()
	p := servePoints(t, func(c *embedded.Config, w *world) {
		c.Limits, c.Catalog = limits.Extended, catalog
		w.hold = make(chan struct{})
	})
	p.site(t, "site1", "qemu:///system", "lab")
	for i := range 3 {
		p.collection(t, "lab", fmt.Sprint("rpc", i), "site1", p.vmID("web"))
	}
	const askers = 24
	codes, start := make(chan string, askers), make(chan struct{})
	for i := range askers {
		go func() {
			<-start
			code, out, _ := p.send(t, "PUT", fmt.Sprintf("/subscriptions/%s/resourceGroups/lab/providers/Microsoft.Compute/restorePointCollections/rpc%d/restorePoints/p%d?api-version=2024-11-01", p.sub, i%3, i), `{}`)
			e, _ := out["error"].(map[string]any)
			codes <- fmt.Sprint(code, " ", e["code"], " ", strings.Contains(fmt.Sprint(e["message"]), "already running"))
		}()
	}
	close(start)
	got := map[string]int{}
	for range askers {
		got[<-codes]++
	}
	if got["201 <nil> false"] != 1 || got["409 Conflict true"] != askers-1 {
		t.Errorf("%v", got)
	}
	<-p.world.begun
	// While it is made it is not deleted, nor is its collection or group, and the VM
	// keeps its disks.
	i := slices.IndexFunc(page(t, p.collections.NewListPager("lab", nil)).Value, func(c *armcompute.RestorePointCollection) bool { return p.busy(t, *c.Name) != "" })
	name := fmt.Sprint("rpc", i)
	const at = "~G/providers/Microsoft.Compute/restorePointCollections/"
	p.refuses(t, []refused{
		{"the point", "DELETE", at + name + "/restorePoints/" + p.busy(t, name), "", 409, "Conflict", "being made"},
		{"the collection", "DELETE", at + name, "", 409, "Conflict", "being made"},
		{"the machine", "DELETE", "~G/providers/Microsoft.Compute/virtualMachines/web", "", 409, "Conflict", "already running"},
		{"an access", "POST", at + name + "/restorePoints/" + p.busy(t, name) + "/diskRestorePoints/" + p.firstDisk(t, name) + "/beginGetAccess", `{"access":"Read","durationInSeconds":1}`, 409, "Conflict", "Creating"},
	})
	view, err := p.points.Get(t.Context(), "lab", name, p.busy(t, name), &armcompute.RestorePointsClientGetOptions{Expand: to.Ptr(armcompute.RestorePointExpandOptionsInstanceView)})
	if err != nil || *view.Properties.ProvisioningState != "Creating" || len(view.Properties.InstanceView.DiskRestorePoints) != 2 || *view.Properties.InstanceView.DiskRestorePoints[0].ReplicationStatus.CompletionPercent > 25 {
		t.Errorf("while it is made: %+v, %v", view.Properties, err)
	}
	close(p.world.hold)
}

// busy is the point of a collection that is being made; "" is none.
func (p *points) busy(t *testing.T, collection string) string {
	t.Helper()
	c, err := p.collections.Get(t.Context(), "lab", collection, &armcompute.RestorePointCollectionsClientGetOptions{Expand: to.Ptr(armcompute.RestorePointCollectionExpandOptionsRestorePoints)})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range c.Properties.RestorePoints {
		if *r.Properties.ProvisioningState == "Creating" {
			return *r.Name
		}
	}
	return ""
}

func (p *points) firstDisk(t *testing.T, collection string) string {
	t.Helper()
	return *page(t, p.disks.NewListByRestorePointPager("lab", collection, p.busy(t, collection), nil)).Value[0].Name
}

// TestCopyToAnotherSite: by the id of the point, to a collection whose source is
// the point's.
func TestCopyToAnotherSite(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RPL-05")
	p := servePoints(t, func(_ *embedded.Config, w *world) { w.vms = w.vms[:1] })
	p.site(t, "site1", "qemu:///system", "lab")
	p.site(t, "site2", "qemu:///session", "far")
	p.names(t, *p.set(t, "mine", "site1", armcompute.DiskEncryptionSetTypeEncryptionAtRestWithCustomerKey).ID)
	c := p.collection(t, "lab", "rpc", "site1", p.vmID("web"))
	one := p.point(t, "lab", "rpc", "one", armcompute.RestorePointProperties{})
	p.collection(t, "far", "copies", "site2", *c.ID)
	made := p.point(t, "far", "copies", "one", armcompute.RestorePointProperties{SourceRestorePoint: &armcompute.APIEntityReference{ID: one.ID}})
	if *made.Properties.SourceRestorePoint.ID != *one.ID || *made.Properties.SourceMetadata.Location != "site1" {
		t.Errorf("the copy: %+v", made.Properties)
	}
	a, b := p.store.asked[0], p.store.asked[1]
	if b.Source == nil || b.Source.Repository != a.Operational || b.Source.PointID != a.PointID || b.Operational == a.Operational || b.Site.Name != "site2" {
		t.Errorf("asked: %+v", b)
	}
	// The key of the customer is not used there, and the copy says so.
	view, err := p.points.Get(t.Context(), "far", "copies", "one", &armcompute.RestorePointsClientGetOptions{Expand: to.Ptr(armcompute.RestorePointExpandOptionsInstanceView)})
	if err != nil || !slices.ContainsFunc(view.Properties.InstanceView.Statuses, func(s *armcompute.InstanceViewStatus) bool {
		return s.Message != nil && strings.Contains(*s.Message, "platform-managed key of site2")
	}) {
		t.Errorf("statuses: %v, %v", view.Properties.InstanceView.Statuses, err)
	}
	disk := page(t, p.disks.NewListByRestorePointPager("far", "copies", "one", nil)).Value[1]
	if *disk.Properties.Encryption.Type != armcompute.EncryptionTypeEncryptionAtRestWithPlatformKey || *disk.Properties.SourceResourceLocation != "site1" {
		t.Errorf("the disk: %+v", disk.Properties)
	}
	sas := p.access(t, "far", "copies", "one", *disk.Name, armcompute.GrantAccessData{DurationInSeconds: to.Ptr[int32](600)})
	if got := p.fetch(t, sas, 200); !bytes.Equal(got, p.store.points[pointKey(a.Operational, a.PointID)]["vdb"]) {
		t.Error("the copy has other bytes")
	}
	copies := strings.Replace("~S/resourceGroups/far/providers/Microsoft.Compute/restorePointCollections/copies/restorePoints/", "~S", "/subscriptions/"+p.sub, 1)
	from := func(id string) string { return `{"properties":{"sourceRestorePoint":{"id":"` + id + `"}}}` }
	p.refuses(t, []refused{
		{"twice", "PUT", copies + "again", from(*one.ID), 409, "Conflict", "has a copy"},
		{"of a copy", "PUT", copies + "again", from(copies + "one"), 400, "InvalidParameter", "points of"},
		{"of nothing", "PUT", copies + "again", `{}`, 400, "InvalidParameter", "sourceRestorePoint"},
		{"with a mode", "PUT", copies + "again", `{"properties":{"consistencyMode":"CrashConsistent","sourceRestorePoint":{"id":"` + *one.ID + `"}}}`, 400, "InvalidParameter", "consistencyMode"},
		{"in the same place", "PUT", "~G/providers/Microsoft.Compute/restorePointCollections/here", `{"location":"site1","properties":{"source":{"id":"` + *c.ID + `"}}}`, 409, "OperationNotAllowed", "another location"},
		{"made far away", "PUT", "~G/providers/Microsoft.Compute/restorePointCollections/there", `{"location":"site2","properties":{"source":{"id":"` + p.vmID("web") + `"}}}`, 409, "OperationNotAllowed", "RPL-05"},
		{"a private link", "PUT", "~G/providers/Microsoft.Compute/disks/x", `{"location":"site1","properties":{"networkAccessPolicy":"AllowPrivate","creationData":{"createOption":"Restore","sourceResourceId":"` + *disk.ID + `"}}}`, 409, "OperationNotAllowed", "private link"},
		{"the site", "DELETE", "~S/providers/Holdfast.Site/sites/site2", "", 409, "Conflict", "copies"},
	})
	// The original may go; the copy stays.
	gone, err := p.collections.BeginDelete(t.Context(), "lab", "rpc", nil)
	done(t, gone, err)
	p.fetch(t, sas, 200)
}

// TestMachineWithRestorePointsStays: neither it nor its collection is moved to
// another group, and its group's site is not either.
func TestMachineWithRestorePointsStays(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RPL-04")
	p := servePoints(t, nil)
	p.site(t, "site1", "qemu:///system", "lab")
	p.send(t, "PUT", "/subscriptions/"+p.sub+"/resourceGroups/other?api-version=2021-04-01", `{"location":"site1"}`)
	c := p.collection(t, "other", "rpc", "site1", p.vmID("web"))
	p.point(t, "other", "rpc", "one", armcompute.RestorePointProperties{})
	move := func(id string) string {
		return `{"resources":["` + id + `"],"targetResourceGroup":"/subscriptions/` + p.sub + `/resourceGroups/other"}`
	}
	p.refuses(t, []refused{
		{"the machine", "POST", "~G/moveResources", move(p.vmID("web")), 409, "OperationNotAllowed", "web (1 restore points in " + *c.ID + ")"},
		{"checked, too", "POST", "~G/validateMoveResources", move(p.vmID("web")), 409, "OperationNotAllowed", "1 restore points"},
		{"the site's group", "PUT", "~S/providers/Holdfast.Site/sites/site1", `{"properties":{"uri":"qemu:///system","resourceGroup":"other"}}`, 409, "OperationNotAllowed", "1 restore points"},
		{"the collection", "POST", "~S/resourceGroups/other/moveResources", strings.Replace(move(*c.ID), "resourceGroups/other\"}", "resourceGroups/lab\"}", 1), 409, "OperationNotAllowed", "RPL-04"},
	})
	// The group goes with its collection, and the bytes follow.
	gone, err := p.groups.BeginDelete(t.Context(), "other", nil)
	done(t, gone, err)
	if _, err := p.collections.Get(t.Context(), "other", "rpc", nil); status(err) != 404 {
		t.Errorf("the collection: %v", err)
	}
	for <-p.world.begun != deletedPoints {
	}
	if len(p.store.points) != 0 {
		t.Error("the bytes of its points are still there")
	}
}

// TestFailedRestorePoint is there with why, may be tried again, and does not
// count.
func TestFailedRestorePoint(t *testing.T) {
	t.Parallel()
	p := servePoints(t, nil)
	p.site(t, "site1", "qemu:///system", "lab")
	p.collection(t, "lab", "rpc", "site1", p.vmID("web"))
	p.world.fail = holdfast.Errorf(holdfast.Unreachable, "host", "The host is on fire.")
	poller, err := p.points.BeginCreate(t.Context(), "lab", "rpc", "one", armcompute.RestorePoint{}, nil)
	if err == nil {
		_, err = poller.PollUntilDone(t.Context(), &runtime.PollUntilDoneOptions{Frequency: 1e7})
	}
	if err == nil || !strings.Contains(err.Error(), "on fire") {
		t.Errorf("it failed: %v", err)
	}
	got, err := p.points.Get(t.Context(), "lab", "rpc", "one", &armcompute.RestorePointsClientGetOptions{Expand: to.Ptr(armcompute.RestorePointExpandOptionsInstanceView)})
	if err != nil || *got.Properties.ProvisioningState != "Failed" || !strings.Contains(*got.Properties.InstanceView.Statuses[0].Message, "on fire") {
		t.Errorf("the point: %+v, %v", got.Properties, err)
	}
	p.world.fail = nil
	p.point(t, "lab", "rpc", "one", armcompute.RestorePointProperties{})
	for <-p.world.begun != deletedPoints { // what the failed one may have left
	}
	p.world.fail = holdfast.Errorf(holdfast.Unreachable, "store", "The store is away.")
	gone, err := p.points.BeginDelete(t.Context(), "lab", "rpc", "one", nil)
	if err == nil {
		_, err = gone.PollUntilDone(t.Context(), &runtime.PollUntilDoneOptions{Frequency: 1e7})
	}
	if err == nil || !strings.Contains(err.Error(), "away") {
		t.Errorf("the deletion failed: %v", err)
	}
	p.world.fail = nil
	p.refuses(t, []refused{{"what failed to go is there", "PUT", "~G/providers/Microsoft.Compute/restorePointCollections/rpc/restorePoints/one", `{}`, 409, "Conflict", "there already"}})
	p.deleted(t, "~G/providers/Microsoft.Compute/restorePointCollections/rpc/restorePoints/one")
	if len(p.store.points) != 0 {
		t.Error("its bytes are still there")
	}
}

// TestRestorePointBesideABackup: none while a backup takes its snapshot, and no
// backup while one is made.
func TestRestorePointBesideABackup(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RPL-03")
	p := servePoints(t, func(c *embedded.Config, w *world) { w.hold = make(chan struct{}) })
	lab(t, p.sdk)
	p.protect(t)
	p.collection(t, "lab", "rpc", "site1", p.vmID("web"))
	running := p.backupNow(t)
	<-p.world.begun
	const at = "~G/providers/Microsoft.Compute/restorePointCollections/rpc/restorePoints/one"
	p.refuses(t, []refused{{"while a backup takes its snapshot", "PUT", at, `{}`, 409, "Conflict", "takes its snapshot"}})
	close(p.world.hold)
	p.job(t, running)
	p.world.mu.Lock()
	p.world.hold = make(chan struct{})
	p.world.mu.Unlock()
	poller, err := p.points.BeginCreate(t.Context(), "lab", "rpc", "one", armcompute.RestorePoint{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-p.world.begun
	p.refuses(t, []refused{{"while a point is made", "POST", "~I/backup", onDemand, 409, "Conflict", "restore point"}})
	close(p.world.hold)
	done(t, poller, err)
	p.world.transferring = make(chan struct{})
	running = p.backupNow(t)
	p.world.transferring <- struct{}{}
	p.point(t, "lab", "rpc", "beside", armcompute.RestorePointProperties{ConsistencyMode: to.Ptr(armcompute.ConsistencyModeTypesCrashConsistent)})
	close(p.world.transferring)
	p.job(t, running)
}

// TestBytesFollowTheirGroup: what could not be deleted with its group is deleted by
// a later clean-up.
func TestBytesFollowTheirGroup(t *testing.T) {
	t.Parallel()
	var later atomic.Int64
	ticks := make(chan time.Time)
	p := servePoints(t, func(c *embedded.Config, w *world) {
		c.Ticks, c.Clock = ticks, func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	p.site(t, "site1", "qemu:///system", "lab")
	p.send(t, "PUT", "/subscriptions/"+p.sub+"/resourceGroups/other?api-version=2021-04-01", `{"location":"site1"}`)
	p.collection(t, "other", "rpc", "site1", p.vmID("web"))
	p.point(t, "other", "rpc", "one", armcompute.RestorePointProperties{})
	p.world.fail = holdfast.Errorf(holdfast.Unreachable, "store", "The store is away.")
	gone, err := p.groups.BeginDelete(t.Context(), "other", nil)
	done(t, gone, err)
	for <-p.world.begun != deletedPoints {
	}
	if len(p.store.points) != 1 {
		t.Fatal("the deletion did not fail")
	}
	p.store.mu.Lock()
	p.world.fail = nil
	p.store.mu.Unlock()
	for tried := false; !tried; { // until the failed job has left what it was to do
		select {
		case ticks <- time.Now():
			later.Add(int64(time.Hour))
		case what := <-p.world.begun:
			tried = what == deletedPoints
		}
	}
	if len(p.store.points) != 0 {
		t.Error("the bytes are still there")
	}
}
