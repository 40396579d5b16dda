package embedded_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"holdfast/internal/matrix"
)

// TestVaultNetworks: what is in a vault with network rules is for callers from
// its networks; the vault itself can be changed from everywhere, so that nobody
// shuts himself out.
func TestVaultNetworks(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "NET-13")
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	s.protect(t)
	rules := func(body string) {
		t.Helper()
		if code, out, _ := s.send(t, "PATCH", s.vaultPath()+"?api-version=2025-02-01", `{"properties":`+body+`}`); code != 200 {
			t.Fatalf("%s: %d %v", body, code, out)
		}
	}
	ask := func(from, path string) int {
		t.Helper()
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path+"?api-version=2025-02-01", nil)
		req.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(from), 4444).String()
		req.Header.Set("Authorization", "Bearer "+tokenOf(t, s.Handler(), s.env))
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, req)
		if w.Code == http.StatusForbidden && !strings.Contains(w.Body.String(), "ForbiddenByFirewall") {
			t.Errorf("refused for another reason: %s", w.Body)
		}
		return w.Code
	}
	jobs := s.vaultPath() + "/backupJobs"
	for _, c := range []struct {
		rules, from, path string
		want              int
	}{
		{`{}`, "203.0.113.9", jobs, 200},
		{`{"networkAcls":{"defaultAction":"Deny","ipRules":[{"value":"192.0.2.0/24"},{"value":"2001:db8::7"}]}}`, "203.0.113.9", jobs, 403},
		{`{}`, "203.0.113.9", s.itemPath(), 403},
		{`{}`, "203.0.113.9", s.vaultPath(), 200},
		{`{}`, "192.0.2.200", jobs, 200},
		{`{}`, "::ffff:192.0.2.200", jobs, 200},
		{`{}`, "192.0.3.1", jobs, 403},
		{`{}`, "2001:db8::7", jobs, 200},
		{`{}`, "2001:db8::8", jobs, 403},
		{`{}`, "127.0.0.1", jobs, 200},
		{`{"networkAcls":{"defaultAction":"Allow"}}`, "203.0.113.9", jobs, 200},
		{`{"publicNetworkAccess":"Disabled"}`, "203.0.113.9", jobs, 403},
		{`{}`, "192.0.2.1", jobs, 200},
	} {
		rules(c.rules)
		if got := ask(c.from, c.path); got != c.want {
			t.Errorf("%s from %s: %d, want %d (%s)", c.path, c.from, got, c.want, c.rules)
		}
	}
	s.refuses(t, []refused{
		{"no network", "PATCH", s.vaultPath(), `{"properties":{"networkAcls":{"ipRules":[{"value":"192.0.2.0/40"}]}}}`, 400, "InvalidParameter", "ipRules[0].value"},
		{"no list", "PATCH", s.vaultPath(), `{"properties":{"networkAcls":{"ipRules":"all"}}}`, 400, "InvalidParameter", "list"},
		{"no action", "PATCH", s.vaultPath(), `{"properties":{"networkAcls":{"defaultAction":"Maybe"}}}`, 400, "InvalidParameter", "Deny"},
	})
}
