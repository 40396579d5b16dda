package transit_test

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"holdfast/internal/matrix"
	"holdfast/internal/transit"
)

// TestAES256: whichever side follows the rule, AES-256 is spoken, with who
// follows none; who knows neither suite is refused.
func TestAES256(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "SEC-01")
	for _, c := range []struct {
		what           string
		server, client *tls.Config
		ok             bool
	}{
		{"both", transit.Config(), transit.Config(), true},
		{"our server, any client", transit.Config(), &tls.Config{}, true},
		{"any server, our client", &tls.Config{}, transit.Config(), true},
		{"a client of TLS 1.3 only", transit.Config(), &tls.Config{MinVersion: tls.VersionTLS13}, false},
		{"a server of AES-128 only", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}, transit.Config(), false},
		{"a server of TLS 1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, transit.Config(), false}, //nolint:gosec // to be refused
	} {
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		s.TLS, s.Config.ErrorLog = c.server, log.New(io.Discard, "", 0)
		s.StartTLS()
		c.client.InsecureSkipVerify = true //nolint:gosec // certificates are not what is tested
		conn, err := tls.Dial("tcp", s.Listener.Addr().String(), c.client)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.what, err)
		}
		if err == nil {
			suite := conn.ConnectionState().CipherSuite
			if suite != tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 && suite != tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 {
				t.Errorf("%s: %s", c.what, tls.CipherSuiteName(suite))
			}
			conn.Close()
		}
		s.Close()
	}
}
