package embedded_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservicesbackup/v4"

	"holdfast"
	"holdfast/internal/authz"
	"holdfast/internal/matrix"
)

// managed makes every disk of the world's first VM one of a pool.
func managed(w *world) {
	w.change(w.vms[0].VMRef, func(f *holdfast.VMFact) {
		f.Disks = []holdfast.DiskFact{{LUN: -1, Target: "vda", Path: "/pool/a", Pool: "default", Format: "raw", Size: 2 << 30}, {LUN: 0, Target: "vdb", Path: "/pool/b", Pool: "default", Format: "raw", Size: 1 << 30}}
	})
}

// TestReplaceIsRefused asks for what RST-03 doesn't allow; each error says what to
// do instead.
func TestReplaceIsRefused(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RST-03")
	w := newWorld()
	managed(w)
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	s.job(t, s.backupNow(t))
	path := "~I/recoveryPoints/" + *s.points(t)[0].Name + "/restore"
	body := func(more string) string {
		return `{"properties":{"objectType":"IaasVMRestoreRequest","recoveryType":"OriginalLocation","storageAccountId":"~G/providers/Microsoft.Storage/storageAccounts/default"` + more + `}}`
	}
	disk := func(change func(*holdfast.DiskFact)) func(*holdfast.VMFact) {
		return func(vm *holdfast.VMFact) { change(&vm.Disks[1]) }
	}
	keep := func(kept map[string]any) func(*holdfast.VMFact) {
		return func(vm *holdfast.VMFact) { vm.Kept = kept }
	}
	for _, c := range []struct {
		name, more string
		change     func(*holdfast.VMFact)
		status     int
		says       []string
	}{
		{"unmanaged", "", disk(func(k *holdfast.DiskFact) { k.Pool = "" }), 409, []string{"unmanaged", "RestoreDisks"}},
		{"encrypted by libvirt", "", disk(func(k *holdfast.DiskFact) { k.Encrypted = true }), 409, []string{"encrypted", "RestoreDisks"}},
		{"encrypted in the guest", "", keep(map[string]any{"disks": map[string]any{"vdb": map[string]any{"encryptionSettings": map[string]any{"enabled": true}}}}), 409, []string{"encrypted", "RestoreDisks"}},
		{"shared", "", disk(func(k *holdfast.DiskFact) { k.Shared = true }), 409, []string{"shared"}},
		{"generalized", "", keep(map[string]any{"properties": map[string]any{"generalized": true}}), 409, []string{"generalized", "AlternateLocation"}},
		{"transient", "", func(vm *holdfast.VMFact) { vm.Transient = true }, 409, []string{"virsh define"}},
		{"asleep", "", func(vm *holdfast.VMFact) { vm.Saved, vm.State = true, "shutoff" }, 409, []string{"managedsave-remove"}},
		{"another machine of the name", "", func(vm *holdfast.VMFact) { vm.UUID = "u-9" }, 409, []string{"not there any more", "AlternateLocation"}},
		{"deleted", "", func(vm *holdfast.VMFact) { vm.Name = "renamed" }, 409, []string{"not there any more", "AlternateLocation"}},
		{"another region", `,"region":"mars"`, nil, 409, []string{"mars"}},
		{"a network", `,"virtualNetworkId":"~G/providers/Microsoft.Network/virtualNetworks/lab"`, nil, 400, []string{"NICs stay"}},
		{"a directory", `,"holdfast":{"directory":"/srv"}`, nil, 400, []string{"pool"}},
		{"no time", `,"holdfast":{"snapshotWithin":"soon"}`, nil, 400, []string{"snapshotWithin"}},
		{"no such LUN", `,"restoreDiskLunList":[7]`, nil, 400, []string{"LUN 7"}},
	} {
		before := w.vms[0]
		before.Disks = append([]holdfast.DiskFact(nil), before.Disks...)
		if c.change != nil {
			w.change(w.vms[0].VMRef, c.change)
		}
		code := map[int]string{400: "InvalidParameter", 409: "OperationNotAllowed"}[c.status]
		if c.name == "asleep" {
			code = "Conflict"
		}
		for _, says := range c.says {
			s.refuses(t, []refused{{c.name, "POST", path, body(c.more), c.status, code, says}})
		}
		w.mu.Lock()
		w.vms[0] = before
		w.mu.Unlock()
	}
	if len(w.restores) != 0 || len(w.backups) != 1 {
		t.Errorf("refused, and yet: %v, %v", w.restores, w.backups)
	}
	operator := s.member(t, authz.BackupOperator, s.vaultPath())
	code, out := s.as(t, operator, "POST", strings.ReplaceAll(strings.Replace(path, "~I", s.itemPath(), 1), ";", "%3B")+"?api-version=2025-02-01", strings.ReplaceAll(body(""), "~G", "/subscriptions/"+s.sub+"/resourceGroups/lab"))
	if code != 403 {
		t.Errorf("who may not change the VM replaces its disks: %d %v", code, out)
	}
}

// TestReplace goes the SDK's way: the VM is backed up first, its point is kept
// by policy, and while it is replaced nothing else is done to the machine.
func TestReplace(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RST-03")
	w := newWorld()
	managed(w)
	// A VM of a custom image, with identity and key vault links.
	w.change(w.vms[0].VMRef, func(vm *holdfast.VMFact) {
		vm.Kept = map[string]any{"identity": map[string]any{"type": "SystemAssigned"}, "properties": map[string]any{
			"osProfile": map[string]any{"secrets": []any{}}, "storageProfile": map[string]any{"imageReference": map[string]any{"id": "/images/own"}}}}
	})
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	s.job(t, s.backupNow(t))
	point := *s.points(t)[0].Name
	replace := func(within string) armrecoveryservicesbackup.AzureIaaSVMJob {
		t.Helper()
		var raw *http.Response
		ctx := policy.WithCaptureResponse(t.Context(), &raw)
		if within == "" {
			_, err := s.backup.NewRestoresClient().BeginTrigger(ctx, "safe", "lab", "Azure", container, item, point, armrecoveryservicesbackup.RestoreRequestResource{Properties: &armrecoveryservicesbackup.IaasVMRestoreRequest{
				RecoveryPointID: &point, RecoveryType: to.Ptr(armrecoveryservicesbackup.RecoveryTypeOriginalLocation), Region: to.Ptr(site), SourceResourceID: to.Ptr(s.vmID("web")),
				StorageAccountID: to.Ptr("/subscriptions/" + s.sub + "/resourceGroups/lab/providers/Microsoft.Storage/storageAccounts/default")}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			return *s.job(t, raw)
		}
		code, out, h := s.send(t, "POST", strings.ReplaceAll(s.itemPath(), ";", "%3B")+"/recoveryPoints/"+point+"/restore?api-version=2025-02-01",
			`{"properties":{"objectType":"IaasVMRestoreRequest","recoveryType":"OriginalLocation","restoreDiskLunList":[],"holdfast":{"snapshotWithin":"`+within+`","start":false}}}`)
		if code != 202 {
			t.Fatalf("%d %v", code, out)
		}
		return *s.job(t, &http.Response{Header: h})
	}

	j := replace("")
	a := w.restores[len(w.restores)-1]
	if *j.Status != "Completed" || a.Mode != holdfast.ReplaceDisks || a.VM.Name != "web" || a.Pool != "default" || a.Format != "raw" || !a.Start || a.After == "" || *j.ExtendedInfo.PropertyBag["Backup job"] != a.After {
		t.Errorf("%s, %+v", *j.Status, a)
	}
	points := s.points(t)
	if len(points) != 2 || len(w.backups) != 2 || !w.backups[1].Expires.IsZero() {
		t.Fatalf("%d points, backups %+v; want one more, kept by policy", len(points), w.backups)
	}
	replace("1h")
	if a := w.restores[len(w.restores)-1]; a.After != "" || a.Start || len(a.LUNs) != 1 || a.LUNs[0] != -1 || len(w.backups) != 2 {
		t.Errorf("with a fresh point: %+v, %d backups", a, len(w.backups))
	}
	s.failedSave(t, w, point)
}

// failedSave: when the backup before fails nothing is replaced, and the error says
// how to go on.
func (s *sdk) failedSave(t *testing.T, w *world, point string) {
	t.Helper()
	w.mu.Lock()
	w.fail = holdfast.Errorf(holdfast.Full, "vault", "The vault is full.")
	n := len(w.restores)
	w.mu.Unlock()
	code, out, h := s.send(t, "POST", strings.ReplaceAll(s.itemPath(), ";", "%3B")+"/recoveryPoints/"+point+"/restore?api-version=2025-02-01",
		`{"properties":{"objectType":"IaasVMRestoreRequest","recoveryType":"OriginalLocation"}}`)
	if code != 202 {
		t.Fatalf("%d %v", code, out)
	}
	j := s.job(t, &http.Response{Header: h})
	if *j.Status != "Failed" || len(w.restores) != n || !strings.Contains(*j.ErrorDetails[0].ErrorString, "The vault is full") || !strings.Contains(*j.ErrorDetails[0].Recommendations[0], "snapshotWithin") {
		t.Errorf("%s, %d restores, %+v", *j.Status, len(w.restores)-n, j.ErrorDetails)
	}
}

// TestGeneralized: a VM that is generalized is off, is not started any more, and
// nothing goes back into it.
func TestGeneralized(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.refuses(t, []refused{{"a running one", "POST", s.vmID("web") + "/generalize", "", 409, "OperationNotAllowed", "off"}})
	w.change(w.vms[0].VMRef, func(vm *holdfast.VMFact) { vm.State = "shutoff" })
	if _, err := s.vms.Generalize(t.Context(), "lab", "web", nil); err != nil {
		t.Fatal(err)
	}
	s.refuses(t, []refused{{"its start", "POST", s.vmID("web") + "/start", "", 409, "OperationNotAllowed", "generalized"}})
}
