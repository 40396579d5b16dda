package client

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// deploymentVersion is the api-version of deployments.
const deploymentVersion = "2021-04-01"

// RestoredTemplate is the ARM template that makes a VM of the disks which a
// restore job brought back.
func (c *Client) RestoredTemplate(ctx context.Context, j Job) (json.RawMessage, error) {
	return c.restoredFile(ctx, j, "template")
}

// RestoredDefinition is the libvirt domain XML of the same VM.
func (c *Client) RestoredDefinition(ctx context.Context, j Job) ([]byte, error) {
	return c.restoredFile(ctx, j, "definition")
}

func (c *Client) restoredFile(ctx context.Context, j Job, what string) ([]byte, error) {
	resp, err := c.send(ctx, http.MethodGet, c.url(j.ID+"/"+what, backupVersion), nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	b, err := runtime.Payload(resp)
	return b, c.translate(ctx, err)
}

// Deploy deploys a template to a resource group and waits until it has ended; one
// that fails is an error. Parameters are JSON values by name.
func (c *Client) Deploy(ctx context.Context, group, name string, template json.RawMessage, parameters map[string]json.RawMessage) error {
	type value struct {
		Value json.RawMessage `json:"value"`
	}
	given := map[string]value{}
	for k, v := range parameters {
		given[k] = value{v}
	}
	body := map[string]any{"properties": map[string]any{"mode": "Incremental", "template": template, "parameters": given}}
	url := c.url(c.groupID(group)+"/providers/Microsoft.Resources/deployments/"+name, deploymentVersion)
	resp, err := c.send(ctx, http.MethodPut, url, body, http.StatusOK, http.StatusCreated)
	if err != nil {
		return err
	}
	_, err = c.operation(ctx, resp)
	return err
}
