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
	"time"

	"holdfast/internal/disk"
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
	l := newLab(t, guestlab.Options{Name: "many", Paused: true, Disks: disks})
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

// TestTerabyte: the first byte of a disk of 1 TiB with little on it comes soon,
// and so does the end of its map.
func TestTerabyte(t *testing.T) {
	const size, bound = 1 << 40, 10 * time.Second
	path := filepath.Join(guestlab.Dir(t), "large.qcow2")
	for _, args := range [][]string{{"qemu-img", "create", "-q", "-f", "qcow2", path, "1T"},
		{"qemu-io", "-f", "qcow2", "-c", "write -P 1 0 64k", "-c", fmt.Sprintf("write -P 2 %d 64k", size-65536), path}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	l := newLab(t, guestlab.Options{Name: "large", Paused: true, Disks: []guestlab.Disk{{Path: path}}})
	began := time.Now()
	s := l.take()
	defer s.Release(t.Context(), false)
	var first time.Duration
	var data []disk.Extent
	for e, err := range find(t, s, "vdb").Source.Extents(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != disk.Data {
			continue
		}
		data = append(data, e)
		var b [1]byte
		if _, err := find(t, s, "vdb").Source.ReadAt(b[:], e.End()-1); err != nil || int(b[0]) != len(data) {
			t.Errorf("extent %+v: byte %d, %v", e, b[0], err)
		}
		if first == 0 {
			first = time.Since(began)
		}
	}
	t.Logf("first byte after %v, end of the map after %v", first, time.Since(began))
	if len(data) != 2 || first > bound || time.Since(began) > bound {
		t.Errorf("%d extents; first byte after %v, end of the map after %v; want 2 within %v", len(data), first, time.Since(began), bound)
	}
}

// TestFirmware keeps what a UEFI machine with a TPM has outside its disks.
func TestFirmware(t *testing.T) {
	for _, need := range []string{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/bin/swtpm"} {
		if _, err := os.Stat(need); err != nil {
			t.Skipf("no UEFI or TPM on this machine: %v", err)
		}
	}
	l := newLab(t, guestlab.Options{Name: "uefi", UEFI: true, TPM: true, Paused: true, NoAgent: true, Disks: []guestlab.Disk{{}}})
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
	if s.Consistency != snapshot.Crash || !strings.Contains(s.Reason, "paused") {
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
	worst := func(scratch string) map[string]snapshot.Severity {
		t.Helper()
		found, err := snapshot.Preflight(t.Context(), l.Host, l.UUID, scratch)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]snapshot.Severity{}
		for _, f := range found {
			t.Logf("%-8s %-9s %s [%s]", f.Severity, f.Subject, f.Text, f.Fix)
			if f.Text == "" || (f.Fix == "") != (f.Severity == snapshot.Good) {
				t.Errorf("a finding that is not Good says what to do, and only that: %+v", f)
			}
			if got[f.Subject] == "" || got[f.Subject] == snapshot.Good || f.Severity == snapshot.Blocks {
				got[f.Subject] = f.Severity
			}
		}
		return got
	}
	want := map[string]snapshot.Severity{"host": snapshot.Good, "vm": snapshot.Lessens, "disk vda": snapshot.Good, "disk vdb": snapshot.Good,
		"disk vdc": snapshot.Lessens, "disk vdd": snapshot.Lessens, "disk vde": snapshot.Blocks}
	if got := worst(l.scratch); !maps.Equal(got, want) {
		t.Errorf("findings %+v\nwant %v", got, want)
	}
	// The first backup makes the directory.
	if got := worst(filepath.Join(l.scratch, "new")); got["host"] != snapshot.Good {
		t.Errorf("scratch directory yet to be made: %+v", got)
	}
	if small := smallDisk(t); small != "" {
		if err := os.WriteFile(filepath.Join(small, "filler"), make([]byte, 20<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := worst(small); got["host"] != snapshot.Blocks {
			t.Errorf("scratch directory that is full: %+v", got)
		}
	}
	if err := os.Remove(l.Disks[1]); err != nil {
		t.Fatal(err)
	}
	if got := worst(l.scratch); got["disk vdb"] != snapshot.Blocks {
		t.Errorf("image that is gone: %+v", got)
	}
}
