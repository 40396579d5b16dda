package embedded_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	sdkbackup "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservicesbackup/v4"

	"holdfast"
	"holdfast/internal/authz"
	"holdfast/internal/embedded"
	"holdfast/internal/limits"
	"holdfast/internal/matrix"
)

// noSpace fails movers as a full disk would.
var noSpace = holdfast.Errorf(holdfast.Full, "/vaults/safe", "The repository's disk is full.").WithHint("Free space at /vaults/safe.")

// jobNames lists the jobs that a filter takes, page by page.
func (s *sdk) jobNames(t *testing.T, filter string) (names []string) {
	t.Helper()
	o := &sdkbackup.BackupJobsClientListOptions{}
	if filter != "" {
		o.Filter = &filter
	}
	for pager := s.backup.NewBackupJobsClient().NewListPager("safe", "lab", o); pager.More(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range page.Value {
			p := j.Properties.(*sdkbackup.AzureIaaSVMJob)
			names = append(names, *p.Operation+" "+*p.Status)
		}
	}
	return names
}

// TestFailedJobAndItsRetry: what a failed job tells, and that it can be tried
// again, once it has ended and by nobody who may not back up.
func TestFailedJobAndItsRetry(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	w.fail = noSpace
	failed := s.job(t, s.backupNow(t))
	w.fail = nil
	if *failed.Status != "Failed" || len(failed.ActionsInfo) != 1 || *failed.ActionsInfo[0] != sdkbackup.JobSupportedActionRetriable || failed.EndTime.Before(*failed.StartTime) || *failed.ActivityID == "" || !strings.HasPrefix(*failed.Duration, "PT") {
		t.Errorf("failed job: %+v", failed)
	}
	e := failed.ErrorDetails[0]
	if *e.ErrorCode == 0 || *e.ErrorTitle != "InsufficientStorage" || *e.ErrorString != "The repository's disk is full." || len(e.Recommendations) != 2 || *e.Recommendations[0] != "Free space at /vaults/safe." {
		t.Errorf("error details: %+v", e)
	}
	if task := failed.ExtendedInfo.TasksList[0]; *task.TaskID != "Take Snapshot" || *task.Status != "Failed" {
		t.Errorf("task: %+v", task)
	}
	retry := s.vaultPath() + "/backupJobs/" + *failed.ActivityID + "/retry?api-version=2025-02-01"
	code, _, header := s.send(t, http.MethodPost, retry, "")
	if code != http.StatusAccepted {
		t.Fatalf("retry: %d", code)
	}
	again := s.job(t, &http.Response{Header: header})
	if *again.Status != "Completed" || *again.Operation != "Backup" || len(again.ActionsInfo) != 0 || *again.ExtendedInfo.TasksList[1].ProgressPercentage != 100 || *again.ExtendedInfo.TasksList[1].TaskExecutionDetails != fmt.Sprintf("%d of %d bytes", 3<<30, 3<<30) {
		t.Errorf("retried: %+v", again)
	}
	if first, second := w.backups[0], w.backups[1]; first.PointID == second.PointID || !first.Expires.Equal(second.Expires) {
		t.Errorf("first %+v, again %+v", first, second)
	}
	if code, out, _ := s.send(t, http.MethodPost, strings.Replace(retry, *failed.ActivityID, *again.ActivityID, 1), ""); code != http.StatusConflict || !strings.Contains(fmt.Sprint(out), "is not tried again") {
		t.Errorf("retry of a good job: %d %v", code, out)
	}
	reader := s.member(t, authz.BackupReader, "/subscriptions/"+s.sub)
	if code, _ := s.as(t, reader, http.MethodPost, retry, ""); code != http.StatusForbidden {
		t.Errorf("retry by a reader: %d", code)
	}
}

// TestRetriedRestore goes to the same place from the same point.
func TestRetriedRestore(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	s.job(t, s.backupNow(t))
	point := *s.points(t)[0].Name
	w.fail = noSpace
	network := "/subscriptions/" + s.sub + "/resourceGroups/lab/providers/Microsoft.Network/virtualNetworks/lab"
	var raw *http.Response
	poller, err := s.backup.NewRestoresClient().BeginTrigger(policy.WithCaptureResponse(t.Context(), &raw), "safe", "lab", "Azure", container, item, point, sdkbackup.RestoreRequestResource{Properties: &sdkbackup.IaasVMRestoreRequest{
		RecoveryPointID: &point, RecoveryType: to.Ptr(sdkbackup.RecoveryTypeAlternateLocation), Region: to.Ptr(site), SourceResourceID: to.Ptr(s.vmID("web")),
		StorageAccountID: to.Ptr("/subscriptions/" + s.sub + "/resourceGroups/lab/providers/Microsoft.Storage/storageAccounts/default"),
		VirtualNetworkID: &network, SubnetID: to.Ptr(network + "/subnets/default"), TargetVirtualMachineID: to.Ptr(s.vmID("web-2")), CreateNewCloudService: to.Ptr(false)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	accepted := raw
	if _, err := poller.PollUntilDone(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	failed := s.job(t, accepted)
	w.fail = nil
	code, out, header := s.send(t, http.MethodPost, s.vaultPath()+"/backupJobs/"+*failed.ActivityID+"/retry?api-version=2025-02-01", "")
	if code != http.StatusAccepted {
		t.Fatalf("retry: %d %v", code, out)
	}
	if j := s.job(t, &http.Response{Header: header}); *j.Status != "Completed" || *j.Operation != "Restore" {
		t.Errorf("retried: %+v", j)
	}
	first, again := w.restores[0], w.restores[1]
	if first.RestoreID == again.RestoreID {
		t.Error("both restores call themselves the same")
	}
	if first.RestoreID = again.RestoreID; string(holdfast.Marshal(first)) != string(holdfast.Marshal(again)) {
		t.Errorf("first %+v, again %+v", first, again)
	}
}

// TestJobFilters: each key alone and together, pages, and words that nobody knows.
func TestJobFilters(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := dial(t, serve(t, w, t.TempDir()))
	lab(t, s)
	s.protect(t)
	good := s.job(t, s.backupNow(t))
	w.fail = noSpace
	s.job(t, s.backupNow(t))
	for filter, want := range map[string]string{
		"":                   "Backup Failed,Backup Completed,ConfigureBackup Completed",
		"status eq 'failed'": "Backup Failed",
		"operation eq 'Backup' and status eq 'Completed'":                               "Backup Completed",
		"backupManagementType eq 'AzureIaasVM' and operation eq 'ConfigureBackup'":      "ConfigureBackup Completed",
		"backupManagementType eq 'AzureStorage'":                                        "",
		"jobId eq '" + *good.ActivityID + "'":                                           "Backup Completed",
		"endTime eq '2020-01-01 12:00:00 AM' and startTime eq '2019-01-01 12:00:00 AM'": "",
		"startTime eq '2019-01-01 12:00:00 AM'":                                         "Backup Failed,Backup Completed,ConfigureBackup Completed",
	} {
		if got := strings.Join(s.jobNames(t, filter), ","); got != want {
			t.Errorf("%s: %s, want %s", filter, got, want)
		}
	}
	if pages := s.pages(t, s.vaultPath()+"/backupJobs?api-version=2025-02-01&$top=2"); len(pages) != 2 || len(pages[0]) != 2 || len(pages[1]) != 1 {
		t.Errorf("pages: %v", pages)
	}
	for _, bad := range []string{"status eq 'Broken'", "colour eq 'red'", "endTime eq '2019-01-01 12:00:00 AM' and startTime eq '2020-01-01 12:00:00 AM'", "startTime eq 'soon'"} {
		_, err := s.backup.NewBackupJobsClient().NewListPager("safe", "lab", &sdkbackup.BackupJobsClientListOptions{Filter: &bad}).NextPage(t.Context())
		var refused *azcore.ResponseError
		if !errors.As(err, &refused) || refused.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestCancelByPhase: a backup is cancelled while it takes the snapshot and leaves
// nothing; while it transfers, it is refused, and under extended limits it isn't:
// the point stays in the instant tier.
func TestCancelByPhase(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "ACT-05")
	for _, choice := range []limits.Choice{limits.Azure, limits.Extended} {
		t.Run(string(choice), func(t *testing.T) {
			t.Parallel()
			r := serveWith(t, t.TempDir(), func(c *embedded.Config) { c.Limits = choice })
			s := dial(t, r)
			lab(t, s)
			s.protect(t)
			w := r.world
			w.hold, w.transferring = make(chan struct{}), make(chan struct{})
			cancel := func(raw *http.Response) error {
				id, _, _ := strings.Cut(raw.Header.Get("Location")[strings.LastIndexByte(raw.Header.Get("Location"), '/')+1:], "?")
				_, err := s.backup.NewJobCancellationsClient().Trigger(t.Context(), "safe", "lab", id, nil)
				return err
			}
			raw := s.backupNow(t)
			<-w.begun
			if err := cancel(raw); err != nil {
				t.Fatal(err)
			}
			if j := s.job(t, raw); *j.Status != "Cancelled" || len(s.points(t)) != 0 || *j.ErrorDetails[0].ErrorTitle != "OperationCanceled" {
				t.Errorf("cancelled in the snapshot: %+v, points %v", j, s.points(t))
			}
			close(w.hold)
			raw = s.backupNow(t)
			<-w.begun
			w.transferring <- struct{}{} // it is in the second phase
			err := cancel(raw)
			if choice == limits.Extended {
				if j := s.job(t, raw); err != nil || *j.Status != "Cancelled" || s.tiers(t) != "InstantRP" {
					t.Errorf("cancelled in the transfer: %v, %+v, points %v", err, j, s.tiers(t))
				}
				return
			}
			var refused *azcore.ResponseError
			if !errors.As(err, &refused) || refused.StatusCode != http.StatusConflict || refused.ErrorCode != "OperationNotAllowed" || !strings.Contains(err.Error(), "it is transferring data") {
				t.Errorf("cancel while transferring: %v", err)
			}
			close(w.transferring)
			if j := s.job(t, raw); *j.Status != "Completed" || len(s.points(t)) != 1 {
				t.Errorf("after the refusal: %+v", j)
			}
		})
	}
}

// TestExportedJobs follows the export of the official client to the jobs.
func TestExportedJobs(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	s.protect(t)
	s.job(t, s.backupNow(t))
	var raw *http.Response
	if _, err := s.backup.NewJobsClient().Export(policy.WithCaptureResponse(t.Context(), &raw), "safe", "lab", &sdkbackup.JobsClientExportOptions{Filter: to.Ptr("operation eq 'Backup'")}); err != nil {
		t.Fatal(err)
	}
	id, _, _ := strings.Cut(raw.Header.Get("Location")[strings.LastIndexByte(raw.Header.Get("Location"), '/')+1:], "?")
	result, err := s.backup.NewExportJobsOperationResultsClient().Get(t.Context(), "safe", "lab", id, nil)
	if err != nil {
		t.Fatal(err)
	}
	req, err := runtime.NewRequest(t.Context(), http.MethodGet, *result.Operation.(*sdkbackup.ExportJobsOperationResultInfo).BlobURL)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.raw.Pipeline().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := runtime.Payload(resp)
	if err != nil {
		t.Fatal(err)
	}
	var jobs []sdkbackup.JobResource
	if err := json.Unmarshal(body, &jobs); err != nil || len(jobs) != 1 || len(jobs[0].Properties.(*sdkbackup.AzureIaaSVMJob).ExtendedInfo.TasksList) != 2 {
		t.Errorf("%s: %v", body, err)
	}
	for _, path := range []string{"/backupJobs/operationResults/nonsense", "/backupJobs/exports/bm9uZQ"} {
		if code, _, _ := s.send(t, http.MethodGet, s.vaultPath()+path+"?api-version=2025-02-01", ""); code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
	if code, _, _ := s.send(t, http.MethodPost, s.vaultPath()+"x/backupJobsExport?api-version=2025-02-01", ""); code != http.StatusNotFound {
		t.Errorf("export of no vault: %d", code)
	}
}
