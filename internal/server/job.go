package server

import (
	"net/http"
	"slices"
	"strings"

	"holdfast"
	"holdfast/internal/api/backup"
	"holdfast/internal/job"
	"holdfast/internal/service"
)

const (
	jobsPath = vaultPath + "/backupJobs"
	// retryAfter is how long a client waits before it asks again, seconds.
	retryAfter = "1"
	// pageSize is how many elements a page has at most.
	pageSize = 100
)

// Jobs and operations. An operation is the making of a job: it has ended when
// the job is there, and its id is the job's.
var jobRoutes = []route{
	get(jobsPath, vaultType+"/backupJobs/read", (*Server).jobs),
	get(jobsPath+"/{job}", vaultType+"/backupJobs/read", (*Server).job),
	get(jobsPath+"/{job}/template", vaultType+"/backupJobs/read", (*Server).restoreTemplate),
	get(jobsPath+"/{job}/definition", vaultType+"/backupJobs/read", (*Server).restoreDefinition),
	get(jobsPath+"/{job}/console", vaultType+"/backupJobs/read", (*Server).console),
	post(jobsPath+"/{job}/cancel", vaultType+"/backupJobs/cancel/action", (*Server).cancelJob),
	post(jobsPath+"/{job}/retry", vaultType+"/backupJobs/retry/action", (*Server).retryJob),
	post(vaultPath+"/backupJobsExport", vaultType+"/backupJobsExport/action", (*Server).exportJobs),
	get(jobsPath+"/operationResults/{export}", vaultType+"/backupJobs/operationResults/read", (*Server).exported),
	get(jobsPath+"/exports/{export}", vaultType+"/backupJobs/read", (*Server).exportedJobs),

	get(vaultPath+"/backupOperations/{op}", vaultType+"/backupOperations/read", (*Server).operation),
	get(itemPath+"/operationsStatus/{op}", itemType+"/operationsStatus/read", (*Server).operation),
	get(itemPath+"/operationResults/{op}", itemType+"/operationResults/read", (*Server).operationResult),
	get(vaultPath+"/backupOperationResults/{op}", vaultType+"/backupOperationResults/read", (*Server).operationResult),
}

// link makes an absolute link with the request's api-version.
func (r *request) link(path string) string { return r.base() + path + "?api-version=" + r.version }

// accepted is the answer to a request that made a job.
func (r *request) accepted(j job.Job, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	a := status(http.StatusAccepted, nil)
	a.job = &j
	a.header = http.Header{
		"Azure-Asyncoperation": {r.link(r.itemID() + "/operationsStatus/" + j.ID)},
		"Location":             {r.link(r.itemID() + "/operationResults/" + j.ID)},
		"Retry-After":          {retryAfter},
	}
	return a, nil
}

func (s *Server) operation(r *request) (answer, error) {
	j, err := s.Service.VaultJob(r.Context(), r.vaultID(), r.captures["op"])
	if err != nil {
		return answer{}, err
	}
	return ok(backup.Accepted(r.resource(), j.ID, j.Created))
}

func (s *Server) operationResult(r *request) (answer, error) {
	j, err := s.Service.VaultJob(r.Context(), r.vaultID(), r.captures["op"])
	if err != nil {
		return answer{}, err
	}
	if j.Operation == "ConfigureBackup" && r.captures["item"] != "" {
		return s.item(r)
	}
	return noContent()
}

// jobFilter reads the $filter of a listing of jobs. Whether a job of another kind
// than Holdfast's was asked for is told by none.
func (r *request) jobFilter() (filter job.Filter, none bool, err error) {
	f, err := r.filter("operation", "status", "startTime", "endTime", "backupManagementType", "jobId")
	if err != nil {
		return filter, false, err
	}
	from, err1 := f.Time("startTime")
	to, err2 := f.Time("endTime")
	if err1 != nil || err2 != nil {
		return filter, false, holdfast.Errorf(holdfast.Invalid, "$filter", "startTime and endTime are dates such as '2024-01-02 12:00:00 AM'.")
	}
	if !from.IsZero() && !to.IsZero() && to.Before(from) {
		return filter, false, holdfast.Errorf(holdfast.Invalid, "$filter", "endTime lies before startTime.")
	}
	if known := service.JobStates(); f.Get("status") != "" && !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, f.Get("status")) }) {
		return filter, false, holdfast.Errorf(holdfast.Invalid, "$filter", "The status %q is none of %s.", f.Get("status"), strings.Join(known, ", "))
	}
	filter = job.Filter{ID: f.Get("jobId"), Operation: f.Get("operation"), State: job.State(f.Get("status")), From: from, To: to}
	return filter, !f.Matches("backupManagementType", "AzureIaasVM"), nil
}

func (s *Server) jobs(r *request) (answer, error) {
	filter, none, err := r.jobFilter()
	if err != nil {
		return answer{}, err
	}
	size, err := r.pageSize(pageSize)
	if err != nil {
		return answer{}, err
	}
	filter.Limit = size + 1
	if after := r.URL.Query().Get("$skipToken"); after != "" {
		last, err := s.Service.VaultJob(r.Context(), r.vaultID(), after)
		if err != nil {
			return answer{}, stalePage
		}
		filter.Before = &last
	}
	all, err := s.Service.VaultJobs(r.Context(), r.vaultID(), filter)
	if err != nil {
		return answer{}, err
	}
	if none {
		all = nil
	}
	return paged(r, all, size, func(j job.Job) string { return j.ID }, func(j job.Job) any {
		return backup.Job(r.vaultID(), j, s.Clock(), false)
	})
}

func (s *Server) job(r *request) (answer, error) {
	j, err := s.Service.VaultJob(r.Context(), r.vaultID(), r.captures["job"])
	if err != nil {
		return answer{}, err
	}
	wire := backup.Job(r.vaultID(), j, s.Clock(), true)
	if res, err := service.Restored(j); err == nil && res.Template != nil {
		at := r.vaultID() + "/backupJobs/" + j.ID
		backup.WithBlobs(wire, r.link(at+"/template"), r.link(at+"/definition"))
	}
	return ok(wire)
}

// restored is what a restore job of the path brought back.
func (r *request) restored() (holdfast.RestoreResult, error) {
	j, err := r.server.Service.VaultJob(r.Context(), r.vaultID(), r.captures["job"])
	if err != nil {
		return holdfast.RestoreResult{}, err
	}
	res, err := service.Restored(j)
	if err == nil && res.Template == nil {
		err = holdfast.Errorf(holdfast.NotFound, j.ID, "The job %q made no template: a restore of disks that ended well does.", j.ID)
	}
	return res, err
}

// restoreTemplate is the ARM template that makes a VM of the disks of a restore.
func (s *Server) restoreTemplate(r *request) (answer, error) {
	res, err := r.restored()
	if err != nil {
		return answer{}, err
	}
	return ok(res.Template)
}

// restoreDefinition is the libvirt domain XML of the same VM.
func (s *Server) restoreDefinition(r *request) (answer, error) {
	res, err := r.restored()
	if err != nil {
		return answer{}, err
	}
	a := status(http.StatusOK, text(res.Definition))
	a.header = http.Header{"Content-Type": {"application/xml; charset=utf-8"}}
	return a, nil
}

func (s *Server) cancelJob(r *request) (answer, error) {
	if err := s.Service.CancelJob(r.Context(), r.vaultID(), r.captures["job"]); err != nil {
		return answer{}, err
	}
	a := status(http.StatusAccepted, nil)
	a.header = http.Header{"Location": {r.link(r.vaultID() + "/backupOperationResults/" + r.captures["job"])}, "Retry-After": {retryAfter}}
	return a, nil
}

// retryJob does again what a job failed to do, for who may do that.
func (s *Server) retryJob(r *request) (answer, error) {
	old, err := s.Service.VaultJob(r.Context(), r.vaultID(), r.captures["job"])
	if err != nil {
		return answer{}, err
	}
	action := map[string]string{"Backup": itemType + "/backup/action", "Restore": itemType + "/recoveryPoints/restore/action"}[old.Operation]
	if action != "" && !r.may(action, old.Subject) {
		return answer{}, r.forbidden(action, old.Subject)
	}
	j, err := s.Service.RetryJob(r.Context(), r.vaultID(), old.ID)
	if err != nil {
		return answer{}, err
	}
	a := status(http.StatusAccepted, nil)
	a.header = http.Header{
		"Azure-Asyncoperation": {r.link(r.vaultID() + "/backupOperations/" + j.ID)},
		"Location":             {r.link(r.vaultID() + "/backupOperationResults/" + j.ID)},
		"Retry-After":          {retryAfter},
	}
	return a, nil
}
