package server

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"holdfast/internal/api/resources"
	"holdfast/internal/authn"
	"holdfast/internal/authz"
	"holdfast/internal/resource"
)

// What clients need before and while they sign in (arm-contract, 1 to 3). The
// authority is /adfs for az, which then asks nobody else about it, and /{tenant}
// for the SDKs.
var signInRoutes = []route{
	get("/metadata/endpoints", public, (*Server).metadata),
	get("/adfs/.well-known/openid-configuration", public, (*Server).discovery),
	get("/{tenant}/.well-known/openid-configuration", public, (*Server).discovery),
	get("/{tenant}/v2.0/.well-known/openid-configuration", public, (*Server).discovery),
	get("/adfs/discovery/keys", public, (*Server).keys),
	get("/{tenant}/discovery/v2.0/keys", public, (*Server).keys),
	post("/adfs/oauth2/token", public, (*Server).token),
	post("/{tenant}/oauth2/v2.0/token", public, (*Server).token),
	get("/healthz", public, (*Server).health),

	get("/tenants", signedIn, (*Server).tenants),
	get("/subscriptions", signedIn, (*Server).subscriptions),
}

func (s *Server) health(*request) (answer, error) { return ok(map[string]string{"status": "ok"}) }

// metadata describes the cloud, in the shape that the api-version expects.
func (s *Server) metadata(r *request) (answer, error) {
	base := r.base()
	login := base + "/adfs"
	if r.version == "" || r.version == "1.0" || r.version < "2018" {
		return ok(map[string]any{
			"galleryEndpoint": base, "graphEndpoint": base, "portalEndpoint": base,
			"authentication": map[string]any{"loginEndpoint": login, "audiences": []string{base}},
		})
	}
	cloud := map[string]any{
		"name": "Holdfast", "resourceManager": base, "portal": base, "gallery": base, "graph": base, "graphAudience": base, "microsoftGraphResourceId": base,
		"authentication": map[string]any{"loginEndpoint": login, "audiences": []string{base}, "tenant": s.Issuer.Tenant, "identityProvider": "ADFS"},
		"suffixes":       map[string]any{},
	}
	if r.version < "2022" {
		return ok([]any{cloud})
	}
	return ok(cloud)
}

// authority is the issuer that a request speaks to: its paths below it differ.
func (s *Server) authority(r *request) (issuer, token, keys string, known bool) {
	tenant, isTenant := r.captures["tenant"]
	if !isTenant || strings.EqualFold(tenant, "adfs") {
		base := r.base() + "/adfs"
		return base, base + "/oauth2/token", base + "/discovery/keys", true
	}
	base := r.base() + "/" + s.Issuer.Tenant
	return base + "/v2.0", base + "/oauth2/v2.0/token", base + "/discovery/v2.0/keys", strings.EqualFold(tenant, s.Issuer.Tenant)
}

func (s *Server) discovery(r *request) (answer, error) {
	issuer, token, keys, known := s.authority(r)
	if !known {
		return oauthError(http.StatusBadRequest, "invalid_tenant", "AADSTS90002: The tenant was not found."), nil
	}
	below := strings.TrimSuffix(token, "/token")
	return ok(map[string]any{
		"issuer": issuer, "token_endpoint": token, "jwks_uri": keys,
		"authorization_endpoint": below + "/authorize", "device_authorization_endpoint": below + "/devicecode",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "client_secret_basic"},
		"grant_types_supported":                 []string{"client_credentials"}, "response_types_supported": []string{"token"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"ES256"},
	})
}

func (s *Server) keys(r *request) (answer, error) {
	keys, err := s.Issuer.JWKS(r.Context())
	if err != nil {
		return answer{}, err
	}
	return ok(map[string]any{"keys": keys})
}

// token is the OAuth 2 token endpoint for client credentials (RFC 6749, 4.4). A
// refusal is a 401: clients keep a 400 for a minute.
func (s *Server) token(r *request) (answer, error) {
	issuer, _, _, known := s.authority(r)
	if !known {
		return oauthError(http.StatusUnauthorized, "invalid_tenant", "AADSTS90002: The tenant was not found."), nil
	}
	if err := r.ParseForm(); err != nil {
		return oauthError(http.StatusUnauthorized, "invalid_request", "The request is not a form."), nil
	}
	if g := r.PostForm.Get("grant_type"); g != "client_credentials" {
		return oauthError(http.StatusUnauthorized, "unsupported_grant_type", "AADSTS70003: Only client_credentials is offered; holdfast principal create makes a client."), nil
	}
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	if s.signIns.spent(r.address(), s.Clock()) { // guessing is made slow, signing in is not
		return answer{}, tooMany{time.Second}
	}
	p, err := s.Service.Identity.SignIn(r.Context(), id, secret)
	if errors.Is(err, authn.ErrClient) {
		s.signIns.take(r.address(), s.Clock())
		s.Log.Warn("sign-in refused", "id", r.id, "from", r.RemoteAddr)
		return oauthError(http.StatusUnauthorized, "invalid_client", "AADSTS7000215: Invalid client secret provided, or the client is unknown."), nil
	}
	if err != nil {
		return answer{}, err
	}
	token, err := s.Issuer.Issue(r.Context(), p, issuer, r.base())
	if err != nil {
		return answer{}, err
	}
	life := int(authn.TokenLife.Seconds())
	a, err := ok(map[string]any{"token_type": "Bearer", "expires_in": life, "ext_expires_in": life, "access_token": token})
	a.header = http.Header{"Cache-Control": {"no-store"}}
	return a, err
}

func oauthError(code int, kind, description string) answer {
	return status(code, map[string]string{"error": kind, "error_description": description})
}

func (s *Server) tenants(*request) (answer, error) {
	return listed([]map[string]any{{"id": "/tenants/" + s.Issuer.Tenant, "tenantId": s.Issuer.Tenant, "displayName": "Holdfast"}})
}

// subscriptions lists those in which the caller has any role: others are not named.
func (s *Server) subscriptions(r *request) (answer, error) {
	all, err := s.Service.Resources.Subscriptions(r.Context())
	if err != nil {
		return answer{}, err
	}
	var shown []map[string]any
	for _, sub := range all {
		if visible(sub, r.grants) {
			shown = append(shown, resources.Subscription(sub))
		}
	}
	return listed(shown)
}

func visible(sub resource.Subscription, grants []authz.Grant) bool {
	for _, g := range grants {
		if strings.EqualFold(g.Scope, "/") || strings.HasPrefix(strings.ToLower(g.Scope)+"/", "/subscriptions/"+strings.ToLower(sub.SubscriptionID)+"/") {
			return true
		}
	}
	return false
}
