package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/google/uuid"
)

// roleVersion is the api-version of roles and their assignments (contract,
// section 4).
const roleVersion = "2022-04-01"

// Principal is who may sign in, as Microsoft Graph shows a service principal.
// Raw holds the secret where Secret does.
type Principal struct {
	Raw    json.RawMessage `json:"-"`
	ID     string          `json:"id"`
	Client string          `json:"appId"`
	Name   string          `json:"displayName"`
	Secret string          `json:"secretText"` // answered once: when it is made
}

// String is the principal without its secret.
func (p Principal) String() string { return p.Name + " (" + p.Client + ")" }

// GoString is String.
func (p Principal) GoString() string { return p.String() }

func decodePrincipal(raw json.RawMessage) (Principal, error) {
	p := Principal{Raw: raw}
	err := json.Unmarshal(raw, &p)
	return p, err
}

// principalURL is where the principals are, or one of them.
func (c *Client) principalURL(rest ...string) string {
	u := c.config.Endpoint + "/v1.0/servicePrincipals"
	for _, r := range rest {
		u += "/" + url.PathEscape(r)
	}
	return u
}

// Principals lists who may sign in.
func (c *Client) Principals(ctx context.Context) ([]Principal, error) {
	return listFrom(ctx, c, decodePrincipal, c.principalURL())
}

// CreatePrincipal makes a principal that may sign in and may do nothing yet.
// With a subject, tokens of the server's outside issuer for it are its, too.
func (c *Client) CreatePrincipal(ctx context.Context, name, subject string) (Principal, error) {
	body := map[string]any{"displayName": name}
	if subject != "" {
		body["subject"] = subject
	}
	return c.postPrincipal(ctx, c.principalURL(), body)
}

// RotatePrincipal gives a principal a new secret; the old one ends.
func (c *Client) RotatePrincipal(ctx context.Context, p Principal) (Principal, error) {
	return c.postPrincipal(ctx, c.principalURL(p.Client, "addPassword"), map[string]any{})
}

func (c *Client) postPrincipal(ctx context.Context, url string, body any) (Principal, error) {
	return get(onceOnly(ctx), c, decodePrincipal, func(ctx context.Context) error {
		_, err := c.send(ctx, http.MethodPost, url, body, http.StatusOK, http.StatusCreated)
		return err
	})
}

// DeletePrincipal ends a principal and what it has been granted.
func (c *Client) DeletePrincipal(ctx context.Context, p Principal) error {
	_, err := c.send(ctx, http.MethodDelete, c.principalURL(p.Client), nil, http.StatusOK, http.StatusNoContent)
	return err
}

// Role is a named set of actions, such as Backup Operator.
type Role struct{ ID, Name, Description string }

func decodeRole(raw json.RawMessage) (Role, error) {
	var r struct {
		ID         string `json:"id"`
		Properties struct {
			Name        string `json:"roleName"`
			Description string `json:"description"`
		} `json:"properties"`
	}
	err := json.Unmarshal(raw, &r)
	return Role{ID: r.ID, Name: r.Properties.Name, Description: r.Properties.Description}, err
}

// SubscriptionID is the ARM id of the client's subscription.
func (c *Client) SubscriptionID() string { return "/subscriptions/" + c.config.Subscription }

// GroupID is the ARM id of a resource group.
func (c *Client) GroupID(group string) string { return c.groupID(group) }

// Roles lists the roles that can be granted in the subscription.
func (c *Client) Roles(ctx context.Context) ([]Role, error) {
	return listFrom(ctx, c, decodeRole, c.url(c.SubscriptionID()+"/providers/Microsoft.Authorization/roleDefinitions", roleVersion))
}

// Grant gives a principal a role at a scope, the ARM id of a subscription, a
// group or a resource.
func (c *Client) Grant(ctx context.Context, scope string, role Role, principal Principal) error {
	id := strings.TrimRight(scope, "/") + "/providers/Microsoft.Authorization/roleAssignments/" + uuid.NewString()
	body := map[string]any{"properties": map[string]any{
		"roleDefinitionId": role.ID, "principalId": principal.ID, "principalType": "ServicePrincipal"}}
	_, err := c.send(ctx, http.MethodPut, c.url(id, roleVersion), body, http.StatusOK, http.StatusCreated)
	return err
}

// Env is the env file with which a principal signs in to the same server and
// subscription: lines of NAME=VALUE, the secret among them.
func (c *Client) Env(p Principal) string {
	config := c.config
	config.ClientID, config.ClientSecret = p.Client, p.Secret
	var text strings.Builder
	for _, name := range []string{EnvEndpoint, EnvTenantID, EnvClientID, EnvClientSecret, EnvCAFile, EnvSubscription} {
		if v := *config.fields()[name]; v != "" {
			text.WriteString(name + "='" + strings.ReplaceAll(v, "'", `'\''`) + "'\n")
		}
	}
	return text.String()
}

// listFrom turns all pages of a list that no SDK client has.
func listFrom[T any](ctx context.Context, c *Client, decode func(json.RawMessage) (T, error), url string) ([]T, error) {
	type page struct {
		NextLink string `json:"nextLink"`
	}
	return list(ctx, c, decode, runtime.NewPager(runtime.PagingHandler[page]{
		More: func(page) bool { return url != "" },
		Fetcher: func(ctx context.Context, _ *page) (p page, err error) {
			resp, err := c.send(ctx, http.MethodGet, url, nil, http.StatusOK)
			if err == nil {
				err = runtime.UnmarshalAsJSON(resp, &p)
			}
			url = p.NextLink
			return p, err
		},
	}))
}
