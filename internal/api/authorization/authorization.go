// Package authorization is the wire form of roles, role assignments, locks and
// service principals, in the forms of Microsoft.Authorization and of the little
// of Microsoft Graph that az asks for.
package authorization

import (
	"strings"

	"holdfast"
	"holdfast/internal/api/resources"
	"holdfast/internal/authz"
	"holdfast/internal/identity"
	"holdfast/internal/resource"
)

// TypeAssignment and TypeRole are resource types.
const (
	TypeAssignment = "Microsoft.Authorization/roleAssignments"
	TypeRole       = "Microsoft.Authorization/roleDefinitions"
)

type permission struct {
	Actions        []string `json:"actions"`
	NotActions     []string `json:"notActions"`
	DataActions    []string `json:"dataActions"`
	NotDataActions []string `json:"notDataActions"`
}

type role struct {
	RoleName         string       `json:"roleName"`
	Type             string       `json:"type"`
	Description      string       `json:"description"`
	Permissions      []permission `json:"permissions"`
	AssignableScopes []string     `json:"assignableScopes"`
}

// RoleID is the ARM id of a role definition in a subscription.
func RoleID(sub, guid string) string {
	if sub == "" {
		return "/providers/" + TypeRole + "/" + guid
	}
	return "/subscriptions/" + sub + "/providers/" + TypeRole + "/" + guid
}

// Role is a role definition on the wire.
func Role(sub string, r authz.Role) resources.Resource {
	kind, scopes := "BuiltInRole", []string{"/"}
	if len(r.Scopes) > 0 {
		kind, scopes = "CustomRole", r.Scopes
	}
	return resources.Resource{ID: RoleID(sub, r.ID), Name: r.ID, Type: TypeRole, Properties: role{
		RoleName: r.Name, Type: kind, Description: r.Description, AssignableScopes: scopes,
		Permissions: []permission{{Actions: words(r.Actions), NotActions: words(r.NotActions), DataActions: []string{}, NotDataActions: []string{}}},
	}}
}

// words is the list, never null.
func words(list []string) []string { return append([]string{}, list...) }

// DecodeRole reads PUT on a role definition.
func DecodeRole(body []byte) (authz.Role, error) {
	in, err := resources.Decode[struct {
		Properties role `json:"properties"`
	}](body)
	p := in.Properties
	r := authz.Role{Name: p.RoleName, Description: p.Description, Scopes: p.AssignableScopes}
	for _, perm := range p.Permissions {
		r.Actions, r.NotActions = append(r.Actions, perm.Actions...), append(r.NotActions, perm.NotActions...)
	}
	if err == nil && len(r.Scopes) == 0 {
		err = holdfast.Errorf(holdfast.Invalid, "properties.assignableScopes", "A custom role needs properties.assignableScopes.")
	}
	return r, err
}

// Assignment is a role assignment on the wire.
func Assignment(sub string, a authz.Assignment) resources.Resource {
	return resources.Resource{ID: a.ID, Name: a.ID[strings.LastIndexByte(a.ID, '/')+1:], Type: TypeAssignment, Properties: map[string]any{
		"roleDefinitionId": RoleID(sub, a.RoleID), "principalId": a.PrincipalID, "principalType": "ServicePrincipal", "scope": a.Scope,
	}}
}

// DecodeAssignment reads PUT on a role assignment: which role, and who.
func DecodeAssignment(body []byte) (authz.Assignment, error) {
	in, err := resources.Decode[struct {
		Properties struct {
			RoleDefinitionID string `json:"roleDefinitionId"`
			PrincipalID      string `json:"principalId"`
		} `json:"properties"`
	}](body)
	id := in.Properties.RoleDefinitionID
	return authz.Assignment{RoleID: strings.ToLower(id[strings.LastIndexByte(id, '/')+1:]), PrincipalID: in.Properties.PrincipalID}, err
}

// Lock is a lock on the wire.
func Lock(l resource.Lock) resources.Resource {
	properties := map[string]string{"level": l.Level}
	if l.Notes != "" {
		properties["notes"] = l.Notes
	}
	return resources.Resource{ID: l.ID, Name: l.Name, Type: resource.TypeLock, Properties: properties}
}

// DecodeLock reads PUT on a lock.
func DecodeLock(body []byte) (resource.Lock, error) {
	in, err := resources.Decode[struct {
		Properties struct {
			Level string `json:"level"`
			Notes string `json:"notes"`
		} `json:"properties"`
	}](body)
	return resource.Lock{Level: in.Properties.Level, Notes: in.Properties.Notes}, err
}

// Principal is a service principal as Graph shows it. secret is "" but for the
// answer that makes it.
func Principal(p identity.Principal, secret string) map[string]any {
	m := map[string]any{
		"@odata.type": "#microsoft.graph.servicePrincipal", "id": p.ID, "appId": p.ClientID, "displayName": p.Name,
		"servicePrincipalNames": []string{p.ClientID}, "servicePrincipalType": "Application",
	}
	if secret != "" {
		m["secretText"] = secret
	}
	if p.Subject != "" {
		m["subject"] = p.Subject
	}
	return m
}

// NewPrincipal is what a client says of a new principal.
type NewPrincipal struct {
	DisplayName string `json:"displayName"`
	Subject     string `json:"subject"` // to the outside issuer; Holdfast's own member
}

// DecodePrincipal reads a new principal.
func DecodePrincipal(body []byte) (NewPrincipal, error) {
	return resources.Decode[NewPrincipal](body)
}

// DecodeIDs reads the ids of getByIds.
func DecodeIDs(body []byte) ([]string, error) {
	in, err := resources.Decode[struct {
		IDs []string `json:"ids"`
	}](body)
	return in.IDs, err
}
