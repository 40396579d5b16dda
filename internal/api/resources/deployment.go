package resources

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"holdfast/internal/arm"
	"holdfast/internal/service"
	"holdfast/internal/template"
)

// DecodeDeployment reads PUT and validate of a deployment. az sends the template
// as its file is, comments and all, behind an unquoted name (arm-contract, 5).
func DecodeDeployment(body []byte) (service.DeploymentInput, error) {
	in, err := Decode[struct {
		Location   string            `json:"location"`
		Tags       map[string]string `json:"tags"`
		Properties struct {
			Mode           string                     `json:"mode"`
			Template       json.RawMessage            `json:"template"`
			TemplateLink   json.RawMessage            `json:"templateLink"`
			Parameters     map[string]json.RawMessage `json:"parameters"`
			ParametersLink json.RawMessage            `json:"parametersLink"`
		} `json:"properties"`
	}](template.Strict(body))
	p := in.Properties
	return service.DeploymentInput{Location: in.Location, Tags: in.Tags, Mode: p.Mode, Linked: given(p.TemplateLink) || given(p.ParametersLink),
		Template: p.Template, Parameters: p.Parameters}, err
}

func given(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// Deployment is a deployment on the wire.
func Deployment(d service.Deployment) Resource {
	p := map[string]any{
		"mode": "Incremental", "provisioningState": d.State, "correlationId": d.JobID, "timestamp": d.Started.Format(time.RFC3339Nano), "duration": duration(d.Started, d.Ended),
		"parameters": orEmpty(d.Parameters), "templateHash": fmt.Sprintf("%x", sha256.Sum256(d.Template)), "error": nil,
		"providers": providersOf(d), "dependencies": dependenciesOf(d),
	}
	made := []map[string]string{}
	for _, id := range d.Made() {
		made = append(made, map[string]string{"id": id})
	}
	p["outputResources"] = made
	validated := []map[string]string{}
	for _, s := range d.Steps {
		validated = append(validated, map[string]string{"id": s.Resource})
	}
	p["validatedResources"] = validated
	if d.Outputs != nil {
		p["outputs"] = d.Outputs
	}
	if d.Failure != nil {
		p["error"] = deploymentError(d)
	}
	return Resource{ID: d.ID, Name: d.Name, Type: service.TypeDeployment, Location: d.Location, Tags: d.Tags, ETag: d.ETag, Properties: p}
}

// deploymentError is Azure's form: what failed is in the details.
func deploymentError(d service.Deployment) arm.Error {
	e := arm.Error{Code: "DeploymentFailed", Message: d.Failure.Message, Target: d.ID}
	if d.State == service.DeploymentCanceled {
		e.Code = "DeploymentCanceled"
	}
	for _, s := range d.Steps {
		if s.Failure != nil {
			e.Details = append(e.Details, arm.Error{Code: string(s.Failure.Kind), Message: strings.TrimSpace(s.Failure.Message + " " + s.Failure.Hint), Target: s.Resource})
		}
	}
	return e
}

func orEmpty(m map[string]template.Value) map[string]template.Value {
	if m == nil {
		return map[string]template.Value{}
	}
	return m
}

// duration is the time between two moments in ISO 8601; none while it goes on.
func duration(from, to time.Time) string {
	if to.IsZero() || from.IsZero() {
		return "PT0S"
	}
	return fmt.Sprintf("PT%gS", to.Sub(from).Seconds())
}

// providersOf lists the namespaces of a deployment's resources with their types.
func providersOf(d service.Deployment) []map[string]any {
	out, at := []map[string]any{}, map[string]int{}
	for _, s := range d.Steps {
		ns, typ, _ := strings.Cut(s.Type, "/")
		i, known := at[ns]
		if !known {
			i = len(out)
			at[ns] = i
			out = append(out, map[string]any{"namespace": ns, "resourceTypes": []map[string]any{}})
		}
		out[i]["resourceTypes"] = append(out[i]["resourceTypes"].([]map[string]any), map[string]any{"resourceType": typ, "locations": []string{}})
	}
	return out
}

func dependenciesOf(d service.Deployment) []map[string]any {
	one := func(s service.DeploymentStep) map[string]any {
		return map[string]any{"id": s.Resource, "resourceType": s.Type, "resourceName": s.Name}
	}
	out := []map[string]any{}
	for _, s := range d.Steps {
		if len(s.DependsOn) == 0 {
			continue
		}
		needs := []map[string]any{}
		for _, n := range s.DependsOn {
			needs = append(needs, one(d.Steps[n]))
		}
		w := one(s)
		w["dependsOn"] = needs
		out = append(out, w)
	}
	return out
}

// DeploymentOperation is one step of a deployment on the wire.
func DeploymentOperation(d service.Deployment, s service.DeploymentStep) map[string]any {
	state, began := s.State, s.Began
	if state == "" {
		state, began = "NotStarted", d.Started
	}
	p := map[string]any{
		"provisioningOperation": "Create", "provisioningState": state, "timestamp": began.Format(time.RFC3339Nano), "duration": duration(s.Began, s.Ended),
		"trackingId": d.JobID, "targetResource": map[string]string{"id": s.Resource, "resourceType": s.Type, "resourceName": s.Name},
	}
	if s.Status != 0 {
		p["statusCode"] = statusWord(s.Status)
	}
	if s.Failure != nil {
		p["statusMessage"] = map[string]any{"status": "Failed", "error": arm.Error{Code: string(s.Failure.Kind), Message: strings.TrimSpace(s.Failure.Message + " " + s.Failure.Hint), Target: s.Failure.Target}}
	}
	return map[string]any{"id": d.ID + "/operations/" + s.ID, "operationId": s.ID, "properties": p}
}

// statusWord is an HTTP status as ARM writes it here: OK, Created, BadRequest.
func statusWord(status int) string {
	return strings.ReplaceAll(http.StatusText(status), " ", "")
}
