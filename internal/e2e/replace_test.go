package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/guestlab"
	"holdfast/internal/hypervisor"
	"holdfast/internal/matrix"
)

// poolOn makes a storage pool of a directory for the length of the test.
func poolOn(t *testing.T, dir string) string {
	t.Helper()
	name := filepath.Base(dir)
	virsh(t, "pool-create-as", name, "dir", "--target", dir)
	t.Cleanup(func() { virsh(t, "pool-destroy", name) })
	return name
}

func virsh(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("virsh", append([]string{"-q", "-c", guestlab.URI}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("virsh %v: %v\n%s", args, err, out)
	}
}

// TestReplacedDisks replaces the disks of a running machine, with the server
// killed (-9) in the backup before, in the restore, and when the machine is off.
// There the machine boots as it was, with nobody's help. At the end it has the
// disks of the point, its own ones still boot, what it was before is a point, and
// the next backup is right.
func TestReplacedDisks(t *testing.T) {
	matrix.Covers(t, "RST-03", "LNX-01")
	s := begin(t)
	poolOn(t, s.guest.Dir)
	first := s.fill("first")
	point := s.backup()
	second := s.fill("second")

	s.guest.Sh("head -c 50000000 /dev/urandom > /data/big && sync")
	s.run("restore", "replace", s.guest.Name, "--point", point, "--no-wait")
	s.killWhen("the backup before runs", func() bool {
		job, err := s.guest.Host.BackupJob(t.Context(), s.guest.UUID)
		return err == nil && job != nil
	})
	s.server = serve(t, s.data)
	s.killWhen("the disks are written", func() bool {
		found, _ := filepath.Glob(filepath.Join(s.guest.Dir, ".holdfast-restore-*"))
		return len(found) > 0
	})
	s.unharmed()
	s.server = serve(t, s.data)
	s.killWhen("the machine is off", func() bool {
		d, err := s.guest.Host.Domain(t.Context(), s.guest.UUID)
		return err == nil && d.State == hypervisor.ShutOff
	})
	s.guest.Start()
	t.Log("it boots by itself: ", s.guest.Sh("cat /proc/uptime"))

	s.server = serve(t, s.data)
	if state := s.ended("Restore"); state != "Completed" {
		t.Fatalf("the restore ended as %s", state)
	}
	s.guest.WaitAgent()
	if got := strings.TrimSpace(s.sums(s.guest.Agent)); got != strings.TrimSpace(first) {
		t.Errorf("it came back with\n%s\nwant\n%s", got, first)
	}
	bag := s.jobProperties("Restore")
	if got := strings.Split(bag["Retained disks"], ", "); !slices.Equal(got, s.guest.Disks) {
		t.Errorf("retained are %v, want %v", got, s.guest.Disks)
	}
	s.afterReplace(first, second, bag["Former definition"])
}

// afterReplace backs up what a machine became, and takes it back to what it was.
func (s *story) afterReplace(is, was, definition string) {
	t := s.t
	t.Helper()
	if got := s.points(); len(got) != 2 {
		t.Fatalf("points: %v; want the one of before the replacing, too", got)
	}
	newest := s.backup()
	s.guest.Destroy()
	virsh(t, "define", definition)
	s.guest.Start()
	if got := strings.TrimSpace(s.sums(s.guest.Agent)); got != strings.TrimSpace(was) {
		t.Errorf("its former disks have\n%s\nwant\n%s", got, was)
	}
	s.guest.Destroy()
	for _, d := range s.guest.Disks {
		if err := os.Remove(d); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.TrimSpace(s.sums(s.restored(newest, s.guest.Name+"-2", "--start"))); got != strings.TrimSpace(is) {
		t.Errorf("a backup of the new disks came back with\n%s\nwant\n%s", got, is)
	}
}

// killWhen kills the server as soon as something is seen.
func (s *story) killWhen(what string, seen func() bool) {
	s.t.Helper()
	until(s.t, what, 5*time.Millisecond, seen)
	s.kill()
	s.t.Log("killed when " + what)
}
