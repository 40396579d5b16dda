package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"

	"holdfast/internal/guest"
	"holdfast/internal/guestlab"
	"holdfast/internal/matrix"
)

// TestRestoredDisksAndTemplate restores the disks of a deleted machine to a pool,
// makes a machine of them with the template that came with them, changed by its
// parameters, and attaches a restored disk to it while it runs. The system disk is
// encrypted under a libvirt secret, which the host has lost by then, and on the data
// disk is a volume that the guest encrypts itself.
func TestRestoredDisksAndTemplate(t *testing.T) {
	matrix.Covers(t, "RST-02", "MGT-05", "MGT-06", "CMP-02", "CMP-13", "STO-05", "SEC-05", "SEC-06", "RPT-30")
	s := beginOn(t, guestlab.Disk{LUKS: true})
	pool := poolOn(t, s.dir)
	s.encryptInside()
	want := s.fill("first")
	point := s.backup() // of a machine whose disks are in no pool: unmanaged
	s.guest.Destroy()
	if err := s.guest.Host.Undefine(t.Context(), s.guest.UUID); err != nil {
		t.Fatal(err)
	}
	s.loseSecret()

	s.run("restore", "disks", s.guest.Name, "--point", point, "--pool", pool, "--name-prefix", "back")
	job := s.newest("Restore")
	bag := s.jobProperties("Restore")
	for _, name := range []string{"Template Blob Uri", "Config Blob Uri", "Config Blob Name", "Config Blob Container Name", "Target Storage Account Name"} {
		if bag[name] == "" {
			t.Errorf("the job does not say %q: %v", name, bag)
		}
	}
	text := s.run("restore", "template", job)
	kept, err := os.ReadFile(filepath.Join(s.dir, "back-template.json"))
	if err != nil || strings.TrimSpace(string(kept)) != strings.TrimSpace(text) {
		t.Errorf("the template in the pool is another one: %v\n%s\n%s", err, kept, text)
	}
	if xml := s.run("restore", "template", job, "--definition"); !strings.Contains(xml, filepath.Join(s.dir, "back-vdb.qcow2")) {
		t.Errorf("the definition has not the restored disks:\n%s", xml)
	}

	name := s.guest.Name + "-2"
	t.Cleanup(func() { s.forget(name) })
	s.refuses([]string{"no function nothing"}, "restore", "deploy", job, "--name", name, "--file", edited(t, text, `"[parameters('start')]"`, `"[nothing()]"`))
	s.refuses([]string{"Microsoft.Sql"}, "restore", "deploy", job, "--name", name, "--file", edited(t, text, "Microsoft.Compute/virtualMachines", "Microsoft.Sql/servers"))
	if _, err := s.guest.Host.DomainNamed(t.Context(), name); err == nil {
		t.Fatal("a refused template made a machine")
	}
	s.deploy(t, text, map[string]any{"virtualMachineName": name, "virtualMachineSize": "3 vCPU, 1 GiB", "hostId": "/hosts/one",
		"availabilitySetId": "/subscriptions/x/resourceGroups/lab/providers/Microsoft.Compute/availabilitySets/front"})
	agent := s.boot(name)
	s.sealedAgain(t, name)
	opensInside(t, agent)
	if got := strings.TrimSpace(s.sums(agent)); got != strings.TrimSpace(want) {
		t.Errorf("it came back with\n%s\nwant\n%s", got, want)
	}
	if got := in(t, agent, "nproc"); got != "3" {
		t.Errorf("it has %s processors", got)
	}
	if shown := s.run("vm", "show", name, "--output", "json"); !strings.Contains(shown, "availabilitySets/front") || !strings.Contains(shown, "/hosts/one") {
		t.Errorf("it is not in the set or not on the host:\n%s", shown)
	}
	s.attach(t, job, pool, name, agent, point, want)
}

// deploy deploys a template with the client of Azure's SDK, as az does.
func (s *story) deploy(t *testing.T, template string, parameters map[string]any) {
	t.Helper()
	env, hc := s.client()
	base := env["HOLDFAST_ENDPOINT"]
	o := policy.ClientOptions{Transport: hc, Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: base, Services: map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: base, Audience: base}}}}
	cred, err := azidentity.NewClientSecretCredential(env["HOLDFAST_TENANT_ID"], env["HOLDFAST_CLIENT_ID"], env["HOLDFAST_CLIENT_SECRET"],
		&azidentity.ClientSecretCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	d, err := armresources.NewDeploymentsClient(env["HOLDFAST_SUBSCRIPTION_ID"], cred, &arm.ClientOptions{ClientOptions: o})
	if err != nil {
		t.Fatal(err)
	}
	given := map[string]any{}
	for name, value := range parameters {
		given[name] = map[string]any{"value": value}
	}
	p, err := d.BeginCreateOrUpdate(t.Context(), "lab", "machine", armresources.Deployment{Properties: &armresources.DeploymentProperties{
		Mode: to.Ptr(armresources.DeploymentModeIncremental), Template: json.RawMessage(template), Parameters: given}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.PollUntilDone(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// attach restores one disk once more and gives it to a running machine by a
// template.
func (s *story) attach(t *testing.T, job, pool, name string, agent guest.Agent, point, want string) {
	t.Helper()
	s.run("restore", "disks", s.guest.Name, "--point", point, "--pool", pool, "--name-prefix", "more", "--lun", "0")
	disk := func(lun, file string) string {
		return `{"lun":` + lun + `,"createOption":"Attach","managedDisk":{"id":"[resourceId('Microsoft.Compute/disks','` + pool + `~` + file + `')]"}}`
	}
	file := filepath.Join(t.TempDir(), "attach.json")
	template := `{"parameters":{"virtualMachineName":{"type":"string"}},"resources":[{"type":"Microsoft.Compute/virtualMachines","apiVersion":"2024-07-01","name":"[parameters('virtualMachineName')]",
		"location":"home","properties":{"storageProfile":{"dataDisks":[` + disk("0", "back-vdb.qcow2") + "," + disk("7", "more-vdb.qcow2") + `]}}}]}`
	if err := os.WriteFile(file, []byte(template), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run("restore", "deploy", job, "--name", name, "--file", file, "--resource-group", "lab")
	got := in(t, agent, "for i in 1 2 3 4 5 6 7 8 9 10; do test -b /dev/vdc && break; sleep 1; done; mkdir -p /more && mount -o ro,noload /dev/vdc /more && cd /more && sha256sum moment *.[1-4]")
	if got != strings.TrimSpace(want) {
		t.Errorf("the attached disk has\n%s\nwant\n%s", got, want)
	}
}

// in runs a script in a guest.
func in(t *testing.T, a guest.Agent, script string) string {
	t.Helper()
	g := guestlab.Guest{Agent: a, T: t, Name: "the restored machine"}
	return strings.TrimSpace(g.Sh(script))
}

// newest is the id of the newest job of an operation.
func (s *story) newest(operation string) string {
	s.t.Helper()
	jobs := query[[]struct {
		Name string `json:"name"`
	}](s.server, "job", "list", "--operation", operation)
	if len(jobs) == 0 {
		s.t.Fatalf("no %s job is listed", operation)
	}
	return jobs[0].Name
}

// edited is a file with a template in which something was replaced.
func edited(t *testing.T, text, from, to string) string {
	t.Helper()
	changed := strings.Replace(text, from, to, 1)
	if changed == text || !json.Valid([]byte(changed)) {
		t.Fatalf("%q is not in the template, or it is no JSON any more", from)
	}
	return written(t, changed)
}
