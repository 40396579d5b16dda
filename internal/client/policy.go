package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	backup "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservicesbackup/v4"
)

// vmItems is the filter of lists that may hold other workloads than VMs.
const vmItems = "backupManagementType eq 'AzureIaasVM'"

// Policy says when a VM is backed up and how long points are kept. VM is the
// SDK's model, and nil if the policy is not one for VMs. Extension is what
// Holdfast's policies have beside it.
type Policy struct {
	Raw       json.RawMessage
	ID, Name  string
	VM        *backup.AzureIaaSVMProtectionPolicy
	Extension PolicyExtension
}

// PolicyExtension are the members of a policy that Azure's have not.
type PolicyExtension struct {
	FollowDaylightSaving bool `json:"followDaylightSaving"`
}

func decodePolicy(raw json.RawMessage) (Policy, error) {
	var m backup.ProtectionPolicyResource
	if err := json.Unmarshal(raw, &m); err != nil {
		return Policy{}, err
	}
	var ours struct {
		Properties struct {
			Holdfast PolicyExtension `json:"holdfast"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(raw, &ours); err != nil {
		return Policy{}, err
	}
	vm, _ := m.Properties.(*backup.AzureIaaSVMProtectionPolicy)
	return Policy{Raw: raw, ID: value(m.ID), Name: value(m.Name), VM: vm, Extension: ours.Properties.Holdfast}, nil
}

// PolicyID is the ARM id of a policy.
func (c *Client) PolicyID(v VaultRef, name string) string {
	return c.vaultID(v) + "/backupPolicies/" + name
}

// Policies lists the policies of a vault that are for VMs.
func (c *Client) Policies(ctx context.Context, v VaultRef) ([]Policy, error) {
	filter := vmItems
	return list(ctx, c, decodePolicy, c.backup.NewBackupPoliciesClient().NewListPager(v.Name, v.Group,
		&backup.BackupPoliciesClientListOptions{Filter: &filter}))
}

// Policy shows one policy.
func (c *Client) Policy(ctx context.Context, v VaultRef, name string) (Policy, error) {
	return get(ctx, c, decodePolicy, func(ctx context.Context) error {
		_, err := c.backup.NewProtectionPoliciesClient().Get(ctx, v.Name, v.Group, name, nil)
		return err
	})
}

// PutPolicy makes a policy or changes the one of that name. Its properties are
// sent as they are, and not through the SDK's model, which would drop the
// members that it does not know.
func (c *Client) PutPolicy(ctx context.Context, v VaultRef, name string, properties json.RawMessage) (Policy, error) {
	body := map[string]any{"properties": properties}
	return get(ctx, c, decodePolicy, func(ctx context.Context) error {
		_, err := c.send(ctx, http.MethodPut, c.url(c.PolicyID(v, name), backupVersion), body, http.StatusOK)
		return err
	})
}

// ParsePolicy reads a policy for VMs from JSON, the whole resource as a show
// prints it or its properties alone, and returns the properties. What the SDK
// does not know is an error where it decides what the rest means.
func ParsePolicy(b []byte) (json.RawMessage, error) {
	var whole struct {
		Properties json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(b, &whole); err != nil {
		return nil, err
	}
	if whole.Properties == nil {
		whole.Properties = b
	}
	var kind struct {
		Type string `json:"backupManagementType"`
	}
	if err := json.Unmarshal(whole.Properties, &kind); err != nil {
		return nil, err
	}
	if want := string(backup.BackupManagementTypeAzureIaasVM); kind.Type != want {
		return nil, fmt.Errorf("backupManagementType is %q; a policy for VMs has %q", kind.Type, want)
	}
	var p backup.AzureIaaSVMProtectionPolicy
	if err := json.Unmarshal(whole.Properties, &p); err != nil {
		return nil, err
	}
	switch p.SchedulePolicy.(type) {
	case *backup.SimpleSchedulePolicy, *backup.SimpleSchedulePolicyV2:
	default:
		return nil, errors.New("schedulePolicy.schedulePolicyType is not SimpleSchedulePolicy or SimpleSchedulePolicyV2")
	}
	switch p.RetentionPolicy.(type) {
	case *backup.LongTermRetentionPolicy, *backup.SimpleRetentionPolicy:
	default:
		return nil, errors.New("retentionPolicy.retentionPolicyType is not LongTermRetentionPolicy or SimpleRetentionPolicy")
	}
	return whole.Properties, nil
}

// DeletePolicy deletes a policy; one that protects something is refused.
func (c *Client) DeletePolicy(ctx context.Context, v VaultRef, name string) error {
	poller, err := c.backup.NewProtectionPoliciesClient().BeginDelete(ctx, v.Name, v.Group, name, nil)
	if err == nil {
		_, err = poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: pollerFrequency})
	}
	return c.translate(ctx, err)
}

// PolicyPreview says what a policy would do.
type PolicyPreview struct {
	Raw    json.RawMessage `json:"-"`
	At     time.Time       `json:"at"`
	Points []PreviewPoint  `json:"points"` // that there are then, oldest first
	Items  []PreviewItem   `json:"items"`
}

// PreviewPoint is one point of a preview.
type PreviewPoint struct {
	Name    string    `json:"name"` // "" for one that is yet to be made
	Time    time.Time `json:"time"`
	Expires time.Time `json:"expiryTime"` // zero is never
	Tags    []string  `json:"tags"`       // of retention that hold it
}

// PreviewItem says what saving the policy does to the points of one VM.
type PreviewItem struct {
	VM           string         `json:"friendlyName"`
	Points       int            `json:"points"`
	Shortened    int            `json:"shortened"`
	Lengthened   int            `json:"lengthened"`
	DeletedCount int            `json:"deletedCount"`
	Deleted      []PreviewPoint `json:"deleted"` // the first thousand
}

// PreviewPolicy asks what a policy does until a moment; zero is now. With
// properties it asks of that policy before it is saved, with an item how the
// points of that one will be.
func (c *Client) PreviewPolicy(ctx context.Context, v VaultRef, name string, properties json.RawMessage, at time.Time, item string) (PolicyPreview, error) {
	body := map[string]any{}
	if properties != nil {
		body["properties"] = properties
	}
	if !at.IsZero() {
		body["at"] = at.UTC().Format(time.RFC3339)
	}
	if item != "" {
		body["protectedItemId"] = item
	}
	decode := func(raw json.RawMessage) (p PolicyPreview, err error) {
		p.Raw = raw
		return p, json.Unmarshal(raw, &p)
	}
	return get(ctx, c, decode, func(ctx context.Context) error {
		_, err := c.send(ctx, http.MethodPost, c.url(c.PolicyID(v, name)+"/preview", backupVersion), body, http.StatusOK)
		return err
	})
}
