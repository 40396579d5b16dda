package e2e

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/internal/guestlab"
	"holdfast/internal/hypervisor"
	"holdfast/internal/matrix"
)

// TestInstantRestore boots a deleted machine straight from its point. The server is
// killed (-9) while the disks are filled: the machine waits or goes on, and nothing
// that it wrote is lost. At the end it stands alone, without the server. A second
// one is powered off meanwhile, and stands alone, too.
func TestInstantRestore(t *testing.T) {
	if os.Getenv("HOLDFAST_SOAK") == "" {
		t.Skip("several boots: HOLDFAST_SOAK=1 runs it")
	}
	matrix.Covers(t, "RST-01", "MGT-08")
	s := begin(t)
	want := strings.TrimSpace(s.fill("first"))
	point := s.backup()
	s.guest.Destroy()
	if err := s.guest.Host.Undefine(t.Context(), s.guest.UUID); err != nil {
		t.Fatal(err)
	}

	name := s.guest.Name + "-now"
	t.Cleanup(func() { s.forget(name) })
	began := time.Now()
	s.run("restore", "vm", s.guest.Name, "--point", point, "--name", name, "--directory", s.dir, "--instant", "--fill-rate", "4", "--no-wait")
	s.started(name)
	t.Logf("started %s after the command", time.Since(began).Round(time.Millisecond))
	agent := s.boot(name)
	t.Logf("its agent answers %s after the command", time.Since(began).Round(time.Millisecond))
	if got := strings.TrimSpace(s.sums(agent)); got != want {
		t.Errorf("it has\n%s\nwant\n%s", got, want)
	}
	in(t, agent, "echo written >/root/proof && sync")
	if n := s.basedOnPoint(name); n == 0 {
		t.Fatal("its disks were filled before the server could be killed")
	}
	s.kill()
	t.Log("killed while the disks are filled")
	s.server = serve(t, s.data)
	// It may wait for what it reads until the server serves it again; to libvirt it
	// is not running meanwhile.
	until(t, "it goes on", time.Second, func() bool {
		g := guestlab.Guest{Agent: agent, T: t, Name: name}
		_, err := g.Try("echo more >/root/more && sync && cat /usr/bin/* >/dev/null")
		return err == nil
	})
	in(t, agent, "cat /root/more >>/root/proof && sync")
	s.filled(name)
	s.standsAlone(name, want, "written\nmore")

	second := s.guest.Name + "-off"
	t.Cleanup(func() { s.forget(second) })
	s.server = serve(t, s.data)
	s.run("restore", "vm", s.guest.Name, "--point", point, "--name", second, "--directory", s.dir, "--instant", "--fill-rate", "4", "--no-wait")
	s.started(second)
	in(t, s.boot(second), "echo off >/root/proof && sync")
	d, err := s.guest.Host.DomainNamed(t.Context(), second)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.guest.Host.Destroy(t.Context(), d.UUID); err != nil {
		t.Fatal(err)
	}
	s.filled(second)
	s.standsAlone(second, want, "off")
}

// TestInstantBoots restores a real machine instantly, over and over, and kills (-9)
// its QEMU and the server at random moments after its boot. Each time it has what it
// had at the point and what it wrote and synced, and its file systems are whole.
func TestInstantBoots(t *testing.T) {
	if os.Getenv("HOLDFAST_SOAK") == "" {
		t.Skip("a minute for each of its boots: HOLDFAST_SOAK=1 runs it, HOLDFAST_TRIALS=n so many times (5)")
	}
	trials, err := strconv.Atoi(cmp.Or(os.Getenv("HOLDFAST_TRIALS"), "5"))
	if err != nil {
		t.Fatal(err)
	}
	s := begin(t)
	want := strings.TrimSpace(s.fill("first"))
	point := s.backup()
	s.guest.Destroy()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 2))
	for i := range trials {
		s.instantBoot(point, fmt.Sprintf("%s-%d", s.guest.Name, i), want, rnd)
	}
}

func (s *story) instantBoot(point, name, want string, rnd *rand.Rand) {
	t := s.t
	t.Helper()
	t.Cleanup(func() { s.forget(name) })
	began := time.Now()
	format := []string{"qcow2", "raw"}[rnd.IntN(2)]
	s.run("restore", "vm", s.guest.Name, "--point", point, "--name", name, "--directory", s.dir, "--instant", "--format", format, "--fill-rate", "24", "--no-wait")
	s.started(name)
	agent := s.boot(name)
	booted := time.Since(began)
	const work = "mkdir -p /data && { mountpoint -q /data || mount /dev/vdb /data; } && for i in 1 2 3; do head -c 2000000 /dev/urandom >/data/new-$i; cp /data/new-$i /root/; done; sync; cat /data/new-* /root/new-* | sha256sum"
	const look = "mkdir -p /data && { mountpoint -q /data || mount /dev/vdb /data; } && cat /data/new-* /root/new-* | sha256sum"
	wrote := in(t, agent, work)
	time.Sleep(time.Duration(rnd.IntN(15000)) * time.Millisecond) // when it dies is part of the trial
	what := "nothing killed"
	switch rnd.IntN(4) {
	case 0, 1:
		what = "QEMU killed"
		d, err := s.guest.Host.DomainNamed(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		m := idle{server: s.server, host: s.guest.Host}
		m.killQEMU(name)
		if rnd.IntN(2) == 0 {
			what += " and started"
			m.startAgain(d.UUID)
			if got := in(t, s.boot(name), look); got != wrote {
				t.Errorf("%s, %s: it has %s of what it wrote, want %s", name, what, got, wrote)
			}
		}
	case 2:
		what = "server killed"
		s.kill()
		s.server = serve(t, s.data)
	}
	s.filled(name)
	d, err := s.guest.Host.DomainNamed(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if d.State == hypervisor.Paused {
		t.Errorf("%s, %s: it is paused (%s)", name, what, d.StateReason)
	}
	s.alone(name)
	if err := s.guest.Host.Destroy(t.Context(), d.UUID); err != nil {
		t.Fatal(err)
	}
	if err := s.guest.Host.Start(t.Context(), d.UUID); err != nil {
		t.Fatal(err)
	}
	agent = s.boot(name)
	if got := in(t, agent, look); got != wrote {
		t.Errorf("%s, %s: at the end it has %s of what it wrote, want %s", name, what, got, wrote)
	}
	if got := strings.TrimSpace(s.sums(agent)); got != want {
		t.Errorf("%s, %s: it has\n%s\nwant\n%s", name, what, got, want)
	}
	in(t, agent, "umount /data && e2fsck -fn /dev/vdb")
	t.Logf("%s, %s: answered after %s, ended after %s, %s", name, format, booted.Round(time.Second), time.Since(began).Round(time.Second), what)
	s.forget(name)
	disks, _ := filepath.Glob(filepath.Join(s.dir, name+"-*"))
	for _, path := range disks {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// started waits until a machine is there and runs.
func (s *story) started(name string) {
	s.t.Helper()
	until(s.t, name+" is started", 20*time.Millisecond, func() bool {
		d, err := s.guest.Host.DomainNamed(s.t.Context(), name)
		return err == nil && d.State == hypervisor.Running
	})
}

// basedOnPoint counts the disks of a machine that take something from a point yet.
func (s *story) basedOnPoint(name string) (n int) {
	s.t.Helper()
	d, err := s.guest.Host.DomainNamed(s.t.Context(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, k := range d.Disks {
		if k.BackingSocket != "" {
			n++
		}
	}
	return n
}

// filled waits until the newest restore has ended well.
func (s *story) filled(name string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute)
	defer cancel()
	for s.basedOnPoint(name) > 0 {
		select {
		case <-ctx.Done():
			s.t.Fatalf("not filled within 5 minutes: %v", s.jobProperties("Restore"))
		case <-time.After(time.Second):
		}
	}
	if state := s.ended("Restore"); !strings.HasPrefix(state, "Completed") {
		s.t.Fatalf("the restore ended as %s", state)
	}
}

// standsAlone stops the server and boots a machine anew.
func (s *story) standsAlone(name, sums, proof string) {
	t := s.t
	t.Helper()
	s.stop()
	d, err := s.guest.Host.DomainNamed(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.guest.Host.Destroy(t.Context(), d.UUID); err != nil {
		t.Fatal(err)
	}
	s.alone(name)
	if err := s.guest.Host.Start(t.Context(), d.UUID); err != nil {
		t.Fatal(err)
	}
	agent := s.boot(name)
	if got := strings.TrimSpace(s.sums(agent)); got != sums {
		t.Errorf("alone it has\n%s\nwant\n%s", got, sums)
	}
	if got := in(t, agent, "cat /root/proof"); got != proof {
		t.Errorf("alone it has written %q, want %q", got, proof)
	}
	s.forget(name)
}

// alone fails the test unless the disks of a machine, in its definition too, have
// nothing behind them, and nothing else of its restore is there.
func (s *story) alone(name string) {
	t := s.t
	t.Helper()
	d, err := s.guest.Host.DomainNamed(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range d.Disks {
		out, err := exec.Command("qemu-img", "info", "-U", k.Path).CombinedOutput()
		if err != nil || strings.Contains(string(out), "backing") {
			t.Errorf("%s: %v\n%s", k.Path, err, out)
		}
	}
	xml, err := s.guest.Host.DomainXML(t.Context(), d.UUID)
	if err != nil || strings.Contains(xml, "nbd") || strings.Contains(xml, "rerror_policy") {
		t.Errorf("%v; its definition is\n%s", err, xml)
	}
	until(t, "what the restore needed is gone", 20*time.Millisecond, func() bool {
		left, err := filepath.Glob(filepath.Join(s.dir, ".holdfast-*"))
		return err == nil && len(left) == 0
	})
}
