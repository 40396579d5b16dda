package contracttest

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservices"
	backup "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservicesbackup/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
	"github.com/google/uuid"
)

// Names of what the drive makes.
const (
	site  = "contract"
	group = "contract"
	vault = "vault"
)

// driver is the clients, signed in.
type driver struct {
	*testing.T
	lab    Lab
	sub    string
	rec    *recorder
	arm    *arm.Client
	backup *backup.ClientFactory
	vaults *armrecoveryservices.VaultsClient
	vms    *armcompute.VirtualMachinesClient
	disks  *armcompute.DisksClient
	// compute6 makes the clients of restore points.
	compute6 *armcompute.ClientFactory
	groups   *armresources.ResourceGroupsClient
	all      *armresources.Client
	deploy   *armresources.DeploymentsClient
	rps      *armresources.ProvidersClient
}

// Drive sends every operation of the contract, as the life of one vault, and
// fails the test for each that is not answered as the clients expect.
func Drive(t *testing.T, lab Lab) {
	d := dial(t, lab)
	d.resources()
	d.vault()
	d.policies()
	d.compute()
	d.restorePoints()
	d.protect()
	point := d.points()
	d.restore(point)
	d.jobs()
	d.end()
	d.rec.judge(t)
}

func dial(t *testing.T, lab Lab) *driver {
	t.Helper()
	next := lab.Client.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	d := &driver{T: t, lab: lab, sub: lab.Env["HOLDFAST_SUBSCRIPTION_ID"], rec: &recorder{next: next}}
	endpoint := lab.Env["HOLDFAST_ENDPOINT"]
	o := policy.ClientOptions{Transport: d.rec, Retry: policy.RetryOptions{MaxRetries: -1}, Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: endpoint,
		Services: map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: endpoint, Audience: endpoint}}}}
	cred, err := azidentity.NewClientSecretCredential(lab.Env["HOLDFAST_TENANT_ID"], lab.Env["HOLDFAST_CLIENT_ID"], lab.Env["HOLDFAST_CLIENT_SECRET"],
		&azidentity.ClientSecretCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	var errs [10]error
	options := &arm.ClientOptions{ClientOptions: o}
	d.arm, errs[0] = arm.NewClient("contracttest", "v1.0.0", cred, options)
	d.backup, errs[1] = backup.NewClientFactory(d.sub, cred, options)
	d.vaults, errs[2] = armrecoveryservices.NewVaultsClient(d.sub, cred, options)
	d.vms, errs[3] = armcompute.NewVirtualMachinesClient(d.sub, cred, options)
	d.disks, errs[4] = armcompute.NewDisksClient(d.sub, cred, options)
	d.groups, errs[5] = armresources.NewResourceGroupsClient(d.sub, cred, options)
	d.all, errs[6] = armresources.NewClient(d.sub, cred, options)
	d.deploy, errs[7] = armresources.NewDeploymentsClient(d.sub, cred, options)
	d.rps, errs[8] = armresources.NewProvidersClient(d.sub, cred, options)
	d.compute6, errs[9] = armcompute.NewClientFactory(d.sub, cred, options)
	d.must(errors.Join(errs[:]...))
	return d
}

func (d *driver) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *driver) id(rest string) string {
	return "/subscriptions/" + d.sub + "/resourceGroups/" + group + rest
}
func (d *driver) vaultID() string {
	return d.id("/providers/Microsoft.RecoveryServices/vaults/" + vault)
}
func (d *driver) vmID() string {
	return d.id("/providers/Microsoft.Compute/virtualMachines/" + d.lab.VM)
}
func (d *driver) container() string {
	return "IaasVMContainer;iaasvmcontainerv2;" + group + ";" + d.lab.VM
}
func (d *driver) item() string { return "VM;iaasvmcontainerv2;" + group + ";" + d.lab.VM }

// send sends what no module has; it fails on codes other than those wanted.
func (d *driver) send(method, path, body string, want ...int) map[string]any {
	d.Helper()
	req, err := runtime.NewRequest(d.Context(), method, runtime.JoinPaths(d.arm.Endpoint(), path))
	d.must(err)
	if body != "" {
		d.must(runtime.MarshalAsJSON(req, json.RawMessage(body)))
	}
	resp, err := d.arm.Pipeline().Do(req)
	d.must(err)
	if !runtime.HasStatusCode(resp, want...) {
		d.Fatal(runtime.NewResponseError(resp))
	}
	var out map[string]any
	if b, err := runtime.Payload(resp); err == nil && len(b) > 0 {
		d.must(json.Unmarshal(b, &out))
	}
	return out
}

func done[T any](d *driver, p *runtime.Poller[T], err error) T {
	d.Helper()
	d.must(err)
	v, err := p.PollUntilDone(d.Context(), &runtime.PollUntilDoneOptions{Frequency: time.Second})
	d.must(err)
	return v
}

// first is the first page of a listing.
func first[T any](d *driver, p *runtime.Pager[T]) T {
	d.Helper()
	v, err := p.NextPage(d.Context())
	d.must(err)
	return v
}

func (d *driver) resources() {
	d.Helper()
	d.send("PUT", "/subscriptions/"+d.sub+"/providers/Holdfast.Site/sites/"+site+"?api-version=2026-11-01", `{"properties":{"uri":"`+d.lab.URI+`","resourceGroup":"`+group+`"}}`, 200, 201)
	_, err := d.groups.CreateOrUpdate(d.Context(), "short", armresources.ResourceGroup{Location: to.Ptr(site), Tags: map[string]*string{"a": to.Ptr("b")}}, nil)
	d.must(err)
	_, err = d.groups.Get(d.Context(), "short", nil)
	d.must(err)
	first(d, d.groups.NewListPager(&armresources.ResourceGroupsClientListOptions{Filter: to.Ptr("tagname eq 'a'")}))
	if there, err := d.groups.CheckExistence(d.Context(), "short", nil); err != nil || !there.Success {
		d.Errorf("HEAD of a group: %v, %v", there, err)
	}
	template := map[string]any{"resources": []any{map[string]any{"type": "Microsoft.RecoveryServices/vaults", "apiVersion": "2023-04-01", "name": "deployed", "location": "[resourceGroup().location]"}}}
	deployment := armresources.Deployment{Properties: &armresources.DeploymentProperties{Mode: to.Ptr(armresources.DeploymentModeIncremental), Template: template}}
	v, err := d.deploy.BeginValidate(d.Context(), "short", "d", deployment, nil)
	done(d, v, err)
	made, err := d.deploy.BeginCreateOrUpdate(d.Context(), "short", "d", deployment, nil)
	done(d, made, err)
	gone, err := d.groups.BeginDelete(d.Context(), "short", nil)
	done(d, gone, err)
	first(d, d.all.NewListPager(&armresources.ClientListOptions{Expand: to.Ptr("createdTime,changedTime,provisioningState")}))
	_, err = d.rps.Get(d.Context(), "Microsoft.RecoveryServices", nil)
	d.must(err)
	d.send("GET", "/subscriptions/"+d.sub+"/locations?api-version=2022-12-01", "", 200)
	// As az sends them, with an empty segment.
	d.send("GET", d.id("/providers/Microsoft.ClassicStorage/storageAccounts//"+d.lab.Pool+"?api-version=2015-12-01"), "", 404)
	d.send("GET", d.id("/providers/Microsoft.Storage/storageAccounts//"+d.lab.Pool+"?api-version=2016-01-01"), "", 200)
	d.send("GET", d.id("/providers/Microsoft.Network/virtualNetworks//default?api-version=2019-11-01"), "", 200)
	d.roles()
}

func (d *driver) roles() {
	d.Helper()
	const version = "?api-version=2022-04-01"
	roles := d.send("GET", d.id("/providers/Microsoft.Authorization/roleDefinitions"+version+"&$filter=roleName%20eq%20'Backup%20Reader'"), "", 200)
	role := roles["value"].([]any)[0].(map[string]any)["id"].(string)
	who := d.send("GET", "/v1.0/servicePrincipals?$filter=servicePrincipalNames/any(c:c%20eq%20'"+d.lab.Env["HOLDFAST_CLIENT_ID"]+"')", "", 200)
	id := who["value"].([]any)[0].(map[string]any)["id"].(string)
	at := d.id("/providers/Microsoft.Authorization/roleAssignments/" + uuid.NewString() + version)
	d.send("PUT", at, `{"properties":{"roleDefinitionId":"`+role+`","principalId":"`+id+`","principalType":"ServicePrincipal"}}`, 201)
	d.send("GET", d.id("/providers/Microsoft.Authorization/roleAssignments"+version+"&$filter=atScope()"), "", 200)
	d.send("DELETE", at, "", 200)
}

func (d *driver) vault() {
	d.Helper()
	ctx, factory := d.Context(), d.backup
	p, err := d.vaults.BeginCreateOrUpdate(ctx, group, vault, armrecoveryservices.Vault{Location: to.Ptr(site), SKU: &armrecoveryservices.SKU{Name: to.Ptr(armrecoveryservices.SKUNameStandard)},
		Properties: &armrecoveryservices.VaultProperties{PublicNetworkAccess: to.Ptr(armrecoveryservices.PublicNetworkAccessEnabled)}}, nil)
	done(d, p, err)
	u, err := d.vaults.BeginUpdate(ctx, group, vault, armrecoveryservices.PatchVault{Tags: map[string]*string{"a": to.Ptr("b")}}, nil)
	done(d, u, err)
	_, err = d.vaults.Get(ctx, group, vault, nil)
	d.must(err)
	first(d, d.vaults.NewListByResourceGroupPager(group, nil))
	first(d, d.vaults.NewListBySubscriptionIDPager(nil))
	config, err := factory.NewBackupResourceVaultConfigsClient().Get(ctx, vault, group, nil)
	d.must(err)
	_, err = factory.NewBackupResourceVaultConfigsClient().Update(ctx, vault, group, config.BackupResourceVaultConfigResource, nil)
	d.must(err)
	_, err = factory.NewBackupResourceVaultConfigsClient().Put(ctx, vault, group, config.BackupResourceVaultConfigResource, nil)
	d.must(err)
	storage, err := factory.NewBackupResourceStorageConfigsNonCRRClient().Get(ctx, vault, group, nil)
	d.must(err)
	_, err = factory.NewBackupResourceStorageConfigsNonCRRClient().Update(ctx, vault, group, storage.BackupResourceConfigResource, nil)
	d.must(err)
	_, err = factory.NewBackupResourceStorageConfigsNonCRRClient().Patch(ctx, vault, group, storage.BackupResourceConfigResource, nil)
	d.must(err)
	_, err = factory.NewBackupResourceEncryptionConfigsClient().Get(ctx, vault, group, nil)
	d.must(err)
	first(d, factory.NewResourceGuardProxiesClient().NewGetPager(vault, group, nil))
	const version = "?api-version=2016-09-01"
	lock := strings.Replace(d.vaultID(), "/vaults/", "//vaults/", 1) + "/providers/Microsoft.Authorization/locks/l" + version // as az sends it
	d.send("PUT", lock, `{"properties":{"level":"CanNotDelete"}}`, 200, 201)
	d.send("GET", lock, "", 200)
	d.send("GET", "/subscriptions/"+d.sub+"/providers/Microsoft.Authorization/locks"+version, "", 200)
	d.send("DELETE", lock, "", 200)
}

func (d *driver) policies() {
	d.Helper()
	ctx, client := d.Context(), d.backup.NewProtectionPoliciesClient()
	first(d, d.backup.NewBackupPoliciesClient().NewListPager(vault, group, &backup.BackupPoliciesClientListOptions{Filter: to.Ptr("backupManagementType eq 'AzureIaasVM' and workloadType eq 'VM'")}))
	p, err := client.Get(ctx, vault, group, "DefaultPolicy", nil)
	d.must(err)
	_, err = client.CreateOrUpdate(ctx, vault, group, "mine", backup.ProtectionPolicyResource{Properties: p.Properties}, nil)
	d.must(err)
	gone, err := client.BeginDelete(ctx, vault, group, "mine", nil)
	done(d, gone, err)
}

func (d *driver) compute() {
	d.Helper()
	ctx := d.Context()
	first(d, d.vms.NewListPager(group, nil))
	first(d, d.vms.NewListAllPager(nil))
	vm, err := d.vms.Get(ctx, group, d.lab.VM, &armcompute.VirtualMachinesClientGetOptions{Expand: to.Ptr(armcompute.InstanceViewTypesInstanceView)})
	d.must(err)
	if *vm.Properties.InstanceView.Statuses[1].Code != "PowerState/running" {
		d.Errorf("the machine: %v", *vm.Properties.InstanceView.Statuses[1].Code)
	}
	name := d.lab.Pool + "~contract"
	if d.lab.Pool == "default" {
		name = "contract"
	}
	made, err := d.disks.BeginCreateOrUpdate(ctx, group, name, armcompute.Disk{Location: to.Ptr(site), Properties: &armcompute.DiskProperties{
		CreationData: &armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionEmpty)}, DiskSizeGB: to.Ptr[int32](1)}}, nil)
	done(d, made, err)
	_, err = d.disks.Get(ctx, group, name, nil)
	d.must(err)
	first(d, d.disks.NewListByResourceGroupPager(group, nil))
	first(d, d.disks.NewListPager(nil))
	gone, err := d.disks.BeginDelete(ctx, group, name, nil)
	done(d, gone, err)
}

// operationOf is the last segment of the operation that an answer names.
func operationOf(resp *http.Response, header string) string {
	at, _, _ := strings.Cut(resp.Header.Get(header), "?")
	return at[strings.LastIndexByte(at, '/')+1:]
}

// put changes the item and follows what was accepted, at each of its addresses.
func (d *driver) put(p *backup.AzureIaaSComputeVMProtectedItem) {
	d.Helper()
	p.SourceResourceID = to.Ptr(d.vmID())
	var resp *http.Response
	_, err := d.backup.NewProtectedItemsClient().CreateOrUpdate(policy.WithCaptureResponse(d.Context(), &resp), vault, group, "Azure", d.container(), d.item(), backup.ProtectedItemResource{Properties: p}, nil)
	d.must(err)
	d.ended(operationOf(resp, "Azure-AsyncOperation"))
}

// ended waits for the job of an operation, and says how it ended.
func (d *driver) ended(op string) string {
	d.Helper()
	ctx := d.Context()
	status, err := d.backup.NewProtectedItemOperationStatusesClient().Get(ctx, vault, group, "Azure", d.container(), d.item(), op, nil)
	d.must(err)
	_, err = d.backup.NewProtectedItemOperationResultsClient().Get(ctx, vault, group, "Azure", d.container(), d.item(), op, nil)
	d.must(err)
	_, err = d.backup.NewBackupOperationStatusesClient().Get(ctx, vault, group, op, nil)
	d.must(err)
	info, ok := status.Properties.(*backup.OperationStatusJobExtendedInfo)
	if !ok {
		d.Fatalf("operation %s: %+v", op, status)
	}
	for {
		j, err := d.backup.NewJobDetailsClient().Get(ctx, vault, group, *info.JobID, nil)
		d.must(err)
		job := j.Properties.(*backup.AzureIaaSVMJob)
		if *job.Status != "InProgress" && *job.Status != "Cancelling" {
			return *job.Status
		}
		if job.ExtendedInfo.TasksList == nil {
			d.Fatal("tasksList is null")
		}
		time.Sleep(200 * time.Millisecond) // a poll, as clients do
	}
}

func (d *driver) protect() {
	d.Helper()
	ctx := d.Context()
	var resp *http.Response
	_, err := d.backup.NewProtectionContainersClient().Refresh(policy.WithCaptureResponse(ctx, &resp), vault, group, "Azure", nil)
	d.must(err)
	_, err = d.backup.NewProtectionContainerRefreshOperationResultsClient().Get(ctx, vault, group, "Azure", operationOf(resp, "Location"), nil)
	d.must(err)
	first(d, d.backup.NewBackupProtectableItemsClient().NewListPager(vault, group, &backup.BackupProtectableItemsClientListOptions{Filter: to.Ptr("backupManagementType eq 'AzureIaasVM'")}))
	valid, err := d.backup.NewProtectionIntentClient().Validate(ctx, site, backup.PreValidateEnableBackupRequest{ResourceType: to.Ptr(backup.DataSourceTypeVM), ResourceID: to.Ptr(d.vmID()), VaultID: to.Ptr(d.vaultID())}, nil)
	if d.must(err); *valid.Status != backup.ValidationStatusSucceeded {
		d.Errorf("pre-validation: %v", valid)
	}
	_, err = d.backup.NewFeatureSupportClient().Validate(ctx, site, &backup.AzureVMResourceFeatureSupportRequest{VMSize: to.Ptr("x"), VMSKU: to.Ptr("y")}, nil)
	d.must(err)
	policyID := to.Ptr(d.vaultID() + "/backupPolicies/DefaultPolicy")
	for _, p := range []*backup.AzureIaaSComputeVMProtectedItem{
		{PolicyID: policyID},
		{PolicyID: to.Ptr(d.vaultID() + "/backupPolicies/EnhancedPolicy")},
		{PolicyID: policyID, ExtendedProperties: &backup.ExtendedProperties{DiskExclusionProperties: &backup.DiskExclusionProperties{DiskLunList: []*int32{}, IsInclusionList: to.Ptr(true)}}},
		{PolicyID: policyID, ExtendedProperties: &backup.ExtendedProperties{}},
		{PolicyID: to.Ptr(""), ProtectionState: to.Ptr(backup.ProtectionStateProtectionStopped)},
		{PolicyID: policyID},
	} {
		d.put(p)
	}
	filter := to.Ptr("backupManagementType eq 'AzureIaasVM' and itemType eq 'VM'")
	first(d, d.backup.NewBackupProtectedItemsClient().NewListPager(vault, group, &backup.BackupProtectedItemsClientListOptions{Filter: filter}))
	first(d, d.backup.NewBackupProtectionContainersClient().NewListPager(vault, group, &backup.BackupProtectionContainersClientListOptions{Filter: to.Ptr("backupManagementType eq 'AzureIaasVM' and status eq 'Registered'")}))
	_, err = d.backup.NewProtectionContainersClient().Get(ctx, vault, group, "Azure", d.container(), nil)
	d.must(err)
	item, err := d.backup.NewProtectedItemsClient().Get(ctx, vault, group, "Azure", d.container(), d.item(), nil)
	d.must(err)
	if p := item.Properties.(*backup.AzureIaaSComputeVMProtectedItem); *p.ProtectionState != backup.ProtectionStateIRPending {
		d.Errorf("the new item: %v", *p.ProtectionState)
	}
	status, err := d.backup.NewBackupStatusClient().Get(ctx, site, backup.BackupStatusRequest{ResourceType: to.Ptr(backup.DataSourceTypeVM), ResourceID: to.Ptr(d.vmID())}, nil)
	if d.must(err); *status.ProtectionStatus != backup.ProtectionStatusProtected {
		d.Errorf("backup status: %v", status)
	}
}

// backUp starts a backup and gives its operation.
func (d *driver) backUp() string {
	d.Helper()
	var resp *http.Response
	_, err := d.backup.NewBackupsClient().Trigger(policy.WithCaptureResponse(d.Context(), &resp), vault, group, "Azure", d.container(), d.item(),
		backup.BackupRequestResource{Properties: &backup.IaasVMBackupRequest{RecoveryPointExpiryTimeInUTC: to.Ptr(time.Now().Add(24 * time.Hour))}}, nil)
	d.must(err)
	return operationOf(resp, "Azure-AsyncOperation")
}

func (d *driver) points() string {
	d.Helper()
	ctx, client := d.Context(), d.backup.NewRecoveryPointsClient()
	if state := d.ended(d.backUp()); !strings.HasPrefix(state, "Completed") {
		d.Fatalf("the backup ended as %s", state)
	}
	list := first(d, client.NewListPager(vault, group, "Azure", d.container(), d.item(), nil)).Value
	if len(list) != 1 {
		d.Fatalf("%d points", len(list))
	}
	point := *list[0].Name
	p, err := client.Get(ctx, vault, group, "Azure", d.container(), d.item(), point, nil)
	d.must(err)
	if rp := p.Properties.(*backup.IaasVMRecoveryPoint); !*rp.IsManagedVirtualMachine || rp.RecoveryPointType == nil {
		d.Errorf("the point: %+v", rp)
	}
	first(d, d.backup.NewRecoveryPointsRecommendedForMoveClient().NewListPager(vault, group, "Azure", d.container(), d.item(), backup.ListRecoveryPointsRecommendedForMoveRequest{ExcludedRPList: []*string{}}, nil))
	at := d.vaultID() + "/backupFabrics/Azure/protectionContainers/" + strings.ReplaceAll(d.container(), ";", "%3B") + "/protectedItems/" + strings.ReplaceAll(d.item(), ";", "%3B") + "/recoveryPoints/" + point
	const version = "?api-version=2025-02-01"
	d.send("POST", at+"/move"+version, `{"sourceTierType":"HardenedRP","targetTierType":"ArchivedRP"}`, 409)
	d.send("POST", at+"/provisionInstantItemRecovery"+version, `{"properties":{"objectType":"IaasVMILRRegistrationRequest","recoveryPointId":"`+point+`","virtualMachineId":"`+d.vmID()+`"}}`, 409)
	d.send("POST", at+"/revokeInstantItemRecovery"+version, "", 409)
	return point
}

func (d *driver) restore(point string) {
	d.Helper()
	var resp *http.Response
	p, err := d.backup.NewRestoresClient().BeginTrigger(policy.WithCaptureResponse(d.Context(), &resp), vault, group, "Azure", d.container(), d.item(), point,
		backup.RestoreRequestResource{Properties: &backup.IaasVMRestoreRequest{RecoveryPointID: &point, RecoveryType: to.Ptr(backup.RecoveryTypeRestoreDisks), SourceResourceID: to.Ptr(d.vmID()), Region: to.Ptr(site),
			StorageAccountID: to.Ptr(d.id("/providers/Microsoft.Storage/storageAccounts/" + d.lab.Pool)), TargetResourceGroupID: to.Ptr(d.id("")),
			CreateNewCloudService: to.Ptr(false), OriginalStorageAccountOption: to.Ptr(false)}}, nil)
	d.must(err)
	op := operationOf(resp, "Azure-AsyncOperation")
	_, err = p.PollUntilDone(d.Context(), nil)
	d.must(err)
	if state := d.ended(op); !strings.HasPrefix(state, "Completed") {
		d.Errorf("the restore ended as %s", state)
	}
}

func (d *driver) jobs() {
	d.Helper()
	ctx := d.Context()
	op := d.backUp()
	// Cancelled while its snapshot is taken, if it is not faster.
	_, err := d.backup.NewJobCancellationsClient().Trigger(ctx, vault, group, op, nil)
	var refused *azcore.ResponseError
	for errors.As(err, &refused) {
		d.ended(op)
		op = d.backUp()
		_, err = d.backup.NewJobCancellationsClient().Trigger(ctx, vault, group, op, nil)
	}
	d.must(err)
	if state := d.ended(op); state != "Cancelled" {
		d.Errorf("the cancelled backup ended as %s", state)
	}
	list := first(d, d.backup.NewBackupJobsClient().NewListPager(vault, group, &backup.BackupJobsClientListOptions{Filter: to.Ptr("operation eq 'Restore' and status eq 'Completed' and backupManagementType eq 'AzureIaasVM'")}))
	if len(list.Value) != 1 {
		d.Errorf("restore jobs: %d", len(list.Value))
	}
	first(d, d.backup.NewBackupUsageSummariesClient().NewListPager(vault, group, nil))
}

// end stops protection, gives the item up for good and removes the vault.
func (d *driver) end() {
	d.Helper()
	ctx := d.Context()
	// Without soft delete, so that the vault can go.
	_, err := d.backup.NewBackupResourceVaultConfigsClient().Update(ctx, vault, group, backup.BackupResourceVaultConfigResource{Properties: &backup.BackupResourceVaultConfig{SoftDeleteFeatureState: to.Ptr(backup.SoftDeleteFeatureStateDisabled)}}, nil)
	d.must(err)
	var resp *http.Response
	_, err = d.backup.NewProtectedItemsClient().Delete(policy.WithCaptureResponse(ctx, &resp), vault, group, "Azure", d.container(), d.item(), nil)
	d.must(err)
	op := operationOf(resp, "Azure-AsyncOperation")
	if state := d.endedJob(op); !strings.HasPrefix(state, "Completed") {
		d.Fatalf("the deletion ended as %s", state)
	}
	_, err = d.vaults.Delete(ctx, group, vault, nil)
	d.must(err)
}

// endedJob is ended for a job whose item goes.
func (d *driver) endedJob(id string) string {
	d.Helper()
	for {
		j, err := d.backup.NewJobDetailsClient().Get(d.Context(), vault, group, id, nil)
		d.must(err)
		if state := *j.Properties.(*backup.AzureIaaSVMJob).Status; state != "InProgress" && state != "Cancelling" {
			return state
		}
		time.Sleep(200 * time.Millisecond) // a poll, as clients do
	}
}
