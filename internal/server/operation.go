package server

import (
	"net/http"
	"time"

	"holdfast"
	"holdfast/internal/arm"
	"holdfast/internal/job"
)

// operationPath is where the operations are followed that are of no vault.
const operationPath = subPath + "/providers/Microsoft.Resources/operations/{op}"

// Operations outside of vaults. They are for who started them, whatever role
// that is, and for who may read what they work on.
var operationRoutes = []route{
	get(operationPath+"/status", signedIn, (*Server).longStatus),
	get(operationPath+"/result", signedIn, (*Server).longResult),
}

// following is an answer whose work goes on in a job.
func (r *request) following(code int, body any, j job.Job) answer {
	a := status(code, body)
	a.job = &j
	at := "/subscriptions/" + r.sub() + "/providers/Microsoft.Resources/operations/" + j.ID
	a.header = http.Header{"Azure-Asyncoperation": {r.link(at + "/status")}, "Retry-After": {retryAfter}}
	if code == http.StatusAccepted {
		a.header.Set("Location", r.link(at+"/result"))
	}
	return a
}

// operationJob is the job that the path names, if the caller may see it.
func (r *request) operationJob() (job.Job, error) {
	unknown := holdfast.Errorf(holdfast.NotFound, r.captures["op"], "The operation %q was not found.", r.captures["op"])
	j, err := r.server.Service.Resources.Operation(r.Context(), r.captures["op"])
	if holdfast.KindOf(err) == holdfast.NotFound && err != nil {
		return j, unknown
	}
	if err != nil {
		return j, err
	}
	id, err := arm.ParseID(j.Subject)
	if err != nil || !arm.Within(j.Subject, "/subscriptions/"+r.sub()) || j.Principal != r.caller.Name && !r.may(id.Type()+"/read", j.Subject) {
		return j, unknown
	}
	return j, nil
}

func (s *Server) longStatus(r *request) (answer, error) {
	j, err := r.operationJob()
	if err != nil {
		return answer{}, err
	}
	out := arm.OperationStatus{ID: r.resource(), Name: j.ID, Status: "InProgress", StartTime: j.Created.Format(time.RFC3339Nano)}
	if j.Final() {
		out.EndTime, out.Status = j.Ended.Format(time.RFC3339Nano), "Succeeded"
	}
	if j.Final() && j.Failure != nil {
		out.Status = "Failed"
		if j.Failure.Kind == holdfast.Canceled {
			out.Status = "Canceled"
		}
		out.Error = &arm.Error{Code: string(j.Failure.Kind), Message: j.Failure.Message + " " + j.Failure.Hint, Target: j.Failure.Target}
	}
	a := status(http.StatusOK, out)
	a.header = http.Header{"Retry-After": {retryAfter}}
	return a, nil
}

func (s *Server) longResult(r *request) (answer, error) {
	j, err := r.operationJob()
	if err != nil {
		return answer{}, err
	}
	if !j.Final() {
		a := status(http.StatusAccepted, nil)
		a.header = http.Header{"Location": {r.link(r.resource())}, "Retry-After": {retryAfter}}
		return a, nil
	}
	if j.Failure != nil {
		return answer{}, holdfast.Errorf(j.Failure.Kind, j.Failure.Target, "%s", j.Failure.Message).WithHint(j.Failure.Hint)
	}
	return noContent()
}
