package resources

import (
	"encoding/json"
	"maps"

	"holdfast"
	"holdfast/internal/resource"
	"holdfast/internal/service"
)

// Vault is a vault on the wire.
func Vault(v service.Vault) Resource {
	p := v.AllSettings()
	p["provisioningState"] = "Succeeded"
	p["privateEndpointStateForBackup"], p["privateEndpointStateForSiteRecovery"] = "None", "None"
	p["backupStorageVersion"] = "V2"
	p["holdfast"] = map[string]any{"repositoryUrl": v.Repository.URL, "repositoryId": v.RepositoryID, "keyId": v.Repository.KeyID}
	if v.Repository.KeyURL != "" {
		p["holdfast"].(map[string]any)["keyUrl"] = v.Repository.KeyURL
	}
	sku := v.SKU
	if sku == nil {
		sku = map[string]any{"name": "Standard"}
	}
	return Resource{ID: v.ID, Name: v.Name, Type: resource.TypeVault, Location: v.Location, Tags: v.Tags, ETag: v.ETag, SKU: sku, Identity: v.Identity, Properties: p}
}

// LiveVault is a vault with why it cannot be used now, if it cannot.
// provisioningState stays Succeeded: the vault is there, and clients take
// everything else for work that goes on.
func LiveVault(v service.Vault, unusable string) Resource {
	r := Vault(v)
	if p, ok := r.Properties.(map[string]any); ok && unusable != "" {
		p["holdfast"].(map[string]any)["unusable"] = unusable
	}
	return r
}

// readOnly are the members of a vault that clients send back and that are ignored.
var readOnly = []string{"provisioningState", "privateEndpointStateForBackup", "privateEndpointStateForSiteRecovery", "privateEndpointConnections",
	"backupStorageVersion", "upgradeDetails", "moveDetails", "moveState", "secureScore", "bcdrSecurityLevel", "holdfast"}

// DecodeVault reads PUT and PATCH on a vault.
func DecodeVault(body []byte) (service.VaultInput, error) {
	in, err := Decode[Input](body)
	if err != nil {
		return service.VaultInput{}, err
	}
	out := service.VaultInput{Location: in.Location, Tags: in.Tags, SKU: in.SKU, Identity: in.Identity}
	if len(in.Properties) == 0 {
		return out, nil
	}
	if err := json.Unmarshal(in.Properties, &out.Settings); err != nil {
		return out, holdfast.Errorf(holdfast.Invalid, "properties", "properties must be an object.")
	}
	var own struct {
		Holdfast struct {
			RepositoryURL string `json:"repositoryUrl"`
			KeyID         string `json:"keyId"`
			KeyURL        string `json:"keyUrl"`
		} `json:"holdfast"`
	}
	if err := unmarshal(in.Properties, &own); err != nil {
		return out, err
	}
	out.RepositoryURL, out.KeyID, out.KeyURL = own.Holdfast.RepositoryURL, own.Holdfast.KeyID, own.Holdfast.KeyURL
	out.Settings = maps.Clone(out.Settings)
	for _, member := range readOnly {
		delete(out.Settings, member)
	}
	return out, nil
}

// DecodePolicy reads PUT on a policy: its properties, as they are.
func DecodePolicy(body []byte) (json.RawMessage, error) {
	in, err := Decode[Input](body)
	if err == nil && len(in.Properties) == 0 {
		err = holdfast.Errorf(holdfast.Invalid, "properties", "properties is missing.")
	}
	return in.Properties, err
}

// Policy is a policy on the wire: what its owner wrote, and how many items it
// protects. That is a number always: az compares it.
func Policy(p service.Policy) (Resource, error) {
	var properties map[string]any
	if err := json.Unmarshal(p.Properties, &properties); err != nil {
		return Resource{}, err
	}
	properties["protectedItemsCount"] = p.Items
	return Resource{ID: p.ID, Name: p.Name, Type: resource.TypePolicy, ETag: p.ETag, Properties: properties}, nil
}
