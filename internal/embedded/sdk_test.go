package embedded_test

import (
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
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservicesbackup/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
)

// sdk is the official clients, signed in as the first principal.
type sdk struct {
	*running
	sub     string
	options *arm.ClientOptions
	cred    azcore.TokenCredential
	backup  *armrecoveryservicesbackup.ClientFactory
	vaults  *armrecoveryservices.VaultsClient
	vms     *armcompute.VirtualMachinesClient
	groups  *armresources.ResourceGroupsClient
	raw     *arm.Client
}

func dial(t *testing.T, r *running) *sdk {
	t.Helper()
	endpoint := r.env["HOLDFAST_ENDPOINT"]
	o := policy.ClientOptions{
		Transport: r.hc, Retry: policy.RetryOptions{MaxRetries: -1},
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: endpoint, Services: map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: endpoint, Audience: endpoint}}},
	}
	cred, err := azidentity.NewClientSecretCredential(r.env["HOLDFAST_TENANT_ID"], r.env["HOLDFAST_CLIENT_ID"], r.env["HOLDFAST_CLIENT_SECRET"],
		&azidentity.ClientSecretCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	s := &sdk{running: r, sub: r.env["HOLDFAST_SUBSCRIPTION_ID"], options: &arm.ClientOptions{ClientOptions: o}, cred: cred}
	var errs [5]error
	s.backup, errs[0] = armrecoveryservicesbackup.NewClientFactory(s.sub, cred, s.options)
	s.vaults, errs[1] = armrecoveryservices.NewVaultsClient(s.sub, cred, s.options)
	s.vms, errs[2] = armcompute.NewVirtualMachinesClient(s.sub, cred, s.options)
	s.groups, errs[3] = armresources.NewResourceGroupsClient(s.sub, cred, s.options)
	s.raw, errs[4] = arm.NewClient("test", "v1.0.0", cred, s.options)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return s
}

// send makes one signed request; body is JSON or "".
func (s *sdk) send(t *testing.T, method, path, body string) (int, map[string]any, http.Header) {
	t.Helper()
	req, err := runtime.NewRequest(t.Context(), method, runtime.JoinPaths(s.raw.Endpoint(), path))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		if err := runtime.MarshalAsJSON(req, rawJSON(body)); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := s.raw.Pipeline().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := runtime.UnmarshalAsJSON(resp, &out); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, out, resp.Header
}

type rawJSON string

func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }

const (
	site      = "site1"
	container = "IaasVMContainer;iaasvmcontainerv2;lab;web"
	item      = "VM;iaasvmcontainerv2;lab;web"
)

// lab registers the site and makes a vault.
func lab(t *testing.T, s *sdk) {
	t.Helper()
	code, out, _ := s.send(t, http.MethodPut, "/subscriptions/"+s.sub+"/providers/Holdfast.Site/sites/"+site+"?api-version=2026-11-01", `{"properties":{"uri":"qemu:///system","resourceGroup":"lab"}}`)
	if code != http.StatusCreated {
		t.Fatalf("register site: %d %v", code, out)
	}
	poller, err := s.vaults.BeginCreateOrUpdate(t.Context(), "lab", "safe", armrecoveryservices.Vault{Location: to.Ptr(site), SKU: &armrecoveryservices.SKU{Name: to.Ptr(armrecoveryservices.SKUNameStandard)},
		Properties: &armrecoveryservices.VaultProperties{PublicNetworkAccess: to.Ptr(armrecoveryservices.PublicNetworkAccessEnabled)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := poller.PollUntilDone(t.Context(), nil)
	if err != nil || *v.Name != "safe" || *v.Properties.ProvisioningState != "Succeeded" {
		t.Fatalf("vault: %+v, %v", v, err)
	}
}

func (s *sdk) vmID(name string) string {
	return "/subscriptions/" + s.sub + "/resourceGroups/lab/providers/Microsoft.Compute/virtualMachines/" + name
}

func (s *sdk) vaultPath() string {
	return "/subscriptions/" + s.sub + "/resourceGroups/lab/providers/Microsoft.RecoveryServices/vaults/safe"
}

func (s *sdk) itemPath() string {
	return s.vaultPath() + "/backupFabrics/Azure/protectionContainers/" + container + "/protectedItems/" + item
}

// protect protects the VM web with the default policy.
func (s *sdk) protect(t *testing.T) {
	t.Helper()
	_, err := s.backup.NewProtectedItemsClient().CreateOrUpdate(t.Context(), "safe", "lab", "Azure", container, item, armrecoveryservicesbackup.ProtectedItemResource{
		Properties: &armrecoveryservicesbackup.AzureIaaSComputeVMProtectedItem{SourceResourceID: to.Ptr(s.vmID("web")), PolicyID: to.Ptr(s.vaultPath() + "/backupPolicies/DefaultPolicy")},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

// job follows the job that an answer started to its end.
func (s *sdk) job(t *testing.T, raw *http.Response) *armrecoveryservicesbackup.AzureIaaSVMJob {
	t.Helper()
	req, err := runtime.NewRequest(t.Context(), http.MethodGet, raw.Header.Get("Azure-AsyncOperation"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.raw.Pipeline().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var op armrecoveryservicesbackup.OperationStatus
	if err := runtime.UnmarshalAsJSON(resp, &op); err != nil {
		t.Fatal(err)
	}
	info, ok := op.Properties.(*armrecoveryservicesbackup.OperationStatusJobExtendedInfo)
	if !ok || *op.Status != armrecoveryservicesbackup.OperationStatusValuesSucceeded {
		t.Fatalf("operation: %+v", op)
	}
	if _, err := s.Jobs().Wait(t.Context(), *info.JobID); err != nil {
		t.Fatal(err)
	}
	j, err := s.backup.NewJobDetailsClient().Get(t.Context(), "safe", "lab", *info.JobID, nil)
	if err != nil {
		t.Fatal(err)
	}
	return j.Properties.(*armrecoveryservicesbackup.AzureIaaSVMJob)
}

func (s *sdk) backupNow(t *testing.T) *http.Response {
	t.Helper()
	var raw *http.Response
	_, err := s.backup.NewBackupsClient().Trigger(policy.WithCaptureResponse(t.Context(), &raw), "safe", "lab", "Azure", container, item,
		armrecoveryservicesbackup.BackupRequestResource{Properties: &armrecoveryservicesbackup.IaasVMBackupRequest{RecoveryPointExpiryTimeInUTC: to.Ptr(time.Now().Add(time.Hour))}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (s *sdk) points(t *testing.T) []*armrecoveryservicesbackup.RecoveryPointResource {
	t.Helper()
	page, err := s.backup.NewRecoveryPointsClient().NewListPager("safe", "lab", "Azure", container, item, nil).NextPage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return page.Value
}

// tiers are the tiers of the newest point.
func (s *sdk) tiers(t *testing.T) (all string) {
	t.Helper()
	points := s.points(t)
	if len(points) == 0 {
		return ""
	}
	for _, tier := range points[0].Properties.(*armrecoveryservicesbackup.IaasVMRecoveryPoint).RecoveryPointTierDetails {
		if *tier.Status != armrecoveryservicesbackup.RecoveryPointTierStatusValid {
			t.Errorf("tier %s: %s", *tier.Type, *tier.Status)
		}
		all += string(*tier.Type) + " "
	}
	return strings.TrimSpace(all)
}

// TestSDKStory is the main job through the official clients.
func TestSDKStory(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)

	vm, err := s.vms.Get(t.Context(), "lab", "web", &armcompute.VirtualMachinesClientGetOptions{Expand: to.Ptr(armcompute.InstanceViewTypesInstanceView)})
	if err != nil || *vm.Properties.VMID != "u-1" || *vm.Properties.InstanceView.Statuses[1].Code != "PowerState/running" || len(vm.Properties.StorageProfile.DataDisks) != 1 {
		t.Fatalf("VM: %+v, %v", vm, err)
	}
	if _, err := s.backup.NewProtectionContainersClient().Refresh(t.Context(), "safe", "lab", "Azure", nil); err != nil {
		t.Fatal(err)
	}
	free, err := s.backup.NewBackupProtectableItemsClient().NewListPager("safe", "lab", &armrecoveryservicesbackup.BackupProtectableItemsClientListOptions{Filter: to.Ptr("backupManagementType eq 'AzureIaasVM'")}).NextPage(t.Context())
	if err != nil || len(free.Value) != 2 {
		t.Fatalf("protectable: %v, %v", free.Value, err)
	}
	s.protect(t)
	i, err := s.backup.NewProtectedItemsClient().Get(t.Context(), "safe", "lab", "Azure", container, item, nil)
	p := i.Properties.(*armrecoveryservicesbackup.AzureIaaSComputeVMProtectedItem)
	if err != nil || *p.ProtectionState != armrecoveryservicesbackup.ProtectionStateIRPending || *p.PolicyName != "DefaultPolicy" {
		t.Fatalf("item: %+v, %v", p, err)
	}
	j := s.job(t, s.backupNow(t))
	if *j.Status != "Completed" || len(j.ExtendedInfo.TasksList) != 2 || *j.ExtendedInfo.PropertyBag["Frozen for"] != "0.4 s" || *j.ExtendedInfo.PropertyBag["Bytes total"] != "3221225472" {
		t.Fatalf("backup job: %+v", j)
	}
	points := s.points(t)
	if len(points) != 1 {
		t.Fatalf("points: %v", points)
	}
	rp := points[0].Properties.(*armrecoveryservicesbackup.IaasVMRecoveryPoint)
	if *rp.RecoveryPointType != "FileSystemConsistent" || !*rp.IsManagedVirtualMachine || len(rp.RecoveryPointDiskConfiguration.IncludedDiskList) != 2 {
		t.Errorf("point: %+v", rp)
	}
	s.restoreStory(t, *points[0].Name)
	s.jobsStory(t)
}

func (s *sdk) restoreStory(t *testing.T, point string) {
	t.Helper()
	network := "/subscriptions/" + s.sub + "/resourceGroups/lab/providers/Microsoft.Network/virtualNetworks/lab"
	request := armrecoveryservicesbackup.IaasVMRestoreRequest{
		RecoveryPointID: &point, RecoveryType: to.Ptr(armrecoveryservicesbackup.RecoveryTypeAlternateLocation), Region: to.Ptr(site), SourceResourceID: to.Ptr(s.vmID("web")),
		StorageAccountID: to.Ptr("/subscriptions/" + s.sub + "/resourceGroups/lab/providers/Microsoft.Storage/storageAccounts/default"),
		VirtualNetworkID: &network, SubnetID: to.Ptr(network + "/subnets/default"), TargetVirtualMachineID: to.Ptr(s.vmID("web-2")), CreateNewCloudService: to.Ptr(false),
	}
	var raw *http.Response
	poller, err := s.backup.NewRestoresClient().BeginTrigger(policy.WithCaptureResponse(t.Context(), &raw), "safe", "lab", "Azure", container, item, point,
		armrecoveryservicesbackup.RestoreRequestResource{Properties: &request}, nil)
	if err != nil {
		t.Fatal(err)
	}
	accepted := raw
	if _, err := poller.PollUntilDone(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if j := s.job(t, accepted); *j.Status != "Completed" || *j.Operation != "Restore" {
		t.Errorf("restore job: %+v", j)
	}
	a := s.restores[len(s.restores)-1]
	if a.VMName != "web-2" || a.Pool != "default" || a.Network != "lab" || a.PointID != point || a.Format != "qcow2" || !a.Start || a.RestoreID == "" {
		t.Errorf("restore args: %+v", a)
	}
}

func (s *sdk) jobsStory(t *testing.T) {
	t.Helper()
	pager := s.backup.NewBackupJobsClient().NewListPager("safe", "lab", &armrecoveryservicesbackup.BackupJobsClientListOptions{Filter: to.Ptr("operation eq 'Backup' and status eq 'Completed'")})
	page, err := pager.NextPage(t.Context())
	if err != nil || len(page.Value) != 1 {
		t.Errorf("backup jobs: %v, %v", page.Value, err)
	}
	all, err := s.backup.NewBackupJobsClient().NewListPager("safe", "lab", nil).NextPage(t.Context())
	if err != nil || len(all.Value) != 3 || *all.Value[2].Properties.(*armrecoveryservicesbackup.AzureIaaSVMJob).Operation != "ConfigureBackup" {
		t.Errorf("all jobs: %v, %v", all.Value, err)
	}
}
