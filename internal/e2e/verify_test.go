package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/guestlab"
	"holdfast/internal/hypervisor"
	"holdfast/internal/matrix"
)

// TestVerifiedRestore boots points in isolation: one of before the VM's disk files
// moved into a pool and one of after that, which comes with the same protection;
// one whose check fails; and one while which the server is killed. Nothing of it
// stays.
func TestVerifiedRestore(t *testing.T) {
	matrix.Covers(t, "ACT-02")
	s := begin(t)
	moments := map[string]string{"oldest": s.fill("unmanaged")}
	before := s.backup()
	s.toPool()
	moments["latest"] = s.fill("managed")
	s.backup()
	if got := s.points(); len(got) != 2 || got[1] != before {
		t.Fatalf("points: %v; want that of before the move, too", got)
	}
	if out := s.run("protect", "show", s.guest.Name); !strings.Contains(out, "DefaultPolicy") {
		t.Errorf("protection after the move:\n%s", out)
	}
	for point, want := range moments {
		s.run("restore", "verify", s.guest.Name, "--point", point, "--", "/bin/sh", "-c", "! ls /sys/class/net | grep -v lo && mkdir -p /data; mount /dev/vdb /data && cd /data && sha256sum moment *.[1-4]")
		bag := s.jobProperties("Verify")
		if bag["Outcome"] != "proved" || strings.TrimSpace(bag["Check printed"]) != strings.TrimSpace(want) || bag["Guest answered after"] == "" {
			t.Errorf("%s: %v, want\n%s", point, bag, want)
		}
		s.nothingLeft()
		if out := s.run("point", "show", s.guest.Name, point); !strings.Contains(out, "the guest answered after") {
			t.Errorf("the point says\n%s", out)
		}
	}

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

// toPool moves the guest's disk files into a storage pool, as `az vm convert`
// would, and boots it there.
func (s *story) toPool() {
	s.t.Helper()
	dir := guestlab.Dir(s.t)
	s.guest.Destroy()
	xml, err := exec.CommandContext(s.t.Context(), "virsh", "-c", guestlab.URI, "dumpxml", "--inactive", "--security-info", s.guest.Name).Output()
	if err != nil {
		s.t.Fatal(err)
	}
	text := string(xml)
	for i, was := range s.guest.Disks {
		is := filepath.Join(dir, filepath.Base(was))
		if err := os.Rename(was, is); err != nil {
			s.t.Fatal(err)
		}
		text = strings.ReplaceAll(text, was, is)
		s.guest.Disks[i] = is
	}
	poolOn(s.t, dir)
	file := filepath.Join(s.t.TempDir(), "moved.xml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	virsh(s.t, "define", file)
	s.guest.Start()
	s.guest.Sh("mkdir -p /data; mount /dev/vdb /data")
}
