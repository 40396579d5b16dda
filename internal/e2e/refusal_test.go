package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"holdfast/internal/guestlab"
	"holdfast/internal/hypervisor"
)

// TestRefusals gives bad input, each of which is a clear error and changes
// nothing. Its guests are never booted.
func TestRefusals(t *testing.T) {
	g := guestlab.New(t, guestlab.Options{Name: "refused", Disks: []guestlab.Disk{{Size: 8 << 20}}, Off: true})
	odd := oddDomain(t)
	s := &story{server: serve(t, t.TempDir()), guest: g, dir: guestlab.Dir(t)}

	s.refuses([]string{"URI \"nonsense\""}, "site", "register", "x", "--uri", "nonsense", "--resource-group", "lab")
	s.refuses([]string{"libvirt"}, "site", "register", "x", "--uri", "qemu+unix:///system?socket=/nonexistent", "--resource-group", "lab")
	if got := strings.TrimSpace(s.run("site", "list", "--output", "json")); got != "[]" {
		t.Errorf("a refused site is listed: %s", got)
	}
	s.run("site", "register", "home", "--uri", guestlab.URI, "--resource-group", "lab")

	s.refusedVaults()
	s.run("vault", "create", "safe")
	s.refuses([]string{"no-such-vm"}, "protect", "start", "no-such-vm")
	s.refuses([]string{"no-such-policy"}, "protect", "start", g.Name, "--policy", "no-such-policy")
	s.run("protect", "start", g.Name)
	point := s.backup()

	s.refuses([]string{"is there already", g.Name}, "restore", "vm", g.Name, "--point", point, "--name", g.Name, "--directory", s.dir)
	s.refuses([]string{"point"}, "restore", "disks", g.Name, "--point", "12345", "--directory", s.dir)
	s.refuses([]string{"pool"}, "restore", "disks", g.Name, "--point", point, "--pool", "no-such-pool")
	s.refuses([]string{"lun"}, "restore", "disks", g.Name, "--point", point, "--directory", s.dir, "--lun", "7")
	s.refuses([]string{"not a directory"}, "restore", "disks", g.Name, "--point", point, "--directory", filepath.Join(s.dir, "missing"))
	taken := filepath.Join(s.dir, "mine-vda.qcow2")
	if err := os.WriteFile(taken, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.refuses([]string{"exists already"}, "restore", "disks", g.Name, "--point", point, "--directory", s.dir, "--name-prefix", "mine")
	if b, _ := os.ReadFile(taken); string(b) != "precious" {
		t.Error("a restore overwrote a file that was there")
	}
	if entries, _ := os.ReadDir(s.dir); len(entries) != 1 {
		t.Errorf("refused restores left something: %v", entries)
	}

	s.run("protect", "start", odd)
	s.refuses([]string{"vmdk"}, "backup", odd)
	if got := query[[]any](s.server, "point", "list", odd); len(got) != 0 {
		t.Errorf("a refused backup left points: %v", got)
	}
}

// refusedVaults asks for vaults in places that cannot be.
func (s *story) refusedVaults() {
	t := s.t
	s.refuses([]string{"/proc/holdfast"}, "vault", "create", "bad", "--repository", "/proc/holdfast")
	small := guestlab.Dir(t)
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=16", "none", small).CombinedOutput(); err != nil {
		t.Fatalf("mount a small file system: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", small).Run() })
	s.refuses([]string{"full"}, "vault", "create", "bad", "--repository", small)
	if got := strings.TrimSpace(s.run("vault", "list", "--output", "json")); got != "[]" {
		t.Errorf("a refused vault is listed: %s", got)
	}
}

// oddDomain defines a VM that is off and has a disk that is neither raw nor
// qcow2, and gives its name.
func oddDomain(t *testing.T) string {
	t.Helper()
	host, dir := guestlab.Host(t), guestlab.Dir(t)
	disk := filepath.Join(dir, "odd.vmdk")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "vmdk", disk, "8M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	name := "holdfast-lab-odd-" + filepath.Base(dir)
	uuid, err := host.Define(t.Context(), `<domain type='qemu'><name>`+name+`</name><memory unit='MiB'>1024</memory><vcpu>2</vcpu><os><type arch='x86_64'>hvm</type></os><devices>
		<disk type='file' device='disk'><driver name='qemu' type='vmdk'/><source file='`+disk+`'/><target dev='vda' bus='virtio'/></disk></devices></domain>`)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { undefine(t, host, uuid) })
	return name
}

// TestDamageAndKeys damages what is stored, takes the key away, and asks for
// two backups at once.
func TestDamageAndKeys(t *testing.T) {
	g := guestlab.New(t, guestlab.Options{Name: "hurt", Disks: []guestlab.Disk{{Size: 32 << 20}}, Off: true})
	s := &story{server: serve(t, t.TempDir()), guest: g, dir: guestlab.Dir(t)}
	s.run("site", "register", "home", "--uri", guestlab.URI, "--resource-group", "lab")
	s.run("vault", "create", "safe")
	s.run("protect", "start", g.Name)
	if out, err := exec.Command("sh", "-c", "head -c 30000000 /dev/urandom > "+s.dir+"/noise && qemu-img convert -O qcow2 "+s.dir+"/noise "+g.Disks[1]).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	s.run("backup", g.Name, "--no-wait")
	s.refuses([]string{"already running"}, "backup", g.Name)
	if state := s.ended("Backup"); state != "Completed" && state != "CompletedWithWarnings" {
		t.Fatalf("the first of two backups at once ended as %s", state)
	}
	point := s.points()[0]

	packs := []*pack{s.largestPack("operational/*"), s.largestPack("vaults/*")}
	for what, hurt := range map[string]func(whole []byte) []byte{
		"bit flip":  func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 1; return b },
		"truncated": func(b []byte) []byte { return b[:len(b)/2] },
	} {
		for _, p := range packs { // in one tier alone, the other has it
			p.write(t, hurt(p.whole))
		}
		s.refuses([]string{"damaged"}, "restore", "disks", g.Name, "--point", point, "--directory", s.dir, "--name-prefix", "hurt")
		if left, _ := filepath.Glob(filepath.Join(s.dir, "hurt*")); len(left) > 0 {
			t.Errorf("%s: a failed restore left %v", what, left)
		}
	}
	for _, p := range packs {
		p.write(t, p.whole)
	}
	s.run("restore", "disks", g.Name, "--point", point, "--directory", s.dir, "--name-prefix", "good")

	s.stop()
	keys, _ := filepath.Glob(filepath.Join(s.data, "keys", "[^o]*.key")) // not operational-home.key
	if len(keys) != 1 {
		t.Fatalf("keys = %v", keys)
	}
	right, err := os.ReadFile(keys[0])
	if err != nil {
		t.Fatal(err)
	}
	wrong := []byte(strings.Map(func(r rune) rune {
		if r == '0' {
			return '1'
		}
		return r
	}, string(right[15:])))
	if err := os.WriteFile(keys[0], append(right[:15:15], wrong...), 0o600); err != nil {
		t.Fatal(err)
	}
	s.server = serve(t, s.data)
	s.refuses([]string{"key"}, "backup", g.Name)
	s.stop()
	if err := os.WriteFile(keys[0], right, 0o600); err != nil {
		t.Fatal(err)
	}
	s.server = serve(t, s.data)
	s.run("backup", g.Name)
}

// pack is an object of a repository in a directory, and what it held.
type pack struct {
	path  string
	whole []byte
}

func (p *pack) write(t *testing.T, b []byte) {
	t.Helper()
	if err := os.WriteFile(p.path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// largestPack is the biggest pack of the repositories there, which holds data.
func (s *story) largestPack(place string) *pack {
	s.t.Helper()
	p := &pack{}
	paths, _ := filepath.Glob(filepath.Join(s.data, place, "packs", "*", "*"))
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			s.t.Fatal(err)
		}
		if len(b) > len(p.whole) {
			p = &pack{path, b}
		}
	}
	if p.path == "" {
		s.t.Fatalf("there is no pack in %s", place)
	}
	return p
}

// TestVaultFull backs up more of a machine that QEMU runs than its vault has room
// for: it fails and says so, takes nothing of the room for good, leaves QEMU as it
// was, and goes well once there is enough. The point is there meanwhile, in the
// instant tier.
func TestVaultFull(t *testing.T) {
	dir := guestlab.Dir(t)
	noise := filepath.Join(dir, "noise.qcow2")
	if out, err := exec.Command("sh", "-c", "cd "+dir+" && head -c 90000000 /dev/urandom > noise && truncate -s 96M noise && qemu-img convert -f raw -O qcow2 noise noise.qcow2 && rm noise").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	small := guestlab.Dir(t)
	mount := func(options string) {
		if out, err := exec.Command("mount", "-t", "tmpfs", "-o", options, "none", small).CombinedOutput(); err != nil {
			t.Fatalf("mount a small file system: %v: %s", err, out)
		}
	}
	mount("size=64m")
	t.Cleanup(func() { // after the server's end, which has files open there
		if out, err := exec.Command("umount", small).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	g := guestlab.New(t, guestlab.Options{Name: "full", Disks: []guestlab.Disk{{Path: noise}}, Paused: true})
	s := &story{server: serve(t, t.TempDir()), guest: g, dir: dir}
	s.run("site", "register", "home", "--uri", guestlab.URI, "--resource-group", "lab")
	s.run("vault", "create", "safe", "--repository", small)
	s.run("protect", "start", g.Name)

	s.refuses([]string{"full"}, "backup", g.Name)
	if got := s.run("point", "list", g.Name); strings.Count(got, "snapshot") != 1 || strings.Contains(got, "vault") {
		t.Errorf("after a transfer that failed the points are\n%s", got)
	}
	var used syscall.Statfs_t
	if err := syscall.Statfs(small, &used); err != nil {
		t.Fatal(err)
	}
	if n := int64(used.Blocks-used.Bfree) * used.Bsize; n > 8<<20 {
		t.Errorf("a failed backup left %d bytes in the vault", n)
	}
	if job, err := g.Host.BackupJob(t.Context(), g.UUID); err != nil || job != nil {
		t.Errorf("a failed backup left its job to QEMU: %+v, %v", job, err)
	}
	if d, err := g.Host.Domain(t.Context(), g.UUID); err != nil || d.State != hypervisor.Paused || d.StateReason == hypervisor.PausedIOError {
		t.Errorf("the machine is %s, %s (%v)", d.State, d.StateReason, err)
	}
	mount("remount,size=256m")
	s.backup()
	if got := s.run("point", "list", g.Name); strings.Count(got, "snapshot+vault") != 2 {
		t.Errorf("with room for them the points are\n%s", got)
	}
}
