package embedded_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservices"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"

	"holdfast/internal/authz"
)

// TestMoveVault: a vault goes to another group with its items, points, jobs and
// policies; backups go on under the same history.
func TestMoveVault(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	s.protect(t)
	s.job(t, s.backupNow(t))
	if _, err := s.groups.CreateOrUpdate(t.Context(), "other", armresources.ResourceGroup{Location: to.Ptr(site)}, nil); err != nil {
		t.Fatal(err)
	}
	at := s.member(t, authz.Reader, s.vaultPath())
	group := "/subscriptions/" + s.sub + "/resourceGroups/"
	client, err := armresources.NewClient(s.sub, s.cred, s.options)
	if err != nil {
		t.Fatal(err)
	}
	what := armresources.MoveInfo{Resources: []*string{to.Ptr(s.vaultPath())}, TargetResourceGroup: to.Ptr(group + "other")}
	check, err := client.BeginValidateMoveResources(t.Context(), "lab", what, nil)
	done(t, check, err)
	move, err := client.BeginMoveResources(t.Context(), "lab", what, nil)
	done(t, move, err)
	if _, err := s.vaults.Get(t.Context(), "lab", "safe", nil); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("the old place: %v", err)
	}
	v, err := s.vaults.Get(t.Context(), "other", "safe", nil)
	if err != nil || !strings.HasPrefix(*v.ID, group+"other/") {
		t.Fatalf("the new place: %+v, %v", v, err)
	}
	there := strings.Replace(s.itemPath(), "/lab/", "/other/", 1)
	const version = "?api-version=2025-02-01"
	_, out, _ := s.send(t, "GET", there+version, "")
	if p := out["properties"].(map[string]any); out["id"] != there || p["policyName"] != "DefaultPolicy" || !strings.Contains(p["policyId"].(string), "/other/") || p["sourceResourceId"] != s.vmID("web") {
		t.Errorf("the item: %v", out)
	}
	code, out, header := s.send(t, "POST", there+"/backup"+version, onDemand)
	if code != 202 {
		t.Fatalf("backup: %d %v", code, out)
	}
	id := header.Get("Azure-Asyncoperation")
	if _, err := s.Jobs().Wait(t.Context(), strings.TrimSuffix(id[strings.LastIndexByte(id[:strings.IndexByte(id, '?')], '/')+1:], version)); err != nil {
		t.Fatal(err)
	}
	if _, out, _ := s.send(t, "GET", there+"/recoveryPoints"+version, ""); len(out["value"].([]any)) != 2 || s.backups[0].Series != s.backups[1].Series {
		t.Errorf("points: %v", out)
	}
	if _, out, _ := s.send(t, "GET", strings.Replace(s.vaultPath(), "/lab/", "/other/", 1)+"/backupJobs"+version, ""); len(out["value"].([]any)) != 3 {
		t.Errorf("jobs: %v", out)
	}
	// Who was given a role at the old place has none at the new one.
	if code, _ := s.as(t, at, "GET", *v.ID+version, ""); code != 403 {
		t.Errorf("a role given at the vault: %d", code)
	}
	// The VM is protected once, wherever its vault is.
	if _, out, _ := s.send(t, "POST", "/subscriptions/"+s.sub+"/providers/Microsoft.RecoveryServices/locations/site1/backupStatus"+version, fmt.Sprintf(`{"resourceType":"VM","resourceId":%q}`, s.vmID("web"))); out["vaultId"] != *v.ID {
		t.Errorf("protection: %v", out)
	}
}

func TestMoveIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	s.job(t, s.backupNow(t))
	for _, group := range []string{"other", "full"} {
		if _, err := s.groups.CreateOrUpdate(t.Context(), group, armresources.ResourceGroup{Location: to.Ptr(site)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	p, err := s.vaults.BeginCreateOrUpdate(t.Context(), "full", "safe", armrecoveryservices.Vault{Location: to.Ptr(site), SKU: &armrecoveryservices.SKU{Name: to.Ptr(armrecoveryservices.SKUNameStandard)}, Properties: &armrecoveryservices.VaultProperties{}}, nil)
	done(t, p, err)
	move := func(target string, ids ...string) string {
		return `{"resources":["` + strings.Join(ids, `","`) + `"],"targetResourceGroup":"` + target + `"}`
	}
	const at, other = "~G/moveResources", "~S/resourceGroups/other"
	s.refuses(t, []refused{
		{"a protected machine", "POST", at, move(other, "~G/providers/Microsoft.Compute/virtualMachines/web"), 409, "OperationNotAllowed", "web (1 points)"},
		{"a machine", "POST", at, move(other, "~G/providers/Microsoft.Compute/virtualMachines/db"), 409, "OperationNotAllowed", "resource group of its site"},
		{"checked, too", "POST", "~G/validateMoveResources", move(other, "~G/providers/Microsoft.Compute/disks/b"), 409, "OperationNotAllowed", "site"},
		{"a policy", "POST", at, move(other, "~V/backupPolicies/DefaultPolicy"), 409, "OperationNotAllowed", "cannot be moved"},
		{"nothing", "POST", at, move(other), 400, "InvalidParameter", "resources[0]"},
		{"no list", "POST", at, `{"targetResourceGroup":"` + other + `"}`, 400, "InvalidParameter", "0 ids"},
		{"twice", "POST", at, move(other, "~V", "~V"), 400, "InvalidParameter", "twice"},
		{"of another group", "POST", at, move(other, "~S/resourceGroups/full/providers/Microsoft.RecoveryServices/vaults/safe"), 400, "InvalidParameter", "not in the resource group"},
		{"not there", "POST", at, move(other, "~G/providers/Microsoft.RecoveryServices/vaults/none"), 404, "ResourceNotFound", "none"},
		{"to nowhere", "POST", at, move("~S/resourceGroups/none", "~V"), 404, "ResourceNotFound", "none"},
		{"to where it is", "POST", at, move("~G", "~V"), 400, "InvalidParameter", "already"},
		{"to another subscription", "POST", at, move("/subscriptions/other/resourceGroups/g", "~V"), 409, "OperationNotAllowed", "another subscription"},
		{"to no group", "POST", at, move("~V", "~V"), 400, "InvalidParameter", "targetResourceGroup"},
		{"name taken", "POST", at, move("~S/resourceGroups/full", "~V"), 409, "Conflict", "already"},
		{"the site's group", "PUT", "~S/providers/Holdfast.Site/sites/site1", `{"properties":{"uri":"qemu:///system","resourceGroup":"other"}}`, 409, "OperationNotAllowed", "web (1 points)"},
	})
	// While a job of the vault runs, and under a lock.
	w.hold = make(chan struct{})
	<-w.begun
	running := s.backupNow(t)
	<-w.begun
	s.refuses(t, []refused{{"a backup runs", "POST", at, move(other, "~V"), 409, "Conflict", "running job"}})
	close(w.hold)
	s.job(t, running)
	if code, _, _ := s.send(t, "PUT", s.vaultPath()+"/providers/Microsoft.Authorization/locks/l?api-version=2016-09-01", `{"properties":{"level":"CanNotDelete"}}`); code != 201 {
		t.Fatal(code)
	}
	s.refuses(t, []refused{{"locked", "POST", at, move(other, "~V"), 409, "ScopeLocked", "locks/l"}})
	// Whose rights end at the group does not take a vault out of it.
	group := "/subscriptions/" + s.sub + "/resourceGroups/lab"
	mover := s.member(t, authz.Contributor, group)
	if code, word := s.as(t, mover, "POST", group+"/moveResources?api-version=2021-04-01", strings.NewReplacer("~S", "/subscriptions/"+s.sub, "~V", s.vaultPath()).Replace(move(other, "~V"))); code != 403 || word != "AuthorizationFailed" {
		t.Errorf("without rights at the other group: %d %s", code, word)
	}
}

// TestTags: of groups, vaults and machines, as az tag sends them.
func TestTags(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	client, err := armresources.NewTagsClient(s.sub, s.cred, s.options)
	if err != nil {
		t.Fatal(err)
	}
	tags := func(pairs ...string) *armresources.Tags {
		m := map[string]*string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = &pairs[i+1]
		}
		return &armresources.Tags{Tags: m}
	}
	for _, scope := range []string{"/subscriptions/" + s.sub + "/resourceGroups/lab", s.vaultPath(), s.vmID("web")} {
		if _, err := client.CreateOrUpdateAtScope(t.Context(), scope, armresources.TagsResource{Properties: tags("a", "1", "b", "2")}, nil); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			op    armresources.TagsPatchOperation
			with  *armresources.Tags
			after string
		}{
			{armresources.TagsPatchOperationMerge, tags("b", "3", "c", "4"), "map[a:1 b:3 c:4]"},
			{armresources.TagsPatchOperationDelete, tags("a", "1", "b", "other"), "map[b:3 c:4]"},
			{armresources.TagsPatchOperationReplace, tags("z", "9"), "map[z:9]"},
		} {
			if _, err := client.UpdateAtScope(t.Context(), scope, armresources.TagsPatchResource{Operation: &c.op, Properties: c.with}, nil); err != nil {
				t.Fatal(err)
			}
			got, err := client.GetAtScope(t.Context(), scope, nil)
			plain := map[string]string{}
			for k, v := range got.Properties.Tags {
				plain[k] = *v
			}
			if err != nil || fmt.Sprint(plain) != c.after {
				t.Errorf("%s after %s: %v, %v; want %s", scope, c.op, plain, err, c.after)
			}
		}
	}
	page, err := client.NewListPager(nil).NextPage(t.Context())
	if err != nil || len(page.Value) != 1 || *page.Value[0].TagName != "z" || *page.Value[0].Count.Value != 3 {
		t.Errorf("tags of the subscription: %v, %v", page.Value, err)
	}
	for filter, want := range map[string]int{"tagname eq 'z'": 1, "tagname eq 'z' and tagvalue eq '9'": 1, "tagname eq 'z' and tagvalue eq '8'": 0} {
		if _, out, _ := s.send(t, "GET", "/subscriptions/"+s.sub+"/resourcegroups?api-version=2021-04-01&$filter="+url.QueryEscape(filter), ""); len(out["value"].([]any)) != want {
			t.Errorf("groups with %s: %v", filter, out)
		}
		if _, out, _ := s.send(t, "GET", "/subscriptions/"+s.sub+"/resources?api-version=2021-04-01&$expand=createdTime&$filter="+url.QueryEscape(filter), ""); len(out["value"].([]any)) != 2*want {
			t.Errorf("resources with %s: %v", filter, out)
		}
	}
	if _, err := client.DeleteAtScope(t.Context(), s.vaultPath(), nil); err != nil {
		t.Error(err)
	}
	const at = "/providers/Microsoft.Resources/tags/default"
	s.refuses(t, []refused{
		{"no tags", "PUT", "~V" + at, `{}`, 400, "InvalidParameter", "properties.tags"},
		{"no operation", "PATCH", "~V" + at, `{"operation":"Mend","properties":{"tags":{}}}`, 400, "InvalidParameter", "operation"},
		{"of what keeps none", "PUT", "~V/backupPolicies/DefaultPolicy" + at, `{"properties":{"tags":{"a":"b"}}}`, 409, "OperationNotAllowed", "keeps no tags"},
		{"a bad name", "PUT", "~V" + at, `{"properties":{"tags":{"a/b":"c"}}}`, 400, "InvalidParameter", "tag name"},
		{"before ARM", "GET", "~V?api-version=1999-01-01", "", 400, "NoRegisteredProviderFound", "2025-02-01"},
		{"no day", "GET", "~V?api-version=2024-13-45", "", 400, "InvalidApiVersionParameter", "date"},
	})
}
