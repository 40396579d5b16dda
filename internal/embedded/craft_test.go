package embedded_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"holdfast"
)

// sendWith sends one request with a header.
func (s *sdk) sendWith(t *testing.T, method, path, body, header, value string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.env["HOLDFAST_ENDPOINT"]+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+tokenOf(t, s.Handler(), s.env))
	req.Header.Set(header, value)
	resp, err := s.hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestPreconditions(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	vault := s.vaultPath() + "?api-version=2023-04-01"
	etag := func() string { _, out, _ := s.send(t, "GET", vault, ""); return out["etag"].(string) }
	old := etag()
	for _, c := range []struct {
		name, method, body, header, value string
		want                              int
	}{
		{"the right ETag", "PATCH", `{"tags":{"a":"1"}}`, "If-Match", `"` + old + `"`, 200},
		{"a stale one", "PATCH", `{"tags":{"a":"2"}}`, "If-Match", old, 412},
		{"any", "PATCH", `{"tags":{"a":"3"}}`, "If-Match", "*", 200},
		{"only if new", "PUT", `{"location":"site1"}`, "If-None-Match", "*", 412},
		{"stale deletion", "DELETE", "", "If-Match", old, 412},
	} {
		if got := s.sendWith(t, c.method, vault, c.body, c.header, c.value); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if _, out, _ := s.send(t, "GET", vault, ""); out["tags"].(map[string]any)["a"] != "3" {
		t.Errorf("tags: %v", out["tags"])
	}
	if got := s.sendWith(t, "PUT", strings.Replace(vault, "/safe", "/other", 1), `{"location":"site1"}`, "If-None-Match", "*"); got != 200 && got != 201 {
		t.Errorf("a new vault: %d", got)
	}
}

// pages follows nextLink to the end and returns the names, page by page.
func (s *sdk) pages(t *testing.T, path string) (pages [][]string) {
	t.Helper()
	for path != "" {
		code, out, _ := s.send(t, "GET", path, "")
		if code != 200 {
			t.Fatalf("%s: %d %v", path, code, out)
		}
		var names []string
		for _, v := range out["value"].([]any) {
			v := v.(map[string]any)
			names = append(names, fmt.Sprint(v["name"], v["eventDataId"]))
		}
		pages = append(pages, names)
		next, _ := out["nextLink"].(string)
		link, err := url.Parse(next)
		if err != nil {
			t.Fatal(err)
		}
		path = link.RequestURI()
		if next == "" {
			path = ""
		}
	}
	return pages
}

func TestPaging(t *testing.T) {
	t.Parallel()
	w := newWorld()
	for i := range 5 {
		vm := w.vms[0]
		vm.VMRef = holdfast.VMRef{Name: fmt.Sprintf("m%d", i), UUID: fmt.Sprint(i)}
		w.vms = append(w.vms, vm)
	}
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	for i := range 5 {
		name := fmt.Sprintf("iaasvmcontainerv2;lab;m%d", i)
		path := s.vaultPath() + "/backupFabrics/Azure/protectionContainers/IaasVMContainer;" + name + "/protectedItems/VM;" + name + "?api-version=2025-02-01"
		body := fmt.Sprintf(`{"properties":{"protectedItemType":"Microsoft.Compute/virtualMachines","sourceResourceId":"%s","policyId":"%s/backupPolicies/DefaultPolicy"}}`, s.vmID(fmt.Sprintf("m%d", i)), s.vaultPath())
		if code, out, _ := s.send(t, "PUT", path, body); code != 202 {
			t.Fatalf("protect: %d %v", code, out)
		}
	}
	s.protect(t)
	for range 3 {
		s.job(t, s.backupNow(t))
	}
	for path, want := range map[string]int{
		s.vaultPath() + "/backupProtectedItems?$top=2&api-version=2025-02-01":       6,
		s.vaultPath() + "/backupProtectionContainers?$top=2&api-version=2025-02-01": 6,
		s.vaultPath() + "/backupJobs?$top=2&api-version=2025-02-01":                 9,
		s.itemPath() + "/recoveryPoints?$top=2&api-version=2025-02-01":              3,
	} {
		pages, seen := s.pages(t, path), map[string]bool{}
		for _, p := range pages {
			if len(p) > 2 {
				t.Errorf("%s: a page of %d", path, len(p))
			}
			for _, n := range p {
				seen[n] = true
			}
		}
		if len(seen) != want || len(pages) != (want+1)/2 {
			t.Errorf("%s: %v, want %d in pages of 2", path, pages, want)
		}
	}
	s.refuses(t, []refused{
		{"bad page size", "GET", "~V/backupJobs?$top=none", "", 400, "InvalidParameter", "$top"},
		{"page that is gone", "GET", "~V/backupJobs?$skipToken=none", "", 400, "InvalidParameter", "gone"},
	})
}

func TestAudit(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	if code := s.sendWith(t, "PATCH", s.vaultPath()+"?api-version=2023-04-01", `{"tags":{}}`, "x-ms-correlation-request-id", "my-request"); code != 200 {
		t.Fatal(code)
	}
	stranger := s.member(t, "", "")
	s.as(t, stranger, "DELETE", s.vaultPath()+"?api-version=2023-04-01", "")
	events := func(filter string) []any {
		_, out, _ := s.send(t, "GET", "/subscriptions/"+s.sub+"/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01&$filter="+url.QueryEscape(filter), "")
		return out["value"].([]any)
	}
	mine := events("correlationId eq 'my-request'")
	if len(mine) != 1 {
		t.Fatalf("events of one request: %v", mine)
	}
	e := mine[0].(map[string]any)
	if e["caller"] != "admin" || e["operationName"].(map[string]any)["value"] != "Microsoft.RecoveryServices/vaults/write" || e["status"].(map[string]any)["value"] != "Succeeded" ||
		!strings.HasPrefix(e["httpRequest"].(map[string]any)["clientIpAddress"].(string), "127.0.0.1:") {
		t.Errorf("event: %v", e)
	}
	all := events("eventTimestamp ge '2020-01-01T00:00:00Z' and eventTimestamp le '2099-01-01T00:00:00Z' and resourceGroupName eq 'lab'")
	if len(all) != 3 { // create the vault, change it, and the stranger
		t.Errorf("events of the group: %v", all)
	}
	if e := all[0].(map[string]any); e["status"].(map[string]any)["value"] != "Failed" || !strings.Contains(e["subStatus"].(map[string]any)["value"].(string), "403 AuthorizationFailed") {
		t.Errorf("the stranger's event: %v", e)
	}
	if len(events("eventTimestamp le '2020-01-01T00:00:00Z'")) != 0 {
		t.Error("events before the server was there")
	}
}

// TestVaultWithoutKey: a vault whose key is lost says so when it is shown.
func TestVaultWithoutKey(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	said := func() any {
		_, out, _ := s.send(t, "GET", s.vaultPath()+"?api-version=2023-04-01", "")
		p := out["properties"].(map[string]any)
		if p["provisioningState"] != "Succeeded" {
			t.Errorf("state: %v", p)
		}
		return p["holdfast"].(map[string]any)["unusable"]
	}
	if got := said(); got != nil {
		t.Errorf("a good vault: %v", got)
	}
	w.mu.Lock()
	w.unusable = holdfast.Errorf(holdfast.WrongKey, "k", "The server has no key.").WithHint("Put it back.")
	w.mu.Unlock()
	if got := said(); got != "The server has no key. Put it back." {
		t.Errorf("without its key: %v", got)
	}
}

func TestGenericListings(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	_, out, _ := s.send(t, "GET", "/subscriptions/"+s.sub+"/resources?api-version=2021-04-01", "")
	if list := out["value"].([]any); len(list) != 10 { // a vault, two machines, a pool, two networks, two disks, two interfaces
		t.Errorf("resources: %v", list)
	}
	_, out, _ = s.send(t, "GET", "/subscriptions/"+s.sub+"/resourceGroups/lab/resources?api-version=2021-04-01&$filter="+url.QueryEscape("resourceType eq 'Microsoft.RecoveryServices/vaults'"), "")
	if list := out["value"].([]any); len(list) != 1 {
		t.Errorf("vaults as resources: %v", list)
	}
	_, out, _ = s.send(t, "GET", "/subscriptions/"+s.sub+"/providers/microsoft.recoveryservices?api-version=2021-04-01", "")
	if out["registrationState"] != "Registered" || !strings.Contains(fmt.Sprint(out["resourceTypes"]), "vaults/backupPolicies") {
		t.Errorf("provider: %v", out)
	}
	_, out, _ = s.send(t, "GET", "/subscriptions/"+s.sub+"/providers?api-version=2021-04-01", "")
	if list := out["value"].([]any); len(list) < 5 {
		t.Errorf("providers: %v", list)
	}
}

func TestQuestionsAboutBackup(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	at := "/subscriptions/" + s.sub + "/providers/Microsoft.RecoveryServices/locations/site1/"
	const version = "?api-version=2025-02-01"
	validate := func(vm string) map[string]any {
		_, out, _ := s.send(t, "POST", at+"backupPreValidateProtection"+version, fmt.Sprintf(`{"resourceType":"VM","resourceId":%q,"vaultId":%q}`, s.vmID(vm), s.vaultPath()))
		return out
	}
	if out := validate("web"); out["status"] != "Succeeded" {
		t.Errorf("before: %v", out)
	}
	if out := validate("ghost"); out["status"] != "Failed" || out["errorCode"] != "ResourceNotFound" {
		t.Errorf("no such VM: %v", out)
	}
	s.protect(t)
	if out := validate("web"); out["status"] != "Failed" || !strings.Contains(fmt.Sprint(out["errorMessage"]), "already protected") {
		t.Errorf("after: %v", out)
	}
	if _, out, _ := s.send(t, "POST", at+"backupStatus"+version, fmt.Sprintf(`{"resourceType":"VM","resourceId":%q}`, s.vmID("web"))); out["protectionStatus"] != "Protected" || out["vaultId"] != s.vaultPath() {
		t.Errorf("status: %v", out)
	}
	for feature, want := range map[string]string{"AzureVMResourceBackup": "Supported", "AzureBackupGoals": "NotSupported"} {
		if _, out, _ := s.send(t, "POST", at+"backupValidateFeatures"+version, `{"featureType":"`+feature+`"}`); out["supportStatus"] != want {
			t.Errorf("%s: %v", feature, out)
		}
	}
	if _, out, _ := s.send(t, "GET", s.vaultPath()+"/backupUsageSummaries"+version, ""); !strings.Contains(fmt.Sprint(out), "currentValue:1") {
		t.Errorf("usage: %v", out)
	}
	s.job(t, s.backupNow(t))
	point := "~I/recoveryPoints/" + *s.points(t)[0].Name
	s.refuses(t, []refused{
		{"archive", "POST", point + "/move", `{"sourceTierType":"HardenedRP","targetTierType":"ArchivedRP"}`, 409, "OperationNotAllowed", "no archive tier"},
		{"files", "POST", point + "/provisionInstantItemRecovery", `{"properties":{"objectType":"IaasVMILRRegistrationRequest"}}`, 409, "OperationNotAllowed", "Restore the disks"},
	})
	if code, out, _ := s.send(t, "PATCH", "/subscriptions/"+s.sub+"/resourceGroups/lab"+version, `{"tags":{"a":"b"}}`); code != 200 || out["tags"].(map[string]any)["a"] != "b" {
		t.Errorf("tags of a group: %d %v", code, out)
	}
}
