package client_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/client"
	"holdfast/internal/client/clienttest"
)

// dial signs in to a fresh scripted server.
func dial(t *testing.T, o client.Options) (*clienttest.Server, *client.Client) {
	t.Helper()
	s := clienttest.New(t, t.TempDir())
	o.Poll = max(o.Poll, time.Millisecond)
	c, err := client.New(config(t, s, nil), o)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

// config is what signs in to s, with some variables changed.
func config(t *testing.T, s *clienttest.Server, change map[string]string) client.Config {
	t.Helper()
	c, err := client.LoadConfig("", environment(s, change))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func environment(s *clienttest.Server, change map[string]string) func(string) string {
	vars := map[string]string{}
	for _, line := range s.Env() {
		name, v, _ := strings.Cut(line, "=")
		vars[name] = v
	}
	return func(name string) string {
		if v, ok := change[name]; ok {
			return v
		}
		return vars[name]
	}
}

var vault = client.VaultRef{Group: "lab", Name: "safe"}

// TestPages shows that all pages are turned, at the endpoint and not at the
// host that the server's links name.
func TestPages(t *testing.T) {
	t.Parallel()
	s, c := dial(t, client.Options{})
	for i := range 5 {
		s.Put(fmt.Sprintf("%s-%d", clienttest.VM, i), "here", map[string]any{})
	}
	vms, err := c.VMs(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(vms) != 6 {
		t.Fatalf("%d VMs, want 6", len(vms))
	}
	if vms[0].Power != "running" || len(vms[0].Disks) != 2 || vms[0].Disks[1].LUN != 0 || vms[0].Group != "lab" {
		t.Errorf("web is %+v", vms[0])
	}
}

func TestSites(t *testing.T) {
	t.Parallel()
	_, c := dial(t, client.Options{})
	ctx := t.Context()
	if _, err := c.RegisterSite(ctx, "there", client.SiteProperties{URI: "qemu+ssh://b/system", ResourceGroup: "b"}); err != nil {
		t.Fatal(err)
	}
	sites, err := c.Sites(ctx)
	if err != nil || len(sites) != 2 {
		t.Fatalf("sites: %v, %v", sites, err)
	}
	here, err := c.Site(ctx, "here")
	if err != nil || here.Properties.Pools[0].Name != "default" || here.Properties.Networks[0] != "default" {
		t.Errorf("site: %+v, %v", here, err)
	}
	_, err = c.RegisterSite(ctx, "bad", client.SiteProperties{URI: "qemu+tcp://nowhere/system"})
	if client.ReasonOf(err) != client.Refused {
		t.Errorf("a site that does not answer: %v", err)
	}
	if err := c.RemoveSite(ctx, "there"); err != nil {
		t.Error(err)
	}
}

// TestVaultExtension shows that properties.holdfast is sent and read, which the
// SDK's model does not have.
func TestVaultExtension(t *testing.T) {
	t.Parallel()
	s, c := dial(t, client.Options{})
	v, err := c.CreateVault(t.Context(), client.VaultRef{Group: "lab", Name: "new"}, "here", client.Body{RepositoryURL: "s3://bucket/x"})
	if err != nil {
		t.Fatal(err)
	}
	if v.RepositoryURL != "s3://bucket/x" || v.Site != "here" {
		t.Errorf("vault: %+v", v)
	}
	if _, err := c.CreateVault(t.Context(), vault, "here", client.Body{}); client.ReasonOf(err) != client.Refused {
		t.Errorf("a vault that is there: %v", err)
	}
	vaults, err := c.Vaults(t.Context(), "")
	if err != nil || len(vaults) != 2 {
		t.Errorf("vaults: %v, %v", vaults, err)
	}
	s.AddItem()
	if err := c.DeleteVault(t.Context(), vault); client.ReasonOf(err) != client.Refused {
		t.Errorf("a vault with items: %v", err)
	}
}

// TestBackupAndRestore walks the main way: protect, back up, follow, list the
// points, restore; and looks at what was sent.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	s, c := dial(t, client.Options{})
	ctx := t.Context()
	ref, work, err := c.Protect(ctx, vault, c.VMID("lab", "web"), "DefaultPolicy", []int{0})
	if err != nil || work.Job == "" {
		t.Fatalf("protect: %v, %v", work, err)
	}
	item, err := c.Item(ctx, ref)
	if err != nil || item.VM != "web" || item.Ref != ref {
		t.Fatalf("item: %+v, %v", item, err)
	}
	if work, err = c.Backup(ctx, ref, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	var seen []string
	job, err := c.Follow(ctx, work, func(j client.Job) { seen = append(seen, j.Running()) }, func(error) {})
	if err != nil || !job.Succeeded() || job.Properties["Frozen for"] != "0.4 s" || job.Done != job.Total || job.Done == 0 {
		t.Fatalf("job: %+v, %v", job, err)
	}
	if want := "Take Snapshot,Transfer data to vault,Transfer data to vault,"; strings.Join(seen, ",") != want {
		t.Errorf("tasks seen: %q", seen)
	}
	points, err := c.Points(ctx, ref)
	if err != nil || len(points) != 1 || points[0].Consistency != "FileSystemConsistent" || points[0].Expires.IsZero() {
		t.Fatalf("points: %+v, %v", points, err)
	}
	_, err = c.Restore(ctx, ref, client.Restore{Point: points[0].Name, SourceID: item.SourceID, Site: "here", Group: "lab",
		Pool: "default", NewVM: "web2", Network: "default", Start: true})
	if err != nil {
		t.Fatal(err)
	}
	checkRestore(t, s)
}

func checkRestore(t *testing.T, s *clienttest.Server) {
	t.Helper()
	for _, q := range s.Seen() {
		if !strings.HasSuffix(q.Path, "/restore") {
			continue
		}
		p := q.Body["properties"].(map[string]any)
		for member, want := range map[string]string{"objectType": "IaasVMRestoreRequest", "recoveryType": "AlternateLocation", "region": "here"} {
			if p[member] != want {
				t.Errorf("%s is %v, want %s", member, p[member], want)
			}
		}
		for member, end := range map[string]string{"targetVirtualMachineId": "/virtualMachines/web2", "storageAccountId": "/storageAccounts/default",
			"virtualNetworkId": "/virtualNetworks/default", "subnetId": "/virtualNetworks/default/subnets/default"} {
			if got, _ := p[member].(string); !strings.HasSuffix(got, end) {
				t.Errorf("%s is %q, want …%s", member, got, end)
			}
		}
		if h := fmt.Sprint(p["holdfast"]); h != "map[start:true]" {
			t.Errorf("holdfast is %s", h)
		}
		return
	}
	t.Error("no restore was sent")
}

// TestOutageWhileFollowing shows that a job is followed over a server that is
// away for a while, and not for ever.
func TestOutageWhileFollowing(t *testing.T) {
	t.Parallel()
	s, c := dial(t, client.Options{Once: true})
	s.AddItem()
	work := client.Work{Vault: vault, Job: s.Start("Backup")}
	s.Change(func() { s.Down = 3 })
	var said []error
	job, err := c.Follow(t.Context(), work, func(client.Job) {}, func(err error) { said = append(said, err) })
	if err != nil || !job.Succeeded() {
		t.Fatalf("job: %+v, %v", job, err)
	}
	if len(said) != 1 || client.ReasonOf(said[0]) != client.Unreachable {
		t.Errorf("told %v, want one outage", said)
	}
	impatient, err := client.New(config(t, s, nil), client.Options{Once: true, Poll: time.Millisecond, Patience: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	s.Change(func() { s.Down = 1 << 30 })
	if _, err := impatient.Follow(t.Context(), work, func(client.Job) {}, func(error) {}); client.ReasonOf(err) != client.Unreachable {
		t.Errorf("a server that stays away: %v", err)
	}
}

// TestSentOnce shows that a request that starts work is not repeated.
func TestSentOnce(t *testing.T) {
	t.Parallel()
	s, c := dial(t, client.Options{})
	s.AddItem()
	s.Change(func() { s.Down = 1 })
	ref := client.ItemRef{Vault: vault, Container: "c", Item: "i"}
	if _, err := c.Backup(t.Context(), ref, time.Now()); client.ReasonOf(err) != client.Unreachable {
		t.Errorf("got %v", err)
	}
	if seen := s.Seen(); len(seen) != 0 {
		t.Errorf("it was sent again: %v", seen)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t, t.TempDir())
	for name, c := range map[string]struct {
		change map[string]string
		reason client.Reason
		words  string
	}{
		"secret":     {map[string]string{client.EnvClientSecret: "wrong"}, client.NotSignedIn, "AADSTS7000215"},
		"nobody":     {map[string]string{client.EnvEndpoint: "https://127.0.0.1:1"}, client.Unreachable, "Nothing listens at https://127.0.0.1:1"},
		"foreign CA": {map[string]string{client.EnvCAFile: foreignCA(t)}, client.Unreachable, "not signed by an authority"},
		"other name": {map[string]string{client.EnvEndpoint: strings.Replace(s.URL, "127.0.0.1", "localhost", 1)}, client.Unreachable, "another name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api, err := client.New(config(t, s, c.change), client.Options{Once: true})
			if err != nil {
				t.Fatal(err)
			}
			_, err = api.Site(t.Context(), "here")
			if client.ReasonOf(err) != c.reason || !strings.Contains(err.Error(), c.words) {
				t.Errorf("got %d: %v", client.ReasonOf(err), err)
			}
		})
	}
}

// foreignCA is the file of an authority that has signed nothing.
func foreignCA(t *testing.T) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestServerErrors(t *testing.T) {
	t.Parallel()
	_, c := dial(t, client.Options{})
	_, err := c.Vault(t.Context(), client.VaultRef{Group: "lab", Name: "none"})
	var e *client.Error
	if !errors.As(err, &e) || e.Reason != client.NotFound || e.Status != http.StatusNotFound || e.Code != "ResourceNotFound" {
		t.Errorf("a vault that is not there: %#v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Vault(ctx, vault); client.ReasonOf(err) != client.Interrupted {
		t.Errorf("an ended context: %v", err)
	}
}

// TestNoSecrets shows that neither the secret nor the token is in a trace, an
// error or a printed configuration.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	var trace bytes.Buffer
	s, c := dial(t, client.Options{Trace: &trace})
	if _, err := c.VMs(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	_, err := c.Vault(t.Context(), client.VaultRef{Group: "lab", Name: "none"})
	cfg := config(t, s, nil)
	all := fmt.Sprintf("%s %v %+v %#v %s", trace.String(), err, cfg, cfg, cfg)
	if !strings.Contains(trace.String(), "/virtualMachines?") || !strings.Contains(trace.String(), "/oauth2/v2.0/token") {
		t.Fatalf("the trace shows too little:\n%s", trace.String())
	}
	for _, secret := range []string{clienttest.Secret, "opaque-token", "Bearer"} {
		if strings.Contains(all, secret) {
			t.Errorf("%q is in:\n%s", secret, all)
		}
	}
}

func TestLoadConfig(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "admin.env")
	text := "# made by the server\nexport HOLDFAST_ENDPOINT='https://file:1'\nHOLDFAST_TENANT_ID=t\nHOLDFAST_CLIENT_ID=\"c\"\nHOLDFAST_CLIENT_SECRET=a=b#c\nHOLDFAST_SUBSCRIPTION_ID=s\nHOLDFAST_CA_FILE='/it'\\''s/ca.pem'\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	none := func(string) string { return "" }
	c, err := client.LoadConfig(file, none)
	if err != nil || c.Endpoint != "https://file:1" || c.ClientSecret != "a=b#c" || c.ClientID != "c" || c.CAFile != "/it's/ca.pem" {
		t.Errorf("file: %v, %v", c, err)
	}
	env := func(name string) string {
		return map[string]string{client.EnvEndpoint: "https://env:1", client.EnvFile: file}[name]
	}
	if c, err = client.LoadConfig("", env); err != nil || c.Endpoint != "https://env:1" || c.TenantID != "t" {
		t.Errorf("the environment wins over HOLDFAST_ENV: %v, %v", c, err)
	}
	if c, err = client.LoadConfig(file, env); err != nil || c.Endpoint != "https://file:1" {
		t.Errorf("a named file wins over the environment: %v, %v", c, err)
	}
	if _, err = client.LoadConfig("", none); client.ReasonOf(err) != client.NotSignedIn || !strings.Contains(err.Error(), "--env") {
		t.Errorf("nothing: %v", err)
	}
	for _, endpoint := range []string{"http://h:1", "h:1", "https://u:p@h", "https://h/x", "https://h?x=1"} {
		change := func(name string) string {
			if name == client.EnvEndpoint {
				return endpoint
			}
			return env(name)
		}
		if _, err = client.LoadConfig("", change); client.ReasonOf(err) != client.Usage || strings.Contains(err.Error(), "u:p") {
			t.Errorf("endpoint %s: %v", endpoint, err)
		}
	}
}

// FuzzParseEnv shows that no env file can crash the reader or put its text into
// an error.
func FuzzParseEnv(f *testing.F) {
	for _, s := range []string{"A=b", "export A='b'", "A=\"b", "# x\n\nA=", "=", "1A=x", "A", "A='\n'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		vars, err := client.ParseEnv(strings.NewReader(s))
		if err != nil && len(s) > 40 && strings.Contains(err.Error(), s) {
			t.Errorf("the error shows the line: %v", err)
		}
		for name := range vars {
			if name == "" || strings.ContainsAny(name, "= \n") {
				t.Errorf("name %q", name)
			}
		}
	})
}

func TestJobFilterIsEscaped(t *testing.T) {
	t.Parallel()
	s, c := dial(t, client.Options{})
	s.Start("Backup")
	s.Start("Restore")
	jobs, err := c.Jobs(t.Context(), vault, client.JobFilter{Operation: "Backup", Status: "o'clock", Since: time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)})
	if err != nil || len(jobs) != 1 || jobs[0].Vault != vault {
		t.Fatalf("jobs: %+v, %v", jobs, err)
	}
	query, err := url.ParseQuery(s.Seen()[len(s.Seen())-1].Query)
	if err != nil {
		t.Fatal(err)
	}
	filter := query.Get("$filter")
	if !strings.Contains(filter, "startTime eq '2026-01-02 03:00:00 PM'") || !strings.Contains(filter, "status eq 'o''clock'") {
		t.Errorf("$filter is %q", filter)
	}
}
