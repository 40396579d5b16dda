package backup

import (
	"fmt"
	"hash/fnv"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	sdk "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservicesbackup/v4"

	"holdfast"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

// Job is a job on the wire, as of now. A listing leaves out what it did step by step.
func Job(vault string, j job.Job, now time.Time, detail bool) *sdk.JobResource {
	end := j.Ended
	if end.IsZero() {
		end = now
	}
	p := &sdk.AzureIaaSVMJob{
		JobType:               to.Ptr("AzureIaaSVMJob"),
		Operation:             &j.Operation,
		Status:                to.Ptr(string(j.State)),
		StartTime:             moment(j.Created),
		EndTime:               moment(j.Ended),
		Duration:              to.Ptr(Duration(end.Sub(j.Created))),
		EntityFriendlyName:    &j.Entity,
		BackupManagementType:  to.Ptr(managed),
		ActivityID:            &j.ID,
		ActionsInfo:           actions(j),
		IsUserTriggered:       to.Ptr(j.Principal != ""),
		VirtualMachineVersion: to.Ptr("Compute"),
		ErrorDetails:          failures(j),
	}
	if detail {
		p.ExtendedInfo = extended(j, now)
	}
	return &sdk.JobResource{ID: to.Ptr(vault + "/backupJobs/" + j.ID), Name: &j.ID, Type: to.Ptr(resource.TypeVault + "/backupJobs"), Properties: p}
}

// WithBlobs says where the template of restored disks and their VM's libvirt
// definition are, in the words of Azure's restore jobs.
func WithBlobs(job *sdk.JobResource, template, definition string) {
	bag := job.Properties.(*sdk.AzureIaaSVMJob).ExtendedInfo.PropertyBag
	bag["Template Blob Uri"], bag["Config Blob Uri"] = &template, &definition
}

// Duration is d in ISO 8601, such as PT12.5S.
func Duration(d time.Duration) string {
	return "PT" + strconv.FormatFloat(max(0, d).Seconds(), 'f', -1, 64) + "S"
}

func actions(j job.Job) []*sdk.JobSupportedAction {
	if !j.Final() && j.Cancellable {
		return []*sdk.JobSupportedAction{to.Ptr(sdk.JobSupportedActionCancellable)}
	}
	if j.Retriable() {
		return []*sdk.JobSupportedAction{to.Ptr(sdk.JobSupportedActionRetriable)}
	}
	return []*sdk.JobSupportedAction{}
}

func failures(j job.Job) []*sdk.AzureIaaSVMErrorInfo {
	if j.Failure == nil {
		return []*sdk.AzureIaaSVMErrorInfo{}
	}
	hints := []*string{}
	for _, hint := range []string{j.Failure.Hint, advice[j.Failure.Kind]} {
		if hint != "" {
			hints = append(hints, &hint)
		}
	}
	return []*sdk.AzureIaaSVMErrorInfo{{
		ErrorCode: to.Ptr(errorCode(j.Failure.Kind)), ErrorTitle: to.Ptr(string(j.Failure.Kind)), ErrorString: &j.Failure.Message, Recommendations: hints,
	}}
}

// advice is what helps against a kind of failure, beside what the failure itself
// says.
var advice = map[holdfast.Kind]string{
	holdfast.Unreachable: "See that libvirt, the guest agent or the vault's place answers (holdfast vm check), then retry the job.",
	holdfast.Full:        "Make room in the place that the message names, then retry the job.",
	holdfast.Denied:      "Give the server the right to read and write in the place that the message names, then retry the job.",
	holdfast.WrongKey:    "Put the vault's key back into the server's key directory, then retry the job.",
	holdfast.Damaged:     "Check the repository (holdfast repository verify) before anything in it is deleted.",
	holdfast.NotFound:    "See that the machine or point still exists under its name.",
	holdfast.Conflict:    "Wait for the other work on it to end, then retry the job.",
	holdfast.Internal:    "Retry the job; if it fails again, the server's log has more under the job's id.",
}

// ExportResult says where exported jobs can be fetched.
func ExportResult(url string) *sdk.OperationResultInfoBaseResource {
	return &sdk.OperationResultInfoBaseResource{StatusCode: to.Ptr(sdk.HTTPStatusCodeOK), Headers: map[string][]*string{}, Operation: &sdk.ExportJobsOperationResultInfo{ObjectType: to.Ptr("ExportJobsOperationResultInfo"), BlobURL: &url}}
}

// errorCode is a number for a kind: Azure's jobs carry one. It is made from the
// kind's name, so that it never changes.
func errorCode(k holdfast.Kind) int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(k)) // a hash does not fail
	return 400_000 + int32(h.Sum32()%100_000)
}

// extended is what a job did and does.
func extended(j job.Job, now time.Time) *sdk.AzureIaaSVMJobExtendedInfo {
	tasks := make([]*sdk.AzureIaaSVMJobTaskDetails, len(j.Report.Tasks)) // a list, even if empty: az walks it
	for i, t := range j.Report.Tasks {
		end := t.Ended
		if end.IsZero() {
			end = now
		}
		tasks[i] = &sdk.AzureIaaSVMJobTaskDetails{
			TaskID: &t.Name, Status: to.Ptr(string(t.State)), StartTime: moment(t.Started), EndTime: moment(t.Ended), Duration: to.Ptr(Duration(end.Sub(t.Started))),
		}
		if percent := t.Percent(); percent >= 0 {
			tasks[i].ProgressPercentage = &percent
			tasks[i].TaskExecutionDetails = to.Ptr(fmt.Sprintf("%d of %d bytes", t.Done, t.Total))
		}
	}
	properties := maps.Clone(j.Report.Properties)
	if properties == nil {
		properties = map[string]string{}
	}
	if j.Report.Total > 0 || j.Report.Done > 0 {
		properties["Bytes done"] = strconv.FormatInt(j.Report.Done, 10)
		properties["Bytes total"] = strconv.FormatInt(j.Report.Total, 10)
	}
	bag := make(map[string]*string, len(properties))
	for k, v := range properties {
		bag[k] = &v
	}
	x := &sdk.AzureIaaSVMJobExtendedInfo{TasksList: tasks, PropertyBag: bag, InternalPropertyBag: map[string]*string{}}
	if message := dynamicMessage(j); message != "" {
		x.DynamicErrorMessage = &message
	}
	if j.Report.Total > 0 {
		// What was read has still to be stored: a job that goes on is not at 100 %.
		x.ProgressPercentage = to.Ptr(min(99, float64(j.Report.Done)*100/float64(j.Report.Total)))
	}
	if left, known := j.Remaining(now); known {
		x.EstimatedRemainingDuration = to.Ptr(Duration(left))
	}
	if j.Final() && j.Failure == nil {
		x.ProgressPercentage = to.Ptr(100.0)
	}
	return x
}

// dynamicMessage is the failure and the warnings, a line each.
func dynamicMessage(j job.Job) string {
	var lines []string
	if j.Failure != nil {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s", j.Failure.Message, j.Failure.Hint)))
	}
	return strings.Join(append(lines, j.Report.Warnings...), "\n")
}
