package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/contracttest"
	"holdfast/internal/guestlab"
)

// TestContract sends every operation of the clients' contract with Azure's SDK
// to the built binary, with a real machine behind it.
func TestContract(t *testing.T) {
	t.Parallel()
	g := guestlab.New(t, guestlab.Options{Name: "contract"})
	s := serve(t, t.TempDir())
	env, client := s.client()
	contracttest.Drive(t, contracttest.Lab{Env: env, Client: client, URI: guestlab.URI, VM: g.Name, Pool: pool(t, g.Dir)})
}

// client is what a client of the server needs: its admin.env, and an HTTP client
// that trusts it.
func (s *server) client() (env map[string]string, client *http.Client) {
	s.t.Helper()
	env = map[string]string{}
	text, err := os.ReadFile(filepath.Join(s.data, "admin.env"))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		env[name] = strings.Trim(value, "'")
	}
	pem, err := os.ReadFile(env["HOLDFAST_CA_FILE"])
	if err != nil {
		s.t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(pem)
	return env, &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}}}
}

// pool makes a storage pool of a directory for the length of the test and gives
// its name.
func pool(t *testing.T, dir string) string {
	t.Helper()
	name := filepath.Base(dir)
	virsh := func(args ...string) {
		if out, err := exec.Command("virsh", append([]string{"-q", "-c", guestlab.URI}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("virsh %v: %v\n%s", args, err, out)
		}
	}
	virsh("pool-create-as", name, "dir", "--target", dir)
	t.Cleanup(func() { virsh("pool-destroy", name) })
	return name
}
