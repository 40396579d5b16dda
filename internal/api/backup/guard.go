package backup

import (
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	sdk "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservicesbackup/v4"

	"holdfast"
	"holdfast/internal/resource"
	"holdfast/internal/service"
)

// Guard is a resource guard on the wire (Microsoft.DataProtection, resourceGuards).
func Guard(g service.Guard) map[string]any {
	operations := []map[string]any{}
	for _, c := range service.Criticals() {
		operations = append(operations, map[string]any{"vaultCriticalOperation": c.Action, "requestResourceType": service.TypeGuard + "/" + c.Request})
	}
	excluded := g.Excluded
	if excluded == nil {
		excluded = []string{}
	}
	return map[string]any{
		"id": g.ID, "name": g.Name, "type": service.TypeGuard, "location": g.Location, "tags": g.Tags, "eTag": g.ETag,
		"properties": map[string]any{
			"provisioningState": "Succeeded", "allowAutoApprovals": false,
			"resourceGuardOperations": operations, "vaultCriticalOperationExclusionList": excluded,
		},
	}
}

// DecodeGuard reads PUT on a resource guard.
func DecodeGuard(body []byte) (g service.Guard, err error) {
	var r struct {
		Location   string            `json:"location"`
		Tags       map[string]string `json:"tags"`
		Properties struct {
			Excluded []string `json:"vaultCriticalOperationExclusionList"`
		} `json:"properties"`
	}
	if err := decode(body, &r); err != nil {
		return g, err
	}
	return service.Guard{Location: resource.Location(r.Location), Tags: r.Tags, Excluded: r.Properties.Excluded}, nil
}

// GuardRequest is the one request object of a critical operation of a guard:
// who has the guard's leave names it.
func GuardRequest(g service.Guard, c service.Critical) map[string]any {
	return map[string]any{"id": g.ID + "/" + c.Request + "/default", "name": "default", "type": service.TypeGuard + "/" + c.Request}
}

// Proxy is a vault's link to a guard on the wire.
func Proxy(p service.Proxy) *sdk.ResourceGuardProxyBaseResource {
	operations := []*sdk.ResourceGuardOperationDetail{}
	for _, c := range p.Operations {
		operations = append(operations, &sdk.ResourceGuardOperationDetail{VaultCriticalOperation: to.Ptr(c.Action), DefaultResourceRequest: to.Ptr(p.Guard + "/" + c.Request + "/default")})
	}
	return &sdk.ResourceGuardProxyBaseResource{ID: &p.ID, Name: &p.Name, Type: to.Ptr(service.TypeProxy), ETag: &p.ETag,
		Properties: &sdk.ResourceGuardProxyBase{ResourceGuardResourceID: &p.Guard, ResourceGuardOperationDetails: operations, LastUpdatedTime: to.Ptr(p.Updated.UTC().Format(time.RFC3339))}}
}

// DecodeProxy reads PUT on a vault's link to a guard: the guard's id.
func DecodeProxy(body []byte) (string, error) {
	var r sdk.ResourceGuardProxyBaseResource
	if err := decode(body, &r); err != nil {
		return "", err
	}
	if r.Properties == nil || r.Properties.ResourceGuardResourceID == nil {
		return "", holdfast.Errorf(holdfast.Invalid, "properties.resourceGuardResourceId", "properties.resourceGuardResourceId is missing.")
	}
	return *r.Properties.ResourceGuardResourceID, nil
}

// Unlocked is the answer to unlockDelete.
func Unlocked(until time.Time) sdk.UnlockDeleteResponse {
	return sdk.UnlockDeleteResponse{UnlockDeleteExpiryTime: to.Ptr(until.UTC().Format(time.RFC3339))}
}

// Protection is what immutability means for a vault.
func Protection(p service.Protection) map[string]any {
	refused := []string{"deleting an item with points that have not expired", "making a point expire sooner", "a policy that keeps less, for a policy or an item"}
	return map[string]any{"state": p.State, "points": p.Points, "until": stampOf(p.Until), "keptForEver": p.ForEver, "storeHoldDays": p.HoldDays, "wouldHoldDays": p.WouldHold, "refused": refused}
}

// DecodeExpiry reads PATCH on a recovery point: until when it is kept.
func DecodeExpiry(body []byte) (time.Time, error) {
	const member = "properties.recoveryPointProperties.expiryTime"
	var r struct {
		Properties struct {
			Point struct {
				Expiry string `json:"expiryTime"`
			} `json:"recoveryPointProperties"`
		} `json:"properties"`
	}
	if err := decode(body, &r); err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, r.Properties.Point.Expiry)
	if err != nil {
		return t, holdfast.Errorf(holdfast.Invalid, member, "%s is %q; a time is written 2024-01-02T15:04:05Z.", member, r.Properties.Point.Expiry)
	}
	return t, nil
}
