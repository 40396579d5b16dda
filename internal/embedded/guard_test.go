package embedded_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"holdfast/internal/authz"
)

// weakening are operations that weaken the protection of a vault, each with the
// request that asks for it. They are tried in this order: the last ones leave
// nothing for others to try.
var weakening = []struct{ name, action, method, path, body string }{
	{"point sooner", "Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers/protectedItems/recoveryPoints/write", "PATCH", "~P", `{"properties":{"recoveryPointProperties":{"expiryTime":"~SOON"}}}`},
	{"policy keeps less", "Microsoft.RecoveryServices/vaults/backupPolicies/write", "PUT", "~V/backupPolicies/DefaultPolicy", "~SHORT"},
	{"item with a policy that keeps less", "Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers/protectedItems/write", "PUT", "~I", `{"properties":{"protectedItemType":"Microsoft.Compute/virtualMachines","sourceResourceId":"~M","policyId":"~V/backupPolicies/short"}}`},
	{"immutability off", "Microsoft.RecoveryServices/vaults/write", "PATCH", "~V", `{"properties":{"securitySettings":{"immutabilitySettings":{"state":"Disabled"}}}}`},
	{"immutability removed", "Microsoft.RecoveryServices/vaults/write", "PATCH", "~V", `{"properties":{"securitySettings":{"immutabilitySettings":null}}}`},
	{"all settings removed", "Microsoft.RecoveryServices/vaults/write", "PATCH", "~V", `{"properties":{"securitySettings":null}}`},
	{"settings that are none", "Microsoft.RecoveryServices/vaults/write", "PUT", "~V", `{"location":"site1","properties":{"securitySettings":"none"}}`},
	{"stop, points kept", "Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers/protectedItems/write", "PUT", "~I", `{"properties":{"protectedItemType":"Microsoft.Compute/virtualMachines","sourceResourceId":"~M","policyId":"","protectionState":"ProtectionStopped"}}`},
	{"vault deleted", "Microsoft.RecoveryServices/vaults/delete", "DELETE", "~V", ""},
	{"group deleted", "Microsoft.Resources/subscriptions/resourceGroups/delete", "DELETE", "~G", ""},
	{"item deleted", "Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers/protectedItems/delete", "DELETE", "~I", ""},
	{"soft delete off", "Microsoft.RecoveryServices/vaults/backupconfig/write", "PATCH", "~V/backupconfig/vaultconfig", `{"properties":{"softDeleteFeatureState":"Disabled"}}`},
}

// short is the default policy with a day of retention in place of 30.
const short = `{"properties":{"backupManagementType":"AzureIaasVM","policyType":"V1","schedulePolicy":{"schedulePolicyType":"SimpleSchedulePolicy","scheduleRunFrequency":"Daily","scheduleRunTimes":["2026-01-01T02:00:00Z"]},` +
	`"retentionPolicy":{"retentionPolicyType":"LongTermRetentionPolicy","dailySchedule":{"retentionTimes":["2026-01-01T02:00:00Z"],"retentionDuration":{"count":1,"durationType":"Days"}}},"timeZone":"UTC"}}`

// vaultOfOne is a server whose vault protects web, with one point and the policies
// DefaultPolicy and short.
func vaultOfOne(t *testing.T) *sdk {
	t.Helper()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	s.protect(t)
	s.job(t, s.backupNow(t))
	if code, out, _ := s.send(t, "PUT", s.vaultPath()+"/backupPolicies/short?api-version=2025-02-01", short); code != 200 {
		t.Fatalf("policy: %d %v", code, out)
	}
	return s
}

// soon is an expiry that is sooner than that of any point here.
func soon() string { return time.Now().Add(10 * time.Minute).UTC().Format(time.RFC3339) }

// weaken tries one operation as a caller.
func (s *sdk) weaken(t *testing.T, bearer string, n int) (int, string) {
	t.Helper()
	w := weakening[n]
	item := strings.ReplaceAll(s.itemPath(), ";", "%3B")
	replace := strings.NewReplacer("~SOON", soon(), "~SHORT", short, "~V", s.vaultPath(), "~I", item, "~M", s.vmID("web"),
		"~P", item+"/recoveryPoints/"+*s.points(t)[0].Name, "~G", "/subscriptions/"+s.sub+"/resourceGroups/lab")
	return s.as(t, bearer, w.method, replace.Replace(w.path)+"?api-version=2025-02-01", replace.Replace(w.body))
}

// whole says how the point, its item and the vault are, as far as weakening
// could change them.
func (s *sdk) whole(t *testing.T) string {
	t.Helper()
	var all []string
	for _, path := range []string{s.vaultPath(), s.itemPath(), s.itemPath() + "/recoveryPoints", s.vaultPath() + "/backupPolicies/DefaultPolicy"} {
		code, out, _ := s.send(t, "GET", path+"?api-version=2025-02-01", "")
		all = append(all, fmt.Sprintln(path, code, out))
	}
	return strings.Join(all, "")
}

// TestImmutability: role x operation x state. In an immutable vault no role gets
// a point deleted or expired before its time; what is locked stays locked.
func TestImmutability(t *testing.T) {
	t.Parallel()
	roles := map[string]string{"owner": authz.Owner, "contributor": authz.Contributor, "backup contributor": authz.BackupContributor, "backup operator": authz.BackupOperator, "reader": authz.Reader}
	// What an immutable vault allows: it weakens what is to come, no point.
	allowed := map[string]map[string]bool{
		"Unlocked": {"soft delete off": true, "stop, points kept": true, "immutability off": true, "immutability removed": true, "all settings removed": true},
		"Locked":   {"soft delete off": true, "stop, points kept": true},
	}
	for _, state := range []string{"Disabled", "Unlocked", "Locked"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			s := vaultOfOne(t)
			set := func() {
				for _, c := range []struct{ method, path, body string }{
					{"PATCH", s.vaultPath(), `{"properties":{"securitySettings":{"immutabilitySettings":{"state":"` + state + `"},"softDeleteSettings":{"softDeleteState":"Enabled","softDeleteRetentionPeriodInDays":14,"enhancedSecurityState":"Enabled"}}}}`},
					{"PUT", s.itemPath(), `{"properties":{"protectedItemType":"Microsoft.Compute/virtualMachines","sourceResourceId":"` + s.vmID("web") + `","policyId":"` + s.vaultPath() + `/backupPolicies/DefaultPolicy"}}`},
				} {
					if code, out, _ := s.send(t, c.method, c.path+"?api-version=2025-02-01", c.body); code/100 != 2 {
						t.Fatalf("set up: %d %v", code, out)
					}
				}
			}
			for name, id := range roles {
				if state == "Disabled" && name != "owner" {
					continue // once: to see that each works where nothing forbids it
				}
				role, _ := authz.Find(id)
				bearer := s.member(t, id, "/subscriptions/"+s.sub)
				for n, w := range weakening {
					if state == "Disabled" && (strings.Contains(w.name, "immutability") || strings.Contains(w.name, "settings") || strings.Contains(w.name, "soft") || strings.HasSuffix(w.name, "deleted") && w.name != "item deleted") {
						continue
					}
					set()
					was := s.whole(t)
					code, kind := s.weaken(t, bearer, n)
					want := state == "Disabled" || allowed[state][w.name]
					switch {
					case !role.Allows(w.action):
						if code != http.StatusForbidden || kind != "AuthorizationFailed" {
							t.Errorf("%s, %s: %d %s, want it forbidden", name, w.name, code, kind)
						}
					case want != (code/100 == 2):
						t.Errorf("%s, %s: %d %s, want it allowed: %v", name, w.name, code, kind, want)
					case !want && s.whole(t) != was:
						t.Errorf("%s, %s: it was refused (%d %s) and changed something", name, w.name, code, kind)
					}
				}
			}
		})
	}
}

// TestImmutabilityPreview: what locking means is said before it is done, and
// with a store that can, the store is told, too.
func TestImmutabilityPreview(t *testing.T) {
	t.Parallel()
	s := vaultOfOne(t)
	ask := func() map[string]any {
		t.Helper()
		code, out, _ := s.send(t, "POST", s.vaultPath()+"/previewImmutability?api-version=2025-02-01", "{}")
		if code != 200 {
			t.Fatalf("preview: %d %v", code, out)
		}
		return out
	}
	if p := ask(); p["state"] != "Disabled" || p["points"] != 1.0 || p["until"] == "" || p["storeHoldDays"] != 0.0 || p["wouldHoldDays"] != 14.0 {
		t.Errorf("before: %v", p)
	}
	if code, out, _ := s.send(t, "PATCH", s.vaultPath()+"?api-version=2025-02-01", `{"properties":{"securitySettings":{"immutabilitySettings":{"state":"Locked"}}}}`); code != 200 {
		t.Fatalf("lock: %d %v", code, out)
	}
	if p := ask(); p["state"] != "Locked" || p["storeHoldDays"] != 14.0 {
		t.Errorf("after: %v", p)
	}
	s.refuses(t, []refused{
		{"unlock", "PATCH", "~V", `{"properties":{"securitySettings":{"immutabilitySettings":{"state":"Unlocked"}}}}`, 409, "OperationNotAllowed", "cannot be undone"},
	})
	if code, _, _ := s.send(t, "PATCH", s.vaultPath()+"?api-version=2025-02-01", `{"properties":{"securitySettings":{"softDeleteSettings":{"softDeleteState":"AlwaysON"}}}}`); code != 200 {
		t.Errorf("soft delete always on: %d", code)
	}
	s.refuses(t, []refused{
		{"soft delete off again", "PATCH", "~V/backupconfig/vaultconfig", `{"properties":{"softDeleteFeatureState":"Disabled"}}`, 409, "OperationNotAllowed", "AlwaysON"},
		{"all settings removed", "PATCH", "~V", `{"properties":{"securitySettings":null}}`, 409, "OperationNotAllowed", "cannot be undone"},
		{"unregister", "DELETE", "~V/backupFabrics/Azure/protectionContainers/IaasVMContainer%3Biaasvmcontainerv2%3Blab%3Bweb", "", 409, "Conflict", "still has"},
	})
	if code, _, _ := s.send(t, "DELETE", s.vaultPath()+"/backupFabrics/Azure/protectionContainers/IaasVMContainer;iaasvmcontainerv2;lab;db?api-version=2025-02-01", ""); code != 204 {
		t.Errorf("unregister what is not there: %d", code)
	}
}

// person makes a principal with no role, and returns its object id, client id and token.
func (s *sdk) person(t *testing.T) (id, client, bearer string) {
	t.Helper()
	code, out, _ := s.send(t, "POST", "/v1.0/servicePrincipals", fmt.Sprintf(`{"displayName":"p-%s"}`, uuid.NewString()))
	if code != 201 {
		t.Fatalf("create principal: %d %v", code, out)
	}
	resp, err := s.hc.PostForm(s.env["HOLDFAST_ENDPOINT"]+"/adfs/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {out["appId"].(string)}, "client_secret": {out["secretText"].(string)}, "scope": {"x"}})
	if err != nil {
		t.Fatal(err)
	}
	var token struct {
		AccessToken string `json:"access_token"`
	}
	decodeBody(t, resp, &token)
	return out["id"].(string), out["appId"].(string), token.AccessToken
}

// give assigns a role, as the holder of a token.
func (s *sdk) give(t *testing.T, bearer, role, principal, scope string) (int, string) {
	t.Helper()
	return s.as(t, bearer, "PUT", scope+"/providers/Microsoft.Authorization/roleAssignments/"+uuid.NewString()+"?api-version=2022-04-01",
		fmt.Sprintf(`{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/%s","principalId":"%s"}}`, role, principal))
}

// TestResourceGuard: role x operation x grant. Under a guard every role needs a
// second person for what weakens protection, and nobody gives himself leave.
func TestResourceGuard(t *testing.T) {
	t.Parallel()
	s := vaultOfOne(t)
	scope, group := "/subscriptions/"+s.sub, "/subscriptions/"+s.sub+"/resourceGroups/security"
	const version = "?api-version=2025-02-01"
	guard := group + "/providers/Microsoft.DataProtection/resourceGuards/g"
	if code, out, _ := s.send(t, "PUT", group+version, `{"location":"site1"}`); code/100 != 2 {
		t.Fatalf("group: %d %v", code, out)
	}
	securityID, securityClient, security := s.person(t)
	adminID, _, admin := s.person(t)
	for _, c := range []struct{ role, who, scope string }{{authz.Contributor, securityID, group}, {authz.Owner, adminID, scope}} {
		code, out, _ := s.send(t, "PUT", c.scope+"/providers/Microsoft.Authorization/roleAssignments/"+uuid.NewString()+"?api-version=2022-04-01", fmt.Sprintf(`{"properties":{"roleDefinitionId":"%s","principalId":"%s"}}`, c.role, c.who))
		if code != 201 {
			t.Fatalf("assign: %d %v", code, out)
		}
	}
	if code, kind := s.as(t, security, "PUT", guard+version, `{"location":"site1"}`); code != 201 {
		t.Fatalf("guard: %d %s", code, kind)
	}
	proxy := s.vaultPath() + "/backupResourceGuardProxies/VaultProxy"
	if code, kind := s.as(t, admin, "PUT", proxy+version, `{"properties":{"resourceGuardResourceId":"`+guard+`"}}`); code != 200 {
		t.Fatalf("proxy: %d %s", code, kind)
	}

	critical := map[string]bool{"point sooner": true, "policy keeps less": true, "item with a policy that keeps less": true, "soft delete off": true, "stop, points kept": true, "item deleted": true}
	for name, id := range map[string]string{"owner": authz.Owner, "contributor": authz.Contributor, "backup contributor": authz.BackupContributor} {
		bearer := s.member(t, id, scope)
		for n, w := range weakening {
			if !critical[w.name] {
				continue
			}
			was := s.whole(t)
			if code, kind := s.weaken(t, bearer, n); code != 403 || s.whole(t) != was {
				t.Errorf("%s, %s without leave: %d %s", name, w.name, code, kind)
			}
		}
	}
	// Every way round, as the owner of all.
	around := []struct{ name, method, path, body string }{
		{"leave for himself", "PUT", guard + "/providers/Microsoft.Authorization/roleAssignments/" + uuid.NewString(), fmt.Sprintf(`{"properties":{"roleDefinitionId":"%s","principalId":"%s"}}`, authz.MUAOperator, adminID)},
		{"the vault out of the guard", "DELETE", proxy, ""},
		{"the vault under another guard", "PUT", proxy, `{"properties":{"resourceGuardResourceId":"` + scope + `/resourceGroups/lab/providers/Microsoft.DataProtection/resourceGuards/own"}}`},
		{"a second proxy", "PUT", s.vaultPath() + "/backupResourceGuardProxies/other", `{"properties":{"resourceGuardResourceId":"` + guard + `"}}`},
		{"the guard away", "DELETE", guard, ""},
		{"the guard weakened", "PUT", guard, `{"location":"site1","properties":{"vaultCriticalOperationExclusionList":["Microsoft.RecoveryServices/vaults/backupPolicies/write"]}}`},
		{"the guard's group away", "DELETE", group, ""},
		{"a new secret for the guard's owner", "POST", "/v1.0/servicePrincipals/" + securityClient + "/addPassword", ""},
		{"the guard's owner away", "DELETE", "/v1.0/servicePrincipals/" + securityClient, ""},
		{"unlock", "POST", proxy + "/unlockDelete", `{}`},
	}
	if code, kind := s.as(t, admin, "PUT", scope+"/resourceGroups/lab/providers/Microsoft.DataProtection/resourceGuards/own"+version, `{"location":"site1"}`); code != 201 {
		t.Fatalf("a guard of his own: %d %s", code, kind)
	}
	if code, kind := s.give(t, admin, authz.MUAOperator, adminID, scope); code != 201 { // inherited: it doesn't count
		t.Errorf("leave on the subscription: %d %s", code, kind)
	}
	for _, w := range around {
		if code, kind := s.as(t, admin, w.method, w.path+version, w.body); code != 403 && code != 409 {
			t.Errorf("%s: %d %s", w.name, code, kind)
		}
	}
	if code, kind := s.give(t, security, authz.MUAOperator, adminID, guard); code != 201 {
		t.Fatalf("the owner of the guard gives leave: %d %s", code, kind)
	}
	if code, kind := s.as(t, admin, "GET", guard+"/deleteProtectedItemRequests/default"+version, ""); code != 200 {
		t.Errorf("the request: %d %s", code, kind)
	}
	if code, kind := s.as(t, admin, "POST", proxy+"/unlockDelete"+version, `{}`); code != 200 {
		t.Errorf("unlock with leave: %d %s", code, kind)
	}
	for n, w := range weakening {
		if critical[w.name] {
			if code, kind := s.weaken(t, admin, n); code/100 != 2 {
				t.Errorf("%s with leave: %d %s", w.name, code, kind)
			}
		}
	}
	if code, kind := s.as(t, admin, "DELETE", proxy+version, ""); code != 200 {
		t.Errorf("out of the guard with leave: %d %s", code, kind)
	}
	if code, kind := s.as(t, security, "DELETE", guard+version, ""); code != 200 {
		t.Errorf("the guard away by its owner: %d %s", code, kind)
	}
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
