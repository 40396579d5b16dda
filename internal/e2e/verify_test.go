package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/guestlab"
	"holdfast/internal/hypervisor"
	"holdfast/internal/matrix"
)

// TestVerifiedRestore boots points in isolation: one of after the VM's disk files
// moved into a pool, which comes with the same protection as before; one whose check
// fails; and one while which the server is killed. Nothing of it stays. The point of
// before the move comes back as unmanaged disks, of which a machine is made and
// converted.
func TestVerifiedRestore(t *testing.T) {
	matrix.Covers(t, "ACT-02", "MGT-07")
	s := begin(t)
	unmanaged := s.fill("unmanaged")
	before := s.backup()
	pool := s.toPool()
	managed := s.fill("managed")
	s.backup()
	if got := s.points(); len(got) != 2 || got[1] != before {
		t.Fatalf("points: %v; want that of before the move, too", got)
	}
	if out := s.run("protect", "show", s.guest.Name); !strings.Contains(out, "DefaultPolicy") {
		t.Errorf("protection after the move:\n%s", out)
	}
	s.run("restore", "verify", s.guest.Name, "--point", "latest", "--", "/bin/sh", "-c", "! ls /sys/class/net | grep -v lo && mkdir -p /data; mount /dev/vdb /data && cd /data && sha256sum moment *.[1-4]")
	bag := s.jobProperties("Verify")
	if bag["Outcome"] != "proved" || strings.TrimSpace(bag["Check printed"]) != strings.TrimSpace(managed) || bag["Guest answered after"] == "" {
		t.Errorf("latest: %v, want\n%s", bag, managed)
	}
	s.nothingLeft()
	if out := s.run("point", "show", s.guest.Name, "latest"); !strings.Contains(out, "the guest answered after") {
		t.Errorf("the point says\n%s", out)
	}
	s.unmanaged(before, pool, unmanaged)

	if r := s.try("restore", "verify", s.guest.Name, "--", "/bin/false"); r.code != 5 || !strings.Contains(r.stdout+r.stderr, "ended with 1") {
		t.Errorf("a check that fails: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	s.nothingLeft()

	s.run("restore", "verify", s.guest.Name, "--no-wait")
	s.killWhen("the VM boots", func() bool { return len(s.verifying()) > 0 })
	s.server = serve(t, s.data)
	if state := s.ended("Verify"); state != "Completed" {
		t.Errorf("after the kill it ended as %s", state)
	}
	s.nothingLeft()
	s.unharmed()
}

// verifying names the running VMs of verifications.
func (s *story) verifying() (names []string) {
	s.t.Helper()
	all, err := s.guest.Host.Domains(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, d := range all {
		if strings.HasPrefix(d.Name, "holdfast-verify-") && d.State == hypervisor.Running {
			names = append(names, d.Name)
		}
	}
	return names
}

// nothingLeft fails the test if a verification left a VM or a file.
func (s *story) nothingLeft() {
	s.t.Helper()
	if names := s.verifying(); len(names) > 0 {
		s.t.Errorf("VMs are left: %v", names)
	}
	scratch := query[struct {
		Properties struct {
			ScratchDir string `json:"scratchDir"`
		} `json:"properties"`
	}](s.server, "site", "show", "home").Properties.ScratchDir
	if files, err := filepath.Glob(filepath.Join(scratch, "verify-*")); err != nil || scratch == "" || len(files) > 0 {
		s.t.Errorf("in %q is left: %v, %v", scratch, files, err)
	}
}

// unmanaged restores the disks of a point that were in no pool: they go to where
// they were, the template makes a machine of them there, which is converted, and
// boots.
func (s *story) unmanaged(point, pool, want string) {
	s.t.Helper()
	s.run("restore", "disks", s.guest.Name, "--point", point, "--name-prefix", "then")
	name := s.guest.Name + "-then"
	s.t.Cleanup(func() { s.forget(name) })
	s.run("restore", "deploy", s.newest("Restore"), "--name", name, "--set", "start=false")
	if is := s.dirs(name); !slices.Equal(is, []string{s.guest.Dir + " "}) {
		s.t.Errorf("its disks are in %q, and were in %s", is, s.guest.Dir)
	}
	s.run("vm", "convert", name, "--pool", pool)
	if is := s.dirs(name); len(is) != 1 || !strings.HasSuffix(is[0], " "+pool) {
		s.t.Errorf("its disks are in %q, and are to be in the pool %s", is, pool)
	}
	d, err := s.guest.Host.DomainNamed(s.t.Context(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.guest.Host.Start(s.t.Context(), d.UUID); err != nil {
		s.t.Fatal(err)
	}
	if got := strings.TrimSpace(s.sums(s.boot(name))); got != strings.TrimSpace(want) {
		s.t.Errorf("it came back with\n%s\nwant\n%s", got, want)
	}
	s.forget(name)
}

// toPool moves the guest's disk files into a new storage pool, as az vm convert
// does, and boots it there.
func (s *story) toPool() (pool string) {
	s.t.Helper()
	dir := guestlab.Dir(s.t)
	pool = poolOn(s.t, dir)
	s.refuses([]string{"az vm deallocate"}, "vm", "convert", s.guest.Name, "--pool", pool)
	s.guest.Destroy()
	s.run("vm", "convert", s.guest.Name, "--pool", pool)
	for i, was := range s.guest.Disks {
		s.guest.Disks[i] = filepath.Join(dir, filepath.Base(was))
		if _, err := os.Stat(was); err == nil {
			s.t.Errorf("%s is still there", was)
		}
	}
	s.guest.Start()
	s.guest.Sh("mkdir -p /data; mount /dev/vdb /data")
	return pool
}
