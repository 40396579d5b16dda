package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/guest"
	"holdfast/internal/guestlab"
	"holdfast/internal/hypervisor"
	"holdfast/internal/matrix"
)

// dataSize is the size of a guest's data disk, bytes.
const dataSize = 256 << 20

// story is a server, a guest with a mounted data disk, and a vault that
// protects it.
type story struct {
	*server
	guest *guestlab.Guest
	dir   string // where restores go; QEMU reaches it
}

// begin makes a server, boots a guest, registers the site and protects the VM. The
// test runs beside others from here on: each has a server and a guest of its own.
func begin(t *testing.T) *story {
	t.Helper()
	return beginOn(t, guestlab.Disk{})
}

// beginOn is begin with such a system disk.
func beginOn(t *testing.T, system guestlab.Disk) *story {
	t.Helper()
	t.Parallel()
	g := guestlab.New(t, guestlab.Options{Name: "e2e", System: system, Disks: []guestlab.Disk{{Size: dataSize}}})
	g.Sh("mkfs.ext4 -q /dev/vdb && mkdir -p /data && mount /dev/vdb /data")
	s := &story{server: serve(t, t.TempDir()), guest: g, dir: guestlab.Dir(t)}
	s.run("site", "register", "home", "--uri", guestlab.URI, "--resource-group", "lab")
	s.run("vault", "create", "safe")
	s.run("protect", "start", g.Name, "--policy", "DefaultPolicy")
	return s
}

// fill writes files that tell one moment from another and returns their sums.
func (s *story) fill(moment string) string {
	s.t.Helper()
	return s.guest.Sh("cd /data && for i in 1 2 3 4; do head -c 3000000 /dev/urandom > " + moment + ".$i; done; echo " + moment + " > moment; rm -f *.old; sync; sha256sum moment *.[1-4]")
}

// backup backs the guest up and gives the new point's name.
func (s *story) backup() string {
	s.t.Helper()
	s.run("backup", s.guest.Name)
	return s.points()[0]
}

// points lists the guest's points, newest first.
func (s *story) points() (names []string) {
	s.t.Helper()
	type point struct {
		Name string `json:"name"`
	}
	for _, p := range query[[]point](s.server, "point", "list", s.guest.Name) {
		names = append(names, p.Name)
	}
	return names
}

// restored restores a point as a new running VM, which is started as how says, gives
// its agent, and takes it away when the test ends.
func (s *story) restored(point, name, how string) guest.Agent {
	s.t.Helper()
	s.t.Cleanup(func() { s.forget(name) })
	s.run("restore", "vm", s.guest.Name, "--point", point, "--name", name, "--directory", s.dir, how)
	return s.boot(name)
}

// boot waits until the agent of a restored VM answers.
func (s *story) boot(name string) guest.Agent {
	s.t.Helper()
	d, err := s.guest.Host.DomainNamed(s.t.Context(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	copied := *s.guest
	copied.UUID, copied.Name, copied.Agent = d.UUID, name, guest.Of(s.guest.Host, d.UUID)
	copied.WaitAgent()
	return copied.Agent
}

func (s *story) forget(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if d, err := s.guest.Host.DomainNamed(ctx, name); err == nil {
		undefine(s.t, s.guest.Host, d.UUID)
	}
}

// undefine takes a domain away, running or not.
func undefine(t *testing.T, host hypervisor.Host, uuid string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := host.Destroy(ctx, uuid); err != nil {
		t.Error(err)
	}
	if err := host.Undefine(ctx, uuid); err != nil {
		t.Error(err)
	}
}

// sums are the checksums that a restored guest computes of its data disk.
func (s *story) sums(a guest.Agent) string {
	s.t.Helper()
	r, err := a.Run(s.t.Context(), guest.Command{Path: "/bin/sh", Args: []string{"-c", "mkdir -p /data && { mountpoint -q /data || mount -o ro /dev/vdb /data; } && cd /data && sha256sum moment *.[1-4]"}}, 2*time.Minute)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(r.Stdout)
}

// unharmed fails the test unless the guest runs, is thawed and has no backup
// job left.
func (s *story) unharmed() {
	s.t.Helper()
	ctx := s.t.Context()
	d, err := s.guest.Host.Domain(ctx, s.guest.UUID)
	if err != nil {
		s.t.Fatal(err)
	}
	if d.State != hypervisor.Running {
		s.t.Errorf("the guest is %s", d.State)
	}
	if frozen, err := s.guest.Agent.Frozen(ctx, 10*time.Second); err != nil || frozen {
		s.t.Errorf("the guest is frozen: %v, %v", frozen, err)
	}
	if job, err := s.guest.Host.BackupJob(ctx, s.guest.UUID); err != nil || job != nil {
		s.t.Errorf("libvirt has a left-over backup job: %+v, %v", job, err)
	}
}

// jobProperties is the property bag of an item's newest job of an operation.
func (s *story) jobProperties(operation string) map[string]string {
	s.t.Helper()
	type job struct {
		Name       string `json:"name"`
		Properties struct {
			ExtendedInfo struct {
				PropertyBag map[string]string `json:"propertyBag"`
			} `json:"extendedInfo"`
		} `json:"properties"`
	}
	jobs := query[[]job](s.server, "job", "list", "--operation", operation)
	if len(jobs) == 0 {
		s.t.Fatalf("no %s job is listed", operation)
	}
	return query[job](s.server, "job", "show", jobs[0].Name).Properties.ExtendedInfo.PropertyBag
}

// TestMachineDiesAndComesBack is the main job: two backups of a running VM,
// the VM and its disks destroyed, and both moments back as new VMs that boot.
func TestMachineDiesAndComesBack(t *testing.T) {
	matrix.Covers(t, "SCN-01", "RST-01", "RST-02", "MGT-08", "STO-04")
	s := begin(t)

	first := s.fill("first")
	p1 := s.backup()
	second := s.fill("second")
	p2 := s.backup()
	s.unharmed()
	if tiers := s.tiers(p2); tiers != "InstantRP HardenedRP" {
		t.Errorf("the point is in %q", tiers)
	}
	bag := s.jobProperties("Backup")
	t.Logf("second backup: %v", bag)
	if !strings.HasPrefix(bag["Disk vdb"], "incremental") {
		t.Errorf("the second backup of the data disk was not incremental: %q", bag["Disk vdb"])
	}
	if !strings.Contains(bag["Consistency"], "FileSystemConsistent") {
		t.Errorf("consistency = %q", bag["Consistency"])
	}
	if got := s.points(); len(got) != 2 || got[0] != p2 || got[1] != p1 {
		t.Fatalf("points = %v, want %s, %s", got, p2, p1)
	}

	s.guest.Destroy()
	if err := s.guest.Host.Undefine(t.Context(), s.guest.UUID); err != nil {
		t.Fatal(err)
	}
	for _, d := range s.guest.Disks {
		if err := os.Remove(d); err != nil {
			t.Fatal(err)
		}
	}

	for i, want := range []struct{ point, sums string }{{p1, first}, {p2, second}} {
		name := s.guest.Name + "-" + string(rune('1'+i))
		agent := s.restored(want.point, name, []string{"--instant", "--start"}[i])
		s.alone(name)
		if got := strings.TrimSpace(s.sums(agent)); got != strings.TrimSpace(want.sums) {
			t.Errorf("point %s came back with\n%s\nwant\n%s", want.point, got, want.sums)
		}
		if from := s.jobProperties("Restore")["Read from"]; from != []string{"snapshot (instant tier)", "vault"}[i] {
			t.Errorf("restore %d read from %q", i, from)
		}
		s.forget(name)
		if i == 0 { // the instant tier is lost: the vault has it all
			if err := os.RemoveAll(filepath.Join(s.data, "operational")); err != nil {
				t.Fatal(err)
			}
		}
	}

	s.run("restore", "disks", s.guest.Name, "--point", p1, "--directory", s.dir, "--format", "raw", "--lun", "0", "--name-prefix", "only")
	if _, err := os.Stat(filepath.Join(s.dir, "only-vdb.raw")); err != nil {
		t.Error(err)
	}
}

// TestMachineThatIsOff backs up a VM that is shut down: its point says what it
// is, and its disks come back byte for byte.
func TestMachineThatIsOff(t *testing.T) {
	matrix.Covers(t, "ACT-01")
	g := guestlab.New(t, guestlab.Options{Name: "off", Disks: []guestlab.Disk{{Size: 32 << 20}}, Off: true})
	s := &story{server: serve(t, t.TempDir()), guest: g, dir: guestlab.Dir(t)}
	s.run("site", "register", "home", "--uri", guestlab.URI, "--resource-group", "lab")
	s.run("vault", "create", "safe")
	s.run("protect", "start", g.Name)

	point := s.backup()
	if state := s.ended("Backup"); state != "CompletedWithWarnings" {
		t.Errorf("more was asked for than a VM that is off can give, and the job ended as %s", state)
	}
	type shown struct {
		Properties struct{ RecoveryPointType string } `json:"properties"`
	}
	if got := query[shown](s.server, "point", "show", g.Name, point).Properties.RecoveryPointType; got != "CrashConsistent" {
		t.Errorf("the point says %s", got)
	}
	if d, err := g.Host.Domain(t.Context(), g.UUID); err != nil || d.State.Active() {
		t.Errorf("the VM is %s (%v); it was off", d.State, err)
	}
	s.run("restore", "disks", g.Name, "--point", point, "--directory", s.dir, "--format", "raw", "--name-prefix", "off")
	for i, target := range []string{"vda", "vdb"} {
		if out, err := exec.Command("qemu-img", "compare", g.Disks[i], filepath.Join(s.dir, "off-"+target+".raw")).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", target, err, out)
		}
	}
}
