package embedded_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"holdfast"
	"holdfast/internal/matrix"
)

// placed asks for a restore of the newest point, and gives what the mover is asked.
func (s *sdk) placed(t *testing.T, w *world, members string) (code int, says string, a holdfast.RestoreArgs) {
	t.Helper()
	path := strings.ReplaceAll(s.itemPath(), ";", "%3B") + "/recoveryPoints/" + *s.points(t)[0].Name + "/restore?api-version=2025-02-01"
	body := `{"properties":{"objectType":"IaasVMRestoreRequest",` + members + `}}`
	code, out, h := s.send(t, http.MethodPost, path, strings.ReplaceAll(body, "~G", "/subscriptions/"+s.sub+"/resourceGroups/lab"))
	if code == http.StatusAccepted {
		s.job(t, &http.Response{Header: h})
		w.mu.Lock()
		defer w.mu.Unlock()
		a = w.restores[len(w.restores)-1]
	}
	return code, fmt.Sprint(out), a
}

// TestClassIsKept: disks go back to a pool of their class when nobody says where.
func TestClassIsKept(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "STO-03", "MGT-03")
	w := newWorld()
	w.pools = []holdfast.PoolFact{{Name: "slow", Path: "/slow", Type: "dir"}, {Name: "quick", Path: "/quick", Type: "dir"}}
	w.vms[0].Disks[0].Pool, w.vms[0].Disks[1].Pool = "quick", ""
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	at := "/subscriptions/" + s.sub + "/providers/Holdfast.Site/sites/" + site + "?api-version=2026-11-01"
	if code, out, _ := s.send(t, http.MethodPut, at, `{"properties":{"uri":"qemu:///system","resourceGroup":"lab",
		"poolClasses":{"slow":"Standard_LRS","quick":"Premium_LRS","default":"Premium_LRS"},"encryptedPools":["slow"]}}`); code != http.StatusOK {
		t.Fatalf("%d %v", code, out)
	}
	s.protect(t)
	s.job(t, s.backupNow(t))
	const disks = `"recoveryType":"RestoreDisks"`
	if _, says, a := s.placed(t, w, disks+`,"holdfast":{"namePrefix":"a"}`); a.Pool != "quick" {
		t.Errorf("where it was: %q, %s", a.Pool, says)
	}
	if _, says, a := s.placed(t, w, disks+`,"holdfast":{"namePrefix":"b"},"storageAccountId":"~G/providers/Microsoft.Storage/storageAccounts/default"`); a.Pool != "default" {
		t.Errorf("where somebody says: %q, %s", a.Pool, says)
	}
	if code, says, _ := s.placed(t, w, disks+`,"storageAccountId":"~G/providers/Microsoft.Storage/storageAccounts/slow"`); code != http.StatusConflict || !strings.Contains(says, "MGT-03") {
		t.Errorf("where it is encrypted: %d %s", code, says)
	}
	w.mu.Lock()
	w.pools = w.pools[:1] // quick is gone
	w.mu.Unlock()
	if _, says, a := s.placed(t, w, disks+`,"holdfast":{"namePrefix":"c"}`); a.Pool != "default" {
		t.Errorf("another of the class: %q, %s", a.Pool, says)
	}
	if code, out, _ := s.send(t, http.MethodPut, at, `{"properties":{"uri":"qemu:///system","resourceGroup":"lab"}}`); code != http.StatusOK {
		t.Fatalf("%d %v", code, out)
	}
	if code, says, a := s.placed(t, w, disks+`,"holdfast":{"namePrefix":"d"}`); code != http.StatusBadRequest || !strings.Contains(says, "where the disks go") {
		t.Errorf("no place: %d %q, %s", code, a.Pool, says)
	}
}

// TestZone: a VM that is pinned to a zone comes back in it, which is where its
// host is; while the host is away the restore fails and says so.
func TestZone(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "CMP-09")
	w := newWorld()
	w.vms[0].Kept = map[string]any{"zones": []any{"1"}}
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	s.job(t, s.backupNow(t))
	const vm = `"recoveryType":"AlternateLocation","storageAccountId":"~G/providers/Microsoft.Storage/storageAccounts/default","targetVirtualMachineId":"~G/providers/Microsoft.Compute/virtualMachines/`
	if code, says, a := s.placed(t, w, vm+`one","zones":["2"]`); code != http.StatusConflict || !strings.Contains(says, "zone") {
		t.Errorf("to another zone: %d %s, %+v", code, says, a)
	}
	if code, says, a := s.placed(t, w, vm+`one","zones":["1"]`); code != http.StatusAccepted || a.Site.Name != site {
		t.Errorf("to its zone: %d %s, %+v", code, says, a)
	}
	w.mu.Lock()
	w.down = true
	w.mu.Unlock()
	if code, says, _ := s.placed(t, w, vm+`two"`); code < 400 || !strings.Contains(says, "does not answer") || !strings.Contains(says, "zone 1") {
		t.Errorf("while the zone is out: %d %s", code, says)
	}
}

// TestWriteAccelerator: a write accelerated data disk is backed up where the site
// is said to do so; elsewhere it is left out, and the job says so.
func TestWriteAccelerator(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "STO-06")
	w := newWorld()
	accelerated := map[string]any{"writeAcceleratorEnabled": true}
	w.vms[0].Kept = map[string]any{"disks": map[string]any{"vda": accelerated, "vdb": accelerated}}
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	at := "/subscriptions/" + s.sub + "/providers/Holdfast.Site/sites/" + site + "?api-version=2026-11-01"
	for _, listed := range []bool{false, true} {
		if code, out, _ := s.send(t, http.MethodPut, at, fmt.Sprintf(`{"properties":{"uri":"qemu:///system","resourceGroup":"lab","writeAccelerator":%v}}`, listed)); code != http.StatusOK {
			t.Fatalf("%d %v", code, out)
		}
		s.job(t, s.backupNow(t))
		w.mu.Lock()
		a := w.backups[len(w.backups)-1]
		w.mu.Unlock()
		left, says := len(a.ExcludeLUNs) == 1 && a.ExcludeLUNs[0] == 0, strings.Join(a.Notes, "\n")
		if left == listed || strings.Contains(says, "Disk vdb (LUN 0)") == listed || strings.Contains(says, "vda") {
			t.Errorf("listed %v: left out %v, %q", listed, a.ExcludeLUNs, says)
		}
	}
}
