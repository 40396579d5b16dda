// Package contracttest drives a running server with Azure's own SDK for Go
// through every operation that the ARM contract of the clients names, and says
// which of them was not answered as the clients expect.
//
// It is for tests: of the server with the machines of a test, and of the built
// binary with a real guest. What the SDK's modules of this project do not have
// (locks, roles, locations) is sent through its pipeline as it stands in the
// contract.
package contracttest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Lab is what there is to work with.
type Lab struct {
	Env    map[string]string // of the server's admin.env
	Client *http.Client      // trusts the server
	URI    string            // of libvirt
	VM     string            // a machine that runs, whose disks are in storage pools
	Pool   string            // a storage pool for disks and restores
}

// operation is one row of the contract: what is sent, and the codes that the
// clients take for success.
type operation struct {
	method, path string // ~S, ~G, ~V, ~I, ~C as in the contract; {} is any segment
	codes        []int
}

// contract is section 5 of the contract, but cross-region restore, which is not
// there yet, and 1 to 3, which every sign-in needs.
var contract = []operation{
	{"PUT", "~G", []int{200, 201}}, {"GET", "~G", []int{200}}, {"HEAD", "~G", []int{204}}, {"DELETE", "~G", []int{200, 202}},
	{"GET", "~S/resourcegroups", []int{200}}, {"GET", "~S/locations", []int{200}}, {"GET", "~S/resources", []int{200}},
	{"GET", "~G/providers/Microsoft.ClassicStorage/storageAccounts/{}", []int{404}},
	{"GET", "~G/providers/Microsoft.Storage/storageAccounts/{}", []int{200}},
	{"GET", "~G/providers/Microsoft.Network/virtualNetworks/{}", []int{200}},
	{"PUT", "~V/providers/Microsoft.Authorization/locks/{}", []int{200, 201}}, {"GET", "~V/providers/Microsoft.Authorization/locks/{}", []int{200}},
	{"DELETE", "~V/providers/Microsoft.Authorization/locks/{}", []int{200, 204}}, {"GET", "~S/providers/Microsoft.Authorization/locks", []int{200}},
	{"GET", "~G/providers/Microsoft.Authorization/roleDefinitions", []int{200}}, {"GET", "~G/providers/Microsoft.Authorization/roleAssignments", []int{200}},
	{"PUT", "~G/providers/Microsoft.Authorization/roleAssignments/{}", []int{201}}, {"DELETE", "~G/providers/Microsoft.Authorization/roleAssignments/{}", []int{200, 204}},
	{"GET", "/v1.0/servicePrincipals", []int{200}},
	{"POST", "~G/providers/Microsoft.Resources/deployments/{}/validate", []int{200, 202}}, {"PUT", "~G/providers/Microsoft.Resources/deployments/{}", []int{200, 201}},
	{"GET", "~S/providers/{}", []int{200}},

	{"GET", "~C/virtualMachines", []int{200}}, {"GET", "~S/providers/Microsoft.Compute/virtualMachines", []int{200}}, {"GET", "~C/virtualMachines/{}", []int{200}},
	{"GET", "~C/disks", []int{200}}, {"GET", "~S/providers/Microsoft.Compute/disks", []int{200}}, {"GET", "~C/disks/{}", []int{200}}, {"DELETE", "~C/disks/{}", []int{200, 202, 204}},

	{"PUT", "~C/restorePointCollections/{}", []int{200, 201}}, {"PATCH", "~C/restorePointCollections/{}", []int{200}}, {"GET", "~C/restorePointCollections/{}", []int{200}},
	{"GET", "~C/restorePointCollections", []int{200}}, {"GET", "~S/providers/Microsoft.Compute/restorePointCollections", []int{200}}, {"DELETE", "~C/restorePointCollections/{}", []int{200, 202, 204}},
	{"PUT", "~C/restorePointCollections/{}/restorePoints/{}", []int{201}}, {"GET", "~C/restorePointCollections/{}/restorePoints/{}", []int{200}},
	{"DELETE", "~C/restorePointCollections/{}/restorePoints/{}", []int{200, 202, 204}},
	// armcompute/v6, DiskRestorePointClient.
	{"GET", "~C/restorePointCollections/{}/restorePoints/{}/diskRestorePoints", []int{200}}, {"GET", "~C/restorePointCollections/{}/restorePoints/{}/diskRestorePoints/{}", []int{200}},
	{"POST", "~C/restorePointCollections/{}/restorePoints/{}/diskRestorePoints/{}/beginGetAccess", []int{200, 202}},
	{"POST", "~C/restorePointCollections/{}/restorePoints/{}/diskRestorePoints/{}/endGetAccess", []int{200, 202}},

	{"PUT", "~V", []int{200, 201}}, {"GET", "~V", []int{200}}, {"GET", "~G/providers/Microsoft.RecoveryServices/vaults", []int{200}},
	{"GET", "~S/providers/Microsoft.RecoveryServices/vaults", []int{200}}, {"PATCH", "~V", []int{200, 202}}, {"DELETE", "~V", []int{200}},
	{"GET", "~V/backupconfig/vaultconfig", []int{200}}, {"PATCH", "~V/backupconfig/vaultconfig", []int{200}}, {"PUT", "~V/backupconfig/vaultconfig", []int{200}},
	{"GET", "~V/backupstorageconfig/vaultstorageconfig", []int{200}}, {"PUT", "~V/backupstorageconfig/vaultstorageconfig", []int{200}}, {"PATCH", "~V/backupstorageconfig/vaultstorageconfig", []int{204}},
	{"GET", "~V/backupEncryptionConfigs/backupResourceEncryptionConfig", []int{200}}, {"GET", "~V/backupResourceGuardProxies", []int{200}},

	{"GET", "~V/backupPolicies", []int{200}}, {"GET", "~V/backupPolicies/{}", []int{200}}, {"PUT", "~V/backupPolicies/{}", []int{200}}, {"DELETE", "~V/backupPolicies/{}", []int{200, 204}},
	{"POST", "~V/backupFabrics/Azure/refreshContainers", []int{202}}, {"GET", "~V/backupFabrics/Azure/operationResults/{}", []int{204}},
	{"GET", "~V/backupProtectableItems", []int{200}}, {"GET", "~V/backupProtectionContainers", []int{200}}, {"GET", "~V/backupProtectedItems", []int{200}},
	{"GET", "~I", []int{200}}, {"PUT", "~I", []int{200, 202}}, {"DELETE", "~I", []int{200, 202, 204}},
	{"POST", "~S/providers/Microsoft.RecoveryServices/locations/{}/backupStatus", []int{200}},
	{"GET", "~V/backupOperations/{}", []int{200}}, {"GET", "~I/operationsStatus/{}", []int{200}}, {"GET", "~I/operationResults/{}", []int{200, 204}},

	{"POST", "~I/backup", []int{202}}, {"GET", "~I/recoveryPoints", []int{200}}, {"GET", "~I/recoveryPoints/{}", []int{200}},
	{"POST", "~I/recoveryPointsRecommendedForMove", []int{200}}, {"POST", "~I/recoveryPoints/{}/restore", []int{202}},
	// Answered truthfully until there are archives and file restore.
	{"POST", "~I/recoveryPoints/{}/move", []int{409}}, {"POST", "~I/recoveryPoints/{}/provisionInstantItemRecovery", []int{409}}, {"POST", "~I/recoveryPoints/{}/revokeInstantItemRecovery", []int{409}},
	{"GET", "~V/backupJobs", []int{200}}, {"GET", "~V/backupJobs/{}", []int{200}}, {"POST", "~V/backupJobs/{}/cancel", []int{202}},
	{"GET", "~V/backupUsageSummaries", []int{200}}, {"POST", "~S/providers/Microsoft.RecoveryServices/locations/{}/backupValidateFeatures", []int{200}},
	{"POST", "~S/providers/Microsoft.RecoveryServices/locations/{}/backupPreValidateProtection", []int{200}},
}

var shorts = strings.NewReplacer("~S", "/subscriptions/{}", "~G", "/subscriptions/{}/resourceGroups/{}", "~C", "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Compute",
	"~V", "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.RecoveryServices/vaults/{}",
	"~I", "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.RecoveryServices/vaults/{}/backupFabrics/Azure/protectionContainers/{}/protectedItems/{}")

// is says whether a request is one of the operation.
func (o operation) is(method, path string) bool {
	want, got := split(shorts.Replace(o.path)), split(path)
	if method != o.method || len(want) != len(got) {
		return false
	}
	for i, w := range want {
		if w != "{}" && !strings.EqualFold(w, got[i]) {
			return false
		}
	}
	return true
}

func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// recorder keeps what was asked and answered.
type recorder struct {
	next http.RoundTripper
	mu   sync.Mutex
	all  []exchange
}

type exchange struct {
	method, path string
	code         int
}

// Do sends a request of the SDK.
func (r *recorder) Do(req *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	path, escapeErr := url.PathUnescape(req.URL.EscapedPath())
	if escapeErr != nil {
		path = req.URL.Path
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, exchange{req.Method, path, resp.StatusCode})
	return resp, nil
}

// judge names the operations of the contract that were never answered as the
// clients expect.
func (r *recorder) judge(t *testing.T) {
	t.Helper()
	for _, o := range contract {
		var codes []int
		for _, e := range r.all {
			if o.is(e.method, e.path) {
				codes = append(codes, e.code)
			}
		}
		if !slices.ContainsFunc(codes, func(c int) bool { return slices.Contains(o.codes, c) }) {
			t.Errorf("%s %s was answered %s; the clients take %v", o.method, o.path, orNever(codes), o.codes)
		}
	}
	t.Logf("%d operations of the contract, %d requests", len(contract), len(r.all))
}

func orNever(codes []int) string {
	if len(codes) == 0 {
		return "never: it was not sent"
	}
	return fmt.Sprint(codes)
}
