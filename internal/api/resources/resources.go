// Package resources is the wire form of subscriptions, locations, resource
// groups, sites and vaults. The types are small and its own: newer clients send
// members that an SDK of one version would drop (arm-contract, 8).
package resources

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"

	"holdfast"
	"holdfast/internal/resource"
	"holdfast/internal/service"
)

// Resource is any ARM resource.
type Resource struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	ETag       string            `json:"etag,omitempty"`
	ManagedBy  string            `json:"managedBy,omitempty"`
	SKU        map[string]any    `json:"sku,omitempty"`
	Identity   map[string]any    `json:"identity,omitempty"`
	Properties any               `json:"properties,omitempty"`
}

// Input is what a client sends of a tracked resource.
type Input struct {
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	SKU        map[string]any    `json:"sku"`
	Identity   map[string]any    `json:"identity"`
	Properties json.RawMessage   `json:"properties"`
}

// Decode reads a request body.
func Decode[T any](body []byte) (v T, err error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return v, holdfast.Errorf(holdfast.Invalid, "", "The request has no body.")
	}
	return v, unmarshal(body, &v)
}

func unmarshal(body []byte, into any) error {
	err := json.Unmarshal(body, into)
	var t *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &t):
		return holdfast.Errorf(holdfast.Invalid, t.Field, "The request body cannot be read: %s is a %s.", t.Field, t.Value)
	}
	return holdfast.Errorf(holdfast.Invalid, "", "The request body is not valid JSON: %v.", err)
}

// Subscription is a subscription on the wire.
func Subscription(s resource.Subscription) map[string]any {
	return map[string]any{
		"id": "/subscriptions/" + s.SubscriptionID, "subscriptionId": s.SubscriptionID, "tenantId": s.TenantID, "displayName": s.Name,
		"state": "Enabled", "managedByTenants": []any{}, "authorizationSource": "RoleBased",
		"subscriptionPolicies": map[string]any{"locationPlacementId": "Internal_2014-09-01", "quotaId": "Internal_2014-09-01", "spendingLimit": "Off"},
	}
}

// Location is a site as a location.
func Location(sub string, s service.Site) map[string]any {
	name := resource.Location(s.Name)
	return map[string]any{
		"id": "/subscriptions/" + sub + "/locations/" + name, "name": name, "displayName": s.Name, "regionalDisplayName": s.Name, "type": "Region",
		"metadata": map[string]any{"regionType": "Physical", "regionCategory": "Recommended", "geographyGroup": "Holdfast", "pairedRegion": []any{}},
	}
}

// Group is a resource group on the wire.
func Group(g resource.Group) Resource {
	return Resource{ID: g.ID, Name: g.Name, Type: resource.TypeGroup, Location: g.Location, Tags: g.Tags, ETag: g.ETag,
		Properties: map[string]string{"provisioningState": "Succeeded"}}
}

// Move is what a client asks to be moved.
type Move struct {
	Resources []string `json:"resources"`
	Target    string   `json:"targetResourceGroup"`
}

// DecodeMove reads moveResources and validateMoveResources.
func DecodeMove(body []byte) (Move, error) { return Decode[Move](body) }

// Tags are the tags of a resource as a resource of their own.
func Tags(of string, tags map[string]string) Resource {
	if tags == nil {
		tags = map[string]string{}
	}
	return Resource{ID: of + "/providers/Microsoft.Resources/tags/default", Name: "default", Type: "Microsoft.Resources/tags",
		Properties: map[string]any{"tags": tags}}
}

// TagChange is what PUT and PATCH on tags ask for.
type TagChange struct {
	Operation string // of PATCH: Replace, Merge or Delete
	Tags      map[string]string
}

// DecodeTags reads PUT and PATCH on tags.
func DecodeTags(body []byte) (TagChange, error) {
	in, err := Decode[struct {
		Operation  string `json:"operation"`
		Properties struct {
			Tags map[string]string `json:"tags"`
		} `json:"properties"`
	}](body)
	return TagChange{Operation: in.Operation, Tags: in.Properties.Tags}, err
}

// SiteProperties are the properties of a site.
type SiteProperties struct {
	URI           string `json:"uri"`
	ResourceGroup string `json:"resourceGroup"`
	ScratchDir    string `json:"scratchDir,omitempty"`
	ScratchLimit  int64  `json:"scratchLimit,omitempty"` // of one backup, bytes
	ReadRate      int64  `json:"readRate,omitempty"`     // of one backup, bytes per second

	CollectRate int64 `json:"collectRate,omitempty"` // of freeing storage, bytes per second; 0 is 100 MiB
	MaxBackups  int   `json:"maxBackups,omitempty"`  // scheduled backups at once; 0 is 4

	PoolClasses      map[string]string `json:"poolClasses,omitempty"`      // disk class of each pool
	WriteAccelerator bool              `json:"writeAccelerator,omitempty"` // write accelerated disks are backed up
	EncryptedPools   []string          `json:"encryptedPools,omitempty"`   // pools that encrypt what they hold

	// OperationalDir is where the site's operational repository is.
	OperationalDir string `json:"operationalDir,omitempty"`

	// Read only: how that repository is.
	Operational *Operational `json:"operational,omitempty"`

	// Read only, and live: what the host says now.
	ProvisioningState string              `json:"provisioningState,omitempty"`
	Host              string              `json:"host,omitempty"`
	LibvirtVersion    string              `json:"libvirtVersion,omitempty"`
	QEMUVersion       string              `json:"qemuVersion,omitempty"`
	Pools             []holdfast.PoolFact `json:"pools,omitempty"`
	Networks          []string            `json:"networks,omitempty"`
	// Unreachable says why the live members are missing.
	Unreachable string `json:"unreachable,omitempty"`
}

// Operational is how a site's operational repository is.
type Operational struct {
	Examined   *time.Time `json:"examined,omitempty"`   // when all of it was last read
	Unreadable int        `json:"unreadable,omitempty"` // restore points
	// SetAside are directories of former ones that could not be used any more; nobody
	// but their owner deletes them.
	SetAside []holdfast.Aside `json:"setAside,omitempty"`
}

// Site is a site on the wire, without what only its host knows.
func Site(s service.Site) (Resource, *SiteProperties) {
	p := &SiteProperties{URI: s.URI, ResourceGroup: s.Group, ScratchDir: s.ScratchDir, ScratchLimit: s.ScratchLimit, ReadRate: s.ReadRate, MaxBackups: s.MaxBackups, CollectRate: s.CollectRate, PoolClasses: s.PoolClasses, EncryptedPools: s.EncryptedPools, WriteAccelerator: s.WriteAccelerator, OperationalDir: s.OperationalDir, ProvisioningState: "Succeeded"}
	return Resource{ID: s.ID, Name: s.Name, Type: resource.TypeSite, Location: resource.Location(s.Name), ETag: s.ETag, Properties: p}, p
}

// LiveSite is a site with how its operational repository is and what its host says
// now; err is why it does not.
func LiveSite(s service.Site, o service.Operational, have holdfast.DiscoverResult, err error) Resource {
	r, p := Site(s)
	p.OperationalDir, p.Operational = o.Dir, &Operational{Unreadable: o.Unreadable, SetAside: o.Asides}
	if !o.Examined.IsZero() {
		p.Operational.Examined = &o.Examined
	}
	if err != nil {
		p.Unreachable = "The host does not answer."
		var e *holdfast.Error
		if errors.As(err, &e) {
			p.Unreachable = e.Message
		}
		return r
	}
	p.Host, p.LibvirtVersion, p.QEMUVersion, p.Pools, p.Networks = have.Host, have.Libvirt, have.QEMU, have.Pools, have.Networks
	return r
}

// DecodeSite reads PUT on a site.
func DecodeSite(body []byte) (service.Site, error) {
	in, err := Decode[struct {
		Properties SiteProperties `json:"properties"`
	}](body)
	p := in.Properties
	return service.Site{URI: p.URI, Group: p.ResourceGroup, ScratchDir: p.ScratchDir, ScratchLimit: p.ScratchLimit, ReadRate: p.ReadRate, MaxBackups: p.MaxBackups, CollectRate: p.CollectRate, PoolClasses: p.PoolClasses, EncryptedPools: p.EncryptedPools, WriteAccelerator: p.WriteAccelerator, OperationalDir: p.OperationalDir}, err
}
