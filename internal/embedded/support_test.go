package embedded_test

import (
	"fmt"
	"strings"
	"testing"

	"holdfast"
	"holdfast/internal/embedded"
	"holdfast/internal/limits"
	"holdfast/internal/matrix"
)

// What a row of the support matrix refuses is refused when a VM is protected and
// when a backup of it is asked for, by the row's name; a disk that is left out
// hurts nobody, and extended limits lift what they may.
func TestRowsRefuse(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "CMP-01", "STO-01", "STO-02", "STO-11", "STO-12", "STO-14")
	protect := func(s *sdk, exclude string) (int, map[string]any) {
		extended := ""
		if exclude != "" {
			extended = `,"extendedProperties":{"diskExclusionProperties":{"isInclusionList":false,"diskLunList":[` + exclude + `]}}`
		}
		code, out, _ := s.send(t, "PUT", s.itemPath()+"?api-version=2025-02-01",
			fmt.Sprintf(`{"properties":{"protectedItemType":"Microsoft.Compute/virtualMachines","sourceResourceId":%q,"policyId":%q%s}}`, s.vmID("web"), s.vaultPath()+"/backupPolicies/DefaultPolicy", extended))
		return code, out
	}
	for _, c := range []struct {
		row, exclude string
		lifted       bool
		change       func(*holdfast.VMFact)
	}{
		{row: "CMP-01", lifted: true, change: func(vm *holdfast.VMFact) { vm.VCPUs = 1 }},
		{row: "STO-01", exclude: "0", change: func(vm *holdfast.VMFact) { manyDisks(vm, 17) }},
		{row: "STO-02", exclude: "0", change: func(vm *holdfast.VMFact) { vm.Disks[1].Size = 32<<40 + 1 }},
		{row: "STO-11", exclude: "0", change: func(vm *holdfast.VMFact) { vm.Disks[1].Shared = true }},
		{row: "STO-12", exclude: "0", change: func(vm *holdfast.VMFact) {
			vm.Kept = map[string]any{"disks": map[string]any{"vdb": map[string]any{"managedDisk": map[string]any{"storageAccountType": "UltraSSD_LRS"}}}}
		}},
		{row: "STO-14", exclude: "0", change: func(vm *holdfast.VMFact) { vm.Disks[1].NVMe = true }},
	} {
		t.Run(c.row, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			s := dial(t, serve(t, w, t.TempDir()))
			lab(t, s)
			c.change(&w.vms[0])
			code, out := protect(s, "")
			if e, _ := out["error"].(map[string]any); code != 409 || e["code"] != "OperationNotAllowed" || !strings.Contains(e["message"].(string), c.row) {
				t.Errorf("protected: %d %v", code, out)
			}
			if c.exclude != "" {
				if code, out := protect(s, c.exclude); code != 202 {
					t.Errorf("left out, and yet: %d %v", code, out)
				}
			}
			if c.lifted {
				r := serveWith(t, t.TempDir(), func(c *embedded.Config) { c.Limits = limits.Extended })
				s := dial(t, r)
				lab(t, s)
				c.change(&r.vms[0])
				if code, out := protect(s, ""); code != 202 {
					t.Errorf("lifted, and yet: %d %v", code, out)
				}
			}
		})
	}
}

func manyDisks(vm *holdfast.VMFact, n int) {
	vm.Disks = vm.Disks[:1]
	for i := range n {
		vm.Disks = append(vm.Disks, holdfast.DiskFact{LUN: i, Target: fmt.Sprintf("sd%c", 'a'+i), Size: 1 << 20, Path: fmt.Sprint("/disks/", i)})
	}
}

// A VM that a row refuses only after it was protected is refused at its backup.
func TestRowsRefuseABackup(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	w.vms[0].Disks[1].Shared = true
	s.refuses(t, []refused{{"a shared disk", "POST", s.itemPath() + "/backup", onDemand, 409, "OperationNotAllowed", "STO-11"}})
}

// A VM with a plan or with diagnostic settings comes back as disks only.
func TestRowsRefuseANewVM(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "CMP-04", "CMP-08")
	for row, kept := range map[string]map[string]any{
		"CMP-04": {"plan": map[string]any{"name": "p"}},
		"CMP-08": {"properties": map[string]any{"diagnosticsProfile": map[string]any{"bootDiagnostics": map[string]any{"enabled": true}}}},
	} {
		t.Run(row, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.vms[0].Kept = kept
			s := dial(t, serve(t, w, t.TempDir()))
			lab(t, s)
			s.protect(t)
			s.job(t, s.backupNow(t))
			restore := func(mode string) string {
				return `{"properties":{"objectType":"IaasVMRestoreRequest","storageAccountId":"~G/providers/Microsoft.Storage/storageAccounts/default",` + mode + `}}`
			}
			point := "~I/recoveryPoints/" + *s.points(t)[0].Name + "/restore"
			s.refuses(t, []refused{{"a new VM", "POST", point, restore(`"recoveryType":"AlternateLocation","targetVirtualMachineId":"~G/providers/Microsoft.Compute/virtualMachines/new"`), 409, "OperationNotAllowed", row}})
			name := *s.points(t)[0].Name
			code, out, _ := s.send(t, "POST", s.itemPath()+"/recoveryPoints/"+name+"/restore?api-version=2025-02-01",
				strings.ReplaceAll(restore(`"recoveryType":"RestoreDisks"`), "~G", "/subscriptions/"+s.sub+"/resourceGroups/lab"))
			if code != 202 {
				t.Errorf("its disks: %d %v", code, out)
			}
		})
	}
}

// What a VM is beside its definition does not keep it from being backed up, and
// the point knows of it.
func TestKindsOfVMs(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "CMP-03", "CMP-05", "CMP-15")
	for what, properties := range map[string]map[string]any{
		"custom image":       {"storageProfile": map[string]any{"imageReference": map[string]any{"id": "/images/mine"}}},
		"hybrid use benefit": {"licenseType": "Windows_Server"},
		"one of a scale set": {"virtualMachineScaleSet": map[string]any{"id": "/sets/a"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.vms[0].Kept = map[string]any{"properties": properties}
			s := dial(t, serve(t, w, t.TempDir()))
			lab(t, s)
			s.protect(t)
			if j := s.job(t, s.backupNow(t)); *j.Status != "Completed" {
				t.Errorf("backup: %+v", j)
			}
			if n := len(s.points(t)); n != 1 {
				t.Errorf("%d points", n)
			}
		})
	}
}
