package embedded_test

import (
	"testing"

	"holdfast"
)

// TestAzRestorePoints is az restore-point, each of its commands.
func TestAzRestorePoints(t *testing.T) {
	t.Parallel()
	p := servePoints(t, nil)
	p.site(t, site, "qemu:///system", "lab")
	a := newAz(t, p.running)
	a.signIn()
	var made, list object
	var all []object
	a.Run(&made, "restore-point", "collection", "create", "-g", "lab", "--collection-name", "rpc", "--source-id", p.vmID("web"), "--tags", "a=b")
	if made["provisioningState"] != "Succeeded" || made["location"] != site {
		t.Errorf("the collection: %v", made)
	}
	a.Run(nil, "restore-point", "collection", "update", "-g", "lab", "--collection-name", "rpc", "--tags", "c=d")
	a.Run(&made, "restore-point", "create", "-g", "lab", "--collection-name", "rpc", "-n", "one")
	if made["provisioningState"] != "Succeeded" || made["consistencyMode"] != string(holdfast.FileSystemConsistent) {
		t.Errorf("the point: %v", made)
	}
	a.Run(nil, "restore-point", "create", "-g", "lab", "--collection-name", "rpc", "-n", "two", "--consistency-mode", "CrashConsistent",
		"--exclude-disks", "/subscriptions/"+p.sub+"/resourceGroups/lab/providers/Microsoft.Compute/disks/b")
	a.Fails("RPT-33", "restore-point", "create", "-g", "lab", "--collection-name", "rpc", "-n", "three", "--consistency-mode", "CrashConsistent")
	a.Run(&made, "restore-point", "show", "-g", "lab", "--collection-name", "rpc", "-n", "one", "--instance-view")
	if view, _ := made["instanceView"].(object); view == nil || len(view["diskRestorePoints"].([]any)) != 2 {
		t.Errorf("shown: %v", made)
	}
	a.Run(nil, "restore-point", "wait", "-g", "lab", "--collection-name", "rpc", "-n", "one", "--created")
	a.Run(&list, "restore-point", "collection", "show", "-g", "lab", "--collection-name", "rpc", "--restore-points")
	if points, _ := list["restorePoints"].([]any); len(points) != 2 {
		t.Errorf("with its points: %v", list)
	}
	a.Run(&all, "restore-point", "collection", "list", "-g", "lab")
	a.Run(&all, "restore-point", "collection", "list-all")
	if len(all) != 1 || all[0]["tags"].(object)["c"] != "d" {
		t.Errorf("listed: %v", all)
	}
	disk := made["sourceMetadata"].(object)["storageProfile"].(object)["osDisk"].(object)["diskRestorePoint"].(object)["id"].(string)
	a.Run(&made, "rest", "--method", "post", "--url", p.env["HOLDFAST_ENDPOINT"]+disk+"/beginGetAccess?api-version=2022-07-02", "--resource", p.env["HOLDFAST_ENDPOINT"], "--body", `{"access":"Read","durationInSeconds":60}`)
	if got := p.fetch(t, made["accessSAS"].(string), 200); len(got) != diskSize {
		t.Errorf("the disk: %d bytes", len(got))
	}
	a.Run(nil, "restore-point", "delete", "-g", "lab", "--collection-name", "rpc", "-n", "two", "-y")
	a.Run(nil, "restore-point", "collection", "delete", "-g", "lab", "--collection-name", "rpc", "-y")
	if len(p.store.points) != 0 {
		t.Errorf("%d points are left", len(p.store.points))
	}
}
