package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/guestlab"
	"holdfast/internal/matrix"
)

// TestGeneration2 backs up a UEFI machine with a TPM, destroys it, and wants
// both back: the variables and the state byte for byte, and a machine that boots
// with them. Its data is on a pool over two disks, which is written to while it is
// backed up: what Storage Spaces is to a Windows guest, which is not tried here.
func TestGeneration2(t *testing.T) {
	t.Parallel()
	for _, need := range []string{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/bin/swtpm"} {
		if _, err := os.Stat(need); err != nil {
			t.Skipf("no UEFI or TPM on this machine: %v", err)
		}
	}
	matrix.Covers(t, "CMP-10", "CMP-14")
	g := guestlab.New(t, guestlab.Options{Name: "gen2", UEFI: true, TPM: true, Disks: []guestlab.Disk{{}, {}}})
	s := &story{server: serve(t, t.TempDir()), guest: g, dir: guestlab.Dir(t)}
	s.run("site", "register", "home", "--uri", guestlab.URI, "--resource-group", "lab")
	s.run("vault", "create", "safe")
	s.run("protect", "start", g.Name)
	if out := s.run("vm", "check", g.Name); !strings.Contains(out, "its guest agent answers") || strings.Contains(out, "Blocks") {
		t.Errorf("vm check says\n%s", out)
	}
	g.Sh("test -d /sys/firmware/efi && echo kept >/root/proof && sync")
	fillPool(g)
	point := s.backup()
	vars, tpm := s.firmware(g.Name)
	g.Destroy()
	if err := g.Host.Undefine(t.Context(), g.UUID); err != nil {
		t.Fatal(err)
	}

	name := g.Name + "-2"
	t.Cleanup(func() { s.forget(name) })
	s.run("restore", "vm", g.Name, "--point", point, "--name", name, "--directory", s.dir)
	gotVars, gotTPM := s.firmware(name)
	if !bytes.Equal(gotVars, vars) {
		t.Error("the UEFI variables are not those of the point")
	}
	for file, want := range tpm {
		if !bytes.Equal(gotTPM[file], want) {
			t.Errorf("the TPM's %s is not that of the point", file)
		}
	}
	d, err := g.Host.DomainNamed(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Host.Start(t.Context(), d.UUID); err != nil {
		t.Fatal(err)
	}
	copied := *g
	copied.Agent = s.boot(name)
	if got := copied.Sh("test -d /sys/firmware/efi && cat /root/proof"); got != "kept\n" {
		t.Errorf("the machine came back with %q", got)
	}
	poolIsWhole(&copied)
}

// TestTemporaryDisk: a disk that is marked temporary is in no point, and comes
// back empty.
func TestTemporaryDisk(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "STO-13")
	full := filepath.Join(guestlab.Dir(t), "temporary.qcow2")
	for _, args := range [][]string{{"qemu-img", "create", "-q", "-f", "qcow2", full, "8M"}, {"qemu-io", "-f", "qcow2", "-c", "write -P 7 0 1M", full}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	g := guestlab.New(t, guestlab.Options{Name: "temporary", Paused: true, Disks: []guestlab.Disk{{Path: full, Transient: true}, {Size: 4 << 20}}})
	s := &story{server: serve(t, t.TempDir()), guest: g, dir: guestlab.Dir(t)}
	s.run("site", "register", "home", "--uri", guestlab.URI, "--resource-group", "lab")
	s.run("vault", "create", "safe")
	s.run("protect", "start", g.Name)
	point := s.backup()
	if bag := s.jobProperties("Backup"); bag["Disk vdb"] != "temporary: left out" || bag["Disk vdc"] == "" {
		t.Errorf("the job says %v", bag)
	}
	name := g.Name + "-2"
	t.Cleanup(func() { s.forget(name) })
	s.run("restore", "vm", g.Name, "--point", point, "--name", name, "--directory", s.dir)
	d, err := g.Host.DomainNamed(t.Context(), name)
	if err != nil || len(d.Disks) != 3 || !d.Disks[1].Transient || d.Disks[1].Size != 8<<20 {
		t.Fatalf("the restored machine: %+v, %v", d.Disks, err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := errors.Join(os.WriteFile(empty, nil, 0o600), os.Truncate(empty, 8<<20)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("qemu-img", "compare", "-F", d.Disks[1].Format, "-f", "raw", empty, d.Disks[1].Path).CombinedOutput(); err != nil {
		t.Errorf("the temporary disk is not empty: %v: %s", err, out)
	}
}

// firmware reads a machine's UEFI variables and the state of its TPM.
func (s *story) firmware(name string) (vars []byte, tpm map[string][]byte) {
	s.t.Helper()
	d, err := s.guest.Host.DomainNamed(s.t.Context(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	if vars, err = os.ReadFile(d.NVRAM); err != nil || len(vars) == 0 {
		s.t.Fatalf("UEFI variables: %d bytes, %v", len(vars), err)
	}
	files, err := filepath.Glob(filepath.Join(d.TPM.StatePath, "tpm2*"))
	if err != nil || len(files) == 0 {
		s.t.Fatalf("TPM state: %v, %v", files, err)
	}
	tpm = map[string][]byte{}
	for _, f := range files {
		if tpm[filepath.Base(f)], err = os.ReadFile(f); err != nil {
			s.t.Fatal(err)
		}
	}
	return vars, tpm
}
