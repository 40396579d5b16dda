package e2e

import (
	"os"
	"testing"
	"time"

	"holdfast/internal/guestlab"
)

// mostBoot is how much longer a machine may take from the command that restores it
// to the answer of its agent than the same machine from its start on local disks.
const mostBoot = 1.25

// TestInstantBootTime measures that, on a small disk and beside one of 1 TiB. It
// wants a quiet machine.
func TestInstantBootTime(t *testing.T) {
	if os.Getenv("HOLDFAST_MEASURE") == "" {
		t.Skip("a measurement, not a test: HOLDFAST_MEASURE=1 runs it")
	}
	for _, c := range []struct {
		name string
		size int64
	}{{"small", 64 << 20}, {"1 TiB", 1 << 40}} {
		t.Run(c.name, func(t *testing.T) {
			g := guestlab.New(t, guestlab.Options{Name: "boot", Disks: []guestlab.Disk{{Size: c.size}}})
			s := &story{server: serve(t, t.TempDir()), guest: g, dir: guestlab.Dir(t)}
			s.run("site", "register", "home", "--uri", guestlab.URI, "--resource-group", "lab")
			s.run("vault", "create", "safe")
			s.run("protect", "start", g.Name)
			point := s.backup()
			local := s.localBoot()
			began := time.Now()
			s.run("restore", "vm", g.Name, "--point", point, "--name", g.Name+"-now", "--directory", s.dir, "--instant", "--no-wait")
			t.Cleanup(func() { s.forget(g.Name + "-now") })
			s.started(g.Name + "-now")
			up := time.Since(began)
			s.boot(g.Name + "-now")
			took := time.Since(began)
			ratio := took.Seconds() / local.Seconds()
			t.Logf("local boot %.1f s; started after %.1f s, agent after %.1f s: %.2f of the local boot", local.Seconds(), up.Seconds(), took.Seconds(), ratio)
			if ratio > mostBoot {
				t.Errorf("%.2f is more than %.2f", ratio, mostBoot)
			}
		})
	}
}

// localBoot boots the guest anew from its own disks and takes its power away.
func (s *story) localBoot() time.Duration {
	s.t.Helper()
	s.guest.Destroy()
	began := time.Now()
	s.guest.Start()
	defer s.guest.Destroy()
	return time.Since(began)
}
