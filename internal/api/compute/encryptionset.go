package compute

import (
	sdk "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"

	"holdfast"
	"holdfast/internal/api/resources"
	"holdfast/internal/service"
)

// DecodeEncryptionSet reads PUT and PATCH on a disk encryption set
// (armcompute/v6, DiskEncryptionSet and DiskEncryptionSetUpdate).
func DecodeEncryptionSet(body []byte) (service.EncryptionSetInput, error) {
	in, err := resources.Decode[struct {
		Location string            `json:"location"`
		Tags     map[string]string `json:"tags"`
		Identity struct {
			Type string `json:"type"`
		} `json:"identity"`
		Properties struct {
			EncryptionType service.SetKind `json:"encryptionType"`
			ActiveKey      struct {
				KeyURL      string    `json:"keyUrl"`
				SourceVault reference `json:"sourceVault"`
			} `json:"activeKey"`
		} `json:"properties"`
	}](body)
	p := in.Properties
	return service.EncryptionSetInput{Location: in.Location, Tags: in.Tags, Identity: in.Identity.Type, Kind: p.EncryptionType, KeyURL: p.ActiveKey.KeyURL, SourceVault: p.ActiveKey.SourceVault.ID}, err
}

// EncryptionSet is a disk encryption set on the wire.
func EncryptionSet(e service.EncryptionSet) resources.Resource {
	key := map[string]any{"keyUrl": e.KeyURL}
	if e.SourceVault != "" {
		key["sourceVault"] = reference{e.SourceVault}
	}
	r := resources.Resource{ID: e.ID, Name: e.Name, Type: service.TypeEncryptionSet, Location: e.Location, Tags: e.Tags, ETag: e.ETag, Properties: map[string]any{
		"provisioningState": "Succeeded", "encryptionType": e.Kind, "activeKey": key, "previousKeys": []any{},
		"rotationToLatestKeyVersionEnabled": false, "lastKeyRotationTimestamp": e.Created.UTC(),
	}}
	if e.Identity != "" {
		r.Identity = map[string]any{"type": e.Identity}
	}
	return r
}

// encryptionOf says under which keys a restore point is (armcompute/v6, Encryption
// and RestorePointEncryption have the same words).
func encryptionOf(r service.RestorePoint) sdk.EncryptionType {
	switch {
	case r.Set == "":
		return sdk.EncryptionTypeEncryptionAtRestWithPlatformKey
	case r.Repository.Twice:
		return sdk.EncryptionTypeEncryptionAtRestWithPlatformAndCustomerKeys
	}
	return sdk.EncryptionTypeEncryptionAtRestWithCustomerKey
}

// restorePointEncryption is how a disk in a restore point is encrypted.
func restorePointEncryption(r service.RestorePoint) *sdk.RestorePointEncryption {
	kind := sdk.RestorePointEncryptionType(encryptionOf(r))
	e := &sdk.RestorePointEncryption{Type: &kind}
	if r.Set != "" {
		e.DiskEncryptionSet = &sdk.DiskEncryptionSetParameters{ID: &r.Set}
	}
	return e
}

// diskPointEncryption is that of a disk restore point.
func diskPointEncryption(r service.RestorePoint) map[string]any {
	e := map[string]any{"type": encryptionOf(r)}
	if r.Set != "" {
		e["diskEncryptionSetId"] = r.Set
	}
	return e
}

// secretURL is where Azure has the URL of a secret: here that of a libvirt secret
// which the point keeps. Nobody is given its value.
func secretURL(uuid string) string { return "libvirt://secret/" + uuid }

// encryptionSettings are Azure's words for a disk that its machine's own key opens:
// LUKS under a libvirt secret; nil for another.
func encryptionSettings(k holdfast.DiskFact) *sdk.DiskEncryptionSettings {
	if k.Secret == "" {
		return nil
	}
	enabled, url := true, secretURL(k.Secret)
	return &sdk.DiskEncryptionSettings{Enabled: &enabled, DiskEncryptionKey: &sdk.KeyVaultSecretReference{SecretURL: &url}}
}

// secrets are the libvirt secrets that a point keeps, by disk: armcompute has a member
// for that of the OS disk only.
func secrets(f holdfast.VMFact) []map[string]string {
	all := []map[string]string{}
	for _, k := range f.Disks {
		if k.Secret != "" {
			all = append(all, map[string]string{"disk": k.Target, "secretUrl": secretURL(k.Secret)})
		}
	}
	return all
}
