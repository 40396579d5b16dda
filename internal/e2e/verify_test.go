package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/hypervisor"
)

// TestVerifiedRestore boots points in isolation: one that comes up, one whose
// check fails, and one while which the server is killed. Nothing of it stays.
func TestVerifiedRestore(t *testing.T) {
	s := begin(t)
	s.fill("moment")
	point := s.backup()
	screen := filepath.Join(t.TempDir(), "screen.png")

	s.run("restore", "verify", s.guest.Name, "--", "/bin/sh", "-c", "mkdir -p /data; mount /dev/vdb /data && cat /data/moment && ! ip route | grep .")
	bag := s.jobProperties("Verify")
	if bag["Outcome"] != "proved" || !strings.Contains(bag["Check printed"], "moment") || bag["Guest answered after"] == "" {
		t.Errorf("proved: %v", bag)
	}
	s.nothingLeft()
	if out := s.run("point", "show", s.guest.Name, point); !strings.Contains(out, "the guest answered after") {
		t.Errorf("the point says\n%s", out)
	}
	s.refuses([]string{"no picture"}, "restore", "verify", s.guest.Name, "--screen", screen) // its VM has no screen

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
