package snapshot_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/guestlab"
	"holdfast/internal/snapshot"
)

func TestUnsupportedFormat(t *testing.T) {
	dir := guestlab.Dir(t)
	path := filepath.Join(dir, "disk.vmdk")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "vmdk", path, "16M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l := newLab(t, guestlab.Options{Name: "format", Off: true, Disks: []guestlab.Disk{{Format: "vmdk", Path: path}}})
	_, err := snapshot.Take(t.Context(), l.request())
	var format *snapshot.FormatError
	if !errors.As(err, &format) || !errors.Is(err, snapshot.ErrUnsupportedFormat) || format.Target != "vdb" || format.Format != "vmdk" {
		t.Errorf("%v, want a FormatError about vdb", err)
	}
	l.wantNothingLeft()
}

// TestManyDisks takes the instant of a machine with 33 disks: a system disk and
// the 32 data disks that a VM may have.
func TestManyDisks(t *testing.T) {
	dir := guestlab.Dir(t)
	var disks []guestlab.Disk
	for i := range 32 {
		path := filepath.Join(dir, fmt.Sprintf("%d.qcow2", i))
		for _, args := range [][]string{{"qemu-img", "create", "-q", "-f", "qcow2", path, "4M"},
			{"qemu-io", "-f", "qcow2", "-c", fmt.Sprintf("write -P %d 1M 64k", i+1), path}} {
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		disks = append(disks, guestlab.Disk{Path: path, Bus: "scsi"})
	}
	l := newLab(t, guestlab.Options{Name: "many", NoAgent: true, Disks: disks})
	for point, incremental := range []bool{false, true} {
		r := l.request()
		r.Exclude = nil
		s, err := snapshot.Take(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Disks) != 33 {
			t.Fatalf("%d disks", len(s.Disks))
		}
		for i, d := range s.Disks {
			if d.Incremental != incremental {
				t.Errorf("point %d, disk %s: incremental %v (%s)", point, d.Target, d.Incremental, d.Reason)
			}
			var b [1]byte
			if _, err := d.Source.ReadAt(b[:], 1<<20); i > 0 && (err != nil || int(b[0]) != i) {
				t.Errorf("disk %s: byte %d, want %d (%v)", d.Target, b[0], i, err)
			}
		}
		if err := s.Release(t.Context(), true); err != nil {
			t.Error(err)
		}
		l.last = s.Checkpoint
	}
}

// TestFirmware keeps what a UEFI machine with a TPM has outside its disks.
func TestFirmware(t *testing.T) {
	for _, need := range []string{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/bin/swtpm"} {
		if _, err := os.Stat(need); err != nil {
			t.Skipf("no UEFI or TPM on this machine: %v", err)
		}
	}
	l := newLab(t, guestlab.Options{Name: "uefi", UEFI: true, TPM: true, NoAgent: true, Disks: []guestlab.Disk{{}}})
	s := l.take()
	defer s.Release(t.Context(), false)
	d := s.Domain
	if !d.UEFI || d.NVRAM == "" || d.TPM == nil || d.TPM.Version != "2.0" {
		t.Errorf("facts: %+v", d)
	}
	vars, err := os.ReadFile(d.NVRAM)
	if err != nil || len(vars) == 0 || !slices.Equal(vars, s.NVRAM) {
		t.Errorf("NVRAM: %d bytes of %d, %v", len(s.NVRAM), len(vars), err)
	}
	if len(s.TPM) == 0 || len(s.TPM[0].Data) == 0 {
		t.Errorf("TPM: %d files", len(s.TPM))
	}
	if s.Consistency != snapshot.Crash || !strings.Contains(s.Reason, "no channel") {
		t.Errorf("%s: %s", s.Consistency, s.Reason)
	}
}

func TestPreflight(t *testing.T) {
	dir := guestlab.Dir(t)
	old, vmdk := filepath.Join(dir, "old.qcow2"), filepath.Join(dir, "disk.vmdk")
	for _, args := range [][]string{{"-f", "qcow2", "-o", "compat=0.10", old}, {"-f", "vmdk", vmdk}} {
		if out, err := exec.Command("qemu-img", append(append([]string{"create", "-q"}, args...), "16M")...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	l := newLab(t, guestlab.Options{Name: "preflight", Off: true, Disks: []guestlab.Disk{
		{}, {Format: "raw"}, {Path: old}, {Format: "vmdk", Path: vmdk}}})
	got := map[string]snapshot.Severity{}
	found, err := snapshot.Preflight(t.Context(), l.Host, l.UUID, l.scratch)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		got[f.Subject] = f.Severity
		if f.Text == "" || f.Fix == "" {
			t.Errorf("finding without text or fix: %+v", f)
		}
	}
	want := map[string]snapshot.Severity{"vm": snapshot.Lessens, "disk vdc": snapshot.Lessens,
		"disk vdd": snapshot.Lessens, "disk vde": snapshot.Blocks}
	if !maps.Equal(got, want) {
		t.Errorf("findings %+v\nwant %v", found, want)
	}
	found, err = snapshot.Preflight(t.Context(), l.Host, l.UUID, filepath.Join(dir, "none"))
	if err != nil || !slices.ContainsFunc(found, func(f snapshot.Finding) bool { return f.Subject == "host" && f.Severity == snapshot.Blocks }) {
		t.Errorf("no scratch directory: %+v, %v", found, err)
	}
}
