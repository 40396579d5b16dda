package server

import (
	"net/http"

	"holdfast"
	"holdfast/internal/api/resources"
	"holdfast/internal/service"
)

const (
	deploymentType = "Microsoft.Resources/deployments"
	deploymentsIn  = "/providers/" + deploymentType
)

// Deployments to a resource group and to a subscription. The SDKs ask for the
// operations of a group's deployment at an older path, too.
var deploymentRoutes = append(append(deploymentsAt(subPath+deploymentsIn), deploymentsAt(groupPath+deploymentsIn)...),
	get(groupPath+"/deployments/{name}/operations", deploymentType+"/operations/read", (*Server).deploymentOperations),
	get(groupPath+"/deployments/{name}/operations/{step}", deploymentType+"/operations/read", (*Server).deploymentOperation),
)

func deploymentsAt(path string) []route {
	one := path + "/{name}"
	return []route{
		get(path, deploymentType+"/read", (*Server).deployments),
		get(one, deploymentType+"/read", (*Server).deployment),
		{method: http.MethodHead, pattern: one, action: deploymentType + "/read", handler: (*Server).headDeployment},
		put(one, deploymentType+"/write", (*Server).putDeployment),
		remove(one, deploymentType+"/delete", (*Server).deleteDeployment),
		post(one+"/validate", deploymentType+"/validate/action", (*Server).validateDeployment),
		post(one+"/cancel", deploymentType+"/cancel/action", (*Server).cancelDeployment),
		post(one+"/exportTemplate", deploymentType+"/exportTemplate/action", (*Server).exportTemplate),
		get(one+"/operations", deploymentType+"/operations/read", (*Server).deploymentOperations),
		get(one+"/operations/{step}", deploymentType+"/operations/read", (*Server).deploymentOperation),
		get(one+"/operationStatuses/{op}", signedIn, (*Server).longStatus),
	}
}

// deploying is the deployment that the path names.
func (r *request) deploying() service.Deploying {
	return service.Deploying{Subscription: r.sub(), Group: r.group(), Name: r.name(), Endpoint: r.base(), Ready: r.ready}
}

// ready refuses a resource of a template that no PUT of the server makes, or not
// this caller's. It is asked before anything is made; the PUT asks again.
func (r *request) ready(id, apiVersion string) error {
	put := r.server.step(r.Context(), service.ResourcePut{ID: id, APIVersion: apiVersion}, r.Host)
	if err := r.server.match(put); err != nil {
		return holdfast.Errorf(holdfast.Invalid, id, "The template's resource %s cannot be made: %v", id, err)
	}
	if put.action == deploymentType+"/write" {
		return holdfast.Errorf(holdfast.Unsupported, id, "The template's resource %s is a template in a template, which is not offered.", id)
	}
	if put.handler == nil || put.action == public || put.action == signedIn || put.sub() == "" || put.captures["op"] != "" {
		return holdfast.Errorf(holdfast.Invalid, id, "The template's resource %s cannot be made: no operation of this server makes a resource of its type.", id)
	}
	if !r.may(put.action, put.target()) {
		return r.forbidden(put.action, id)
	}
	return r.unlockedFor(put.action, id)
}

func (s *Server) putDeployment(r *request) (answer, error) {
	in, err := decoded(r, resources.DecodeDeployment)
	if err != nil {
		return answer{}, err
	}
	d, created, err := s.Service.PutDeployment(r.Context(), r.deploying(), in)
	if err != nil {
		return answer{}, err
	}
	wire := resources.Deployment(d)
	wire.Properties.(map[string]any)["provisioningState"] = "Accepted"
	a, _ := made(created, wire, nil)
	a.header = http.Header{"Azure-Asyncoperation": {r.link(d.ID + "/operationStatuses/" + d.JobID)}, "Retry-After": {retryAfter}}
	return a, nil
}

func (s *Server) validateDeployment(r *request) (answer, error) {
	in, err := decoded(r, resources.DecodeDeployment)
	if err != nil {
		return answer{}, err
	}
	d, err := s.Service.ValidateDeployment(r.Context(), r.deploying(), in)
	if err != nil {
		return answer{}, err
	}
	return ok(resources.Deployment(d))
}

func (s *Server) deployments(r *request) (answer, error) {
	f, err := r.filter("provisioningState")
	if err != nil {
		return answer{}, err
	}
	size, err := r.pageSize(pageSize)
	if err != nil {
		return answer{}, err
	}
	all, err := s.Service.Deployments(r.Context(), r.sub(), r.group(), r.URL.Query().Get("$skipToken"), size+1)
	if err != nil {
		return answer{}, err
	}
	return paged(r, all, size, func(d service.Deployment) string { return d.ID }, func(d service.Deployment) any {
		if f.Matches("provisioningState", string(d.State)) {
			return resources.Deployment(d)
		}
		return nil
	})
}

// theDeployment is the one that the path names.
func (r *request) theDeployment() (service.Deployment, error) {
	return r.server.Service.Deployment(r.Context(), r.sub(), r.group(), r.name())
}

func (s *Server) deployment(r *request) (answer, error) {
	d, err := r.theDeployment()
	if err != nil {
		return answer{}, err
	}
	return ok(resources.Deployment(d))
}

func (s *Server) headDeployment(r *request) (answer, error) {
	if _, err := r.theDeployment(); err != nil {
		return answer{}, err
	}
	return noContent()
}

func (s *Server) deleteDeployment(r *request) (answer, error) {
	err := s.Service.DeleteDeployment(r.Context(), r.sub(), r.group(), r.name())
	if err != nil && holdfast.KindOf(err) != holdfast.NotFound {
		return answer{}, err
	}
	return noContent()
}

func (s *Server) cancelDeployment(r *request) (answer, error) {
	if err := s.Service.CancelDeployment(r.Context(), r.sub(), r.group(), r.name()); err != nil {
		return answer{}, err
	}
	return noContent()
}

func (s *Server) exportTemplate(r *request) (answer, error) {
	d, err := r.theDeployment()
	if err != nil {
		return answer{}, err
	}
	return ok(map[string]any{"template": d.Template})
}

func (s *Server) deploymentOperations(r *request) (answer, error) {
	d, err := r.theDeployment()
	return listOf(d.Steps, err, func(step service.DeploymentStep) map[string]any { return resources.DeploymentOperation(d, step) })
}

func (s *Server) deploymentOperation(r *request) (answer, error) {
	d, err := r.theDeployment()
	if err != nil {
		return answer{}, err
	}
	for _, step := range d.Steps {
		if step.ID == r.captures["step"] {
			return ok(resources.DeploymentOperation(d, step))
		}
	}
	return answer{}, holdfast.Errorf(holdfast.NotFound, r.captures["step"], "The operation %q of the deployment %q was not found.", r.captures["step"], d.Name)
}
