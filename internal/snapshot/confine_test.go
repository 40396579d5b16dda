package snapshot

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/hypervisor"
)

func TestOlder(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{"7.5.9": true, "7.6.0": false, "6.10.0": true, "10.0.0": false, "8.0": false, "": false, "x.y.z": false} {
		if older(version, [2]int{7, 6}) != want {
			t.Errorf("%q is older than 7.6: want %v", version, want)
		}
	}
	for _, c := range []struct {
		info hypervisor.Info
		says string
	}{
		{hypervisor.Info{Libvirt: "9.0.0", QEMU: "7.2.22"}, "no known fault"},
		{hypervisor.Info{Libvirt: "7.0.0", QEMU: "7.2.22"}, "use libvirt 7.6"},
		{hypervisor.Info{Libvirt: "9.0.0", QEMU: "5.2.0"}, "use QEMU 6.1"},
	} {
		if found := aboutVersions(c.info); len(found) != 1 || !strings.Contains(found[0].Text+found[0].Fix, c.says) {
			t.Errorf("%+v: %+v, want %q", c.info, found, c.says)
		}
	}
}

// stock is a piece of Debian's abstractions/libvirt-qemu.
const stock = `
  #include <abstractions/base>
  capability setuid,
  /dev/net/tun rw,
  /{dev,run}/shm r,
  owner /{,var/}tmp/**/ r,
  owner /var/lib/libvirt/qemu/nvram/*_VARS.fd rwk,
  audit deny /{var/,}run/qemu/*/*.so w,
  /usr/bin/kvm rmix,
`

func TestAppArmorAllows(t *testing.T) {
	t.Parallel()
	const socket = "/var/lib/libvirt/holdfast/ab/site/holdfast-0123-1/nbd"
	for _, c := range []struct {
		rules string
		want  bool
	}{
		{stock, false},
		{stock + "/var/lib/libvirt/holdfast/** rwk,\n", true},
		{stock + "  owner \"/var/lib/libvirt/{other,holdfast}/**\" rw,\n", true},
		{stock + "audit /var/lib/libvirt/holdfast/[a-c]?/*/holdfast-*/nbd w,\n", true},
		{stock + "/var/lib/libvirt/holdfast/** r,\n", false},
		{stock + "deny /var/lib/libvirt/holdfast/** rw,\n", false},
		{stock + "# /var/lib/libvirt/holdfast/** rw,\n", false},
		{stock + "/var/lib/libvirt/holdfast/* rw,\n", false},
		{stock + "@{LIBVIRT}/** rw,\n", false},
		{stock + "/var/lib/libvirt/holdfast/{** rw,\n", false},
	} {
		if got := appArmorAllows(c.rules, socket); got != c.want {
			t.Errorf("%s: %v, want %v", strings.TrimPrefix(c.rules, stock), got, c.want)
		}
	}
	if !appArmorAllows("@{run}/holdfast/** rw,", "/run/holdfast/a/nbd") {
		t.Error("@{run} is not /run")
	}
}

// profiles makes a directory of AppArmor's: a running machine's profile, and the
// abstraction that it includes.
func profiles(t *testing.T, files map[string]string) string {
	t.Helper()
	etc := t.TempDir()
	for name, text := range files {
		path := filepath.Join(etc, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return etc
}

// profile is a machine's, from libvirt's TEMPLATE.qemu.
const profile = `profile libvirt-u flags=(attach_disconnected) {
  #include <abstractions/libvirt-qemu>
  #include <libvirt/libvirt-u.files>
}
`

// TestAppArmorFix does what a finding says, for profiles as Debian's libvirt 9.0
// and as libvirt itself has them, and finds the rule then.
func TestAppArmorFix(t *testing.T) {
	t.Parallel()
	for _, include := range []string{"#include <local/abstractions/libvirt-qemu>", "include if exists <abstractions/libvirt-qemu.d>"} {
		etc := profiles(t, map[string]string{"libvirt/libvirt-u": profile, "abstractions/libvirt-qemu": stock + include + "\n",
			"local/abstractions/libvirt-qemu": "# site-specific rules\n", "abstractions/other": "/scratch/** rwk,\n"})
		found := aboutAppArmor(etc, "u", "/scratch/holdfast-1/nbd")
		if len(found) != 1 || found[0].Severity != Blocks || !strings.Contains(found[0].Fix, "'/scratch/** rwk,'") {
			t.Fatalf("%s, stock rules: %+v", include, found)
		}
		if out, err := exec.Command("sh", "-c", found[0].Fix).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", found[0].Fix, err, out)
		}
		if found := aboutAppArmor(etc, "u", "/scratch/holdfast-1/nbd"); len(found) != 1 || found[0].Severity != Good {
			t.Errorf("%s, with the rule: %+v", include, found)
		}
	}
	if found := aboutAppArmor(t.TempDir(), "u", "/scratch/holdfast-1/nbd"); found != nil {
		t.Errorf("a machine without a profile is not confined: %+v", found)
	}
}

func TestConfinement(t *testing.T) {
	t.Parallel()
	if found := aboutSELinux("var_lib_t", "/scratch"); found[0].Severity != Lessens || !strings.Contains(found[0].Fix, "semanage") {
		t.Errorf("SELinux: %+v", found)
	}
	if found := aboutSELinux("qemu_var_run_t", "/scratch"); found[0].Severity != Good {
		t.Errorf("SELinux: %+v", found)
	}
	// In QEMU's own directory libvirt's own rule is enough (virt-aa-helper.c).
	etc := profiles(t, map[string]string{"libvirt/libvirt-u": profile, "libvirt/libvirt-u.files": `  "/var/lib/libvirt/qemu/domain-7-web/*" rw,` + "\n"})
	running := hypervisor.Domain{UUID: "u", State: hypervisor.Running, RuntimeDir: "/var/lib/libvirt/qemu/domain-7-web"}
	if found := aboutAppArmor(etc, "u", socketOf("/else", "/else/holdfast-1", running)); len(found) != 1 || found[0].Severity != Good {
		t.Errorf("in QEMU's own directory: %+v", found)
	}
	if found := aboutConfinement("selinux", running, "/scratch"); found != nil {
		t.Errorf("SELinux, in QEMU's own directory: %+v", found)
	}
	if found := aboutConfinement("", running, "/scratch"); found != nil {
		t.Errorf("no confinement: %+v", found)
	}
}

// FuzzAppArmor: whatever the files hold, the answer comes, and a rule's own
// plain path is allowed by it.
func FuzzAppArmor(f *testing.F) {
	f.Add(stock, "/a/b")
	f.Add("/x/{a,b}/** rw,", "/x/a/c")
	f.Add("/x/[^a/** w,", "/x")
	f.Fuzz(func(t *testing.T, rules, path string) {
		allowed := appArmorAllows(rules, path)
		if plain := strings.Trim(path, "abcdefghijklmnopqrstuvwxyz/") == "" && strings.HasPrefix(path, "/"); plain && !appArmorAllows(rules+"\n"+path+" rw,\n", path) {
			t.Errorf("%q is not allowed by a rule of its own (%v before)", path, allowed)
		}
	})
}
