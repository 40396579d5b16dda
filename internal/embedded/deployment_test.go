package embedded_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"

	"holdfast"
	"holdfast/internal/authz"
)

// attach is a template that makes a disk and gives it to a machine, as one who
// edits the template of a restore would: comments, a loop, an order.
const attach = `{ // made by hand
	"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
	"contentVersion": "1.0.0.0",
	"parameters": {
		"virtualMachineName": {"type": "string", "defaultValue": "web"},
		"sizeGB": {"type": "int", "allowedValues": [1, 2]},
		"password": {"type": "secureString", "defaultValue": "hunter2"},
	},
	"variables": {"disk": "[concat(parameters('virtualMachineName'), '-extra')]", "os": "[resourceId('Microsoft.Compute/disks', 'b')]"},
	"resources": [
		{
			"type": "Microsoft.Compute/virtualMachines", "apiVersion": "2022-08-01", "name": "[parameters('virtualMachineName')]",
			"location": "[resourceGroup().location]", "tags": {"by": "[deployment().name]"},
			"dependsOn": ["[resourceId('Microsoft.Compute/disks', variables('disk'))]"],
			"properties": {"storageProfile": {"dataDisks": [
				{"lun": 0, "createOption": "Attach", "name": "vdb"},
				{"lun": 1, "createOption": "Attach", "managedDisk": {"id": "[resourceId('Microsoft.Compute/disks', variables('disk'))]"}}]}},
		},
		{
			"type": "Microsoft.Compute/disks", "apiVersion": "2022-07-02", "name": "[variables('disk')]", "location": "[resourceGroup().location]",
			"properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": "[parameters('sizeGB')]"},
		},
		{"type": "Microsoft.RecoveryServices/vaults/backupPolicies", "apiVersion": "2023-04-01", "name": "safe/mine", "properties": "[json(base64ToString('POLICY'))]"},
		{"type": "Microsoft.Authorization/locks", "apiVersion": "2016-09-01", "name": "keep", "scope": "Microsoft.RecoveryServices/vaults/safe", "properties": {"level": "CanNotDelete"}},
	],
	"outputs": {"disk": {"type": "string", "value": "[resourceId('Microsoft.Compute/disks', variables('disk'))]"}}
}`

// policyText is the default policy's properties in base64.
func (s *sdk) policyText(t *testing.T) string {
	t.Helper()
	_, out, _ := s.send(t, "GET", s.vaultPath()+"/backupPolicies/DefaultPolicy?api-version=2025-02-01", "")
	b, err := json.Marshal(out["properties"])
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

func (s *sdk) deployments(t *testing.T) (*armresources.DeploymentsClient, *armresources.DeploymentOperationsClient) {
	t.Helper()
	d, err := armresources.NewDeploymentsClient(s.sub, s.cred, s.options)
	if err != nil {
		t.Fatal(err)
	}
	o, err := armresources.NewDeploymentOperationsClient(s.sub, s.cred, s.options)
	if err != nil {
		t.Fatal(err)
	}
	return d, o
}

// asAz is a deployment's body as az sends it: the template's file as it is,
// behind a name without quotes.
func asAz(template, parameters string) string {
	return `{"properties": {"parameters": ` + parameters + `, "mode": "Incremental", template:` + template + "}}"
}

// sendText sends a body that is no JSON.
func (s *sdk) sendText(t *testing.T, method, path, body string) (int, map[string]any, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.env["HOLDFAST_ENDPOINT"]+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+tokenOf(t, s.Handler(), s.env))
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if len(b) > 0 {
		if err := json.Unmarshal(b, &out); err != nil {
			t.Fatalf("%s %s: %s", method, path, b)
		}
	}
	return resp.StatusCode, out, resp.Header
}

func TestDeployment(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	text := strings.ReplaceAll(attach, "POLICY", s.policyText(t))
	path := "/subscriptions/" + s.sub + "/resourcegroups/lab/providers/Microsoft.Resources/deployments/first"
	body := asAz(text, `{"sizeGB": {"value": 2}}`)
	code, out, _ := s.sendText(t, "POST", path+"/validate?api-version=2021-04-01", body)
	if p, _ := out["properties"].(map[string]any); code != 200 || p["error"] != nil || len(p["validatedResources"].([]any)) != 4 || len(s.volumes) != 0 {
		t.Fatalf("validate: %d %v", code, out)
	}
	code, out, header := s.sendText(t, "PUT", path+"?api-version=2021-04-01", body)
	if code != 201 || !strings.Contains(header.Get("Azure-Asyncoperation"), "/operationStatuses/") || strings.Contains(fmt.Sprint(out["properties"].(map[string]any)["parameters"]), "hunter2") {
		t.Fatalf("put: %d %v %v", code, out, header)
	}
	s.settled(t, out)
	d, ops := s.deployments(t)
	got, err := d.Get(t.Context(), "lab", "first", nil)
	if err != nil || *got.Properties.ProvisioningState != armresources.ProvisioningStateSucceeded || len(got.Properties.OutputResources) != 4 || len(got.Properties.Dependencies) != 1 {
		t.Fatalf("deployment: %+v, %v", got.Properties, err)
	}
	if v := got.Properties.Outputs.(map[string]any)["disk"].(map[string]any)["value"]; v != "/subscriptions/"+s.sub+"/resourceGroups/lab/providers/Microsoft.Compute/disks/web-extra" {
		t.Errorf("outputs: %v", v)
	}
	page, err := ops.NewListPager("lab", "first", nil).NextPage(t.Context())
	if err != nil || len(page.Value) != 4 || *page.Value[0].Properties.StatusCode != "OK" || *page.Value[0].Properties.TargetResource.ResourceType != "Microsoft.Compute/disks" {
		t.Errorf("operations: %v, %v", page.Value, err)
	}
	if one, err := ops.Get(t.Context(), "lab", "first", *page.Value[0].OperationID, nil); err != nil || *one.Properties.ProvisioningState != "Succeeded" {
		t.Errorf("operation: %+v, %v", one, err)
	}
	vm := s.machineNamed(t, "web")
	if len(vm.Disks) != 3 || vm.Disks[2].LUN != 1 || vm.Tags["by"] != "first" {
		t.Errorf("the machine: %+v", vm)
	}
	// Once more is the same.
	if code, _, _ := s.sendText(t, "PUT", path+"?api-version=2021-04-01", body); code != 200 {
		t.Errorf("again: %d", code)
	}
	s.settled(t, out)
	if again, err := d.Get(t.Context(), "lab", "first", nil); err != nil || *again.Properties.ProvisioningState != armresources.ProvisioningStateSucceeded || len(s.machineNamed(t, "web").Disks) != 3 {
		t.Errorf("again: %+v, %v", again.Properties, err)
	}
	if export, err := d.ExportTemplate(t.Context(), "lab", "first", nil); err != nil || export.Template.(map[string]any)["contentVersion"] != "1.0.0.0" {
		t.Errorf("export: %v, %v", export, err)
	}
	list, err := d.NewListByResourceGroupPager("lab", nil).NextPage(t.Context())
	if err != nil || len(list.Value) != 1 {
		t.Errorf("list: %v, %v", list, err)
	}
	if there, err := d.CheckExistence(t.Context(), "lab", "first", nil); err != nil || !there.Success {
		t.Errorf("exists: %v, %v", there, err)
	}
	gone, err := d.BeginDelete(t.Context(), "lab", "first", nil)
	done(t, gone, err)
	if there, err := d.CheckExistence(t.Context(), "lab", "first", nil); err != nil || there.Success {
		t.Errorf("exists after deletion: %v, %v", there, err)
	}
}

// TestDeploymentBySDK sends what the SDK sends, to a group and to the subscription.
func TestDeploymentBySDK(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	d, _ := s.deployments(t)
	template := map[string]any{"resources": []any{map[string]any{"type": "Microsoft.RecoveryServices/vaults", "apiVersion": "2023-04-01", "name": "[format('v{0}', copyIndex())]",
		"location": "[resourceGroup().location]", "sku": map[string]any{"name": "Standard"}, "properties": map[string]any{}, "copy": map[string]any{"name": "vaults", "count": 2}}}}
	p, err := d.BeginCreateOrUpdate(t.Context(), "lab", "two", armresources.Deployment{Properties: &armresources.DeploymentProperties{Mode: to.Ptr(armresources.DeploymentModeIncremental), Template: template}}, nil)
	if got := done(t, p, err); *got.Properties.ProvisioningState != armresources.ProvisioningStateSucceeded {
		t.Errorf("to a group: %+v", got.Properties)
	}
	group := map[string]any{"resources": []any{map[string]any{"type": "Microsoft.Resources/resourceGroups", "apiVersion": "2021-04-01", "name": "made", "location": "[deployment().location]"}}}
	at, err := d.BeginCreateOrUpdateAtSubscriptionScope(t.Context(), "sub", armresources.Deployment{Location: to.Ptr(site), Properties: &armresources.DeploymentProperties{Mode: to.Ptr(armresources.DeploymentModeIncremental), Template: group}}, nil)
	done(t, at, err)
	if g, err := s.groups.Get(t.Context(), "made", nil); err != nil || *g.Location != site {
		t.Errorf("the group: %+v, %v", g, err)
	}
	v, err := d.BeginValidate(t.Context(), "lab", "x", armresources.Deployment{Properties: &armresources.DeploymentProperties{Mode: to.Ptr(armresources.DeploymentModeIncremental), Template: template}}, nil)
	done(t, v, err)
	// The audit log has each resource's own line.
	code, out, _ := s.send(t, "GET", "/subscriptions/"+s.sub+"/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01", "")
	if code != 200 || !strings.Contains(fmt.Sprint(out), "clientIpAddress:deployment /subscriptions/") {
		t.Errorf("audit: %d %v", code, out)
	}
}

func TestDeploymentIsRefused(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	body := func(resources string) string {
		return `{"properties":{"mode":"Incremental","template":{"resources":[` + resources + `]}}}`
	}
	const disk = `{"type":"Microsoft.Compute/disks","apiVersion":"2022-07-02","name":"new","location":"site1","properties":{"creationData":{"createOption":"Empty"},"diskSizeGB":1}}`
	const at = "~G/providers/Microsoft.Resources/deployments/d"
	s.refuses(t, []refused{
		{"complete", "PUT", at, `{"properties":{"mode":"Complete","template":{"resources":[]}}}`, 409, "OperationNotAllowed", "Incremental"},
		{"no mode", "PUT", at, `{"properties":{"template":{"resources":[]}}}`, 400, "InvalidParameter", "properties.mode"},
		{"a link", "PUT", at, `{"properties":{"mode":"Incremental","templateLink":{"uri":"https://x"}}}`, 409, "OperationNotAllowed", "link"},
		{"no template", "PUT", at, `{"properties":{"mode":"Incremental"}}`, 400, "InvalidParameter", "properties.template"},
		{"unknown function", "PUT", at, body(disk + `,{"type":"Microsoft.Compute/disks","apiVersion":"2022-07-02","name":"[nothing()]"}`), 400, "InvalidParameter", "resources[1].name: there is no function nothing"},
		{"unknown type", "PUT", at, body(disk + `,{"type":"Microsoft.Sql/servers","apiVersion":"2022-07-02","name":"s"}`), 400, "InvalidParameter", "Microsoft.Sql/servers/s"},
		{"no api-version", "PUT", at, body(disk + `,{"type":"Microsoft.Compute/disks","apiVersion":"new","name":"s"}`), 400, "InvalidParameter", "api-version"},
		{"a template in it", "PUT", at, body(`{"type":"Microsoft.Resources/deployments","apiVersion":"2021-04-01","name":"s"}`), 409, "OperationNotAllowed", "template in a template"},
		{"a group in a group", "PUT", at, body(`{"type":"Microsoft.Resources/resourceGroups","apiVersion":"2021-04-01","name":"s"}`), 400, "InvalidParameter", "does not fit"},
		{"validate", "POST", at + "/validate", body(`{"type":"A.B/c","apiVersion":"2021-04-01","name":"s"}`), 400, "InvalidParameter", "A.B"},
		{"no such group", "PUT", "~S/resourceGroups/none/providers/Microsoft.Resources/deployments/d", body(disk), 404, "ResourceNotFound", "none"},
		{"no location", "PUT", "~S/providers/Microsoft.Resources/deployments/d", body(""), 400, "InvalidParameter", "location"},
		{"nothing there", "GET", at, "", 404, "ResourceNotFound", "deployment"},
		{"nothing to cancel", "POST", at + "/cancel", "", 404, "ResourceNotFound", "deployment"},
	})
	if len(s.volumes) != 0 {
		t.Errorf("a refused deployment made %v", s.volumes)
	}
	// Who may deploy and may not make disks does not make them by a template.
	const role = "7a7a7a7a-0000-4000-8000-000000000003"
	s.send(t, "PUT", "/subscriptions/"+s.sub+"/providers/Microsoft.Authorization/roleDefinitions/"+role+"?api-version=2022-04-01",
		`{"properties":{"roleName":"Deployer","permissions":[{"actions":["Microsoft.Resources/deployments/*"]}],"assignableScopes":["/"]}}`)
	path := "/subscriptions/" + s.sub + "/resourceGroups/lab/providers/Microsoft.Resources/deployments/d?api-version=2021-04-01"
	if code, word := s.as(t, s.member(t, role, "/subscriptions/"+s.sub), "PUT", path, body(disk)); code != 403 || word != "AuthorizationFailed" {
		t.Errorf("without the right to make disks: %d %s", code, word)
	}
	// What a lock forbids is refused before anything is made.
	s.send(t, "PUT", s.vaultPath()+"/providers/Microsoft.Authorization/locks/l?api-version=2016-09-01", `{"properties":{"level":"ReadOnly"}}`)
	s.refuses(t, []refused{{"a locked vault", "PUT", at, body(disk + `,{"type":"Microsoft.RecoveryServices/vaults","apiVersion":"2023-04-01","name":"safe","location":"site1"}`), 409, "ScopeLocked", "locks/l"}})
	if len(s.volumes) != 0 {
		t.Errorf("a refused deployment made %v", s.volumes)
	}
	if code, _ := s.as(t, s.member(t, authz.Reader, "/subscriptions/"+s.sub), "GET", path, ""); code != 404 {
		t.Errorf("a reader reads: %d", code)
	}
}

// TestDeploymentFailsHalfWay: what was made stays, what failed is named, the rest
// is not begun; sent again, it goes on.
func TestDeploymentFailsHalfWay(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	const path = "/providers/Microsoft.Resources/deployments/d?api-version=2021-04-01"
	group := "/subscriptions/" + s.sub + "/resourceGroups/lab"
	disk := func(name, pool string) string {
		return `{"type":"Microsoft.Compute/disks","apiVersion":"2022-07-02","name":"` + pool + name + `","location":"site1","properties":{"creationData":{"createOption":"Empty"},"diskSizeGB":1}}`
	}
	body := `{"properties":{"mode":"Incremental","template":{"resources":[` + disk("one", "") + "," + disk("two", "nowhere~") + "," + disk("three", "") + `]}}}`
	code, out, _ := s.send(t, "PUT", group+path, body)
	if code != 201 {
		t.Fatalf("%d %v", code, out)
	}
	s.settled(t, out)
	_, out, _ = s.send(t, "GET", group+path, "")
	p := out["properties"].(map[string]any)
	if p["provisioningState"] != "Failed" || !strings.Contains(fmt.Sprint(p["error"]), "ResourceNotFound") || len(p["outputResources"].([]any)) != 1 || len(w.volumes) != 1 {
		t.Errorf("deployment: %v, disks %v", p, w.volumes)
	}
	_, out, _ = s.send(t, "GET", group+"/deployments/d/operations?api-version=2021-04-01", "")
	var states []string
	for _, op := range out["value"].([]any) {
		states = append(states, fmt.Sprint(op.(map[string]any)["properties"].(map[string]any)["provisioningState"]))
	}
	if !slices.Equal(states, []string{"Succeeded", "Failed", "NotStarted"}) {
		t.Errorf("operations: %v", states)
	}
	_, out, _ = s.send(t, "PUT", group+path, strings.Replace(body, "nowhere~", "", 1))
	s.settled(t, out)
	if _, out, _ = s.send(t, "GET", group+path, ""); out["properties"].(map[string]any)["provisioningState"] != "Succeeded" || len(w.volumes) != 3 {
		t.Errorf("mended: %v, disks %v", out, w.volumes)
	}
}

// TestDeploymentIsCancelled, and goes on after a restart of the server.
func TestDeploymentIsCancelled(t *testing.T) {
	t.Parallel()
	w, dir := newWorld(), t.TempDir()
	w.hold = make(chan struct{})
	s := dial(t, serve(t, w, dir))
	lab(t, s)
	w.volumes = nil
	const path = "/providers/Microsoft.Resources/deployments/d?api-version=2021-04-01"
	group := "/subscriptions/" + s.sub + "/resourceGroups/lab"
	body := strings.ReplaceAll(`{"properties":{"mode":"Incremental","parameters":{"s":{"value":"hunter2"}},"template":{"parameters":{"s":{"type":"securestring"}},"resources":[
		{"type":"Microsoft.Compute/virtualMachines","apiVersion":"2022-08-01","name":"web","location":"site1","properties":{"osProfile":{"adminPassword":"[parameters('s')]"},"storageProfile":{"dataDisks":[]}}},
		{"type":"Microsoft.Compute/disks","apiVersion":"2022-07-02","name":"later","location":"site1","dependsOn":["web"],"properties":{"creationData":{"createOption":"Empty"},"diskSizeGB":1}}]}}}`, "\n", "")
	if code, out, _ := s.send(t, "PUT", group+path, body); code != 201 {
		t.Fatalf("%d %v", code, out)
	}
	<-w.begun // the machine's job
	s.refuses(t, []refused{
		{"twice at once", "PUT", "~G/providers/Microsoft.Resources/deployments/d", body, 409, "Conflict", "already running"},
		{"deletion meanwhile", "DELETE", "~G/providers/Microsoft.Resources/deployments/d", "", 409, "Conflict", "already running"},
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = dial(t, serve(t, w, dir))
	<-w.begun // again
	if code, _, _ := s.send(t, "POST", strings.Replace(group+path, "?", "/cancel?", 1), ""); code != 204 {
		t.Errorf("cancel: %d", code)
	}
	_, out, _ := s.send(t, "GET", group+path, "")
	s.settled(t, out)
	_, out, _ = s.send(t, "GET", group+path, "")
	if p := out["properties"].(map[string]any); p["provisioningState"] != "Canceled" || len(w.volumes) != 0 {
		t.Errorf("cancelled: %v", p)
	}
	s.refuses(t, []refused{{"cancel what ended", "POST", "~G/providers/Microsoft.Resources/deployments/d/cancel", "", 409, "Conflict", "ended"}})
	close(w.hold)
}

// settled waits for the job of a deployment.
func (s *sdk) settled(t *testing.T, deployment map[string]any) {
	t.Helper()
	_, out, _ := s.send(t, "GET", deployment["id"].(string)+"?api-version=2021-04-01", "")
	if _, err := s.Jobs().Wait(t.Context(), out["properties"].(map[string]any)["correlationId"].(string)); err != nil {
		t.Fatal(err)
	}
}

// machineNamed is a machine of the world.
func (w *world) machineNamed(t *testing.T, name string) holdfast.VMFact {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.vms, func(vm holdfast.VMFact) bool { return vm.Name == name })
	if i < 0 {
		t.Fatalf("no machine %s", name)
	}
	return w.vms[i]
}
