package embedded_test

import (
	"strings"
	"testing"

	"holdfast"
	"holdfast/internal/authz"
	"holdfast/internal/matrix"
)

// TestVMOfDisks makes a VM of disks that are there, as the template of restored
// disks asks for it, and refuses what cannot be.
func TestVMOfDisks(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RST-02", "MGT-04", "MGT-05", "CMP-01")
	w := newWorld()
	w.volumes = []holdfast.VolumeFact{
		{Name: "os", Pool: "default", Path: "/pool/os", Format: "qcow2", Size: 2 << 30},
		{Name: "data", Pool: "default", Path: "/pool/data", Format: "raw", Size: 1 << 30},
	}
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	s.job(t, s.backupNow(t))
	point := s.itemPath() + "/recoveryPoints/" + *s.points(t)[0].Name
	const disk = "~G/providers/Microsoft.Compute/disks/"
	body := func(changes ...string) string {
		text := `{"location":"site1","tags":{"by":"template"},"properties":{"hardwareProfile":{"vmSize":"4 vCPU, 2.5 GiB"},"priority":"Spot","licenseType":"X",
			"availabilitySet":{"id":"/sets/s"},"host":null,
			"storageProfile":{"osDisk":{"createOption":"Attach","managedDisk":{"id":"` + disk + `os","storageAccountType":null}},
			"dataDisks":[{"lun":5,"createOption":"Attach","caching":"None","managedDisk":{"id":"` + disk + `data","storageAccountType":"Standard_LRS"}}]},
			"networkProfile":{"networkInterfaceConfigurations":[{"name":"a","properties":{"ipConfigurations":[{"name":"i","properties":{"subnet":null}}]}},
				{"name":"b","properties":{"ipConfigurations":[{"name":"i","properties":{"subnet":{"id":"~G/providers/Microsoft.Network/virtualNetworks/LAB/subnets/default"}}}]}}]},
			"holdfast":{"recoveryPointId":"POINT","start":false}}}`
		return strings.ReplaceAll(strings.NewReplacer(changes...).Replace(text), "POINT", point)
	}
	path := s.vmID("fresh")
	s.refuses(t, []refused{
		{"no point", "PUT", path, body("POINT", ""), 409, "OperationNotAllowed", "recovery point"},
		{"another thing", "PUT", path, body("POINT", "/x/y"), 403, "AuthorizationFailed", "/x/y"},
		{"no such point", "PUT", path, body("POINT", s.itemPath()+"/recoveryPoints/1"), 404, "ResourceNotFound", "recovery point"},
		{"an Azure size", "PUT", path, body("4 vCPU, 2.5 GiB", "Standard_D2s_v5"), 400, "InvalidParameter", "2 vCPU, 4 GiB"},
		{"one processor", "PUT", path, body("4 vCPU", "1 vCPU"), 409, "OperationNotAllowed", "CMP-01"},
		{"elsewhere", "PUT", path, body("site1", "mars"), 409, "OperationNotAllowed", "site"},
		{"another group", "PUT", strings.Replace(path, "/lab/", "/other/", 1), body(), 400, "InvalidParameter", `not in "other"`},
		{"no OS disk", "PUT", path, body(`"osDisk"`, `"none"`), 400, "InvalidParameter", "osDisk"},
		{"a new disk", "PUT", path, body(`{"lun":5,"createOption":"Attach"`, `{"lun":5,"createOption":"Empty"`), 409, "OperationNotAllowed", "Attach"},
		{"no such disk", "PUT", path, body("disks/data", "disks/none"), 404, "ResourceNotFound", "none"},
		{"a disk of another VM", "PUT", path, body("disks/data", "disks/a"), 409, "Conflict", "attached"},
		{"one disk twice", "PUT", path, body("disks/data", "disks/os"), 400, "InvalidParameter", "twice"},
		{"no LUN", "PUT", path, body(`"lun":5,`, ""), 400, "InvalidParameter", "lun"},
		{"no such network", "PUT", path, body("virtualNetworks/LAB", "virtualNetworks/none"), 404, "ResourceNotFound", "none"},
		{"premium beside standard", "PUT", path, body(`"storageAccountType":null`, `"storageAccountType":"Premium_LRS"`), 409, "OperationNotAllowed", "MGT-04"},
	})
	code, out, h := s.sendText(t, "PUT", path+"?api-version=2024-07-01", strings.ReplaceAll(body(), "~G", "/subscriptions/"+s.sub+"/resourceGroups/lab"))
	if code != 201 || h.Get("Azure-Asyncoperation") == "" {
		t.Fatalf("%d %v", code, out)
	}
	<-w.begun // of the backup
	<-w.begun
	a := w.restores[len(w.restores)-1]
	properties, _ := a.Kept["properties"].(map[string]any)
	if a.Mode != holdfast.CreateVM || a.VMName != "fresh" || a.VCPUs != 4 || a.Memory != 5<<29 || a.Start || a.Directory != "/pool" || a.Tags["by"] != "template" ||
		properties["priority"] != nil || properties["licenseType"] != "X" || properties["availabilitySet"] == nil || properties["host"] != nil {
		t.Errorf("%+v", a)
	}
	if len(a.Attach) != 2 || a.Attach[0].LUN != -1 || a.Attach[0].Path != "/pool/os" || a.Attach[1].LUN != 5 || a.Attach[1].Format != "raw" {
		t.Errorf("disks: %+v", a.Attach)
	}
	if len(a.Networks) != 2 || a.Networks[0] != "" || a.Networks[1] != "lab" {
		t.Errorf("networks: %q", a.Networks)
	}
	// Who may make VMs but not restore makes none of a point.
	const role = "7a7a7a7a-0000-4000-8000-000000000009"
	s.send(t, "PUT", "/subscriptions/"+s.sub+"/providers/Microsoft.Authorization/roleDefinitions/"+role+"?api-version=2022-04-01",
		`{"properties":{"roleName":"VM maker","permissions":[{"actions":["Microsoft.Compute/*"]}],"assignableScopes":["/"]}}`)
	maker := s.member(t, role, "/subscriptions/"+s.sub)
	if code, _ := s.as(t, maker, "PUT", s.vmID("other")+"?api-version=2024-07-01", strings.ReplaceAll(body(), "~G", "/subscriptions/"+s.sub+"/resourceGroups/lab")); code != 403 {
		t.Errorf("without the right to restore: %d", code)
	}
	if code, _ := s.as(t, s.member(t, authz.Reader, "/subscriptions/"+s.sub), "PUT", s.vmID("other")+"?api-version=2024-07-01", body()); code != 403 {
		t.Errorf("a reader: %d", code)
	}
}
