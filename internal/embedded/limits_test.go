package embedded_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/embedded"
	"holdfast/internal/limits"
	"holdfast/internal/matrix"
)

const onDemand = `{"properties":{"objectType":"IaasVMBackupRequest"}}`

// TestFourthBackupOfADay is refused: the failed one does not count, and the next
// day begins anew.
func TestFourthBackupOfADay(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "ACT-07")
	w, now := newWorld(), atomic.Int64{}
	now.Store(time.Now().UTC().Truncate(24 * time.Hour).Add(-2 * time.Hour).Unix()) // an evening that the certificate's checkers have seen
	w.clock = func() time.Time { return time.Unix(now.Load(), 0).UTC() }
	r := serve(t, w, t.TempDir())
	s := &sdk{running: r, sub: r.env["HOLDFAST_SUBSCRIPTION_ID"]}
	text := func(method, path, body string, want int) map[string]any {
		t.Helper()
		code, out, header := s.sendText(t, method, path+"?api-version=2025-02-01", body)
		if code != want {
			t.Fatalf("%s %s: %d %v, want %d", method, path, code, out, want)
		}
		if at := header.Get("Azure-Asyncoperation"); strings.Contains(at, "operationsStatus") {
			id, _, _ := strings.Cut(at[strings.LastIndexByte(at, '/')+1:], "?")
			if _, err := s.Jobs().Wait(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		return out
	}
	text("PUT", "/subscriptions/"+s.sub+"/providers/Holdfast.Site/sites/"+site, `{"properties":{"uri":"qemu:///system","resourceGroup":"lab"}}`, 201)
	text("PUT", s.vaultPath(), `{"location":"site1"}`, 201)
	policy := text("GET", s.vaultPath()+"/backupPolicies/DefaultPolicy", "", 200)["properties"].(map[string]any)
	policy["schedulePolicy"].(map[string]any)["scheduleRunTimes"] = []string{"2026-01-01T01:00:00Z", "2026-01-01T13:00:00Z"}
	twice, err := json.Marshal(map[string]any{"properties": policy})
	if err != nil {
		t.Fatal(err)
	}
	if e := text("PUT", s.vaultPath()+"/backupPolicies/twice", string(twice), 400)["error"].(map[string]any); !strings.Contains(e["message"].(string), "one scheduled backup a day") {
		t.Errorf("two runs a day: %v", e)
	}
	item := strings.ReplaceAll(s.itemPath(), ";", "%3B")
	text("PUT", item, fmt.Sprintf(`{"properties":{"protectedItemType":"Microsoft.Compute/virtualMachines","sourceResourceId":%q,"policyId":%q}}`, s.vmID("web"), s.vaultPath()+"/backupPolicies/DefaultPolicy"), 202)
	w.fail = errors.New("the host is on fire")
	text("POST", item+"/backup", onDemand, 202)
	w.fail = nil
	for range 3 {
		text("POST", item+"/backup", onDemand, 202)
	}
	e := text("POST", item+"/backup", onDemand, 409)["error"].(map[string]any)
	if e["code"] != "OperationNotAllowed" || !strings.Contains(e["message"].(string), "has had 3 backups on demand today") || !strings.Contains(e["message"].(string), "--limits extended") {
		t.Errorf("the fourth: %v", e)
	}
	now.Add(int64((2 * time.Hour).Seconds()))
	text("POST", item+"/backup", onDemand, 202)
}

func TestExtendedLimits(t *testing.T) {
	t.Parallel()
	s := dial(t, serveWith(t, t.TempDir(), func(c *embedded.Config) { c.Limits = limits.Extended }))
	lab(t, s)
	s.protect(t)
	for range 5 {
		s.job(t, s.backupNow(t))
	}
}

// TestDaylightSavingSurvivesAzure: a client that reads a policy into Azure's model
// and sends that back turns nothing off.
func TestDaylightSavingSurvivesAzure(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "ACT-11")
	s := dial(t, serveWith(t, t.TempDir(), func(c *embedded.Config) { c.Limits = limits.Extended }))
	lab(t, s)
	path := s.vaultPath() + "/backupPolicies/nightly?api-version=2025-02-01"
	_, out, _ := s.send(t, "GET", s.vaultPath()+"/backupPolicies/DefaultPolicy?api-version=2025-02-01", "")
	properties := out["properties"].(map[string]any)
	properties["timeZone"], properties["holdfast"] = "W. Europe Standard Time", map[string]any{"followDaylightSaving": true}
	body, err := json.Marshal(map[string]any{"properties": properties})
	if err != nil {
		t.Fatal(err)
	}
	if code, out, _ := s.send(t, "PUT", path, string(body)); code != 200 {
		t.Fatalf("put: %d %v", code, out)
	}
	policies := s.backup.NewProtectionPoliciesClient()
	read, err := policies.Get(t.Context(), "safe", "lab", "nightly", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policies.CreateOrUpdate(t.Context(), "safe", "lab", "nightly", read.ProtectionPolicyResource, nil); err != nil {
		t.Fatal(err)
	}
	_, out, _ = s.send(t, "GET", path, "")
	if got := out["properties"].(map[string]any)["holdfast"]; fmt.Sprint(got) != "map[followDaylightSaving:true]" {
		t.Errorf("after a round trip through the SDK: %v", got)
	}
}

// TestOtherRegionUnderExtendedLimits: a vault takes a machine of another site,
// which is read there and comes back at the vault's.
func TestOtherRegionUnderExtendedLimits(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "ACT-06")
	r := serveWith(t, t.TempDir(), func(c *embedded.Config) { c.Limits = limits.Extended })
	s, w := dial(t, r), r.world
	lab(t, s)
	const site2 = "~S/providers/Holdfast.Site/sites/site2?api-version=2026-11-01"
	path := func(p string) string {
		return strings.NewReplacer("~S", "/subscriptions/"+s.sub, "~V", s.vaultPath()).Replace(p)
	}
	if code, out, _ := s.send(t, "PUT", path(site2), `{"properties":{"uri":"qemu:///session","resourceGroup":"far"}}`); code != 201 {
		t.Fatalf("second site: %d %v", code, out)
	}
	const far = "~V/backupFabrics/Azure/protectionContainers/IaasVMContainer%3Biaasvmcontainerv2%3Bfar%3Bweb/protectedItems/VM%3Biaasvmcontainerv2%3Bfar%3Bweb"
	body := path(`{"properties":{"protectedItemType":"Microsoft.Compute/virtualMachines","policyId":"~V/backupPolicies/DefaultPolicy","sourceResourceId":"~S/resourceGroups/far/providers/Microsoft.Compute/virtualMachines/web"}}`)
	code, out, _ := s.send(t, "GET", path("~V/backupProtectableItems?api-version=2025-02-01"), "")
	if text := fmt.Sprint(out); code != 200 || !strings.Contains(text, ";far;web") {
		t.Errorf("protectable: %d %v", code, text)
	}
	if code, out, _ := s.send(t, "PUT", path(far)+"?api-version=2025-02-01", body); code != 202 {
		t.Fatalf("protect: %d %v", code, out)
	}
	code, out, header := s.send(t, "POST", path(far)+"/backup?api-version=2025-02-01", onDemand)
	if code != 202 {
		t.Fatalf("backup: %d %v", code, out)
	}
	id, _, _ := strings.Cut(header.Get("Azure-Asyncoperation")[strings.LastIndexByte(header.Get("Azure-Asyncoperation"), '/')+1:], "?")
	if j, err := s.Jobs().Wait(t.Context(), id); err != nil || len(w.backups) != 1 || w.backups[0].Site.Name != "site2" || w.backups[0].Site.URI != "qemu:///session" {
		t.Errorf("read at %+v; %+v, %v", w.backups, j, err)
	}
	s.refuses(t, []refused{
		{"site with protected machines", "DELETE", "~S/providers/Holdfast.Site/sites/site2", "", 409, "Conflict", "web (1 points)"},
		{"other subscription", "PUT", far, strings.ReplaceAll(body, s.sub+"/resourceGroups/far", "other/resourceGroups/far"), 409, "OperationNotAllowed", "another subscription"},
	})
}
