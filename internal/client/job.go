package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	backup "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservicesbackup/v4"
)

// Job is long work in a vault: a backup, a restore, a change of protection.
type Job struct {
	Raw         json.RawMessage
	ID, Name    string
	Vault       VaultRef
	Operation   string // Backup, Restore, …
	Entity      string // the VM's name
	Status      string // InProgress, Completed, …
	Start, End  time.Time
	Cancellable bool
	Tasks       []Task
	Properties  map[string]string // propertyBag, without the two byte counts
	Done, Total int64             // bytes; Total 0 is unknown
	Warning     string            // dynamicErrorMessage
	Errors      []JobError
}

// Task is one step of a job.
type Task struct{ Name, Status, Details string }

// JobError is why a job failed, or what its user must know.
type JobError struct {
	Code            int
	Title, Message  string
	Recommendations []string
}

// The job statuses that a client acts on.
const (
	JobInProgress = "InProgress"
	JobCancelling = "Cancelling"
	JobCompleted  = "Completed"
	JobWarnings   = "CompletedWithWarnings"
)

// The members of propertyBag that carry progress (architecture.md).
const (
	bytesDone  = "Bytes done"
	bytesTotal = "Bytes total"
)

// Ended says whether the job is over.
func (j Job) Ended() bool {
	return j.Status != JobInProgress && j.Status != JobCancelling && j.Status != ""
}

// Succeeded says whether the job did what it was for.
func (j Job) Succeeded() bool { return j.Status == JobCompleted || j.Status == JobWarnings }

// Running is the name of the step that is being done, or "".
func (j Job) Running() string {
	for _, t := range j.Tasks {
		if t.Status == JobInProgress {
			return t.Name
		}
	}
	return ""
}

func decodeJob(raw json.RawMessage) (Job, error) {
	var m backup.JobResource
	if err := json.Unmarshal(raw, &m); err != nil {
		return Job{}, err
	}
	j := Job{Raw: raw, ID: value(m.ID), Name: value(m.Name), Properties: map[string]string{}}
	ref, err := itemRefOf(j.ID)
	if err != nil {
		return Job{}, err
	}
	j.Vault = ref.Vault
	p, ok := m.Properties.(*backup.AzureIaaSVMJob)
	if !ok {
		return j, nil
	}
	j.Operation, j.Entity, j.Status = value(p.Operation), value(p.EntityFriendlyName), value(p.Status)
	j.Start, j.End = moment(p.StartTime), moment(p.EndTime)
	for a := range each(p.ActionsInfo) {
		j.Cancellable = j.Cancellable || value(a) == backup.JobSupportedActionCancellable
	}
	for e := range each(p.ErrorDetails) {
		one := JobError{Code: int(value(e.ErrorCode)), Title: value(e.ErrorTitle), Message: value(e.ErrorString)}
		for r := range each(e.Recommendations) {
			one.Recommendations = append(one.Recommendations, value(r))
		}
		j.Errors = append(j.Errors, one)
	}
	if p.ExtendedInfo != nil {
		j.fill(p.ExtendedInfo)
	}
	return j, nil
}

func (j *Job) fill(x *backup.AzureIaaSVMJobExtendedInfo) {
	j.Warning = j.warnings(value(x.DynamicErrorMessage))
	for t := range each(x.TasksList) {
		j.Tasks = append(j.Tasks, Task{Name: value(t.TaskID), Status: value(t.Status), Details: value(t.TaskExecutionDetails)})
	}
	for name, v := range x.PropertyBag {
		switch name {
		case bytesDone:
			j.Done = count(v)
		case bytesTotal:
			j.Total = count(v)
		default:
			j.Properties[name] = value(v)
		}
	}
}

// warnings are the lines of the job's message that are not its errors again.
func (j *Job) warnings(message string) string {
	var lines []string
	for line := range strings.SplitSeq(message, "\n") {
		isError := slices.ContainsFunc(j.Errors, func(e JobError) bool { return e.Message != "" && strings.HasPrefix(line, e.Message) })
		if !isError {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// count is a number of bytes in a property; what is not one counts nothing.
func count(s *string) int64 {
	n, err := strconv.ParseInt(value(s), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// JobFilter chooses jobs; zero members choose all.
type JobFilter struct {
	Status, Operation string
	Since             time.Time
}

// expression is the $filter of the contract, section 5: keys sorted, dates in
// 12-hour form. A start without an end would be refused by Azure.
func (f JobFilter) expression(now time.Time) string {
	const date = "2006-01-02 03:04:05 PM"
	terms := []string{vmItems}
	if !f.Since.IsZero() {
		terms = append(terms, fmt.Sprintf("endTime eq '%s'", now.UTC().Add(time.Minute).Format(date)))
	}
	if f.Operation != "" {
		terms = append(terms, fmt.Sprintf("operation eq '%s'", quoted(f.Operation)))
	}
	if !f.Since.IsZero() {
		terms = append(terms, fmt.Sprintf("startTime eq '%s'", f.Since.UTC().Format(date)))
	}
	if f.Status != "" {
		terms = append(terms, fmt.Sprintf("status eq '%s'", quoted(f.Status)))
	}
	return strings.Join(terms, " and ")
}

// quoted doubles quotes, as OData does.
func quoted(s string) string { return strings.ReplaceAll(s, "'", "''") }

// Jobs lists the jobs of a vault, newest first.
func (c *Client) Jobs(ctx context.Context, v VaultRef, f JobFilter) ([]Job, error) {
	filter := f.expression(time.Now())
	return list(ctx, c, decodeJob, c.backup.NewBackupJobsClient().NewListPager(v.Name, v.Group,
		&backup.BackupJobsClientListOptions{Filter: &filter}))
}

// Job shows one job.
func (c *Client) Job(ctx context.Context, v VaultRef, name string) (Job, error) {
	return get(ctx, c, decodeJob, func(ctx context.Context) error {
		_, err := c.backup.NewJobDetailsClient().Get(ctx, v.Name, v.Group, name, nil)
		return err
	})
}

// CancelJob asks for a job to be stopped. The server refuses where it may not be
// (matrix ACT-05).
func (c *Client) CancelJob(ctx context.Context, v VaultRef, name string) error {
	_, err := c.answer(onceOnly(ctx), func(ctx context.Context) error {
		_, err := c.backup.NewJobCancellationsClient().Trigger(ctx, v.Name, v.Group, name, nil)
		return err
	})
	return err
}

// RetryJob does again, in a new job, what one failed to do.
func (c *Client) RetryJob(ctx context.Context, v VaultRef, name string) (Work, error) {
	return c.start(ctx, v, func(ctx context.Context) error {
		_, err := c.send(ctx, http.MethodPost, c.url(c.vaultID(v)+"/backupJobs/"+name+"/retry", backupVersion), nil, http.StatusAccepted)
		return err
	})
}

// ExportJobs is every job that the filter chooses, newest first, with its steps
// and errors.
func (c *Client) ExportJobs(ctx context.Context, v VaultRef, f JobFilter) ([]Job, error) {
	filter := f.expression(time.Now())
	accepted, err := c.answer(ctx, func(ctx context.Context) error {
		_, err := c.backup.NewJobsClient().Export(ctx, v.Name, v.Group, &backup.JobsClientExportOptions{Filter: &filter})
		return err
	})
	if err != nil {
		return nil, err
	}
	done, err := c.send(ctx, http.MethodGet, accepted.Header.Get("Location"), nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	var result backup.OperationResultInfoBaseResource
	if err := runtime.UnmarshalAsJSON(done, &result); err != nil {
		return nil, c.translate(ctx, err)
	}
	info, _ := result.Operation.(*backup.ExportJobsOperationResultInfo)
	if info == nil || value(info.BlobURL) == "" {
		return nil, &Error{Reason: Internal, Code: "UnexpectedAnswer", Message: "The server exported the jobs and did not say where they are."}
	}
	resp, err := c.send(ctx, http.MethodGet, *info.BlobURL, nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	var all []json.RawMessage
	if err := runtime.UnmarshalAsJSON(resp, &all); err != nil {
		return nil, c.translate(ctx, err)
	}
	jobs := make([]Job, len(all))
	for i, raw := range all {
		if jobs[i], err = decoded(decodeJob, raw); err != nil {
			return nil, err
		}
	}
	return jobs, nil
}

// Follow looks at a job until it has ended and tells watch every state it sees.
// A server that goes away meanwhile is waited for, as a job outlives its
// server; away is told why there is no answer. It returns the last state seen
// with the error.
func (c *Client) Follow(ctx context.Context, w Work, watch func(Job), away func(error)) (Job, error) {
	var last Job
	var silentSince time.Time
	for {
		job, err := c.Job(ctx, w.Vault, w.Job)
		switch {
		case err == nil:
			last, silentSince = job, time.Time{}
			watch(job)
			if job.Ended() {
				return job, nil
			}
		case !transient(err):
			return last, err
		case silentSince.IsZero():
			silentSince = time.Now()
			away(err)
		case time.Since(silentSince) > c.patience:
			return last, err
		}
		if err := sleep(ctx, c.poll); err != nil {
			return last, c.translate(ctx, err)
		}
	}
}

// transient says whether a server that answered so may do better later.
func transient(err error) bool {
	e, ok := err.(*Error)
	return ok && (e.Reason == Unreachable || e.Status == http.StatusInternalServerError || e.Status == http.StatusTooManyRequests)
}
