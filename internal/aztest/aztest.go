// Package aztest is the command line of Azure (az), signed in to a server of a test.
//
// az takes seconds for each command: it runs where HOLDFAST_AZ says so and az is
// installed, which make soak does; elsewhere its tests are skipped, and say why.
package aztest

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// lowerCompute works around Debian 12's az, which asks for a Microsoft.Compute
// version that Debian's SDK does not have (arm-contract, 0).
const lowerCompute = `
try:
    from azure.cli.core.profiles import _shared as s
    p = s.AZURE_API_PROFILES['latest'][s.ResourceType.MGMT_COMPUTE].profile
    for k, v in list(p.items()):
        if v == '2022-11-01':
            p[k] = '2022-08-01'
except ImportError:
    pass
`

// Az runs commands against one server.
type Az struct {
	t     testing.TB
	admin map[string]string // the server's admin.env
	env   []string
}

// New is an az of its own configuration, which is not signed in. admin is the
// server's admin.env.
func New(t testing.TB, admin map[string]string) *Az {
	t.Helper()
	path, err := exec.LookPath("az")
	if os.Getenv("HOLDFAST_AZ") == "" || err != nil {
		t.Skipf("az takes minutes: HOLDFAST_AZ=1 runs it, if it is installed (now: %q, %v)", path, err)
	}
	site := t.TempDir()
	if err := os.WriteFile(filepath.Join(site, "sitecustomize.py"), []byte(lowerCompute), 0o600); err != nil {
		t.Fatal(err)
	}
	return &Az{t: t, admin: admin, env: append(os.Environ(), "PYTHONPATH="+site, "AZURE_CONFIG_DIR="+t.TempDir(), "REQUESTS_CA_BUNDLE="+admin["HOLDFAST_CA_FILE"],
		"AZURE_CORE_COLLECT_TELEMETRY=false", "AZURE_CORE_NO_COLOR=true", "PATH=/usr/bin:"+os.Getenv("PATH"))}
}

// SignIn makes the server a cloud of az's and signs in as its first administrator.
func (a *Az) SignIn() {
	a.t.Helper()
	base := a.admin["HOLDFAST_ENDPOINT"]
	a.Run(nil, "cloud", "register", "-n", "Holdfast", "--endpoint-resource-manager", base, "--endpoint-active-directory", base+"/adfs",
		"--endpoint-active-directory-resource-id", base, "--endpoint-active-directory-graph-resource-id", base)
	a.Run(nil, "cloud", "set", "-n", "Holdfast")
	a.Fails("AADSTS7000215", "login", "--service-principal", "-u", a.admin["HOLDFAST_CLIENT_ID"], "-p", "wrong", "--tenant", a.admin["HOLDFAST_TENANT_ID"])
	a.Run(nil, "login", "--service-principal", "-u", a.admin["HOLDFAST_CLIENT_ID"], "-p", a.admin["HOLDFAST_CLIENT_SECRET"], "--tenant", a.admin["HOLDFAST_TENANT_ID"])
}

// Try runs one command.
func (a *Az) Try(args ...string) (out, errs string, err error) {
	cmd := exec.CommandContext(a.t.Context(), "az", append(args, "-o", "json")...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = a.env, &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

// Run runs one command that must succeed, and reads what it prints into into.
func (a *Az) Run(into any, args ...string) {
	a.t.Helper()
	out, errs, err := a.Try(args...)
	if err != nil {
		a.t.Fatalf("az %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		a.t.Fatalf("az %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// Fails runs one command that must fail and say a text.
func (a *Az) Fails(says string, args ...string) {
	a.t.Helper()
	if out, errs, err := a.Try(args...); err == nil || !strings.Contains(errs, says) {
		a.t.Errorf("az %s: %v\n%s%s\nwant it to fail saying %q", strings.Join(args, " "), err, out, errs, says)
	}
}
