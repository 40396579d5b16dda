package clienttest

import (
	"fmt"
	"net/http"
	"strings"
)

// job is a job that moves one step each time it is looked at.
type job struct {
	name, operation, status string
	step                    int
	fail                    bool
}

// jobSteps is how many looks a job takes.
const jobSteps = 4

func (j *job) ended() bool { return j.status != "InProgress" }

// FailJobs lets the running jobs fail at their last step.
func (s *Server) FailJobs() {
	for _, j := range s.jobs {
		j.fail = true
	}
}

// Start starts a job as a schedule would, and returns its id.
func (s *Server) Start(operation string) string {
	j := &job{name: fmt.Sprintf("job-%d", len(s.jobs)+1), operation: operation, status: "InProgress"}
	s.jobs[j.name] = j
	return j.name
}

func (s *Server) accept(w http.ResponseWriter, operation string) {
	name := s.Start(operation)
	w.Header().Set("Azure-AsyncOperation", "https://server.invalid"+Vault+"/backupOperations/"+name+"?api-version=2025-02-01")
	w.Header().Set("Location", "https://server.invalid"+Vault+"/backupOperations/"+name+"?api-version=2025-02-01")
	w.WriteHeader(http.StatusAccepted)
}

func (s *Server) operation(w http.ResponseWriter, name string) {
	reply(w, http.StatusOK, object{"id": name, "name": name, "status": "Succeeded", "startTime": "2026-11-20T02:00:00Z",
		"properties": object{"objectType": "OperationStatusJobExtendedInfo", "jobId": name}})
}

func (s *Server) job(w http.ResponseWriter, q Request, path string) {
	name := ""
	if _, rest, ok := strings.Cut(path, "/backupjobs/"); ok {
		name, _, _ = strings.Cut(rest, "/")
	}
	switch j := s.jobs[name]; {
	case name == "" && strings.HasSuffix(path, "/backupjobsexport"):
		w.Header().Set("Location", "https://server.invalid"+Vault+"/backupJobs/operationResults/e1?api-version=2025-02-01")
		w.WriteHeader(http.StatusAccepted)
	case name == "":
		s.jobList(w, q)
	case name == "operationresults":
		reply(w, http.StatusOK, object{"operation": object{"objectType": "ExportJobsOperationResultInfo", "blobUrl": "https://server.invalid" + Vault + "/backupJobs/exports/e1?api-version=2025-02-01"}})
	case name == "exports":
		reply(w, http.StatusOK, s.allJobs(""))
	case j == nil:
		Fail(w, http.StatusNotFound, "BMSUserErrorObjectNotFound", "The job "+name+" was not found.")
	case strings.HasSuffix(path, "/cancel") && j.ended():
		Fail(w, http.StatusBadRequest, "UserErrorJobCannotBeCancelled", "The job cannot be cancelled any more.")
	case strings.HasSuffix(path, "/retry") && (j.status != "Failed"):
		Fail(w, http.StatusConflict, "OperationNotAllowed", "A job that is "+j.status+" is not tried again.")
	case strings.HasSuffix(path, "/retry"):
		s.accept(w, j.operation)
	case strings.HasSuffix(path, "/cancel"):
		j.status = "Cancelled"
		w.WriteHeader(http.StatusAccepted)
	default:
		s.advance(j)
		reply(w, http.StatusOK, j.resource())
	}
}

func (s *Server) jobList(w http.ResponseWriter, q Request) {
	reply(w, http.StatusOK, object{"value": s.allJobs(q.Query)})
}

// allJobs are those that a filter takes, newest first.
func (s *Server) allJobs(query string) []object {
	value := []object{}
	for i := len(s.jobs); i > 0; i-- {
		j := s.jobs[fmt.Sprintf("job-%d", i)]
		if !strings.Contains(query, "operation") || strings.Contains(query, "%27"+j.operation+"%27") {
			value = append(value, j.resource())
		}
	}
	return value
}

func (s *Server) advance(j *job) {
	if j.ended() || s.Hold && j.step == jobSteps-1 {
		return
	}
	j.step++
	if j.step < jobSteps {
		return
	}
	j.status = "Completed"
	if j.fail {
		j.status = "Failed"
	}
	if j.operation == "Backup" && !j.fail {
		s.AddItem("1001")
	}
}

func (j *job) resource() object {
	const total = 64 << 20
	task := func(name string, from, to int) object {
		status := "NotStarted"
		if j.step >= to {
			status = "Completed"
		} else if j.step >= from {
			status = "InProgress"
		}
		return object{"taskId": name, "status": status}
	}
	properties := object{"jobType": "AzureIaaSVMJob", "operation": j.operation, "status": j.status, "entityFriendlyName": "web",
		"startTime": "2026-11-20T02:00:00Z", "endTime": "0001-01-01T00:00:00Z", "actionsInfo": []string{"Cancellable"},
		"extendedInfo": object{
			"tasksList": []object{task("Take Snapshot", 0, 2), task("Transfer data to vault", 2, jobSteps)},
			"propertyBag": object{"Bytes done": fmt.Sprint(total / jobSteps * j.step), "Bytes total": fmt.Sprint(total),
				"Consistency": "FileSystemConsistent", "Frozen for": "0.4 s", "Bytes read": "67108864", "Disk vda": "read 64 MiB, new 12 MiB, stored 5 MiB"}}}
	if j.ended() {
		properties["endTime"], properties["actionsInfo"] = "2026-11-20T02:00:09Z", []string{}
	}
	if j.status == "Failed" {
		properties["errorDetails"] = []object{{"errorCode": 400001, "errorTitle": "InsufficientStorage",
			"errorString": "The repository's disk is full.", "recommendations": []string{"Free space at /vaults/safe."}}}
	}
	return object{"id": Vault + "/backupJobs/" + j.name, "name": j.name, "type": "Microsoft.RecoveryServices/vaults/backupJobs", "properties": properties}
}
