package embedded_test

import (
	"net/http"
	"strings"
	"testing"

	"holdfast"
	"holdfast/internal/embedded"
	"holdfast/internal/limits"
	"holdfast/internal/matrix"
)

// TestRestoresUnderExtendedLimits: what Azure refuses as a service and no machine
// needs is done: disks of two classes on one VM, and a restore to another zone. What
// cannot be is refused as before.
func TestRestoresUnderExtendedLimits(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "MGT-01", "MGT-03", "MGT-04")
	s := dial(t, serveWith(t, t.TempDir(), func(c *embedded.Config) { c.Limits = limits.Extended }))
	w := s.world
	w.pools = []holdfast.PoolFact{{Name: "quick", Path: "/quick", Type: "dir"}}
	w.volumes = []holdfast.VolumeFact{
		{Name: "os", Pool: "default", Path: "/pool/os", Format: "qcow2", Size: 2 << 30},
		{Name: "data", Pool: "quick", Path: "/quick/data", Format: "raw", Size: 1 << 30},
	}
	w.change(w.vms[0].VMRef, func(vm *holdfast.VMFact) { vm.Kept = map[string]any{"zones": []any{"1"}} })
	lab(t, s)
	at := "/subscriptions/" + s.sub + "/providers/Holdfast.Site/sites/" + site + "?api-version=2026-11-01"
	if code, out, _ := s.send(t, http.MethodPut, at, `{"properties":{"uri":"qemu:///system","resourceGroup":"lab","poolClasses":{"default":"Standard_LRS","quick":"Premium_LRS"},"encryptedPools":["quick"]}}`); code != http.StatusOK {
		t.Fatalf("%d %v", code, out)
	}
	s.protect(t)
	s.job(t, s.backupNow(t))
	const disks, account = `"recoveryType":"RestoreDisks"`, `,"storageAccountId":"~G/providers/Microsoft.Storage/storageAccounts/`
	if code, says, a := s.placed(t, w, disks+account+`default","zones":["2"]`); code != http.StatusAccepted || a.Pool != "default" {
		t.Errorf("to another zone: %d %s, %+v", code, says, a)
	}
	if code, says, a := s.placed(t, w, disks+account+`quick","holdfast":{"namePrefix":"q"}`); code != http.StatusAccepted || a.Pool != "quick" {
		t.Errorf("to an account that encrypts: %d %s, %+v", code, says, a)
	}
	if code, says, _ := s.placed(t, w, disks+account+`default","region":"mars"`); code != http.StatusConflict {
		t.Errorf("to a region that is not there: %d %s", code, says)
	}
	const disk = `{"createOption":"Attach","managedDisk":{"id":"~G/providers/Microsoft.Compute/disks/`
	s.follow(t, "PUT", s.vmID("mixed"), strings.ReplaceAll(`{"location":"site1","properties":{"storageProfile":{"osDisk":`+disk+`os"}},"dataDisks":[{"lun":0,`+disk[1:]+`quick~data"}}]},
		"holdfast":{"recoveryPointId":"`+s.itemPath()+"/recoveryPoints/"+*s.points(t)[0].Name+`","start":false}}}`, "~G", "/subscriptions/"+s.sub+"/resourceGroups/lab"), http.StatusCreated)
	if a := w.restores[len(w.restores)-1]; len(a.Attach) != 2 || a.Attach[0].Pool != "default" || a.Attach[1].Pool != "quick" {
		t.Errorf("of two classes: %+v", a.Attach)
	}
}
