package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/hypervisor"
)

// until looks again and again, without resting longer than pause, until seen
// says yes. It fails the test after three minutes.
func until(t *testing.T, what string, pause time.Duration, seen func() bool) {
	t.Helper()
	deadline := time.NewTimer(3 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for !seen() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not seen within three minutes: %s", what)
		}
	}
}

// ended waits until the newest job of an operation has ended and says how.
func (s *story) ended(operation string) (state string) {
	s.t.Helper()
	type job struct {
		Properties struct{ Status string } `json:"properties"`
	}
	until(s.t, operation+" job ends", 500*time.Millisecond, func() bool {
		jobs := query[[]job](s.server, "job", "list", "--operation", operation)
		if len(jobs) == 0 {
			s.t.Fatalf("no %s job is listed", operation)
		}
		state = jobs[0].Properties.Status
		return state != "InProgress" && state != "Cancelling"
	})
	return state
}

// TestKilledServer kills the server (-9) in the middle of a backup and of a
// restore. Each time the guest goes on unharmed, the next server finishes the
// job or fails it cleanly, and the next backup is right.
func TestKilledServer(t *testing.T) {
	s := begin(t)
	s.fill("first")
	s.backup()

	s.killInBackup()
	s.server = serve(t, s.data)
	t.Logf("the backup that was killed: %s", s.ended("Backup"))
	s.unharmed()
	before := len(s.points())

	// Killed between the phases: the point is there, and the copy goes on.
	point := s.killInTransfer()
	s.server = serve(t, s.data)
	if state := s.ended("Backup"); !strings.HasPrefix(state, "Completed") {
		t.Errorf("a backup that was killed while it transferred ended as %s", state)
	}
	if got := s.points(); len(got) != before+1 || got[0] != point || s.tiers(point) != "InstantRP HardenedRP" {
		t.Errorf("points %v, the newest in %q; want %s once, in both tiers", got, s.tiers(point), point)
	}
	s.unharmed()

	// Without its vault the job fails, and leaves the guest alone all the same.
	s.killInBackup()
	vaults := filepath.Join(s.data, "vaults")
	if err := os.Rename(vaults, vaults+".away"); err != nil {
		t.Fatal(err)
	}
	s.server = serve(t, s.data)
	if state := s.ended("Backup"); state != "Failed" {
		t.Errorf("a backup whose vault is gone ended as %s", state)
	}
	waits := s.points()[0]
	if tiers := s.tiers(waits); tiers != "InstantRP" {
		t.Errorf("the point of a backup whose vault is gone is in %q", tiers)
	}
	s.unharmed()
	_ = os.Remove(vaults) // the server may have made the empty directory
	if err := os.Rename(vaults+".away", vaults); err != nil {
		t.Fatal(err)
	}

	want := s.fill("second")
	point = s.backup()
	if tiers := s.tiers(waits); tiers != "InstantRP HardenedRP" {
		t.Errorf("after the next backup the point that waited is in %q", tiers)
	}
	if how := s.jobProperties("Backup")["Disk vdb"]; !strings.HasPrefix(how, "incremental") {
		t.Errorf("the backup after the kill read the data disk in full: %q", how)
	}

	name := s.guest.Name + "-back"
	t.Cleanup(func() { s.forget(name) })
	s.run("restore", "vm", s.guest.Name, "--point", point, "--name", name, "--directory", s.dir, "--start", "--no-wait")
	until(t, "a restore writes", 5*time.Millisecond, func() bool {
		records, _ := filepath.Glob(filepath.Join(s.dir, ".holdfast-restore-*"))
		return len(records) > 0
	})
	s.kill()
	t.Log("killed in the restore")
	s.server = serve(t, s.data)
	if state := s.ended("Restore"); !strings.HasPrefix(state, "Completed") {
		t.Fatalf("the restore that was killed ended as %s", state)
	}
	until(t, "the restore forgets which files were its own", 50*time.Millisecond, func() bool {
		left, err := filepath.Glob(filepath.Join(s.dir, ".holdfast-*"))
		return err == nil && len(left) == 0
	})
	if got := strings.TrimSpace(s.sums(s.boot(name))); got != strings.TrimSpace(want) {
		t.Errorf("came back with\n%s\nwant\n%s", got, want)
	}
}

// tiers are the tiers of a point.
func (s *story) tiers(point string) string {
	s.t.Helper()
	type shown struct {
		Properties struct {
			RecoveryPointTierDetails []struct{ Type string }
		} `json:"properties"`
	}
	var all []string
	for _, tier := range query[shown](s.server, "point", "show", s.guest.Name, point).Properties.RecoveryPointTierDetails {
		all = append(all, tier.Type)
	}
	return strings.Join(all, " ")
}

// killInTransfer kills the server when the point of a backup is listed and not yet
// in the vault, and names the point.
func (s *story) killInTransfer() (point string) {
	s.guest.Sh("head -c 100000000 /dev/urandom > /data/big && sync")
	old := s.points()[0]
	s.run("backup", s.guest.Name, "--no-wait")
	until(s.t, "a point whose snapshot is complete", 5*time.Millisecond, func() bool {
		point = s.points()[0]
		return point != old
	})
	s.kill()
	s.t.Log("killed in the transfer")
	return point
}

// killInBackup kills the server when libvirt has its backup job, and waits until
// the guest, left to itself, is seen to run.
func (s *story) killInBackup() {
	s.guest.Sh("head -c 100000000 /dev/urandom > /data/big && sync")
	s.run("backup", s.guest.Name, "--no-wait")
	until(s.t, "a backup job in libvirt", 10*time.Millisecond, func() bool {
		job, err := s.guest.Host.BackupJob(s.t.Context(), s.guest.UUID)
		return err == nil && job != nil
	})
	s.kill()
	s.t.Log("killed in the backup")
	until(s.t, "the guest runs and is thawed", time.Second, func() bool {
		d, err := s.guest.Host.Domain(s.t.Context(), s.guest.UUID)
		frozen, ferr := s.guest.Agent.Frozen(s.t.Context(), 5*time.Second)
		return err == nil && d.State == hypervisor.Running && ferr == nil && !frozen
	})
}
