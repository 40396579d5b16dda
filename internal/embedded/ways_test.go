package embedded_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"holdfast/internal/authz"
	"holdfast/internal/server"
)

// way is a request that could take a point away, or let it go sooner, or weaken
// what keeps it. Those of weakening are ways, too.
type way struct{ name, action, method, path, body string }

const (
	vaults  = "Microsoft.RecoveryServices/vaults"
	theItem = vaults + "/backupFabrics/protectionContainers/protectedItems"
	protect = `{"properties":{"protectedItemType":"Microsoft.Compute/virtualMachines","sourceResourceId":"~M",%s}}`
)

// ways are all of them.
func ways() []way {
	all := []way{
		{"suspend", theItem + "/write", "PUT", "~I", fmt.Sprintf(protect, `"policyId":"","protectionState":"BackupsSuspended"`)},
		{"resume", theItem + "/write", "PUT", "~I", fmt.Sprintf(protect, `"policyId":"~V/backupPolicies/DefaultPolicy"`)},
		{"leave a disk out", theItem + "/write", "PUT", "~I", fmt.Sprintf(protect, `"policyId":"~V/backupPolicies/DefaultPolicy","extendedProperties":{"diskExclusionProperties":{"diskLunList":[0]}}`)},
		{"undelete", theItem + "/write", "PUT", "~I", fmt.Sprintf(protect, `"isRehydrate":true`)},
		{"unregister", vaults + "/backupFabrics/protectionContainers/delete", "DELETE", "~C", ""},
		{"policy deleted", vaults + "/backupPolicies/delete", "DELETE", "~V/backupPolicies/DefaultPolicy", ""},
		{"soft delete off, whole", vaults + "/backupconfig/write", "PUT", "~V/backupconfig/vaultconfig", `{"properties":{"softDeleteFeatureState":"Disabled","enhancedSecurityState":"Disabled"}}`},
		{"fewer days of soft delete", vaults + "/write", "PATCH", "~V", `{"properties":{"securitySettings":{"softDeleteSettings":{"softDeleteRetentionPeriodInDays":14}}}}`},
		{"other redundancy", vaults + "/backupstorageconfig/write", "PATCH", "~V/backupstorageconfig/vaultstorageconfig", `{"properties":{"storageModelType":"LocallyRedundant"}}`},
		{"redundancy, whole", vaults + "/backupstorageconfig/write", "PUT", "~V/backupstorageconfig/vaultstorageconfig", `{"properties":{"storageModelType":"LocallyRedundant"}}`},
		{"out of the guard", vaults + "/backupResourceGuardProxies/delete", "DELETE", "~V/backupResourceGuardProxies/VaultProxy", ""},
		{"under another guard", vaults + "/backupResourceGuardProxies/write", "PUT", "~V/backupResourceGuardProxies/VaultProxy", `{"properties":{"resourceGuardResourceId":"~G/providers/Microsoft.DataProtection/resourceGuards/own"}}`},
		{"the guard away", "Microsoft.DataProtection/resourceGuards/delete", "DELETE", "~D", ""},
		{"the guard weakened", "Microsoft.DataProtection/resourceGuards/write", "PUT", "~D", `{"location":"site1","properties":{"vaultCriticalOperationExclusionList":["` + vaults + `/backupPolicies/write"]}}`},
		{"leave for himself", "Microsoft.Authorization/roleAssignments/write", "PUT", "~D/providers/Microsoft.Authorization/roleAssignments/~U", `{"properties":{"roleDefinitionId":"` + authz.MUAOperator + `","principalId":"~A"}}`},
	}
	for _, w := range weakening {
		all = append(all, way(w))
	}
	return all
}

// harmless says of every other operation that changes something why it is no way
// to a point, by its action.
var harmless = map[string]string{
	theItem + "/backup/action":                                                      "makes a point",
	theItem + "/recoveryPoints/move/action":                                         "refused: there is no archive",
	theItem + "/recoveryPoints/provisionInstantItemRecovery/action":                 "refused, or reads",
	theItem + "/recoveryPoints/revokeInstantItemRecovery/action":                    "refused, or ends reading",
	theItem + "/recoveryPoints/restore/action":                                      "reads; what it writes over is no point",
	theItem + "/recoveryPointsRecommendedForMove/action":                            "reads",
	vaults + "/backupFabrics/refreshContainers/action":                              "reads",
	vaults + "/backupJobs/cancel/action":                                            "a point that is not there yet",
	vaults + "/backupJobs/retry/action":                                             "does again what was allowed, under the rules of now",
	vaults + "/backupJobsExport/action":                                             "reads",
	vaults + "/backupPolicies/preview/action":                                       "reads",
	vaults + "/previewImmutability/action":                                          "reads",
	vaults + "/backupResourceGuardProxies/unlockDelete/action":                      "answers; deletes nothing (TestResourceGuard)",
	"Microsoft.Resources/subscriptions/resourceGroups/write":                        "names and tags",
	"Microsoft.Resources/subscriptions/resourceGroups/moveResources/action":         "a vault moves with its points, settings and guard (TestMoveVault)",
	"Microsoft.Resources/subscriptions/resourceGroups/validateMoveResources/action": "changes nothing",
	"Microsoft.Resources/deployments/":                                              "its steps are its caller's own requests",
	"Microsoft.Resources/tags/":                                                     "tags",
	"Microsoft.Resources/subscriptions/providers/register/action":                   "changes nothing",
	"Microsoft.Authorization/locks/":                                                "keeps what the rules would let go; what they keep needs none",
	"Microsoft.Authorization/roleAssignments/delete":                                "takes rights away",
	"Microsoft.Authorization/roleDefinitions/":                                      "custom roles count on no guard, and no role gets round the rest",
	"Microsoft.Compute/":                                                            "machines, disks and restore points, which are in no vault",
	"Microsoft.RecoveryServices/locations/":                                         "reads",
	"Microsoft.AlertsManagement/":                                                   "what people think of an alert",
	"Holdfast.Site/sites/":                                                          "a site with a vault or a protected machine stays; its other settings are limits",
	"Holdfast.Monitor/":                                                             "sends an alert",
	"Holdfast.Identity/servicePrincipals/":                                          "an owner of a guard gets no secret and stays (TestResourceGuard)",
}

// TestEveryOperationIsJudged: what changes something is a way, and then tried in
// every state, or somebody has said why it is none.
func TestEveryOperationIsJudged(t *testing.T) {
	t.Parallel()
	judged := map[string]bool{}
	for _, w := range ways() {
		judged[w.method+" "+w.action] = true
	}
	used := map[string]bool{}
	for _, op := range server.Operations() {
		if op.Method == "GET" || op.Method == "HEAD" || op.Action == "public" || op.Action == "signed in" || judged[op.Method+" "+op.Action] {
			continue
		}
		why := ""
		for action := range harmless {
			if op.Action == action || strings.HasSuffix(action, "/") && strings.HasPrefix(op.Action, action) {
				why = action
			}
		}
		if used[why] = true; why == "" {
			t.Errorf("%s %s (%s) is neither tried as a way to a point nor said to be none", op.Method, op.Pattern, op.Action)
		}
	}
	for action := range harmless {
		if !used[action] {
			t.Errorf("%q is said to be harmless, and there is no such operation", action)
		}
	}
}

// stateOfItem brings the item into a state, whatever it is in, before the vault is
// hardened.
var stateOfItem = map[string][]way{
	"active":       {},
	"stopped":      {{method: "PUT", path: "~I", body: fmt.Sprintf(protect, `"policyId":"","protectionState":"ProtectionStopped"`)}},
	"suspended":    {{method: "PUT", path: "~I", body: fmt.Sprintf(protect, `"policyId":"","protectionState":"BackupsSuspended"`)}},
	"soft-deleted": {{method: "DELETE", path: "~I"}},
}

// stateOfVault hardens the vault.
var stateOfVault = map[string][]way{
	"unlocked": {{method: "PATCH", path: "~V", body: `{"properties":{"securitySettings":{"immutabilitySettings":{"state":"Unlocked"}}}}`}},
	"locked":   {{method: "PATCH", path: "~V", body: `{"properties":{"securitySettings":{"immutabilitySettings":{"state":"Locked"}}}}`}},
	"guarded":  {{method: "PUT", path: "~V/backupResourceGuardProxies/VaultProxy", body: `{"properties":{"resourceGuardResourceId":"~D"}}`}},
}

// opens are the ways that are open in a vault whose immutability is unlocked.
var opens = map[string]bool{"immutability off": true, "immutability removed": true, "all settings removed": true}

// TestEveryWay: role x operation x state. Whatever is tried, one after the other,
// on an item that is active, stopped, suspended or soft-deleted, in a vault that is
// immutable, locked or under the guard of somebody else: its point stays, and does
// not go sooner.
func TestEveryWay(t *testing.T) {
	t.Parallel()
	for _, vault := range slices.Sorted(maps.Keys(stateOfVault)) {
		for _, item := range slices.Sorted(maps.Keys(stateOfItem)) {
			if testing.Short() && (vault != "locked" || item != "active") { // with the race detector; all run without it
				continue
			}
			t.Run(vault+", "+item, func(t *testing.T) {
				t.Parallel()
				everyWay(t, vault, item)
			})
		}
	}
}

func everyWay(t *testing.T, vault, item string) {
	s := vaultOfOne(t)
	scope := "/subscriptions/" + s.sub
	group := scope + "/resourceGroups/security"
	if code, out, _ := s.send(t, "PUT", group+"?api-version=2025-02-01", `{"location":"site1"}`); code/100 != 2 {
		t.Fatalf("group: %d %v", code, out)
	}
	security := s.member(t, authz.Contributor, group)
	if code, kind := s.as(t, security, "PUT", s.fill(t, "~D"), `{"location":"site1"}`); code != 201 {
		t.Fatalf("guard: %d %s", code, kind)
	}
	for _, step := range append(slices.Clone(stateOfItem[item]), stateOfVault[vault]...) {
		if code, out, _ := s.sendText(t, step.method, s.fill(t, step.path), s.text(t, step.body)); code/100 != 2 {
			t.Fatalf("%s %s: %d %v", step.method, step.path, code, out)
		}
	}
	was, tried, all := s.keeps(t), 0, ways()
	for name, id := range map[string]string{"owner": authz.Owner, "backup contributor": authz.BackupContributor, "backup operator": authz.BackupOperator, "reader": authz.Reader} {
		role, _ := authz.Find(id)
		bearer := s.member(t, id, scope)
		for _, w := range all {
			if vault != "guarded" && strings.Contains(w.name, "guard") || vault == "unlocked" && opens[w.name] {
				continue
			}
			code, kind := s.as(t, bearer, w.method, s.fill(t, w.path), s.text(t, w.body))
			tried++
			if !role.Allows(w.action) && code != 403 || code >= 500 {
				t.Errorf("%s, %s: %d %s; allowed by the role: %v", name, w.name, code, kind, role.Allows(w.action))
			}
			if code/100 != 2 && w.name != all[len(all)-1].name { // what was refused is looked at with the last
				continue
			}
			switch now := s.keeps(t); {
			case !now.holds(was):
				t.Fatalf("%s, %s (%d %s): %+v before, %+v after", name, w.name, code, kind, was, now)
			case vault == "guarded" && code/100 == 2 && now != was && w.name != "resume" && w.name != "undelete":
				t.Errorf("%s, %s, without a second person: %+v before, %+v after", name, w.name, was, now)
			default:
				was = now
			}
		}
	}
	if tried < 80 {
		t.Errorf("%d cells were tried", tried)
	}
}

// keeping is what keeps the one point of vaultOfOne.
type keeping struct {
	point, expires    string
	deleted           bool   // the item softly is
	immutable, guards string // of the vault
	soft              string // its soft delete
}

// holds says whether the point is kept as well as it was.
func (k keeping) holds(was keeping) bool {
	return k.point == was.point && k.expires >= was.expires && (!k.deleted || was.deleted) && (k.immutable == was.immutable || was.immutable != "Locked") && k.guards == was.guards
}

func (s *sdk) keeps(t *testing.T) (k keeping) {
	t.Helper()
	ask := func(path string) map[string]any {
		code, out, _ := s.send(t, "GET", s.fill(t, path), "")
		if code != 200 {
			t.Fatalf("GET %s: %d %v", path, code, out)
		}
		p, _ := out["properties"].(map[string]any)
		return p
	}
	_, out, _ := s.send(t, "GET", s.fill(t, "~I/recoveryPoints"), "")
	for _, p := range out["value"].([]any) {
		p := p.(map[string]any)
		properties, _ := p["properties"].(map[string]any)["recoveryPointProperties"].(map[string]any)
		k.point, k.expires = k.point+p["name"].(string), k.expires+fmt.Sprint(properties["expiryTime"])
	}
	k.deleted, _ = ask("~I")["isScheduledForDeferredDelete"].(bool)
	settings, _ := ask("~V")["securitySettings"].(map[string]any)
	state, _ := settings["immutabilitySettings"].(map[string]any)
	k.immutable, k.soft = "Disabled", fmt.Sprint(settings["softDeleteSettings"])
	if set, ok := state["state"].(string); ok {
		k.immutable = set
	}
	_, out, _ = s.send(t, "GET", s.fill(t, "~V/backupResourceGuardProxies"), "")
	k.guards = fmt.Sprint(len(out["value"].([]any)))
	return k
}

// fill is a path with its names and a version.
func (s *sdk) fill(t *testing.T, path string) string {
	t.Helper()
	return s.text(t, path) + "?api-version=2025-02-01"
}

// text fills what stands for names.
func (s *sdk) text(t *testing.T, text string) string {
	t.Helper()
	item := strings.ReplaceAll(s.itemPath(), ";", "%3B")
	container, _, _ := strings.Cut(item, "/protectedItems/")
	point := ""
	if strings.Contains(text, "~P") {
		point = *s.points(t)[0].Name
	}
	return strings.NewReplacer("~SHORT", short, "~SOON", soon(), "~C", container, "~P", item+"/recoveryPoints/"+point, "~I", item, "~V", s.vaultPath(), "~M", s.vmID("web"),
		"~D", "/subscriptions/"+s.sub+"/resourceGroups/security/providers/Microsoft.DataProtection/resourceGuards/second", "~G", "/subscriptions/"+s.sub+"/resourceGroups/lab",
		"~U", uuid.NewString(), "~A", s.env["HOLDFAST_CLIENT_ID"]).Replace(text)
}
