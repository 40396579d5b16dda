package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/aztest"
)

// TestAzMakesMachines restores disks with the real az, makes machines of their
// template as it is and edited, attaches a restored disk to one that runs, and
// converts one of unmanaged disks: on a real libvirt.
func TestAzMakesMachines(t *testing.T) {
	if os.Getenv("HOLDFAST_AZ") == "" {
		t.Skip("az takes minutes: HOLDFAST_AZ=1 runs it")
	}
	s := begin(t)
	pool := poolOn(t, s.guest.Dir)
	env, _ := s.client()
	a := aztest.New(t, env)
	want := s.fill("first")
	point := s.backup()
	a.SignIn()

	ofItem := []string{"backup", "restore", "restore-disks", "-g", "lab", "-v", "safe", "-c", s.guest.Name, "-i", s.guest.Name, "-r", point, "--storage-account", pool}
	template := s.azRestored(a, append(ofItem, "--target-resource-group", "lab"))
	at := func(name, file string, more ...string) []string {
		return append([]string{"deployment", "group", "create", "-g", "lab", "-n", name, "--template-file", file, "--parameters", "virtualMachineName=" + name}, more...)
	}
	one, two := s.guest.Name+"-one", s.guest.Name+"-two"
	for _, name := range []string{one, two} {
		t.Cleanup(func() { s.forget(name) })
	}
	a.Fails("no function nothing", at(one, edited(t, template, `"[parameters('start')]"`, `"[nothing()]"`))...)
	a.Fails("Microsoft.Sql", at(one, edited(t, template, "Microsoft.Compute/virtualMachines", "Microsoft.Sql/servers"))...)
	if _, err := s.guest.Host.DomainNamed(t.Context(), one); err == nil {
		t.Fatal("a refused template made a machine")
	}
	a.Run(nil, at(one, written(t, template))...)
	agent := s.boot(one)
	if got := strings.TrimSpace(s.sums(agent)); got != strings.TrimSpace(want) {
		t.Errorf("it came back with\n%s\nwant\n%s", got, want)
	}

	// A disk of the point for the machine that runs, and without a group: unmanaged.
	s.run("restore", "disks", s.guest.Name, "--point", point, "--pool", pool, "--name-prefix", "more", "--lun", "0")
	a.Run(nil, "vm", "disk", "attach", "-g", "lab", "--vm-name", one, "--lun", "7", "--name", pool+"~more-vdb.qcow2")
	if got := in(t, agent, "for i in 1 2 3 4 5 6 7 8 9 10; do test -b /dev/vdc && break; sleep 1; done; mkdir -p /more && mount -o ro,noload /dev/vdc /more && cd /more && sha256sum moment *.[1-4]; cd / && umount /more"); got != strings.TrimSpace(want) {
		t.Errorf("the attached disk has\n%s\nwant\n%s", got, want)
	}
	template = s.azRestored(a, append(ofItem, "--restore-as-unmanaged-disks"))
	a.Run(nil, at(two, edited(t, template, `"[parameters('virtualMachineSize')]"`, `"3 vCPU, 1 GiB"`), "start=true")...)
	a.Fails("az vm deallocate", "vm", "convert", "-g", "lab", "-n", two)
	a.Run(nil, "vm", "deallocate", "-g", "lab", "-n", two)
	if is := s.dirs(two); len(is) != 1 || is[0] != filepath.Join(s.guest.Dir, "vhds")+" " {
		t.Errorf("unmanaged disks are in %q", is)
	}
	// It goes to the pool of the disk that is in one.
	a.Run(nil, "vm", "disk", "detach", "-g", "lab", "--vm-name", one, "--name", "vdc")
	a.Run(nil, "vm", "disk", "attach", "-g", "lab", "--vm-name", two, "--name", pool+"~more-vdb.qcow2")
	a.Run(nil, "vm", "convert", "-g", "lab", "-n", two)
	if is := s.dirs(two); len(is) != 1 || is[0] != s.guest.Dir+" "+pool {
		t.Errorf("converted disks are in %q", is)
	}
	a.Fails("managed disks already", "vm", "convert", "-g", "lab", "-n", two)
	a.Run(nil, "vm", "start", "-g", "lab", "-n", two)
	agent = s.boot(two)
	if got := in(t, agent, "nproc"); got != "3" {
		t.Errorf("it has %s processors", got)
	}
	if got := strings.TrimSpace(s.sums(agent)); got != strings.TrimSpace(want) {
		t.Errorf("converted, it has\n%s\nwant\n%s", got, want)
	}
}

// azRestored restores disks with az, and gives the template that came of it.
func (s *story) azRestored(a *aztest.Az, args []string) string {
	s.t.Helper()
	var job struct {
		Name string `json:"name"`
	}
	a.Run(&job, args...)
	a.Run(nil, "backup", "job", "wait", "-g", "lab", "-v", "safe", "-n", job.Name, "--timeout", "600")
	return s.run("restore", "template", job.Name)
}

// dirs are the directories that a machine's disks are in, with their pools.
func (s *story) dirs(name string) (all []string) {
	s.t.Helper()
	d, err := s.guest.Host.DomainNamed(s.t.Context(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, k := range d.Disks {
		if at := filepath.Dir(k.Path) + " " + k.Pool; !seen[at] {
			seen[at] = true
			all = append(all, at)
		}
	}
	return all
}

// written is a file with a text.
func written(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "template.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
