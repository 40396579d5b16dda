package embedded_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"holdfast/internal/authz"
	"holdfast/internal/aztest"
	"holdfast/internal/service"
)

// az is the command line of Azure, signed in to a server.
type az struct {
	*aztest.Az
	t *testing.T
	r *running
}

func newAz(t *testing.T, r *running) *az {
	t.Helper()
	return &az{aztest.New(t, r.env), t, r}
}

type object = map[string]any

// TestAzStory is the whole story of a backup through az.
func TestAzStory(t *testing.T) {
	t.Parallel()
	r := serve(t, newWorld(), t.TempDir())
	a := newAz(t, r)
	s := dial(t, r)
	a.signIn()
	lab(t, s)
	a.vault()
	a.resources()
	a.policies()
	point := a.backup()
	a.guarded(s)
	a.restore(point)
	a.end()
}

func (a *az) signIn() {
	a.SignIn()
	var account object
	a.Run(&account, "account", "show")
	if account["id"] != a.r.env["HOLDFAST_SUBSCRIPTION_ID"] {
		a.t.Errorf("account: %v", account)
	}
}

func (a *az) vault() {
	var list []object
	a.Run(&list, "account", "list-locations")
	if len(list) != 1 || list[0]["name"] != site {
		a.t.Errorf("locations: %v", list)
	}
	a.Run(nil, "group", "create", "-n", "more", "-l", site, "--tags", "a=b")
	a.Run(&list, "group", "list")
	if len(list) != 2 {
		a.t.Errorf("groups: %v", list)
	}
	a.Run(nil, "group", "delete", "-n", "more", "--yes")
	var vault object
	a.Run(&vault, "backup", "vault", "create", "-g", "lab", "-n", "azvault", "-l", site)
	a.Run(&vault, "backup", "vault", "create", "-g", "lab", "-n", "azvault", "-l", site) // again
	if vault["name"] != "azvault" {
		a.t.Errorf("vault: %v", vault)
	}
	a.Run(nil, "backup", "vault", "backup-properties", "show", "-g", "lab", "-n", "azvault")
	a.Run(nil, "backup", "vault", "backup-properties", "set", "-g", "lab", "-n", "azvault", "--backup-storage-redundancy", "LocallyRedundant")
	a.Run(nil, "backup", "vault", "backup-properties", "set", "-g", "lab", "-n", "azvault", "--soft-delete-feature-state", "Disable")
	a.Run(&list, "backup", "vault", "list", "-g", "lab")
	if len(list) != 2 {
		a.t.Errorf("vaults: %v", list)
	}
	a.Run(nil, "backup", "vault", "delete", "-g", "lab", "-n", "azvault", "--yes")
	a.Fails("ResourceNotFound", "backup", "vault", "show", "-g", "lab", "-n", "azvault")
}

// resources deploys a template, tags what it made and moves it.
func (a *az) resources() {
	file := filepath.Join(a.t.TempDir(), "template.json")
	if err := os.WriteFile(file, []byte(`{ // as one writes it by hand
		"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
		"parameters": {"name": {"type": "string"}, "size": {"type": "int", "defaultValue": 1}}, /* two */
		"resources": [
			{"type": "Microsoft.Compute/disks", "apiVersion": "2022-07-02", "name": "[format('{0}-disk', parameters('name'))]", "location": "[resourceGroup().location]",
				"properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": "[parameters('size')]"}},
			{"type": "Microsoft.RecoveryServices/vaults", "apiVersion": "2023-04-01", "name": "[parameters('name')]", "location": "[resourceGroup().location]", "sku": {"name": "Standard"}, "properties": {}}
		],
		"outputs": {"vault": {"type": "string", "value": "[resourceId('Microsoft.RecoveryServices/vaults', parameters('name'))]"}}
	}`), 0o600); err != nil {
		a.t.Fatal(err)
	}
	at := []string{"-g", "lab", "-n", "first"}
	var out object
	var list []object
	a.Run(&out, append([]string{"deployment", "group", "validate", "--template-file", file, "--parameters", "name=azmade"}, at...)...)
	a.Run(&out, append([]string{"deployment", "group", "create", "--template-file", file, "--parameters", "name=azmade"}, at...)...)
	p := out["properties"].(object)
	if p["provisioningState"] != "Succeeded" || len(p["outputResources"].([]any)) != 2 {
		a.t.Fatalf("deployment: %v", out)
	}
	vault := p["outputs"].(object)["vault"].(object)["value"].(string)
	a.Run(&list, append([]string{"deployment", "operation", "group", "list"}, at...)...)
	if len(list) != 2 {
		a.t.Errorf("operations: %v", list)
	}
	a.Run(&list, "deployment", "group", "list", "-g", "lab")
	if len(list) != 1 {
		a.t.Errorf("deployments: %v", list)
	}
	a.Run(nil, append([]string{"deployment", "group", "export"}, at...)...)
	a.Run(nil, append([]string{"deployment", "group", "delete"}, at...)...)
	a.Fails("there is no function nothing", "deployment", "group", "create", "-g", "lab", "-n", "bad", "--template-file", a.bad())

	a.Run(&out, "tag", "create", "--resource-id", vault, "--tags", "stage=test")
	a.Run(&out, "tag", "update", "--resource-id", vault, "--operation", "merge", "--tags", "owner=me")
	a.Run(&list, "resource", "list", "--tag", "stage=test")
	if len(list) != 1 {
		a.t.Errorf("tagged resources: %v", list)
	}
	a.Run(nil, "group", "create", "-n", "away", "-l", site)
	a.Run(nil, "resource", "move", "--destination-group", "away", "--ids", vault)
	a.Run(&out, "backup", "vault", "show", "-g", "away", "-n", "azmade")
	if out["tags"].(object)["owner"] != "me" {
		a.t.Errorf("the moved vault: %v", out)
	}
	a.Run(nil, "group", "delete", "-n", "away", "--yes")
	a.Run(nil, "disk", "delete", "-g", "lab", "-n", "azmade-disk", "--yes")
}

// bad is a template with a function that is none.
func (a *az) bad() string {
	file := filepath.Join(a.t.TempDir(), "bad.json")
	if err := os.WriteFile(file, []byte(`{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0","resources":[],"variables":{"x":"[nothing()]"}}`), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return file
}

func (a *az) policies() {
	var list []object
	a.Run(&list, "backup", "policy", "list", "-g", "lab", "-v", "safe")
	if len(list) != 2 {
		a.t.Errorf("policies: %v", list)
	}
	var policy object
	a.Run(&policy, "backup", "policy", "show", "-g", "lab", "-v", "safe", "-n", "DefaultPolicy")
	text, err := json.Marshal(policy)
	if err != nil {
		a.t.Fatal(err)
	}
	a.Run(nil, "backup", "policy", "create", "-g", "lab", "-v", "safe", "-n", "mine", "--backup-management-type", "AzureIaasVM", "--policy", string(text))
	a.Run(nil, "backup", "policy", "set", "-g", "lab", "-v", "safe", "-n", "mine", "--policy", string(text))
	a.Run(nil, "backup", "policy", "delete", "-g", "lab", "-v", "safe", "-n", "mine")
	a.Fails("scheduleRunTimes", "backup", "policy", "create", "-g", "lab", "-v", "safe", "-n", "bad", "--backup-management-type", "AzureIaasVM",
		"--policy", strings.Replace(string(text), `"scheduleRunTimes":[`, `"scheduleRunTimes":["2024-01-01T01:00:00Z",`, 1))
}

var ofItem = []string{"-g", "lab", "-v", "safe", "-c", "web", "-i", "web", "--backup-management-type", "AzureIaasVM"}

// backup protects a machine and backs it up; it returns the point's name.
func (a *az) backup() string {
	var vms []object
	a.Run(&vms, "vm", "list", "-g", "lab")
	if len(vms) != 2 {
		a.t.Errorf("VMs: %v", vms)
	}
	var job object
	a.Run(&job, "backup", "protection", "enable-for-vm", "-g", "lab", "-v", "safe", "--vm", "web", "-p", "DefaultPolicy")
	if op := job["properties"].(object)["operation"]; op != "ConfigureBackup" {
		a.t.Errorf("enable-for-vm: %v", job)
	}
	a.Run(nil, "backup", "protection", "check-vm", "--vm-id", "/subscriptions/"+a.r.env["HOLDFAST_SUBSCRIPTION_ID"]+"/resourceGroups/lab/providers/Microsoft.Compute/virtualMachines/web")
	var list []object
	a.Run(&list, "backup", "container", "list", "-g", "lab", "-v", "safe", "--backup-management-type", "AzureIaasVM")
	if len(list) != 1 {
		a.t.Errorf("containers: %v", list)
	}
	a.Run(&list, "backup", "item", "list", "-g", "lab", "-v", "safe")
	if len(list) != 1 {
		a.t.Errorf("items: %v", list)
	}
	a.Run(&job, append([]string{"backup", "protection", "backup-now"}, ofItem...)...)
	a.Run(nil, "backup", "job", "wait", "-g", "lab", "-v", "safe", "-n", job["name"].(string), "--timeout", "60")
	a.Run(&job, "backup", "job", "show", "-g", "lab", "-v", "safe", "-n", job["name"].(string))
	if s := job["properties"].(object)["status"]; s != "Completed" {
		a.t.Errorf("backup job: %v", job)
	}
	a.Run(&list, "backup", "job", "list", "-g", "lab", "-v", "safe", "--operation", "Backup", "--status", "Completed")
	if len(list) != 1 {
		a.t.Errorf("jobs: %v", list)
	}
	a.Run(&list, append([]string{"backup", "recoverypoint", "list"}, ofItem...)...)
	if len(list) != 1 {
		a.t.Fatalf("points: %v", list)
	}
	point := list[0]["name"].(string)
	a.Run(nil, append([]string{"backup", "recoverypoint", "show", "-n", point}, ofItem...)...)
	return point
}

// guarded puts the vault under the resource guard of somebody else, who then gives
// leave. az 2.45 has no commands for guards themselves (they are in the extension
// dataprotection), but for vaults under them, and --tenant-id for guards of another
// tenant: that az sends a second token, which changes nothing here.
func (a *az) guarded(s *sdk) {
	group := "/subscriptions/" + s.sub + "/resourceGroups/security"
	guard, version := group+"/providers/Microsoft.DataProtection/resourceGuards/second", "?api-version=2025-02-01"
	id, _, security := s.person(a.t)
	must := func(code int, said any) {
		a.t.Helper()
		if code/100 != 2 {
			a.t.Fatalf("%d %v", code, said)
		}
	}
	code, out, _ := s.send(a.t, "PUT", group+version, `{"location":"site1"}`)
	must(code, out)
	code, out, _ = s.send(a.t, "PUT", group+"/providers/Microsoft.Authorization/roleAssignments/"+uuid.NewString()+"?api-version=2022-04-01", fmt.Sprintf(`{"properties":{"roleDefinitionId":"%s","principalId":"%s"}}`, authz.Contributor, id))
	must(code, out)
	code, kind := s.as(a.t, security, "PUT", guard+version, `{"location":"site1"}`)
	must(code, kind)

	at := func(verb string, more ...string) []string {
		return append([]string{"backup", "vault", "resource-guard-mapping", verb, "-g", "lab", "-n", "safe"}, more...)
	}
	tenant := []string{"--tenant-id", a.r.env["HOLDFAST_TENANT_ID"]}
	a.Run(nil, at("update", "--resource-guard-id", guard)...)
	a.Run(&out, at("show")...)
	if p := out["properties"].(object); p["resourceGuardResourceId"] != guard || len(p["resourceGuardOperationDetails"].([]any)) != len(service.Criticals()) {
		a.t.Errorf("mapping: %v", out)
	}
	deleted := append([]string{"backup", "protection", "disable", "--delete-backup-data", "true", "--yes"}, ofItem...)
	const second = "needs a second person"
	a.Fails(second, deleted...)
	a.Fails(second, append(deleted, tenant...)...)
	a.Fails(second, "backup", "vault", "backup-properties", "set", "-g", "lab", "-n", "safe", "--soft-delete-feature-state", "Disable")
	a.Fails(second, at("delete", append(tenant, "--yes")...)...)
	code, out, _ = s.send(a.t, "GET", s.ownerAssignment(a.t)+"?api-version=2022-04-01", "")
	must(code, out)
	code, kind = s.give(a.t, security, authz.MUAOperator, out["properties"].(object)["principalId"].(string), guard)
	must(code, kind)
	a.Run(nil, at("delete", append(tenant, "--yes")...)...)
	a.Fails("ResourceNotFound", at("show")...)
}

func (a *az) restore(point string) {
	const disks = "restore-disks"
	at := []string{"backup", "restore", disks, "-g", "lab", "-v", "safe", "-c", "web", "-i", "web", "-r", point, "--storage-account", "default"}
	var job object
	a.Run(&job, append(at, "--target-resource-group", "lab")...)
	a.Run(nil, "backup", "job", "wait", "-g", "lab", "-v", "safe", "-n", job["name"].(string), "--timeout", "60")
	if r := a.r.restores[len(a.r.restores)-1]; r.Mode != "RestoreDisks" || r.Pool != "default" || r.LUNs != nil {
		a.t.Errorf("restore-disks: %+v", r)
	}
	a.Run(nil, append(at, "--target-resource-group", "lab", "--diskslist", "0")...)
	a.Run(nil, append(at, "--target-resource-group", "lab", "--target-vm-name", "web-2", "--target-vnet-name", "lab",
		"--target-vnet-resource-group", "lab", "--target-subnet-name", "default", "--restore-mode", "AlternateLocation")...)
	if r := a.r.restores[len(a.r.restores)-1]; r.VMName != "web-2" || r.Network != "lab" {
		a.t.Errorf("create VM: %+v", r)
	}
	a.Fails("is there already", append(at, "--target-resource-group", "lab", "--target-vm-name", "db", "--target-vnet-name", "lab",
		"--target-vnet-resource-group", "lab", "--target-subnet-name", "default", "--restore-mode", "AlternateLocation")...)
}

// end stops protection, resumes it, changes the policy, and gives the item up.
func (a *az) end() {
	a.Run(nil, append([]string{"backup", "protection", "disable", "--yes"}, ofItem...)...)
	a.Run(nil, append([]string{"backup", "protection", "resume", "-p", "EnhancedPolicy"}, ofItem...)...)
	a.Run(nil, append([]string{"backup", "item", "set-policy", "-p", "DefaultPolicy", "-n", "web", "-g", "lab", "-v", "safe", "-c", "web"}, "--backup-management-type", "AzureIaasVM")...)
	a.Run(nil, "backup", "protection", "update-for-vm", "-g", "lab", "-v", "safe", "-c", "web", "-i", "web", "--disk-list-setting", "exclude", "--diskslist", "0")
	a.Run(nil, append([]string{"backup", "protection", "disable", "--delete-backup-data", "true", "--yes"}, ofItem...)...)
	a.Run(nil, append([]string{"backup", "protection", "undelete"}, ofItem...)...)
	a.Fails("existing resources within the vault", "backup", "vault", "delete", "-g", "lab", "-n", "safe", "--yes")
}
