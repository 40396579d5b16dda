package embedded_test

import (
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservices"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
)

// TestGroupGoesWithAllThatIsInIt, or not at all.
func TestGroupGoesWithAllThatIsInIt(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	for group, vaults := range map[string][]string{"other": {"one", "two"}, "guarded": {"three", "four"}} {
		if _, err := s.groups.CreateOrUpdate(t.Context(), group, armresources.ResourceGroup{Location: to.Ptr(site)}, nil); err != nil {
			t.Fatal(err)
		}
		for _, name := range vaults {
			p, err := s.vaults.BeginCreateOrUpdate(t.Context(), group, name, armrecoveryservices.Vault{Location: to.Ptr(site), SKU: &armrecoveryservices.SKU{Name: to.Ptr(armrecoveryservices.SKUNameStandard)},
				Properties: &armrecoveryservices.VaultProperties{}}, nil)
			done(t, p, err)
		}
	}
	const version = "?api-version=2020-05-01"
	groups := "/subscriptions/" + s.sub + "/resourceGroups/"
	group, vaults := groups+"other", "/providers/Microsoft.RecoveryServices/vaults/"
	guarded := groups + "guarded" + vaults + "three"
	item := guarded + "/backupFabrics/Azure/protectionContainers/" + container + "/protectedItems/" + item + "?api-version=2025-02-01"
	if code, out, _ := s.send(t, "PUT", item, `{"properties":{"protectedItemType":"Microsoft.Compute/virtualMachines","sourceResourceId":"`+s.vmID("web")+`","policyId":"`+guarded+`/backupPolicies/DefaultPolicy"}}`); code != 202 {
		t.Fatalf("protect: %d %v", code, out)
	}
	s.refuses(t, []refused{
		{"a vault protects something", "DELETE", "~S/resourceGroups/guarded", "", 400, "InvalidParameter", "existing resources within the vault"},
		{"machines of a site", "DELETE", "~G", "", 409, "Conflict", "site1"},
		{"no such group", "DELETE", "~S/resourceGroups/none", "", 404, "ResourceNotFound", "none"},
	})
	if code, _, _ := s.send(t, "GET", groups+"guarded"+vaults+"four?api-version=2023-04-01", ""); code != 200 {
		t.Errorf("the other vault after a refusal: %d", code)
	}
	// Who may delete groups and no vaults does not do it through the group.
	const role = "7a7a7a7a-0000-4000-8000-000000000002"
	if code, out, _ := s.send(t, "PUT", "/subscriptions/"+s.sub+"/providers/Microsoft.Authorization/roleDefinitions/"+role+"?api-version=2022-04-01",
		`{"properties":{"roleName":"Cleaner","permissions":[{"actions":["Microsoft.Resources/subscriptions/resourceGroups/delete"]}],"assignableScopes":["/"]}}`); code != 201 {
		t.Fatalf("role: %d %v", code, out)
	}
	if code, word := s.as(t, s.member(t, role, "/subscriptions/"+s.sub), "DELETE", group+version, ""); code != 403 || word != "AuthorizationFailed" {
		t.Errorf("without the right to delete vaults: %d %s", code, word)
	}
	p, err := s.groups.BeginDelete(t.Context(), "other", nil)
	done(t, p, err)
	if code, _, _ := s.send(t, "GET", group+version, ""); code != 404 {
		t.Errorf("the group is there: %d", code)
	}
	if code, _, _ := s.send(t, "GET", group+vaults+"two?api-version=2023-04-01", ""); code != 404 {
		t.Errorf("its vault is there: %d", code)
	}
}
