package embedded_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"

	"holdfast/internal/authz"
	"holdfast/internal/matrix"
	"holdfast/internal/server"
)

// member makes a principal with a role at a scope, and returns its bearer token.
func (s *sdk) member(t *testing.T, role, scope string) string {
	t.Helper()
	code, out, _ := s.send(t, "POST", "/v1.0/servicePrincipals", fmt.Sprintf(`{"displayName":"p-%s"}`, uuid.NewString()))
	if code != 201 {
		t.Fatalf("create principal: %d %v", code, out)
	}
	if role != "" {
		body := fmt.Sprintf(`{"properties":{"roleDefinitionId":"/subscriptions/%s/providers/Microsoft.Authorization/roleDefinitions/%s","principalId":"%s"}}`, s.sub, role, out["id"])
		if code, out, _ := s.send(t, "PUT", scope+"/providers/Microsoft.Authorization/roleAssignments/"+uuid.NewString()+"?api-version=2022-04-01", body); code != 201 {
			t.Fatalf("assign: %d %v", code, out)
		}
	}
	resp, err := s.hc.PostForm(s.env["HOLDFAST_ENDPOINT"]+"/adfs/oauth2/token", url.Values{"grant_type": {"client_credentials"},
		"client_id": {out["appId"].(string)}, "client_secret": {out["secretText"].(string)}, "scope": {"x"}})
	if err != nil {
		t.Fatal(err)
	}
	var token struct {
		AccessToken string `json:"access_token"`
	}
	decodeBody(t, resp, &token)
	return token.AccessToken
}

// as sends one request with a bearer token and returns the status and the code.
func (r *running) as(t *testing.T, bearer, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.env["HOLDFAST_ENDPOINT"]+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	resp, err := r.hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := bytes.Cut(b, []byte(`"code":"`))
	code, _, _ = bytes.Cut(code, []byte(`"`))
	return resp.StatusCode, string(code)
}

// TestRolesByOperationAndScope sends every operation of the server as every
// role, given at every scope, and expects to be let in exactly where the role's
// actions say so.
func TestRolesByOperationAndScope(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RPT-23")
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	group := "/subscriptions/" + s.sub + "/resourceGroups/lab"
	scopes := map[string]string{"subscription": "/subscriptions/" + s.sub, "group": group, "vault": s.vaultPath()}
	roles := append(authz.Builtin(), authz.Role{Name: "none"})
	// Who may delete what all is below is let in, and the lock keeps it for the rest.
	if code, out, _ := s.send(t, "PUT", group+"/providers/Microsoft.Authorization/locks/keep?api-version=2020-05-01", `{"properties":{"level":"CanNotDelete"}}`); code/100 != 2 {
		t.Fatalf("lock: %d %v", code, out)
	}
	tried := 0
	every := 1
	if testing.Short() { // the race detector watches a few of them, and all run without it
		every = 16
	}
	for i, role := range roles {
		for scopeName, scope := range scopes {
			bearer := s.member(t, role.ID, scope)
			for n, op := range server.Operations() {
				if (i+n)%every != 0 {
					continue
				}
				if op.Action == "public" || op.Action == "signed in" {
					continue
				}
				path, within := concrete(op.Pattern, s.sub, scopeName)
				want := role.Allows(op.Action) && within
				// A body that is no JSON: who is let in is refused for that, so nothing changes.
				status, code := s.as(t, bearer, op.Method, path+"?api-version=2024-04-01", "{")
				if let := code != "AuthorizationFailed" && status != 401 && !(op.Method == "HEAD" && status == 403); let != want {
					t.Errorf("%s at the %s: %s %s (%s) = %d %s; allowed %v, want %v", role.Name, scopeName, op.Method, path, op.Action, status, code, let, want)
				}
				tried++
			}
		}
	}
	if tried < 1000/every {
		t.Errorf("only %d combinations were tried", tried)
	}
}

// concrete fills a pattern with names that are not there, below the vault where
// the pattern has one, and says whether the path lies within a scope.
func concrete(pattern, sub, scope string) (path string, within bool) {
	path = strings.NewReplacer("{sub}", sub, "{rg}", "lab", "{vault}", "safe", "{scope...}", "subscriptions/"+sub+"/resourceGroups/lab/providers/Microsoft.RecoveryServices/vaults/safe",
		"{fabric}", "Azure", "{container}", "none", "{item}", "none", "{name}", uuid.NewString(), "{job}", "none", "{op}", "none", "{point}", "none", "{disk}", "none", "{location}", "none", "{ns}", "none").Replace(pattern)
	switch scope {
	case "subscription":
		return path, true
	case "group":
		return path, strings.Contains(path, "/resourceGroups/lab")
	}
	return path, strings.Contains(path, "/vaults/safe")
}

func TestCustomRole(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	const version = "?api-version=2022-04-01"
	id, scope := uuid.NewString(), "/subscriptions/"+s.sub
	path := scope + "/providers/Microsoft.Authorization/roleDefinitions/" + id + version
	code, out, _ := s.send(t, "PUT", path, `{"properties":{"roleName":"Job watcher","permissions":[{"actions":["*/backupJobs/read"]}],"assignableScopes":["`+scope+`"]}}`)
	if code != 201 {
		t.Fatalf("custom role: %d %v", code, out)
	}
	bearer := s.member(t, id, scope)
	if code, _ := s.as(t, bearer, "GET", s.vaultPath()+"/backupJobs?api-version=2025-02-01", ""); code != 200 {
		t.Errorf("what the role allows: %d", code)
	}
	if code, _ := s.as(t, bearer, "GET", s.vaultPath()+"?api-version=2025-02-01", ""); code != 403 {
		t.Errorf("what it does not: %d", code)
	}
	if code, _, _ := s.send(t, "DELETE", path, ""); code != 409 {
		t.Errorf("deleting an assigned role: %d", code)
	}
	s.refuses(t, []refused{
		{"no actions", "PUT", "~S/providers/Microsoft.Authorization/roleDefinitions/" + uuid.NewString(), `{"properties":{"roleName":"x","assignableScopes":["/"]}}`, 400, "InvalidParameter", "action"},
		{"built-in", "PUT", "~S/providers/Microsoft.Authorization/roleDefinitions/" + authz.Owner, `{"properties":{"roleName":"x","permissions":[{"actions":["*"]}],"assignableScopes":["/"]}}`, 409, "Conflict", "built-in"},
		{"unknown role", "PUT", "~S/providers/Microsoft.Authorization/roleAssignments/" + uuid.NewString(), `{"properties":{"roleDefinitionId":"x","principalId":"y"}}`, 400, "InvalidParameter", "role definition"},
		{"unknown principal", "PUT", "~S/providers/Microsoft.Authorization/roleAssignments/" + uuid.NewString(), `{"properties":{"roleDefinitionId":"` + authz.Owner + `","principalId":"y"}}`, 400, "InvalidParameter", "object id"},
	})
}

func TestLocks(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	s.protect(t)
	const version = "?api-version=2016-09-01"
	lock := func(scope, level string) string {
		path := scope + "/providers/Microsoft.Authorization/locks/l" + version
		if code, out, _ := s.send(t, "PUT", path, `{"properties":{"level":"`+level+`","notes":"hands off"}}`); code != 201 {
			t.Fatalf("lock: %d %v", code, out)
		}
		return path
	}
	group := "/subscriptions/" + s.sub + "/resourceGroups/lab"
	path := lock(group, "CanNotDelete")
	s.refuses(t, []refused{
		{"item under a locked group", "DELETE", "~I", "", 409, "ScopeLocked", "locks/l"},
		{"the group", "DELETE", "~G", "", 409, "ScopeLocked", "CanNotDelete"},
	})
	if code, _, _ := s.send(t, "PATCH", s.vaultPath()+version, `{"tags":{"a":"b"}}`); code != 200 {
		t.Errorf("change under CanNotDelete: %d", code)
	}
	if code, _, _ := s.send(t, "DELETE", path, ""); code != 200 {
		t.Errorf("delete lock: %d", code)
	}
	if code, _, _ := s.send(t, "DELETE", path, ""); code != 204 {
		t.Errorf("delete lock again: %d", code)
	}
	// As az sends it: an empty segment before vaults.
	path = lock(strings.Replace(s.vaultPath(), "/vaults/", "//vaults/", 1), "ReadOnly")
	s.refuses(t, []refused{
		{"change under ReadOnly", "PATCH", "~V", `{"tags":{}}`, 409, "ScopeLocked", "ReadOnly"},
		{"action under ReadOnly", "POST", "~I/backup", `{"properties":{"objectType":"IaasVMBackupRequest"}}`, 409, "ScopeLocked", "backup"},
		{"group of a locked vault", "DELETE", "~G", "", 409, "ScopeLocked", "vaults/safe"},
		{"level", "PUT", "~G/providers/Microsoft.Authorization/locks/x", `{"properties":{"level":"Half"}}`, 400, "InvalidParameter", "properties.level"},
	})
	_, out, _ := s.send(t, "GET", "/subscriptions/"+s.sub+"/providers/Microsoft.Authorization/locks"+version, "")
	if list := out["value"].([]any); len(list) != 1 {
		t.Errorf("locks of the subscription: %v", list)
	}
	if code, _, _ := s.send(t, "DELETE", path, ""); code != 200 {
		t.Errorf("delete lock: %d", code)
	}
	if code, _, _ := s.send(t, "DELETE", s.itemPath()+version, ""); code != 202 {
		t.Errorf("after the locks are gone: %d", code)
	}
}

func TestPrincipals(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	token := s.member(t, authz.Reader, "/subscriptions/"+s.sub)
	if code, _ := s.as(t, token, "POST", "/v1.0/servicePrincipals", `{"displayName":"x"}`); code != 403 {
		t.Errorf("a reader makes a principal: %d", code)
	}
	_, out, _ := s.send(t, "GET", "/v1.0/servicePrincipals", "")
	list := out["value"].([]any)
	if len(list) != 2 || strings.Contains(fmt.Sprint(out), "secret") {
		t.Errorf("principals: %v", out)
	}
	var id string
	for _, p := range list {
		if p := p.(map[string]any); p["displayName"] != "admin" {
			id = p["appId"].(string)
		}
	}
	code, out, _ := s.send(t, "POST", "/v1.0/servicePrincipals/"+id+"/addPassword", "")
	if code != 200 || out["secretText"] == nil {
		t.Errorf("rotate: %d %v", code, out)
	}
	if code, _, _ := s.send(t, "DELETE", "/v1.0/servicePrincipals/"+id, ""); code != 204 {
		t.Errorf("delete: %d", code)
	}
	if code, _ := s.as(t, token, "GET", "/subscriptions?api-version=2022-12-01", ""); code != 401 {
		t.Errorf("the token of a deleted principal: %d", code)
	}
	s.refuses(t, []refused{
		{"the last owner", "DELETE", s.ownerAssignment(t), "", 409, "Conflict", "last Owner"},
		{"himself", "DELETE", "/v1.0/servicePrincipals/" + s.env["HOLDFAST_CLIENT_ID"], "", 409, "Conflict", "itself"},
		{"name taken", "POST", "/v1.0/servicePrincipals", `{"displayName":"admin"}`, 409, "Conflict", "already"},
	})
}

// ownerAssignment is the id of the assignment that makes the first principal Owner.
func (s *sdk) ownerAssignment(t *testing.T) string {
	t.Helper()
	_, out, _ := s.send(t, "GET", "/subscriptions/"+s.sub+"/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01", "")
	for _, a := range out["value"].([]any) {
		a := a.(map[string]any)
		if strings.HasSuffix(a["properties"].(map[string]any)["roleDefinitionId"].(string), authz.Owner) {
			return a["id"].(string)
		}
	}
	t.Fatalf("no owner: %v", out)
	return ""
}
