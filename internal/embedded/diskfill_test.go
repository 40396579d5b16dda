package embedded_test

import (
	"slices"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"

	"holdfast"
	"holdfast/internal/authz"
)

// TestDisksWithContent makes disks of another disk, of an image in a pool and of
// a recovery point, as the SDK does, and refuses what may not be read.
func TestDisksWithContent(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.volumes = []holdfast.VolumeFact{
		{Name: "gold", Pool: "default", Path: "/pool/gold", Format: "qcow2", Size: 2 << 30},
		{Name: "child", Pool: "default", Path: "/pool/child", Format: "qcow2", Size: 2 << 30, Backing: "/etc/shadow"},
	}
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	s.job(t, s.backupNow(t))
	point := s.itemPath() + "/recoveryPoints/" + *s.points(t)[0].Name
	disks, err := armcompute.NewDisksClient(s.sub, s.cred, s.options)
	if err != nil {
		t.Fatal(err)
	}
	group := "/subscriptions/" + s.sub + "/resourceGroups/lab/providers/Microsoft.Compute/disks/"
	make := func(name string, from armcompute.CreationData, gb *int32) {
		t.Helper()
		p, err := disks.BeginCreateOrUpdate(t.Context(), "lab", name, armcompute.Disk{Location: to.Ptr(site), Properties: &armcompute.DiskProperties{CreationData: &from, DiskSizeGB: gb}}, nil)
		if d := done(t, p, err); *d.ID != group+name || *d.Properties.ProvisioningState != "Succeeded" {
			t.Errorf("%s: %+v", name, d)
		}
	}
	last := func() holdfast.RestoreArgs { return w.restores[len(w.restores)-1] }
	make("copy", armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionCopy), SourceResourceID: to.Ptr(group + "gold")}, to.Ptr[int32](3))
	if a := last(); a.Mode != holdfast.CopyDisk || a.Image.Path != "/pool/gold" || a.Image.Format != "qcow2" || a.ImageSize != 3<<30 || a.FileName != "copy" || a.Pool != "default" || a.Format != "qcow2" {
		t.Errorf("copy: %+v", a)
	}
	make("import", armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionImport), SourceURI: to.Ptr("file:///pool/gold")}, nil)
	if a := last(); a.Mode != holdfast.CopyDisk || a.Image.Path != "/pool/gold" || a.FileName != "import" {
		t.Errorf("import: %+v", a)
	}
	make("back", armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionRestore), SourceResourceID: &point}, nil)
	if a := last(); a.Mode != holdfast.RestoreDisks || len(a.LUNs) != 1 || a.LUNs[0] != -1 || a.FileName != "back" || a.PointID == "" || a.Pool != "default" {
		t.Errorf("restore: %+v", a)
	}
	// Sent again when what they were made of is gone, as Terraform does.
	w.mu.Lock()
	w.volumes = slices.DeleteFunc(w.volumes, func(v holdfast.VolumeFact) bool { return v.Name == "gold" })
	w.mu.Unlock()
	before := len(w.restores)
	make("copy", armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionCopy), SourceResourceID: to.Ptr(group + "gold")}, to.Ptr[int32](3))
	make("import", armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionImport), SourceURI: to.Ptr("file:///pool/gold")}, nil)
	if len(w.restores) != before {
		t.Errorf("disks that are there were made again: %+v", w.restores[before:])
	}
	w.mu.Lock()
	w.volumes = append(w.volumes, holdfast.VolumeFact{Name: "gold", Pool: "default", Path: "/pool/gold", Format: "qcow2", Size: 2 << 30})
	w.mu.Unlock()
	disk := func(creation, more string) string {
		return `{"location":"site1","properties":{"creationData":{` + creation + `}` + more + `}}`
	}
	s.refuses(t, []refused{
		{"a copy of nothing", "PUT", group + "x", disk(`"createOption":"Copy","sourceResourceId":"`+group+`none"`, ""), 404, "ResourceNotFound", "none"},
		{"a copy of no disk", "PUT", group + "x", disk(`"createOption":"Copy","sourceResourceId":"`+s.vmID("web")+`"`, ""), 400, "InvalidParameter", "sourceResourceId"},
		{"a smaller copy", "PUT", group + "x", disk(`"createOption":"Copy","sourceResourceId":"`+group+`gold"`, `,"diskSizeGB":1`), 400, "InvalidParameter", "diskSizeGB"},
		{"what is based on a file of the host", "PUT", group + "x", disk(`"createOption":"Copy","sourceResourceId":"`+group+`child"`, ""), 409, "OperationNotAllowed", "based on"},
		{"any file of the host", "PUT", group + "x", disk(`"createOption":"Import","sourceUri":"file:///etc/shadow"`, ""), 404, "ResourceNotFound", "pool"},
		{"from elsewhere", "PUT", group + "x", disk(`"createOption":"Import","sourceUri":"https://example.org/x.vhd"`, ""), 400, "InvalidParameter", "sourceUri"},
		{"of no point", "PUT", group + "x", disk(`"createOption":"Restore","sourceResourceId":"`+s.vmID("web")+`"`, ""), 400, "InvalidParameter", "recovery point"},
		{"of a disk that the point lacks", "PUT", group + "x", disk(`"createOption":"Restore","sourceResourceId":"`+point+`"`, `,"holdfast":{"lun":7}`), 400, "InvalidParameter", "LUN 7"},
		{"a point's disk of another size", "PUT", group + "x", disk(`"createOption":"Restore","sourceResourceId":"`+point+`"`, `,"diskSizeGB":9`), 409, "OperationNotAllowed", "size"},
		{"in use", "PUT", group + "x", disk(`"createOption":"Copy","sourceResourceId":"`+s.diskOf(t, "web")+`"`, ""), 409, "Conflict", "running"},
	})
	// Who may write disks in the group but restore nothing gets no bytes of a point.
	bearer := s.member(t, authz.Contributor, group+"stolen")
	if code, word := s.as(t, bearer, "PUT", group+"stolen?api-version=2024-03-02", disk(`"createOption":"Restore","sourceResourceId":"`+point+`"`, "")); code != 403 || word != "AuthorizationFailed" {
		t.Errorf("a point of others: %d %s", code, word)
	}
	for what, creation := range map[string]string{
		"a disk of others":                 `"createOption":"Copy","sourceResourceId":"` + group + `gold"`,
		"a disk of others, by its file":    `"createOption":"Import","sourceUri":"file:///pool/gold"`,
		"a disk of others, in odd writing": `"createOption":"copy","sourceResourceId":"/` + group + `/gold/"`,
	} {
		if code, word := s.as(t, bearer, "PUT", group+"stolen?api-version=2024-03-02", disk(creation, "")); code != 403 || word != "AuthorizationFailed" {
			t.Errorf("%s: %d %s", what, code, word)
		}
	}
}

// diskOf is the id of a machine's OS disk.
func (s *sdk) diskOf(t *testing.T, vm string) string {
	t.Helper()
	v, err := s.vms.Get(t.Context(), "lab", vm, nil)
	if err != nil {
		t.Fatal(err)
	}
	return *v.Properties.StorageProfile.OSDisk.ManagedDisk.ID
}
