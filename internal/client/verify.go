package client

import (
	"context"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// Console is what the console showed at the end of a verification: a PNG.
func (c *Client) Console(ctx context.Context, v VaultRef, job string) ([]byte, error) {
	resp, err := c.send(ctx, http.MethodGet, c.url(c.vaultID(v)+"/backupJobs/"+job+"/console", backupVersion), nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	var picture struct {
		Data []byte `json:"data"`
	}
	if err := runtime.UnmarshalAsJSON(resp, &picture); err != nil {
		return nil, c.translate(ctx, err)
	}
	return picture.Data, nil
}
