package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// resourcesVersion is the api-version of resource groups and deployments.
const resourcesVersion = "2021-04-01"

// Group is a resource group.
type Group struct {
	Raw      json.RawMessage   `json:"-"`
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Location string            `json:"location"`
	Tags     map[string]string `json:"tags"`
}

func decodeGroup(raw json.RawMessage) (Group, error) {
	g := Group{Raw: raw}
	err := json.Unmarshal(raw, &g)
	return g, err
}

// Groups lists the resource groups.
func (c *Client) Groups(ctx context.Context) ([]Group, error) {
	return listFrom(ctx, c, decodeGroup, c.url("/subscriptions/"+c.config.Subscription+"/resourceGroups", resourcesVersion))
}

// Group shows one resource group.
func (c *Client) Group(ctx context.Context, name string) (Group, error) {
	return one(ctx, c, decodeGroup, http.MethodGet, c.url(c.groupID(name), resourcesVersion), nil, http.StatusOK)
}

// PutGroup makes a resource group, or gives one that is there other tags.
func (c *Client) PutGroup(ctx context.Context, name, location string, tags map[string]string) (Group, error) {
	body := map[string]any{"location": location, "tags": tags}
	return one(ctx, c, decodeGroup, http.MethodPut, c.url(c.groupID(name), resourcesVersion), body, http.StatusOK, http.StatusCreated)
}

// DeleteGroup deletes a resource group with what is in it, and waits until it has.
func (c *Client) DeleteGroup(ctx context.Context, name string) error {
	return c.followed(ctx, http.MethodDelete, c.url(c.groupID(name), resourcesVersion), nil)
}

// MoveVault moves a vault to another resource group, and waits until it is there.
func (c *Client) MoveVault(ctx context.Context, v VaultRef, group string) error {
	body := map[string]any{"resources": []string{c.vaultID(v)}, "targetResourceGroup": c.groupID(group)}
	return c.followed(ctx, http.MethodPost, c.url(c.groupID(v.Group)+"/moveResources", resourcesVersion), body)
}

// Deployment is a template that was, or is being, deployed to a resource group.
type Deployment struct {
	Raw      json.RawMessage
	ID, Name string
	State    string // Running, Succeeded, Failed, …
	At       time.Time
	Failure  string
	Made     []string                   // ids of what there is of it
	Outputs  map[string]json.RawMessage // values by name
}

func decodeDeployment(raw json.RawMessage) (Deployment, error) {
	var m struct {
		ID, Name   string
		Properties struct {
			ProvisioningState string
			Timestamp         time.Time
			OutputResources   []struct{ ID string }
			Outputs           map[string]struct{ Value json.RawMessage }
			Error             *errorBody
		}
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return Deployment{}, err
	}
	d := Deployment{Raw: raw, ID: m.ID, Name: m.Name, State: m.Properties.ProvisioningState, At: m.Properties.Timestamp, Outputs: map[string]json.RawMessage{}}
	if m.Properties.Error != nil {
		d.Failure = m.Properties.Error.Message
	}
	for _, r := range m.Properties.OutputResources {
		d.Made = append(d.Made, r.ID)
	}
	for name, o := range m.Properties.Outputs {
		d.Outputs[name] = o.Value
	}
	return d, nil
}

// Deployments lists the deployments to a resource group, newest first.
func (c *Client) Deployments(ctx context.Context, group string) ([]Deployment, error) {
	return listFrom(ctx, c, decodeDeployment, c.url(c.groupID(group)+"/providers/Microsoft.Resources/deployments", resourcesVersion))
}

// Deployment shows one deployment.
func (c *Client) Deployment(ctx context.Context, group, name string) (Deployment, error) {
	return one(ctx, c, decodeDeployment, http.MethodGet, c.deployment(group, name), nil, http.StatusOK)
}

// DeleteDeployment forgets a deployment; what it made stays.
func (c *Client) DeleteDeployment(ctx context.Context, group, name string) error {
	return c.followed(ctx, http.MethodDelete, c.deployment(group, name), nil)
}

func (c *Client) deployment(group, name string) string {
	return c.url(c.groupID(group)+"/providers/Microsoft.Resources/deployments/"+name, resourcesVersion)
}

// one sends a request that is answered with one resource.
func one[T any](ctx context.Context, c *Client, decode func(json.RawMessage) (T, error), method, url string, body any, ok ...int) (T, error) {
	var zero T
	resp, err := c.send(ctx, method, url, body, ok...)
	if err != nil {
		return zero, err
	}
	raw, err := runtime.Payload(resp)
	if err != nil {
		return zero, c.translate(ctx, err)
	}
	return decoded(decode, raw)
}

// followed sends a request whose answer says where its end is to be seen, and
// waits for that.
func (c *Client) followed(ctx context.Context, method, url string, body any) error {
	resp, err := c.send(ctx, method, url, body, http.StatusOK, http.StatusAccepted, http.StatusNoContent)
	if err != nil || resp.StatusCode != http.StatusAccepted {
		return err
	}
	poller, err := runtime.NewPoller[struct{}](resp, c.arm.Pipeline(), nil)
	if err == nil {
		_, err = poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: pollerFrequency})
	}
	return c.translate(ctx, err)
}
