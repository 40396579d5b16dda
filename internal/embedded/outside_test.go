package embedded_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"holdfast/internal/authn"
	"holdfast/internal/authz"
	"holdfast/internal/embedded"
	"holdfast/internal/matrix"
)

// issuer is a small OIDC issuer: discovery, keys, and tokens signed with them.
type issuer struct {
	*httptest.Server
	key *rsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	reply := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(v) }
	}
	mux := http.NewServeMux()
	i.Server = httptest.NewTLSServer(mux)
	t.Cleanup(i.Close)
	mux.Handle("/.well-known/openid-configuration", reply(map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/a",
		"token_endpoint": i.URL + "/t", "id_token_signing_alg_values_supported": []string{"RS256"}}))
	mux.Handle("/keys", reply(map[string]any{"keys": []any{map[string]any{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "k1",
		"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": "AQAB"}}}))
	return i
}

// token signs claims, with some of them changed.
func (i *issuer) token(t *testing.T, change jwt.MapClaims) string {
	t.Helper()
	c := jwt.MapClaims{"iss": i.URL, "aud": "holdfast", "sub": "alice|Example", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	for k, v := range change {
		c[k] = v
	}
	tok := jwt.NewWithClaims(jwt.SigningMethodRS256, c)
	tok.Header["kid"] = "k1"
	signed, err := tok.SignedString(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// serveWith starts a server with a changed configuration.
func serveWith(t *testing.T, dir string, change func(*embedded.Config)) *running {
	t.Helper()
	w := newWorld()
	cfg := embedded.Config{DataDir: dir, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler), Inventory: w, Provisioner: w, Backup: w.backup(), Restore: w.restore(), Machines: w, Machine: w.machine()}
	change(&cfg)
	s, err := embedded.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	r := &running{Server: s, world: w, dir: dir, env: readEnv(t, filepath.Join(dir, "admin.env"))}
	r.hc = trusting(t, r.env["HOLDFAST_CA_FILE"], "")
	return r
}

// trusting is a client that trusts a file of certificates, and asks for a name.
func trusting(t *testing.T, file, name string) *http.Client {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: name}, DisableKeepAlives: true}
	return &http.Client{Transport: tr}
}

func TestOutsideIssuer(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RPT-23")
	out, other := newIssuer(t), newIssuer(t)
	s := dial(t, serveWith(t, t.TempDir(), func(c *embedded.Config) {
		c.Outside = &authn.Outside{Issuer: out.URL, Audience: "holdfast", Client: out.Client()}
	}))
	const list = "/subscriptions?api-version=2022-12-01"
	if code, _ := s.as(t, out.token(t, nil), "GET", list, ""); code != 401 {
		t.Errorf("a subject that is nobody's: %d", code)
	}
	code, p, _ := s.send(t, "POST", "/v1.0/servicePrincipals", `{"displayName":"alice","subject":"alice|Example"}`)
	if code != 201 || p["subject"] != "alice|Example" {
		t.Fatalf("principal: %d %v", code, p)
	}
	scope := "/subscriptions/" + s.sub
	body := `{"properties":{"roleDefinitionId":"` + authz.Reader + `","principalId":"` + p["id"].(string) + `"}}`
	if code, out, _ := s.send(t, "PUT", scope+"/providers/Microsoft.Authorization/roleAssignments/7a7a7a7a-0000-4000-8000-000000000001?api-version=2022-04-01", body); code != 201 {
		t.Fatalf("assign: %d %v", code, out)
	}
	if code, _ := s.as(t, out.token(t, nil), "GET", scope+"?api-version=2022-12-01", ""); code != 200 {
		t.Errorf("what the role allows: %d", code)
	}
	if code, _ := s.as(t, out.token(t, nil), "PUT", scope+"/resourceGroups/x?api-version=2022-12-01", `{"location":"x"}`); code != 403 {
		t.Errorf("what it does not: %d", code)
	}
	forged := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"iss": out.URL, "aud": "holdfast", "sub": "alice|Example", "exp": time.Now().Add(time.Hour).Unix()})
	forged.Header["kid"] = "k1"
	bad, _ := forged.SignedString(other.key)
	none, _ := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"iss": out.URL, "aud": "holdfast", "sub": "alice|Example", "exp": time.Now().Add(time.Hour).Unix()}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	for name, token := range map[string]string{
		"another audience": out.token(t, jwt.MapClaims{"aud": "other"}),
		"too old":          out.token(t, jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()}),
		"another issuer":   other.token(t, nil),
		"another subject":  out.token(t, jwt.MapClaims{"sub": "alice|example"}), // told apart by case
		"forged":           bad,
		"unsigned":         none,
	} {
		if code, _ := s.as(t, token, "GET", list, ""); code != 401 {
			t.Errorf("%s: %d", name, code)
		}
	}
	s.refuses(t, []refused{{"a subject twice", "POST", "/v1.0/servicePrincipals", `{"displayName":"bob","subject":"alice|Example"}`, 409, "Conflict", "another principal"}})
	if code, _, _ := s.send(t, "DELETE", "/v1.0/servicePrincipals/"+p["appId"].(string), ""); code != 204 {
		t.Errorf("delete: %d", code)
	}
	if code, _ := s.as(t, out.token(t, nil), "GET", list, ""); code != 401 {
		t.Errorf("after the principal is gone: %d", code)
	}
}

// TestBadConfigurationDoesNotStart: what cannot work is said at start.
func TestBadConfigurationDoesNotStart(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*embedded.Config){
		"https URL": func(c *embedded.Config) { c.Outside = &authn.Outside{Issuer: "http://x", Audience: "y"} },
		"audience":  func(c *embedded.Config) { c.Outside = &authn.Outside{Issuer: "https://x"} },
		"together":  func(c *embedded.Config) { c.TLSCert = "x.pem" },
		"none.pem":  func(c *embedded.Config) { c.TLSCert, c.TLSKey = "none.pem", "none.key" },
	} {
		w := newWorld()
		cfg := embedded.Config{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler), Inventory: w, Provisioner: w, Backup: w.backup(), Restore: w.restore()}
		change(&cfg)
		if s, err := embedded.Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want a refusal saying %q: %v", want, err)
			if err == nil {
				s.Close()
			}
		}
	}
}

// selfSigned writes a certificate for names and its key.
func selfSigned(t *testing.T, dir, serial string, names ...string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := new(big.Int).SetString(serial, 10)
	c := &x509.Certificate{SerialNumber: n, Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "cert.key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TestGivenCertificate: it is shown to who asks for its name, and read again on
// demand; who asks for the server's other names sees its own CA's.
func TestGivenCertificate(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "SEC-01")
	dir := t.TempDir()
	cert, key := selfSigned(t, dir, "1", "holdfast.example")
	s := serveWith(t, t.TempDir(), func(c *embedded.Config) { c.TLSCert, c.TLSKey = cert, key })
	serial := func(file, name string) string {
		t.Helper()
		resp, err := trusting(t, file, name).Get(s.env["HOLDFAST_ENDPOINT"] + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.TLS.PeerCertificates[0].SerialNumber.String()
	}
	if got := serial(cert, "holdfast.example"); got != "1" {
		t.Errorf("asked by name: certificate %s", got)
	}
	if got := serial(s.env["HOLDFAST_CA_FILE"], ""); got == "1" {
		t.Error("asked by address: the given certificate")
	}
	selfSigned(t, dir, "2", "holdfast.example")
	if err := s.ReloadCertificate(); err != nil {
		t.Fatal(err)
	}
	if got := serial(cert, "holdfast.example"); got != "2" {
		t.Errorf("after the reload: certificate %s", got)
	}
	if err := os.WriteFile(key, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.ReloadCertificate(); err == nil {
		t.Error("a broken key is read")
	}
	if got := serial(cert, "holdfast.example"); got != "2" {
		t.Errorf("after a broken reload: certificate %s", got)
	}
}
