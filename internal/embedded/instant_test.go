package embedded_test

import (
	"net/http"
	"strings"
	"testing"

	"holdfast"
)

// TestInstant asks for a VM that boots at once; what cannot be is refused, and while
// it runs on the point its item is not deleted.
func TestInstant(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.send(t, "PUT", s.vaultPath()+"/backupconfig/vaultconfig?api-version=2025-02-01", `{"properties":{"softDeleteFeatureState":"Disabled"}}`)
	s.protect(t)
	s.job(t, s.backupNow(t))
	path := "~I/recoveryPoints/" + *s.points(t)[0].Name + "/restore"
	body := func(kind, own string) string {
		return `{"properties":{"objectType":"IaasVMRestoreRequest","storageAccountId":"~G/providers/Microsoft.Storage/storageAccounts/default","recoveryType":"` + kind + `",` +
			`"targetVirtualMachineId":"~G/providers/Microsoft.Compute/virtualMachines/new","holdfast":{"instant":true` + own + `}}}`
	}
	s.refuses(t, []refused{
		{"disks only", "POST", path, strings.Replace(body("RestoreDisks", ""), `"targetVirtualMachineId":"~G/providers/Microsoft.Compute/virtualMachines/new",`, "", 1), 400, "InvalidParameter", "AlternateLocation"},
		{"not to be started", "POST", path, body("AlternateLocation", `,"start":false`), 400, "InvalidParameter", "boots the VM"},
		{"backwards", "POST", path, body("AlternateLocation", `,"fillRate":-1`), 400, "InvalidParameter", "fillRate"},
	})
	w.mu.Lock()
	w.hold = make(chan struct{})
	hold := w.hold
	w.mu.Unlock()
	place := strings.NewReplacer("~I", strings.ReplaceAll(s.itemPath(), ";", "%3B"), "~G", "/subscriptions/"+s.sub+"/resourceGroups/lab")
	code, out, h := s.send(t, "POST", place.Replace(path)+"?api-version=2025-02-01", place.Replace(body("AlternateLocation", `,"fillRate":1048576`)))
	if code != http.StatusAccepted {
		t.Fatalf("%d %v", code, out)
	}
	s.refuses(t, []refused{{"its deletion", "DELETE", "~I", "", 409, "Conflict", "restore"}})
	close(hold)
	s.job(t, &http.Response{Header: h})
	if a := w.restores[len(w.restores)-1]; !a.BootFirst || a.FillRate != 1<<20 || !a.Start || a.Format != "qcow2" || a.Mode != holdfast.CreateVM {
		t.Errorf("%+v", a)
	}
}
