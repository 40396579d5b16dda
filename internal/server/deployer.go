package server

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/arm"
	"holdfast/internal/authz"
	"holdfast/internal/job"
	"holdfast/internal/service"
)

// Deployer is the work of a deployment's job: it makes each resource with the
// PUT that its caller could have sent, with the same rights, locks and rules, and
// with a line of its own in the audit log.
//
// A run after a crash sends them again: each makes what is not there and leaves
// what is.
type Deployer struct{ Server *Server }

// Undo does nothing: what is there stays.
func (*Deployer) Undo(context.Context, service.DeployArgs) (bool, error) { return false, nil }

// Forget does nothing: nothing is kept for Undo.
func (*Deployer) Forget(context.Context, service.DeployArgs) error { return nil }

// Run makes the resources, one after the other, up to the first that cannot be made.
func (d *Deployer) Run(ctx context.Context, a service.DeployArgs, p holdfast.Progress) (service.DeployResult, error) {
	var none service.DeployResult
	s := d.Server
	who, err := s.Service.Identity.Principal(ctx, a.ClientID)
	if err != nil {
		return none, holdfast.Errorf(holdfast.Forbidden, a.ClientID, "The client %q that asked for the deployment is not there any more.", a.ClientID)
	}
	caller := authz.Caller{ID: who.ID, ClientID: who.ClientID, Name: who.Name}
	for n, put := range a.Puts {
		if err := ctx.Err(); err != nil {
			return none, context.Cause(ctx)
		}
		p.Task(put.ID)
		if err := s.deployStep(ctx, a, n, put, caller); err != nil {
			return none, err
		}
	}
	return none, nil
}

// deployStep makes one resource and records how it went.
func (s *Server) deployStep(ctx context.Context, a service.DeployArgs, n int, put service.ResourcePut, caller authz.Caller) error {
	keep := context.WithoutCancel(ctx) // what was done is recorded
	now, err := s.Service.Step(keep, a.Deployment, n, func(step *service.DeploymentStep) {
		step.State, step.Began, step.Ended, step.Failure = service.DeploymentRunning, s.Clock(), time.Time{}, nil
	})
	if err != nil {
		return err
	}
	if now.JobID != "" { // an earlier run of this deployment left it running
		if _, err := s.Service.Await(ctx, now.JobID); err != nil && holdfast.KindOf(err) != holdfast.NotFound {
			return err
		}
	}
	host := strings.TrimPrefix(a.Endpoint, "https://")
	r := s.step(ctx, put, host)
	r.caller, r.id, r.RemoteAddr = caller, uuid.NewString(), "deployment "+a.Deployment
	answered := s.answer(r)
	s.audit(r, answered)
	failure := refusalOf(answered)
	if failure == nil && answered.job != nil {
		id := answered.job.ID
		if _, err := s.Service.Step(keep, a.Deployment, n, func(step *service.DeploymentStep) { step.JobID = id }); err != nil {
			return err
		}
		j, err := s.Service.Await(ctx, id)
		if err != nil {
			return err
		}
		failure = j.Failure
	}
	_, err = s.Service.Step(keep, a.Deployment, n, func(step *service.DeploymentStep) {
		step.State, step.Status, step.JobID, step.Ended, step.Failure = service.DeploymentSucceeded, answered.status, "", s.Clock(), failure
		if failure != nil {
			step.State = service.DeploymentFailed
		}
	})
	if err == nil && failure != nil {
		err = holdfast.Errorf(holdfast.Conflict, put.ID, "%s could not be deployed: (%s) %s", put.ID, failure.Kind, strings.TrimSpace(failure.Message+" "+failure.Hint))
	}
	return err
}

// step is the request that makes a resource of a template.
func (s *Server) step(ctx context.Context, put service.ResourcePut, host string) *request {
	u := &url.URL{Scheme: "https", Host: host, Path: put.ID, RawQuery: url.Values{"api-version": {put.APIVersion}}.Encode()}
	hr := (&http.Request{Method: http.MethodPut, URL: u, Host: host, Header: http.Header{}, Body: http.NoBody}).WithContext(ctx)
	if len(put.Body) > 0 {
		hr.Body = body{bytes.NewReader(put.Body)}
	}
	return &request{Request: hr, server: s, path: []string{}, step: true}
}

// body is a request's body in memory.
type body struct{ *bytes.Reader }

func (body) Close() error { return nil }

// refusalOf is why a request was refused; nil if it was not.
func refusalOf(a answer) *job.Failure {
	if a.status < http.StatusBadRequest {
		return nil
	}
	if e, ok := a.body.(arm.ErrorBody); ok {
		return &job.Failure{Kind: holdfast.Kind(e.Error.Code), Target: e.Error.Target, Message: e.Error.Message}
	}
	return &job.Failure{Kind: holdfast.Internal, Message: "The request was answered with " + http.StatusText(a.status) + "."}
}
