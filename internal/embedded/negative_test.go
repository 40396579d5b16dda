package embedded_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/embedded"
	"holdfast/internal/limits"
	"holdfast/internal/matrix"
)

// refused is a request and the refusal that it gets.
type refused struct {
	name, method, path, body string
	status                   int
	code, says               string
}

func (s *sdk) refuses(t *testing.T, cases []refused) {
	t.Helper()
	for _, c := range cases {
		path := strings.NewReplacer("~S", "/subscriptions/"+s.sub, "~G", "/subscriptions/"+s.sub+"/resourceGroups/lab", "~V", s.vaultPath(), "~I", strings.ReplaceAll(s.itemPath(), ";", "%3B")).Replace(c.path)
		if !strings.Contains(path, "api-version=") {
			path += map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")] + "api-version=2025-02-01"
		}
		body := strings.NewReplacer("~S", "/subscriptions/"+s.sub, "~G", "/subscriptions/"+s.sub+"/resourceGroups/lab", "~V", s.vaultPath()).Replace(c.body)
		code, out, _ := s.send(t, c.method, path, body)
		e, _ := out["error"].(map[string]any)
		if code != c.status || e["code"] != c.code || !strings.Contains(fmt.Sprint(e["message"]), c.says) {
			t.Errorf("%s: %s %s = %d %v\n want %d %s saying %q", c.name, c.method, c.path, code, out, c.status, c.code, c.says)
		}
	}
}

func TestBadInputIsRefused(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	const protect = `{"properties":{"protectedItemType":"Microsoft.Compute/virtualMachines","sourceResourceId":"%s","policyId":"%s"}}`
	other := strings.Replace("~V/backupFabrics/Azure/protectionContainers/IaasVMContainer;iaasvmcontainerv2;lab;ghost/protectedItems/VM;iaasvmcontainerv2;lab;ghost", ";", "%3B", -1)
	s.refuses(t, []refused{
		{"no such type", "GET", "~G/providers/Microsoft.Nothing/things", "", 404, "ResourceNotFound", "no resource type"},
		{"wrong method", "POST", "~V", "{}", 405, "MethodNotAllowed", "POST is not offered"},
		{"no api-version", "GET", "~S/resourceGroups?api-version=", "", 400, "MissingApiVersionParameter", "required"},
		{"bad api-version", "GET", "~S/resourceGroups?api-version=new", "", 400, "InvalidApiVersionParameter", "date"},
		{"bad name", "PUT", "~S/resourceGroups/a%20b", `{"location":"x"}`, 400, "InvalidParameter", "cannot name"},
		{"other subscription", "GET", "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups", "", 403, "AuthorizationFailed", "may not perform"},
		{"no location", "PUT", "~S/resourceGroups/g", `{}`, 400, "InvalidParameter", "location"},
		{"moved group", "PUT", "~S/resourceGroups/lab", `{"location":"elsewhere"}`, 409, "Conflict", "cannot change"},
		{"group in use", "DELETE", "~S/resourceGroups/lab", "", 409, "Conflict", "machines of the site"},
		{"site without URI", "PUT", "~S/providers/Holdfast.Site/sites/s2", `{"properties":{"resourceGroup":"lab"}}`, 400, "InvalidParameter", "properties.uri"},
		{"host does not answer", "PUT", "~S/providers/Holdfast.Site/sites/s2", `{"properties":{"uri":"qemu+ssh://nowhere/system","resourceGroup":"lab"}}`, 409, "HostUnreachable", "nowhere"},
		{"host twice", "PUT", "~S/providers/Holdfast.Site/sites/s2", `{"properties":{"uri":"qemu:///system","resourceGroup":"lab"}}`, 409, "Conflict", "already the site"},
		{"relative scratch", "PUT", "~S/providers/Holdfast.Site/sites/s2", `{"properties":{"uri":"qemu:///session","resourceGroup":"lab","scratchDir":"../x"}}`, 400, "InvalidParameter", "scratchDir"},
		{"site in use", "DELETE", "~S/providers/Holdfast.Site/sites/site1", "", 409, "Conflict", "still has the vault"},
		{"vault elsewhere", "PUT", "~G/providers/Microsoft.RecoveryServices/vaults/v2", `{"location":"mars"}`, 400, "InvalidParameter", "Known locations: site1"},
		{"vault moved", "PUT", "~V", `{"location":"mars"}`, 409, "Conflict", "cannot change"},
		{"vault in no group", "PUT", "~S/resourceGroups/none/providers/Microsoft.RecoveryServices/vaults/v2", `{"location":"site1"}`, 404, "ResourceNotFound", `"none"`},
		{"secret in URL", "PUT", "~G/providers/Microsoft.RecoveryServices/vaults/v2", `{"location":"site1","properties":{"holdfast":{"repositoryUrl":"s3://key:secret@bucket"}}}`, 400, "InvalidParameter", "credentials"},
		{"bad redundancy", "PATCH", "~V", `{"properties":{"redundancySettings":{"standardTierStorageRedundancy":"None"}}}`, 400, "InvalidParameter", "standardTierStorageRedundancy"},
		{"not JSON", "PUT", "~V", `"text"`, 400, "InvalidParameter", "cannot be read"},
		{"policy without schedule", "PUT", "~V/backupPolicies/p", `{"properties":{"backupManagementType":"AzureIaasVM"}}`, 400, "InvalidParameter", "schedulePolicyType"},
		{"no vault", "GET", "~G/providers/Microsoft.RecoveryServices/vaults/none/backupJobs", "", 404, "ResourceNotFound", `"none"`},
		{"bad filter", "GET", "~V/backupJobs?$filter=status%20is%20'x'", "", 400, "InvalidParameter", "$filter"},
		{"unknown filter", "GET", "~V/backupJobs?$filter=colour%20eq%20'x'", "", 400, "InvalidParameter", "colour"},
		{"bad date", "GET", "~V/backupJobs?$filter=startTime%20eq%20'soon'", "", 400, "InvalidParameter", "dates"},
		{"unknown VM", "PUT", other, fmt.Sprintf(protect, "~G/providers/Microsoft.Compute/virtualMachines/ghost", "~V/backupPolicies/DefaultPolicy"), 404, "ResourceNotFound", "ghost"},
		{"names do not agree", "PUT", "~I", fmt.Sprintf(protect, "~G/providers/Microsoft.Compute/virtualMachines/db", "~V/backupPolicies/DefaultPolicy"), 400, "InvalidParameter", "is named"},
		{"no source", "PUT", "~I", fmt.Sprintf(protect, "", "~V/backupPolicies/DefaultPolicy"), 400, "InvalidParameter", "sourceResourceId"},
		{"other subscription's VM", "PUT", "~I", fmt.Sprintf(protect, "/subscriptions/other/resourceGroups/lab/providers/Microsoft.Compute/virtualMachines/web", "~V/backupPolicies/DefaultPolicy"), 409, "OperationNotAllowed", "another subscription"},
		{"unknown policy", "PUT", "~I", fmt.Sprintf(protect, "~G/providers/Microsoft.Compute/virtualMachines/web", "~V/backupPolicies/None"), 400, "InvalidParameter", `policy "None"`},
		{"no policy", "PUT", "~I", fmt.Sprintf(protect, "~G/providers/Microsoft.Compute/virtualMachines/web", ""), 400, "InvalidParameter", "policyId is missing"},
		{"unknown type", "PUT", "~I", `{"properties":{"protectedItemType":"microsoft.compute/virtualmachines"}}`, 400, "InvalidParameter", "protectedItemType"},
		{"backup of nothing", "POST", "~I/backup", `{"properties":{"objectType":"IaasVMBackupRequest"}}`, 404, "ResourceNotFound", "protected item"},
		{"delete nothing", "DELETE", "~I", "", 404, "ResourceNotFound", "protected item"},
	})
	// Nothing of all that has left a trace.
	for path, want := range map[string]int{"/providers/Holdfast.Site/sites?api-version=2026-11-01": 1, "/resourceGroups?api-version=2021-04-01": 1, "/providers/Microsoft.RecoveryServices/vaults?api-version=2023-04-01": 1} {
		if _, out, _ := s.send(t, "GET", "/subscriptions/"+s.sub+path, ""); len(out["value"].([]any)) != want {
			t.Errorf("%s has %v", path, out)
		}
	}
}

func TestBadBackupsAndRestoresAreRefused(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "MGT-01", "MGT-02")
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	s.protect(t)
	s.job(t, s.backupNow(t))
	point := "~I/recoveryPoints/" + *s.points(t)[0].Name + "/restore"
	restore := func(members string) string {
		return `{"properties":{"objectType":"IaasVMRestoreRequest","storageAccountId":"~G/providers/Microsoft.Storage/storageAccounts/default",` + members + `}}`
	}
	const toVM = `"recoveryType":"AlternateLocation","targetVirtualMachineId":"~G/providers/Microsoft.Compute/virtualMachines/new"`
	s.refuses(t, []refused{
		{"foreign policy", "PUT", "~I", `{"properties":{"protectedItemType":"Microsoft.Compute/virtualMachines","sourceResourceId":"~G/providers/Microsoft.Compute/virtualMachines/web","policyId":"/x"}}`, 400, "InvalidParameter", "policyId"},
		{"expired before it is made", "POST", "~I/backup", `{"properties":{"objectType":"IaasVMBackupRequest","recoveryPointExpiryTimeInUTC":"2020-01-01T00:00:00Z"}}`, 400, "InvalidParameter", "has passed"},
		{"kept for ever", "POST", "~I/backup", `{"properties":{"objectType":"IaasVMBackupRequest","recoveryPointExpiryTimeInUTC":"2999-01-01T00:00:00Z"}}`, 400, "InvalidParameter", "99 years"},
		{"not a date", "POST", "~I/backup", `{"properties":{"objectType":"IaasVMBackupRequest","recoveryPointExpiryTimeInUTC":"soon"}}`, 400, "InvalidParameter", "cannot be read"},
		{"not a backup", "POST", "~I/backup", `{"properties":{"objectType":"Other"}}`, 400, "InvalidParameter", "objectType"},
		{"policy in use", "DELETE", "~V/backupPolicies/DefaultPolicy", "", 400, "InvalidParameter", "protects 1 items"},
		{"vault in use", "DELETE", "~V", "", 400, "InvalidParameter", "existing resources within the vault"},
		{"redundancy of a used vault", "PATCH", "~V", `{"properties":{"redundancySettings":{"standardTierStorageRedundancy":"GeoRedundant"}}}`, 409, "Conflict", "cannot change"},
		{"no such point", "POST", "~I/recoveryPoints/1/restore", restore(`"recoveryType":"RestoreDisks"`), 404, "ResourceNotFound", "recovery point"},
		{"no mode", "POST", point, restore(`"region":"site1"`), 400, "InvalidParameter", "recoveryType"},
		{"other subscription", "POST", point, restore(`"recoveryType":"RestoreDisks","targetResourceGroupId":"/subscriptions/00000000-0000-0000-0000-000000000009/resourceGroups/lab"`), 409, "OperationNotAllowed", "another subscription"},
		{"other region", "POST", point, restore(`"recoveryType":"RestoreDisks","region":"mars"`), 409, "OperationNotAllowed", "cannot be restored to mars"},
		{"name taken", "POST", point, restore(`"recoveryType":"AlternateLocation","targetVirtualMachineId":"~G/providers/Microsoft.Compute/virtualMachines/db"`), 409, "Conflict", "Choose another name"},
		{"unknown network", "POST", point, restore(toVM + `,"virtualNetworkId":"~G/providers/Microsoft.Network/virtualNetworks/none"`), 404, "ResourceNotFound", `network "none"`},
		{"some disks of a VM", "POST", point, restore(toVM + `,"restoreDiskLunList":[0]`), 400, "InvalidParameter", "chosen with RestoreDisks"},
		{"unknown LUN", "POST", point, restore(`"recoveryType":"RestoreDisks","restoreDiskLunList":[7]`), 400, "InvalidParameter", "LUN 7"},
		{"unknown pool", "POST", point, strings.Replace(restore(`"recoveryType":"RestoreDisks"`), "Accounts/default", "Accounts/none", 1), 404, "ResourceNotFound", `pool "none"`},
		{"relative directory", "POST", point, restore(`"recoveryType":"RestoreDisks","holdfast":{"directory":"a/b"}`), 400, "InvalidParameter", "absolute"},
		{"climbing directory", "POST", point, restore(`"recoveryType":"RestoreDisks","holdfast":{"directory":"/a/../b"}`), 400, "InvalidParameter", "absolute"},
		{"unknown format", "POST", point, restore(`"recoveryType":"RestoreDisks","holdfast":{"format":"vmdk"}`), 400, "InvalidParameter", "raw or qcow2"},
		{"bad prefix", "POST", point, restore(`"recoveryType":"RestoreDisks","holdfast":{"namePrefix":"../x"}`), 400, "InvalidParameter", "namePrefix"},
		{"in place, over another VM", "POST", point, restore(`"recoveryType":"OriginalLocation","targetVirtualMachineId":"~G/providers/Microsoft.Compute/virtualMachines/db"`), 400, "InvalidParameter", "AlternateLocation"},
		{"no such job", "GET", "~V/backupJobs/none", "", 404, "ResourceNotFound", "job"},
	})
}

// TestRefusedRestoresNameTheWay: each refusal of a restore says what to do instead,
// and what that names is there.
func TestRefusedRestoresNameTheWay(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "MGT-01", "MGT-02", "MGT-05", "CMP-04", "CMP-13")
	w := newWorld()
	managed(w)
	w.change(w.vms[0].VMRef, func(vm *holdfast.VMFact) {
		vm.Kept = map[string]any{"plan": map[string]any{"name": "p"}, "zones": []any{"1"}}
	})
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	s.job(t, s.backupNow(t))
	path := "~I/recoveryPoints/" + *s.points(t)[0].Name + "/restore"
	const disks, vm = `"recoveryType":"RestoreDisks"`, `"recoveryType":"AlternateLocation","targetVirtualMachineId":"~G/providers/Microsoft.Compute/virtualMachines/`
	for _, c := range []struct{ name, members, code, way string }{
		{"a name that is there", vm + `db"`, "OperationNotAllowed", "RestoreDisks"}, // of a marketplace image first of all
		{"a marketplace image", vm + `new"`, "OperationNotAllowed", "Restore its disks (RestoreDisks)"},
		{"another region", disks + `,"region":"mars"`, "OperationNotAllowed", "cross-region restore"},
		{"another subscription", disks + `,"targetResourceGroupId":"/subscriptions/00000000-0000-0000-0000-000000000009/resourceGroups/lab"`, "OperationNotAllowed", "subscription " + s.sub},
		{"another zone", disks + `,"zones":["2"]`, "OperationNotAllowed", "Leave out zones"},
		{"an availability set", vm + `new","availabilitySetId":"/sets/a"`, "OperationNotAllowed", "availabilitySetId (MGT-05)"},
		{"an availability set, whole", vm + `new","availabilitySet":{"id":"/sets/a"}`, "OperationNotAllowed", "deploy their template"},
		{"a dedicated host", vm + `new","hostId":"/hosts/a"`, "OperationNotAllowed", "hostId (CMP-13)"},
		{"an encryption set", disks + `,"diskEncryptionSetId":"/sets/a"`, "OperationNotAllowed", "Leave it out"},
		{"an identity", disks + `,"identityBasedRestoreDetails":{"targetStorageAccountId":"/a"}`, "OperationNotAllowed", "storageAccountId"},
		{"to a network of its own", `"recoveryType":"OriginalLocation","virtualNetworkId":"~G/providers/Microsoft.Network/virtualNetworks/lab"`, "InvalidParameter", "Leave the member out"},
		{"over another VM", `"recoveryType":"OriginalLocation","targetVirtualMachineId":"~G/providers/Microsoft.Compute/virtualMachines/db"`, "InvalidParameter", "AlternateLocation"},
	} {
		status := map[string]int{"OperationNotAllowed": 409, "InvalidParameter": 400}[c.code]
		s.refuses(t, []refused{{c.name, "POST", path, `{"properties":{"objectType":"IaasVMRestoreRequest","storageAccountId":"~G/providers/Microsoft.Storage/storageAccounts/default","availabilitySet":null,` + c.members + `}}`, status, c.code, c.way}})
	}
	w.change(w.vms[0].VMRef, func(vm *holdfast.VMFact) { vm.Kept = nil })
	s.job(t, s.backupNow(t))
	path = "~I/recoveryPoints/" + *s.points(t)[0].Name + "/restore"
	s.refuses(t, []refused{{"a name that is there", "POST", path, `{"properties":{"objectType":"IaasVMRestoreRequest","storageAccountId":"~G/providers/Microsoft.Storage/storageAccounts/default",` + vm + `db"}}`, 409, "Conflict", "replace the disks of the VM that the point is of (OriginalLocation)"}})
	if len(w.restores) != 0 {
		t.Errorf("refused, and yet: %+v", w.restores)
	}
}

func TestSecondBackupAtOnceIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.hold = make(chan struct{})
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	first := s.backupNow(t)
	<-w.begun
	s.refuses(t, []refused{
		{"second backup", "POST", "~I/backup", `{"properties":{"objectType":"IaasVMBackupRequest"}}`, 409, "Conflict", "already running"},
		{"delete while backing up", "DELETE", "~I", "", 409, "Conflict", "already running"},
	})
	close(w.hold)
	if j := s.job(t, first); *j.Status != "Completed" || len(w.backups) != 1 {
		t.Errorf("the first backup: %+v, %d runs", j, len(w.backups))
	}
}

func TestVaultPlaceIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	for _, kind := range []holdfast.Kind{holdfast.Full, holdfast.Denied, holdfast.Conflict, holdfast.WrongKey} {
		w.refuse = holdfast.Errorf(kind, "/vaults/x", "The directory is no place for a repository.").WithCause(errors.New("secret detail"))
		code, out, _ := s.send(t, "PUT", "/subscriptions/"+s.sub+"/resourceGroups/lab/providers/Microsoft.RecoveryServices/vaults/v2?api-version=2023-04-01", `{"location":"site1"}`)
		if e := out["error"].(map[string]any); code != 409 || e["code"] != string(kind) || strings.Contains(fmt.Sprint(out), "secret") {
			t.Errorf("%s: %d %v", kind, code, out)
		}
	}
	if code, _, _ := s.send(t, "GET", "/subscriptions/"+s.sub+"/resourceGroups/lab/providers/Microsoft.RecoveryServices/vaults/v2?api-version=2023-04-01", ""); code != 404 {
		t.Errorf("a refused vault is there: %d", code)
	}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	r := serve(t, newWorld(), t.TempDir())
	base := r.env["HOLDFAST_ENDPOINT"]
	form := func(secret string) url.Values {
		return url.Values{"grant_type": {"client_credentials"}, "client_id": {r.env["HOLDFAST_CLIENT_ID"]}, "client_secret": {secret}, "scope": {base + "/.default"}}
	}
	for _, authority := range []string{"/adfs", "/" + r.env["HOLDFAST_TENANT_ID"] + "/v2.0"} {
		var doc struct {
			Issuer string `json:"issuer"`
			Token  string `json:"token_endpoint"`
			Keys   string `json:"jwks_uri"`
		}
		r.getJSON(t, base+authority+"/.well-known/openid-configuration", "", &doc)
		if doc.Issuer != base+authority {
			t.Errorf("issuer %s at %s", doc.Issuer, authority)
		}
		var keys struct{ Keys []map[string]string }
		r.getJSON(t, doc.Keys, "", &keys)
		if len(keys.Keys) != 1 || keys.Keys[0]["crv"] != "P-256" {
			t.Errorf("keys: %v", keys)
		}
		resp, err := r.hc.PostForm(doc.Token, form(r.env["HOLDFAST_CLIENT_SECRET"]))
		if err != nil {
			t.Fatal(err)
		}
		var token struct {
			AccessToken string `json:"access_token"`
		}
		decodeBody(t, resp, &token)
		var subs struct{ Value []map[string]any }
		r.getJSON(t, base+"/subscriptions?api-version=2022-12-01", token.AccessToken, &subs)
		if len(subs.Value) != 1 || subs.Value[0]["subscriptionId"] != r.env["HOLDFAST_SUBSCRIPTION_ID"] {
			t.Errorf("subscriptions: %v", subs)
		}
		resp, err = r.hc.PostForm(doc.Token, form("wrong"))
		if err != nil {
			t.Fatal(err)
		}
		var refusal struct {
			Error string `json:"error"`
		}
		if decodeBody(t, resp, &refusal); resp.StatusCode != 401 || refusal.Error != "invalid_client" {
			t.Errorf("wrong secret: %d %+v", resp.StatusCode, refusal)
		}
	}
	for _, bearer := range []string{"", "x", "eyJhbGciOiJub25lIn0.e30."} {
		var body struct{ Error struct{ Code string } }
		if code := r.getJSON(t, base+"/subscriptions/none/resourceGroups?api-version=2022-12-01", bearer, &body); code != 401 || body.Error.Code != "AuthenticationFailed" {
			t.Errorf("bearer %q: %d %+v", bearer, code, body)
		}
	}
}

func (r *running) getJSON(t *testing.T, link, bearer string, into any) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", link, nil)
	if err != nil {
		t.Fatal(err)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := r.hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	decodeBody(t, resp, into)
	return resp.StatusCode
}

func decodeBody(t *testing.T, resp *http.Response, into any) {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v: %s", resp.Request.URL, err, b)
	}
}

// TestExpiredToken: a token ends, and what says so is what clients look for.
func TestExpiredToken(t *testing.T) {
	t.Parallel()
	w, passed := newWorld(), atomic.Int64{}
	w.clock = func() time.Time { return time.Now().UTC().Add(time.Duration(passed.Load())) }
	r := serve(t, w, t.TempDir())
	bearer := tokenOf(t, r.Handler(), r.env)
	const path = "/subscriptions?api-version=2022-12-01"
	if code, _ := r.as(t, bearer, "GET", path, ""); code != 200 {
		t.Fatalf("a new token: %d", code)
	}
	passed.Store(int64(2 * time.Hour))
	req := httptest.NewRequest("GET", "https://127.0.0.1"+path, nil)
	req.Header.Set("Authorization", "Bearer "+bearer)
	rec := httptest.NewRecorder()
	r.Handler().ServeHTTP(rec, req)
	if rec.Code != 401 || !strings.Contains(rec.Header().Get("WWW-Authenticate"), `error="invalid_token"`) || !strings.Contains(rec.Body.String(), "AuthenticationFailed") {
		t.Errorf("after two hours: %d %v %s", rec.Code, rec.Header(), rec.Body)
	}
	if code, _ := r.as(t, tokenOf(t, r.Handler(), r.env), "GET", path, ""); code != 200 {
		t.Errorf("the next token: %d", code)
	}
}

// TestNothingLeaks: whether something is there is not said to who may not see it.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	s.protect(t)
	stranger := s.member(t, "", "")
	answer := func(path string) string {
		req := httptest.NewRequest("GET", "https://127.0.0.1"+strings.ReplaceAll(path, ";", "%3B")+"?api-version=2024-04-01", nil)
		req.Header.Set("Authorization", "Bearer "+stranger)
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, req)
		return fmt.Sprint(rec.Code, " ", rec.Body)
	}
	other := "/subscriptions/00000000-0000-0000-0000-000000000001"
	mine := "/subscriptions/" + s.sub
	for _, path := range []string{"/resourceGroups", "/resourceGroups/lab", strings.TrimPrefix(s.vaultPath(), mine), strings.TrimPrefix(s.itemPath(), mine), "/resources",
		"/providers/Microsoft.Compute/virtualMachines", "/providers/Microsoft.Insights/eventtypes/management/values", "/resourceGroups/lab/providers/Microsoft.Resources/deployments"} {
		there, nowhere := answer(mine+path), answer(other+path)
		if strings.ReplaceAll(there, s.sub, "S") != strings.ReplaceAll(nowhere, "00000000-0000-0000-0000-000000000001", "S") || !strings.HasPrefix(there, "403 ") {
			t.Errorf("%s: %s\nof what is not there: %s", path, there, nowhere)
		}
	}
	if got := answer("/subscriptions"); strings.Contains(got, s.sub) {
		t.Errorf("subscriptions: %s", got)
	}
}

func TestMetadataShapes(t *testing.T) {
	t.Parallel()
	r := serve(t, newWorld(), t.TempDir())
	base := r.env["HOLDFAST_ENDPOINT"] + "/metadata/endpoints?api-version="
	var small struct {
		Authentication struct{ LoginEndpoint string }
		PortalEndpoint string
	}
	r.getJSON(t, base+"2015-01-01", "", &small)
	if !strings.HasSuffix(small.Authentication.LoginEndpoint, "/adfs") || small.PortalEndpoint == "" {
		t.Errorf("2015: %+v", small)
	}
	var many []struct{ Name, ResourceManager string }
	r.getJSON(t, base+"2019-05-01", "", &many)
	if len(many) != 1 || many[0].Name == "AzureCloud" {
		t.Errorf("2019: %+v", many)
	}
	var one struct {
		ResourceManager string
		Suffixes        map[string]any
	}
	r.getJSON(t, base+"2022-09-01", "", &one)
	if one.ResourceManager != r.env["HOLDFAST_ENDPOINT"] || one.Suffixes == nil {
		t.Errorf("2022: %+v", one)
	}
}

// TestReplacedMachine: a machine of the same name that is another one is not
// backed up by accident, and is when its owner says so.
func TestReplacedMachine(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	s.job(t, s.backupNow(t))
	w.mu.Lock()
	w.vms[0].UUID = "u-new"
	w.mu.Unlock()
	s.refuses(t, []refused{{"another machine", "POST", "~I/backup", `{"properties":{"objectType":"IaasVMBackupRequest"}}`, 409, "Conflict", "Protect it again"}})
	s.protect(t)
	if j := s.job(t, s.backupNow(t)); *j.Status != "Completed" || len(s.points(t)) != 2 || w.backups[1].VM.UUID != "u-new" || w.backups[1].Series != w.backups[0].Series {
		t.Errorf("after protecting again: %+v, %+v", j, w.backups)
	}
}

// TestOtherRegionIsRefused: a vault protects machines of its own region and
// subscription only.
func TestOtherRegionIsRefused(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "ACT-06")
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	if code, out, _ := s.send(t, "PUT", "/subscriptions/"+s.sub+"/providers/Holdfast.Site/sites/site2?api-version=2026-11-01", `{"properties":{"uri":"qemu:///session","resourceGroup":"far"}}`); code != 201 {
		t.Fatalf("second site: %d %v", code, out)
	}
	const far = "~V/backupFabrics/Azure/protectionContainers/IaasVMContainer%3Biaasvmcontainerv2%3Bfar%3Bweb/protectedItems/VM%3Biaasvmcontainerv2%3Bfar%3Bweb"
	const body = `{"properties":{"protectedItemType":"Microsoft.Compute/virtualMachines","policyId":"~V/backupPolicies/DefaultPolicy","sourceResourceId":"%s/resourceGroups/far/providers/Microsoft.Compute/virtualMachines/web"}}`
	s.refuses(t, []refused{
		{"other region", "PUT", far, fmt.Sprintf(body, "~S"), 409, "OperationNotAllowed", "is in site2, the vault \"safe\" in site1. A VM is backed up to a vault of its own region and subscription (ACT-06). A server with --limits extended"},
		{"other subscription", "PUT", far, fmt.Sprintf(body, "/subscriptions/other"), 409, "OperationNotAllowed", "another subscription"},
	})
}

// TestNothingBesideDisks: what would have to be left out of a disk, or taken of
// several machines at one moment, is refused and not passed over; a whole disk is
// left out by its LUN.
func TestNothingBesideDisks(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "LNX-04", "CMP-07")
	r := serveWith(t, t.TempDir(), func(c *embedded.Config) { c.Limits = limits.Extended })
	s, w := dial(t, r), r.world
	lab(t, s)
	const item = `{"properties":{"protectedItemType":"Microsoft.Compute/virtualMachines","sourceResourceId":"~G/providers/Microsoft.Compute/virtualMachines/web","policyId":"~V/backupPolicies/DefaultPolicy",%s}}`
	with := func(member string) string { return fmt.Sprintf(item, member) }
	s.refuses(t, []refused{
		{"paths", "PUT", "~I", with(`"extendedProperties":{"pathExclusionProperties":{"paths":["/var/lib/docker"]}}`), 409, "OperationNotAllowed", "only whole data disks can be left out (LNX-04). Move what shall not be"},
		{"paths among disks", "PUT", "~I", with(`"extendedProperties":{"diskExclusionProperties":{"diskLunList":[0],"mountPoints":["/var/lib/docker"]}}`), 409, "OperationNotAllowed", "diskExclusionProperties.mountPoints"},
		{"paths of our own", "PUT", "~I", with(`"holdfast":{"excludePaths":["/var/lib/docker"]}`), 409, "OperationNotAllowed", "LNX-04"},
		{"consistency group", "PUT", "~I", with(`"holdfast":{"consistencyGroup":"shop"}`), 409, "OperationNotAllowed", "each VM is backed up at its own (CMP-07)"},
		{"consistency group of a policy", "PUT", "~V/backupPolicies/p", `{"properties":{"backupManagementType":"AzureIaasVM","holdfast":{"consistencyGroup":"shop"}}}`, 400, "InvalidParameter", "it takes followDaylightSaving"},
		{"unknown", "PUT", "~I", with(`"holdfast":{"other":1}`), 400, "InvalidParameter", "properties.holdfast.other is not known"},
	})
	path := strings.ReplaceAll(s.itemPath(), ";", "%3B") + "?api-version=2025-02-01"
	body := strings.NewReplacer("~G", "/subscriptions/"+s.sub+"/resourceGroups/lab", "~V", s.vaultPath()).Replace(with(`"extendedProperties":{"diskExclusionProperties":{"diskLunList":[0],"isInclusionList":false}}`))
	if code, out, _ := s.send(t, "PUT", path, body); code != 202 {
		t.Fatalf("a disk is left out: %d %v", code, out)
	}
	s.job(t, s.backupNow(t))
	if len(w.backups) != 1 || fmt.Sprint(w.backups[0].ExcludeLUNs) != "[0]" {
		t.Errorf("backed up: %+v", w.backups)
	}
}

// TestNoPlaintext: what does not speak TLS gets no answer of the API.
func TestNoPlaintext(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "SEC-01", "SEC-02")
	r := serve(t, newWorld(), t.TempDir())
	resp, err := http.Get(strings.Replace(r.env["HOLDFAST_ENDPOINT"], "https:", "http:", 1) + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 400 || strings.Contains(string(b), "status") {
		t.Errorf("plain HTTP: %d %s, %v", resp.StatusCode, b, err)
	}
	any := tls.Config{InsecureSkipVerify: true} //nolint:gosec // certificates are tested elsewhere
	c, err := tls.Dial("tcp", strings.TrimPrefix(r.env["HOLDFAST_ENDPOINT"], "https://"), &any)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if suite := tls.CipherSuiteName(c.ConnectionState().CipherSuite); !strings.Contains(suite, "AES_256") {
		t.Errorf("the server speaks %s", suite)
	}
	old := tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11} //nolint:gosec // this is what must be refused
	if c, err := tls.Dial("tcp", strings.TrimPrefix(r.env["HOLDFAST_ENDPOINT"], "https://"), &old); err == nil {
		c.Close()
		t.Error("TLS 1.1 is spoken")
	}
}

func TestRequestLimits(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	s.refuses(t, []refused{{"large body", "PUT", "~S/resourceGroups/g", `{"location":"` + strings.Repeat("x", 5<<20) + `"}`, 413, "RequestContentTooLarge", "larger"}})
	for _, path := range []string{"/..%2f..%2fetc/passwd", "/a%00b", "//", "/subscriptions//"} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.env["HOLDFAST_ENDPOINT"], bytes.NewReader(nil))
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Opaque = path
		resp, err := s.hc.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 400 && resp.StatusCode != 401 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
		if resp.Header.Get("x-ms-request-id") == "" {
			t.Errorf("%s: no request id", path)
		}
	}
}

// TestRestart: the second start is the same server: same sign-in, same
// resources, and a job that the first one left is finished.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir, w := t.TempDir(), newWorld()
	w.hold = make(chan struct{})
	s := dial(t, serve(t, w, dir))
	lab(t, s)
	s.protect(t)
	accepted := s.backupNow(t)
	<-w.begun
	if _, err := embedded.Start(t.Context(), embedded.Config{DataDir: dir, Listen: "127.0.0.1:0", Inventory: w, Provisioner: w, Backup: w.backup(), Restore: w.restore()}); err == nil || !strings.Contains(err.Error(), "another") {
		t.Errorf("a second server on the same directory: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	close(w.hold)
	again := dial(t, serve(t, w, dir))
	if again.env["HOLDFAST_CLIENT_SECRET"] != s.env["HOLDFAST_CLIENT_SECRET"] || again.env["HOLDFAST_ENDPOINT"] == s.env["HOLDFAST_ENDPOINT"] {
		t.Errorf("admin.env after a restart: %v, before: %v", again.env, s.env)
	}
	link, err := url.Parse(accepted.Header.Get("Azure-AsyncOperation"))
	if err != nil {
		t.Fatal(err)
	}
	accepted.Header.Set("Azure-AsyncOperation", again.env["HOLDFAST_ENDPOINT"]+link.RequestURI())
	if j := again.job(t, accepted); *j.Status != "Completed" || w.backups[0].PointID != w.backups[1].PointID {
		t.Errorf("the job after the restart: %+v", j)
	}
	if n := len(again.points(t)); n != 1 {
		t.Errorf("%d points", n)
	}
}

func TestPrivateFiles(t *testing.T) {
	t.Parallel()
	r := serve(t, newWorld(), t.TempDir())
	for name, mode := range map[string]os.FileMode{"admin.env": 0o600, "catalog.db": 0o600, "catalog.db-wal": 0o600, "tls/ca.key": 0o600, "tls/ca.pem": 0o644} {
		info, err := os.Stat(filepath.Join(r.dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want %v", name, info, err, mode)
		}
	}
}

func TestDeleteAndUndelete(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	s.protect(t)
	s.job(t, s.backupNow(t))
	const version = "?api-version=2025-02-01"
	if code, out, _ := s.send(t, "DELETE", s.itemPath()+version, ""); code != 202 {
		t.Fatalf("delete: %d %v", code, out)
	}
	_, out, _ := s.send(t, "GET", s.itemPath()+version, "")
	p := out["properties"].(map[string]any)
	if p["isScheduledForDeferredDelete"] != true || p["protectionState"] != "ProtectionStopped" || p["deferredDeleteTimeInUTC"] == nil || len(s.points(t)) != 1 {
		t.Errorf("soft-deleted item: %v", p)
	}
	s.refuses(t, []refused{
		{"backup of a deleted item", "POST", "~I/backup", `{"properties":{"objectType":"IaasVMBackupRequest"}}`, 409, "OperationNotAllowed", "stopped"},
		{"deleted twice", "DELETE", "~I", "", 409, "Conflict", "deleted already"},
	})
	vm := `{"properties":{"protectedItemType":"Microsoft.Compute/virtualMachines","sourceResourceId":"` + s.vmID("web") + `",`
	if code, out, _ := s.send(t, "PUT", s.itemPath()+version, vm+`"policyId":"","protectionState":"ProtectionStopped","isRehydrate":true}}`); code != 202 {
		t.Fatalf("undelete: %d %v", code, out)
	}
	s.protect(t) // resume
	if j := s.job(t, s.backupNow(t)); *j.Status != "Completed" || len(s.points(t)) != 2 {
		t.Errorf("backup after undelete: %+v", j)
	}
}
