package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/authz"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
	"holdfast/internal/template"
)

// TypeDeployment is the resource type of a deployment.
const TypeDeployment = "Microsoft.Resources/deployments"

const (
	kindDeploy = "deploy"
	// maxDeployments is how many a scope keeps, as in Azure; the oldest go.
	maxDeployments = 800
)

func (s *Service) registerDeployments() {
	if s.Deploy != nil {
		job.Register(s.Jobs, kindDeploy, s.Deploy, s.deployDone)
	}
}

// Deployment is what was asked for with a template, and what came of it.
type Deployment struct {
	resource.Stamp
	Name       string                    `json:"name"`
	Location   string                    `json:"location,omitempty"` // of one in a subscription
	Tags       map[string]string         `json:"tags,omitempty"`
	State      DeploymentState           `json:"state"`
	Template   json.RawMessage           `json:"template"`
	Parameters map[string]template.Value `json:"parameters,omitempty"` // secure ones without their value
	Outputs    map[string]template.Value `json:"outputs,omitempty"`    // once it succeeded
	Steps      []DeploymentStep          `json:"steps"`
	JobID      string                    `json:"jobId"`
	Failure    *job.Failure              `json:"failure,omitempty"`
	Started    time.Time                 `json:"started"`
	Ended      time.Time                 `json:"ended,omitzero"`
}

// DeploymentState is how far a deployment or one of its steps is, in Azure's words.
type DeploymentState string

// The states. A step that was not begun has none.
const (
	DeploymentRunning   DeploymentState = "Running"
	DeploymentSucceeded DeploymentState = "Succeeded"
	DeploymentFailed    DeploymentState = "Failed"
	DeploymentCanceled  DeploymentState = "Canceled"
)

// DeploymentStep makes one resource.
type DeploymentStep struct {
	ID        string          `json:"id"` // of the operation
	Resource  string          `json:"resource"`
	Type      string          `json:"type"`
	Name      string          `json:"name"` // with those of its parents
	DependsOn []int           `json:"dependsOn,omitempty"`
	State     DeploymentState `json:"state,omitempty"`
	Status    int             `json:"status,omitempty"` // HTTP
	JobID     string          `json:"jobId,omitempty"`  // that makes it, once there is one
	Failure   *job.Failure    `json:"failure,omitempty"`
	Began     time.Time       `json:"began,omitzero"`
	Ended     time.Time       `json:"ended,omitzero"`
}

// DeploymentInput is what a client asks for.
type DeploymentInput struct {
	Location   string // of a deployment in a subscription
	Tags       map[string]string
	Mode       string
	Linked     bool // the template or its parameters are somewhere else
	Template   json.RawMessage
	Parameters map[string]json.RawMessage
}

// Deploying is a deployment that is asked for: where, and who may do what.
type Deploying struct {
	Subscription string
	Group        string // "" is the subscription
	Name         string
	Endpoint     string // of this server as the caller sees it
	// Ready refuses a resource that cannot be made or that the caller may not make.
	Ready func(id, apiVersion string) error
}

func (d Deploying) scope() string {
	if d.Group == "" {
		return resource.SubscriptionID(d.Subscription)
	}
	return resource.GroupID(d.Subscription, d.Group)
}

func deploymentID(sub, group, name string) string {
	return Deploying{Subscription: sub, Group: group}.scope() + "/providers/" + TypeDeployment + "/" + name
}

// DeployArgs is what the job of a deployment works through.
type DeployArgs struct {
	Deployment string                    `json:"deployment"` // ARM id
	ClientID   string                    `json:"clientId"`   // of the principal whose rights count
	Endpoint   string                    `json:"endpoint"`
	Puts       []ResourcePut             `json:"puts"`
	Outputs    map[string]template.Value `json:"outputs,omitempty"`
}

// ResourcePut is the request that makes a resource.
type ResourcePut struct {
	ID         string          `json:"id"`
	APIVersion string          `json:"apiVersion"`
	Body       json.RawMessage `json:"body"`
}

// DeployResult is empty: what came of a deployment is in it.
type DeployResult struct{}

// ValidateDeployment says what a deployment would do. Nothing is changed.
func (s *Service) ValidateDeployment(ctx context.Context, at Deploying, in DeploymentInput) (Deployment, error) {
	d, _, err := s.planned(ctx, at, in)
	d.State = DeploymentSucceeded
	return d, err
}

// PutDeployment starts a deployment; created says that there was none of the
// name. What can be seen to be wrong with it is refused before anything is made.
func (s *Service) PutDeployment(ctx context.Context, at Deploying, in DeploymentInput) (d Deployment, created bool, err error) {
	if s.Deploy == nil {
		return d, false, holdfast.Errorf(holdfast.Unsupported, at.Name, "This server makes no deployments.")
	}
	d, args, err := s.planned(ctx, at, in)
	if err != nil {
		return d, false, err
	}
	d, err = resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (Deployment, error) {
		if at.Group != "" { // still there
			if _, err := resource.FindGroup(tx, at.Subscription, at.Group); err != nil {
				return d, err
			}
		}
		_, err := findDeployment(tx, d.ID)
		if created = err != nil; created && holdfast.KindOf(err) != holdfast.NotFound {
			return d, err
		}
		spec := job.Spec{Operation: "Deployment", Scope: at.scope(), Subject: d.ID, Entity: d.Name, Principal: resource.Caller(ctx), Exclusive: "deployment:" + d.ID}
		j, err := job.Enqueue(s.Jobs, tx, kindDeploy, spec, args)
		if err != nil {
			return d, err
		}
		d.JobID, d.Started = j.ID, tx.Now()
		if d, err = putDeployment(tx, d); err != nil {
			return d, err
		}
		return d, forgetOldest(tx, at.scope())
	})
	return d, created, err
}

// planned checks a deployment and expands its template.
func (s *Service) planned(ctx context.Context, at Deploying, in DeploymentInput) (Deployment, DeployArgs, error) {
	d := Deployment{Stamp: resource.Stamp{ID: deploymentID(at.Subscription, at.Group, at.Name)}, Name: at.Name, Tags: in.Tags, State: DeploymentRunning, Template: in.Template}
	args := DeployArgs{Deployment: d.ID, ClientID: authz.CallerOf(ctx).ClientID, Endpoint: at.Endpoint}
	if err := in.check(at); err != nil {
		return d, args, err
	}
	env, err := s.deploymentEnv(ctx, at, in)
	if err != nil {
		return d, args, err
	}
	if at.Group == "" {
		d.Location = env.Location
	}
	plan, err := template.Expand(in.Template, in.Parameters, env)
	var wrong *template.Error
	if errors.As(err, &wrong) {
		return d, args, holdfast.Errorf(holdfast.Invalid, strings.TrimSuffix("properties.template."+wrong.At, "."), "The template cannot be deployed: %v.", wrong)
	}
	if err != nil {
		return d, args, err
	}
	for _, r := range plan.Resources {
		if err := at.Ready(r.ID, r.APIVersion); err != nil {
			return d, args, err
		}
		args.Puts = append(args.Puts, ResourcePut{ID: r.ID, APIVersion: r.APIVersion, Body: r.Body})
		d.Steps = append(d.Steps, DeploymentStep{ID: strings.ToUpper(strings.ReplaceAll(uuid.NewString(), "-", "")[:16]), Resource: r.ID, Type: r.Type, Name: r.Name, DependsOn: r.DependsOn})
	}
	d.Parameters, args.Outputs = plan.Parameters, plan.Outputs
	return d, args, nil
}

func (in DeploymentInput) check(at Deploying) error {
	if err := resource.CheckName("deployment", at.Name); err != nil {
		return err
	}
	switch {
	case strings.EqualFold(in.Mode, "Complete"):
		return holdfast.Errorf(holdfast.Unsupported, "properties.mode", "The mode Complete is not offered: it deletes what the template does not name.").WithHint("Deploy with the mode Incremental.")
	case !strings.EqualFold(in.Mode, "Incremental"):
		return holdfast.Errorf(holdfast.Invalid, "properties.mode", "properties.mode is %q; it must be Incremental.", in.Mode)
	case in.Linked:
		return holdfast.Errorf(holdfast.Unsupported, "properties.templateLink", "A template or parameters behind a link are not offered.").WithHint("Send them in properties.template and properties.parameters.")
	case len(in.Template) == 0:
		return holdfast.Errorf(holdfast.Invalid, "properties.template", "properties.template is missing.")
	}
	return resource.CheckTags(in.Tags)
}

// deploymentEnv is what a template can ask about where it is deployed.
func (s *Service) deploymentEnv(ctx context.Context, at Deploying, in DeploymentInput) (template.Env, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (template.Env, error) {
		env := template.Env{Subscription: at.Subscription, Group: at.Group, Deployment: at.Name, Endpoint: at.Endpoint, Now: s.Clock()}
		sub, err := resource.FindSubscription(tx, at.Subscription)
		if err != nil {
			return env, err
		}
		env.Subscription, env.Tenant, env.DisplayName = sub.SubscriptionID, sub.TenantID, sub.Name
		if at.Group == "" {
			site, err := siteAt(tx, at.Subscription, "location", in.Location)
			env.Location = resource.Location(site.Name)
			return env, err
		}
		g, err := resource.FindGroup(tx, at.Subscription, at.Group)
		env.Group, env.Location, env.GroupTags = g.Name, g.Location, g.Tags
		return env, err
	})
}

// forgetOldest keeps the history of a scope within its bound.
func forgetOldest(tx *catalog.Tx, scope string) error {
	n, err := tx.Count(catalog.Query{Type: TypeDeployment, Parent: scope})
	if err != nil || n <= maxDeployments {
		return err
	}
	all, err := resource.List(tx, catalog.Query{Type: TypeDeployment, Parent: scope, Newest: true}, decodeDeployment)
	if err != nil {
		return err
	}
	for _, d := range all[maxDeployments:] {
		if d.Ended.IsZero() {
			continue
		}
		if _, err := tx.Delete(d.ID); err != nil {
			return err
		}
	}
	return nil
}

// Deployment returns one deployment.
func (s *Service) Deployment(ctx context.Context, sub, group, name string) (Deployment, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (Deployment, error) { return findDeployment(tx, deploymentID(sub, group, name)) })
}

// Deployments lists the deployments of a group, or of a subscription itself for
// "": those after one of the listing, at most so many.
func (s *Service) Deployments(ctx context.Context, sub, group, after string, limit int) ([]Deployment, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]Deployment, error) {
		if group != "" {
			if _, err := resource.FindGroup(tx, sub, group); err != nil {
				return nil, err
			}
		}
		q := catalog.Query{Type: TypeDeployment, Parent: Deploying{Subscription: sub, Group: group}.scope(), After: after, Limit: limit, Newest: true}
		return resource.List(tx, q, decodeDeployment)
	})
}

// CancelDeployment asks a deployment that runs to stop before its next resource.
func (s *Service) CancelDeployment(ctx context.Context, sub, group, name string) error {
	d, err := s.Deployment(ctx, sub, group, name)
	if err != nil {
		return err
	}
	if !d.Ended.IsZero() {
		return holdfast.Errorf(holdfast.Conflict, name, "The deployment %q has already ended: %s.", name, d.State)
	}
	return s.Jobs.Cancel(ctx, d.JobID)
}

// DeleteDeployment forgets a deployment; what it made stays.
func (s *Service) DeleteDeployment(ctx context.Context, sub, group, name string) error {
	_, err := resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (any, error) {
		d, err := findDeployment(tx, deploymentID(sub, group, name))
		if err != nil {
			return nil, err
		}
		if err := job.Idle(tx, "deployment:"+d.ID, d.Name); err != nil {
			return nil, err
		}
		return tx.Delete(d.ID)
	})
	return err
}

// Step changes what is known of one step of a deployment.
func (s *Service) Step(ctx context.Context, deployment string, n int, change func(*DeploymentStep)) (DeploymentStep, error) {
	return resource.Write(ctx, s.Catalog, func(tx *catalog.Tx) (DeploymentStep, error) {
		d, err := findDeployment(tx, deployment)
		if err != nil || n >= len(d.Steps) {
			return DeploymentStep{}, errors.Join(err, fmt.Errorf("step %d of %s", n, deployment))
		}
		change(&d.Steps[n])
		_, err = putDeployment(tx, d)
		return d.Steps[n], err
	})
}

// Await returns a job once it has ended.
func (s *Service) Await(ctx context.Context, id string) (job.Job, error) { return s.Jobs.Wait(ctx, id) }

// deployDone ends a deployment.
func (s *Service) deployDone(tx *catalog.Tx, jobID string, a DeployArgs, _ DeployResult, runErr error) error {
	d, err := findDeployment(tx, a.Deployment)
	if err != nil {
		return err
	}
	d.Ended, d.State, d.Failure = tx.Now(), DeploymentSucceeded, job.FailureOf(runErr)
	switch {
	case runErr == nil:
		d.Outputs = a.Outputs
	case holdfast.KindOf(runErr) == holdfast.Canceled:
		d.State = DeploymentCanceled
	default:
		d.State = DeploymentFailed
	}
	for i := range d.Steps {
		if d.Steps[i].State == DeploymentRunning {
			d.Steps[i].State, d.Steps[i].Ended = d.State, d.Ended
		}
	}
	if _, err := putDeployment(tx, d); err != nil {
		return err
	}
	return job.ForgetArgs(tx, jobID) // secure parameters are in them
}

// nothingDeploys refuses while a deployment to a group runs.
func nothingDeploys(tx *catalog.Tx, g resource.Group) error {
	for _, state := range []job.State{job.InProgress, job.Cancelling} {
		running, err := job.List(tx, job.Filter{Scope: g.ID, Operation: "Deployment", State: state, Limit: 1})
		if err != nil {
			return err
		}
		if len(running) > 0 {
			return holdfast.Errorf(holdfast.Conflict, g.Name, "The deployment %q to the resource group %q is running.", running[0].Entity, g.Name).WithHint("Wait for it to end or cancel it, then try again.")
		}
	}
	return nil
}

func putDeployment(tx *catalog.Tx, d Deployment) (Deployment, error) {
	parent := d.ID[:strings.Index(strings.ToLower(d.ID), "/providers/")]
	r, err := catalog.Write(tx, catalog.Resource{ID: d.ID, Type: TypeDeployment, Parent: parent}, d)
	d.Stamp = resource.StampOf(r)
	return d, err
}

func findDeployment(tx *catalog.Tx, id string) (Deployment, error) {
	r, err := tx.Get(id)
	if err != nil {
		if holdfast.KindOf(err) == holdfast.NotFound {
			err = holdfast.Errorf(holdfast.NotFound, resource.LastName(id), "The deployment %q was not found.", resource.LastName(id))
		}
		return Deployment{}, err
	}
	return decodeDeployment(r)
}

func decodeDeployment(r catalog.Resource) (Deployment, error) {
	d, err := catalog.Decode[Deployment](r)
	d.Stamp = resource.StampOf(r)
	return d, err
}

// Made lists the resources that a deployment made.
func (d Deployment) Made() (ids []string) {
	for _, step := range d.Steps {
		if step.State == DeploymentSucceeded && !slices.Contains(ids, step.Resource) {
			ids = append(ids, step.Resource)
		}
	}
	return ids
}
