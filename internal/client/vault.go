package client

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservices"
)

// Vault is a Recovery Services vault and where its repository lives.
type Vault struct {
	Raw             json.RawMessage
	ID, Name, Group string
	Site            string
	State           string // provisioningState
	RepositoryURL   string
	RepositoryID    string
	KeyURL          string // of a key in a key service
	Unusable        string // why nothing can be written to it or read from it; of a show only
}

// Ref names the vault.
func (v Vault) Ref() VaultRef { return VaultRef{Group: v.Group, Name: v.Name} }

func decodeVault(raw json.RawMessage) (Vault, error) {
	var m armrecoveryservices.Vault
	if err := json.Unmarshal(raw, &m); err != nil {
		return Vault{}, err
	}
	v := Vault{Raw: raw, ID: value(m.ID), Name: value(m.Name), Group: partsOf(value(m.ID)).group, Site: value(m.Location)}
	if m.Properties != nil {
		v.State = value(m.Properties.ProvisioningState)
	}
	var extension struct {
		Properties struct {
			Holdfast struct {
				RepositoryURL string `json:"repositoryUrl"`
				RepositoryID  string `json:"repositoryId"`
				KeyURL        string `json:"keyUrl"`
				Unusable      string `json:"unusable"`
			} `json:"holdfast"`
		} `json:"properties"`
	}
	err := json.Unmarshal(raw, &extension)
	v.RepositoryURL, v.RepositoryID = extension.Properties.Holdfast.RepositoryURL, extension.Properties.Holdfast.RepositoryID
	v.KeyURL, v.Unusable = extension.Properties.Holdfast.KeyURL, extension.Properties.Holdfast.Unusable
	return v, err
}

// Body is where the repository of a new vault is and what its key is. What is
// empty, the server chooses.
type Body struct {
	RepositoryURL string
	KeyID         string // a key in the server's directory of keys
	KeyURL        string // a key in a key service
}

// CreateVault makes a vault on a site and waits until its repository is there: one
// that has points already is taken over with them. A vault of that name
// that is there already is refused: this call never changes one.
func (c *Client) CreateVault(ctx context.Context, ref VaultRef, site string, b Body) (Vault, error) {
	if _, err := c.Vault(ctx, ref); err == nil {
		return Vault{}, &Error{Reason: Refused, Code: "VaultExists", Target: ref.Name,
			Message: "The vault " + ref.Name + " is there already."}
	} else if ReasonOf(err) != NotFound {
		return Vault{}, err
	}
	body, err := extended(&armrecoveryservices.Vault{
		Location: &site,
		SKU:      &armrecoveryservices.SKU{Name: to.Ptr(armrecoveryservices.SKUNameStandard)},
		Properties: &armrecoveryservices.VaultProperties{
			PublicNetworkAccess: to.Ptr(armrecoveryservices.PublicNetworkAccessEnabled),
		},
	}, nonEmpty(map[string]any{"repositoryUrl": b.RepositoryURL, "keyId": b.KeyID, "keyUrl": b.KeyURL}))
	if err != nil {
		return Vault{}, c.translate(ctx, err)
	}
	resp, err := c.send(ctx, http.MethodPut, c.url(c.vaultID(ref), vaultVersion), body, http.StatusOK, http.StatusCreated, http.StatusAccepted)
	if err != nil {
		return Vault{}, err
	}
	poller, err := runtime.NewPoller[armrecoveryservices.Vault](resp, c.arm.Pipeline(), nil)
	if err == nil {
		_, err = poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: pollerFrequency})
	}
	if err != nil {
		return Vault{}, c.translate(ctx, err)
	}
	return c.Vault(ctx, ref)
}

// Vault shows one vault.
func (c *Client) Vault(ctx context.Context, ref VaultRef) (Vault, error) {
	return get(ctx, c, decodeVault, func(ctx context.Context) error {
		_, err := c.vaults.Get(ctx, ref.Group, ref.Name, nil)
		return err
	})
}

// Vaults lists the vaults of a resource group, or with an empty group all.
func (c *Client) Vaults(ctx context.Context, group string) ([]Vault, error) {
	if group != "" {
		return list(ctx, c, decodeVault, c.vaults.NewListByResourceGroupPager(group, nil))
	}
	return list(ctx, c, decodeVault, c.vaults.NewListBySubscriptionIDPager(nil))
}

// DeleteVault deletes an empty vault; one with items in it is refused.
func (c *Client) DeleteVault(ctx context.Context, ref VaultRef) error {
	_, err := c.answer(ctx, func(ctx context.Context) error {
		_, err := c.vaults.Delete(ctx, ref.Group, ref.Name, nil)
		return err
	})
	return err
}

// extended is the JSON of an SDK model with properties.holdfast added, unless
// that is empty.
func extended(model json.Marshaler, holdfast map[string]any) (map[string]any, error) {
	b, err := model.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var body map[string]any
	if err := json.Unmarshal(b, &body); err != nil {
		return nil, err
	}
	if properties, ok := body["properties"].(map[string]any); ok && len(holdfast) > 0 {
		properties["holdfast"] = holdfast
	}
	return body, nil
}

// nonEmpty is m without its empty strings: what was not asked for is not sent.
func nonEmpty(m map[string]any) map[string]any {
	for k, v := range m {
		if v == "" {
			delete(m, k)
		}
	}
	return m
}
