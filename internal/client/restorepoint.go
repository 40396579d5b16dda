package client

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"
)

const (
	restorePointVersion = "2024-11-01"
	collections         = "/providers/Microsoft.Compute/restorePointCollections"
)

// RestorePoint is a restore point of a VM.
type RestorePoint struct {
	Raw         json.RawMessage
	ID, Name    string
	Collection  string
	Site        string // that has it
	State       string // Creating, Succeeded, Failed or Deleting
	Consistency string
	Source      string // ARM id of the point that it is a copy of; empty for none
	Time        time.Time
	Disks       []string // names in the VM of those in the point
	Warnings    []string // of its making
	Failure     string   // why it is Failed, and what to do
}

func decodeRestorePoint(raw json.RawMessage) (RestorePoint, error) {
	var m armcompute.RestorePoint
	if err := json.Unmarshal(raw, &m); err != nil || m.Properties == nil {
		return RestorePoint{}, err
	}
	p := RestorePoint{Raw: raw, ID: value(m.ID), Name: value(m.Name), State: value(m.Properties.ProvisioningState), Consistency: string(value(m.Properties.ConsistencyMode)), Time: value(m.Properties.TimeCreated)}
	var beside struct {
		Properties struct {
			Holdfast struct {
				Warnings []string
				Failure  string
			}
		}
	}
	if err := json.Unmarshal(raw, &beside); err != nil {
		return p, err
	}
	p.Warnings, p.Failure = beside.Properties.Holdfast.Warnings, beside.Properties.Holdfast.Failure
	if m.Properties.SourceRestorePoint != nil {
		p.Source = value(m.Properties.SourceRestorePoint.ID)
	}
	if m.Properties.SourceMetadata == nil || m.Properties.SourceMetadata.StorageProfile == nil {
		return p, nil
	}
	s := m.Properties.SourceMetadata.StorageProfile
	if s.OSDisk != nil && s.OSDisk.DiskRestorePoint != nil {
		p.Disks = append(p.Disks, value(s.OSDisk.Name))
	}
	for d := range each(s.DataDisks) {
		if d.DiskRestorePoint != nil {
			p.Disks = append(p.Disks, value(d.Name))
		}
	}
	return p, nil
}

// RestorePoints lists the restore points of a VM in all collections, the copies at
// other sites included, collection by collection.
func (c *Client) RestorePoints(ctx context.Context, vm VM) ([]RestorePoint, error) {
	var found struct {
		Value []struct {
			ID, Location string
			Properties   struct{ Source struct{ ID string } }
		}
	}
	if err := c.read(ctx, "/subscriptions/"+c.Subscription()+collections, "", &found); err != nil {
		return nil, err
	}
	of := map[string]bool{strings.ToLower(vm.ID): true} // the VM, and collections of it
	var all []RestorePoint
	for range 2 { // copies after what they are of
		for _, one := range found.Value {
			id := strings.ToLower(one.ID)
			if of[id] || !of[strings.ToLower(one.Properties.Source.ID)] {
				continue
			}
			of[id] = true
			var full struct {
				Properties struct{ RestorePoints []json.RawMessage }
			}
			if err := c.read(ctx, one.ID, "&$expand=restorePoints", &full); err != nil {
				return nil, err
			}
			for _, raw := range full.Properties.RestorePoints {
				p, err := decodeRestorePoint(raw)
				if err != nil {
					return nil, err
				}
				p.Collection, p.Site = one.ID[strings.LastIndexByte(one.ID, '/')+1:], one.Location
				all = append(all, p)
			}
		}
	}
	return all, nil
}

// read reads a resource into v.
func (c *Client) read(ctx context.Context, id, query string, v any) error {
	resp, err := c.send(ctx, http.MethodGet, c.url(id, restorePointVersion)+query, nil, http.StatusOK)
	if err != nil {
		return err
	}
	return c.translate(ctx, runtime.UnmarshalAsJSON(resp, v))
}

// CreateRestorePoint makes a restore point of a VM and waits until it is there. The
// collection, in the VM's resource group, is made if need be.
func (c *Client) CreateRestorePoint(ctx context.Context, vm VM, collection, name, consistency string, exclude []string) (RestorePoint, error) {
	id := c.groupID(vm.Group) + collections + "/" + collection
	body := map[string]any{"location": vm.Site, "properties": map[string]any{"source": map[string]any{"id": vm.ID}}}
	if _, err := c.send(ctx, http.MethodPut, c.url(id, restorePointVersion), body, http.StatusOK, http.StatusCreated); err != nil {
		return RestorePoint{}, err
	}
	properties := map[string]any{}
	if consistency != "" {
		properties["consistencyMode"] = consistency
	}
	left := []map[string]any{}
	for _, d := range exclude {
		left = append(left, map[string]any{"id": d})
	}
	properties["excludeDisks"] = left
	id += "/restorePoints/" + name
	resp, err := c.send(ctx, http.MethodPut, c.url(id, restorePointVersion), map[string]any{"properties": properties}, http.StatusCreated)
	if err != nil {
		return RestorePoint{}, err
	}
	if _, err := c.operation(ctx, resp); err != nil {
		return RestorePoint{}, err
	}
	var raw json.RawMessage
	if err := c.read(ctx, id, "", &raw); err != nil {
		return RestorePoint{}, err
	}
	p, err := decodeRestorePoint(raw)
	p.Collection, p.Site = collection, vm.Site
	return p, err
}

// DeleteRestorePoint deletes a restore point and waits until it is gone.
func (c *Client) DeleteRestorePoint(ctx context.Context, p RestorePoint) error {
	resp, err := c.send(ctx, http.MethodDelete, c.url(p.ID, restorePointVersion), nil, http.StatusAccepted, http.StatusNoContent)
	if err != nil || resp.StatusCode == http.StatusNoContent {
		return err
	}
	_, err = c.operation(ctx, resp)
	return err
}
