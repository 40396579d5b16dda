package embedded_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/embedded"
	"holdfast/internal/server"
)

// FuzzRequest sends any query and body to any operation: nothing panics, and
// nothing is a defect of the server (500).
func FuzzRequest(f *testing.F) {
	w, dir := newWorld(), f.TempDir()
	s, err := embedded.Start(f.Context(), embedded.Config{DataDir: dir, Listen: "127.0.0.1:0", Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Inventory: w, Provisioner: w, Backup: w.backup(), Restore: w.restore(), Machines: w, Machine: w.machine()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	env := readEnv(f, filepath.Join(dir, "admin.env"))
	bearer := tokenOf(f, s.Handler(), env)
	for i, body := range []string{
		`{"location":"site1","properties":{"uri":"qemu:///system","resourceGroup":"lab","holdfast":{"repositoryUrl":"s3://b"}}}`,
		`{"properties":{"objectType":"IaasVMRestoreRequest","recoveryType":"AlternateLocation","restoreDiskLunList":[1],"targetVirtualMachineId":"/subscriptions/S/resourceGroups/G/providers/Microsoft.Compute/virtualMachines/v"}}`,
		`{"properties":{"protectedItemType":"Microsoft.Compute/virtualMachines","sourceResourceId":"/subscriptions/S","extendedProperties":{"diskExclusionProperties":{"diskLunList":[null]}}}}`,
		`{"properties":{"protectedItemType":"Microsoft.Compute/virtualMachines","extendedProperties":{"diskExclusionProperties":[]},"holdfast":{"consistencyGroup":"g"}}}`,
		`{"properties":{"mode":"Incremental","parameters":{"p":{"value":1}},template:{"parameters":{"p":{"type":"int"}},"resources":[{"type":"Microsoft.Compute/disks","apiVersion":"2022-07-02","name":"[concat('a',parameters('p'))]"}]}}}`,
		`{"resources":["/subscriptions/S/resourceGroups/lab/providers/Microsoft.RecoveryServices/vaults/safe"],"targetResourceGroup":"/subscriptions/S/resourceGroups/x"}`,
		`{"operation":"Merge","properties":{"tags":{"a":null}}}`,
		`{"properties":null}`, `[]`, `null`, "",
	} {
		f.Add(uint8(i*7), "web", "$filter=a eq 'b'", body)
	}
	req := httptest.NewRequest("PUT", "https://127.0.0.1:1/subscriptions/"+env["HOLDFAST_SUBSCRIPTION_ID"]+"/providers/Holdfast.Site/sites/site1?api-version=2026-11-01",
		strings.NewReader(`{"properties":{"uri":"qemu:///system","resourceGroup":"lab"}}`))
	req.Header.Set("Authorization", "Bearer "+bearer)
	rec := httptest.NewRecorder()
	if s.Handler().ServeHTTP(rec, req); rec.Code != 201 {
		f.Fatalf("the site: %d %s", rec.Code, rec.Body)
	}
	operations := server.Operations()
	f.Fuzz(func(t *testing.T, n uint8, name, query, body string) {
		op := operations[int(n)%len(operations)]
		path, _ := concrete(op.Pattern, env["HOLDFAST_SUBSCRIPTION_ID"], "")
		path = strings.ReplaceAll(path, "none", url.PathEscape(name))
		req, err := http.NewRequestWithContext(t.Context(), op.Method, "https://127.0.0.1:1"+path, strings.NewReader(body))
		if err != nil {
			t.Skip("not a request")
		}
		req.URL.RawQuery = "api-version=2025-02-01&" + query
		req.Header.Set("Authorization", "Bearer "+bearer)
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, req)
		if rec.Code >= 500 {
			t.Errorf("%s %s %q: %d %s", op.Method, path, body, rec.Code, rec.Body)
		}
	})
}

func tokenOf(t testing.TB, h http.Handler, env map[string]string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {env["HOLDFAST_CLIENT_ID"]}, "client_secret": {env["HOLDFAST_CLIENT_SECRET"]}}
	req := httptest.NewRequest("POST", "https://127.0.0.1/adfs/oauth2/token", strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	_, token, _ := strings.Cut(rec.Body.String(), `"access_token":"`)
	token, _, _ = strings.Cut(token, `"`)
	if token == "" {
		t.Fatalf("no token: %s", rec.Body)
	}
	return token
}
