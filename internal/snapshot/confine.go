package snapshot

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"holdfast/internal/hypervisor"
)

// What a host's versions and its mandatory access control mean for a backup.

// badVersions are those of libvirt and QEMU that are known to hurt. QEMU 6.2's
// qemu-nbd answers wrongly once a client asks it for allocation depth
// (oVirt/ovirt-imageio PR 21); it is not listed, since nobody here asks.
var badVersions = []struct {
	what   func(hypervisor.Info) string
	name   string
	before [2]int // major and minor that no longer have it
	text   string
}{
	// virtnbdbackup's README, prerequisites.
	{libvirtVersion, "libvirt", [2]int{7, 6}, "offers backups and checkpoints only to machines that ask for them (qemu:capabilities, incremental-backup)"},
	// autotest/tp-qemu PR 2571 (abort when a guest with an I/O thread restarts
	// in a pull-mode backup, 5.1) and PR 2638 (hang when it powers off);
	// virtnbdbackup's README names 6.1 as the first that is ready for production.
	{qemuVersion, "QEMU", [2]int{6, 1}, "is known to abort or hang when a guest restarts or powers off during a backup"},
}

func libvirtVersion(i hypervisor.Info) string { return i.Libvirt }
func qemuVersion(i hypervisor.Info) string    { return i.QEMU }

func aboutVersions(info hypervisor.Info) (all []Finding) {
	for _, b := range badVersions {
		if v := b.what(info); older(v, b.before) {
			all = append(all, Finding{Lessens, "host", fmt.Sprintf("%s %s %s", b.name, v, b.text),
				fmt.Sprintf("use %s %d.%d or newer", b.name, b.before[0], b.before[1])})
		}
	}
	if all == nil {
		all = []Finding{{Good, "host", fmt.Sprintf("libvirt %s and QEMU %s have no known fault that hurts a backup", info.Libvirt, info.QEMU), ""}}
	}
	return all
}

// older says whether a version such as 7.2.22 is older than major.minor. What
// cannot be read is not.
func older(version string, than [2]int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (major < than[0] || major == than[0] && minor < than[1])
}

// aboutConfinement says whether QEMU, confined, may make its socket where a
// backup asks for it; a machine that is off needs none. The scratch files are no
// question: libvirt labels them and adds them to the machine's profile by itself.
func aboutConfinement(by string, d hypervisor.Domain, scratchDir string) []Finding {
	socket := socketOf(scratchDir, filepath.Join(scratchDir, dirPrefix(d.UUID)+"1234567890"), d)
	switch {
	case !d.State.Active():
	case by == "apparmor":
		return aboutAppArmor("/etc/apparmor.d", d.UUID, socket)
	case by == "selinux" && filepath.Dir(socket) != d.RuntimeDir:
		return aboutSELinux(fileType(scratchDir), scratchDir)
	}
	return nil
}

// aboutAppArmor reads the machine's profile, which libvirt writes when it starts
// the machine (virt-aa-helper.c); a machine without one is not confined. A new
// rule needs no reload: libvirt loads the profile anew whenever it adds a scratch
// file to it, before QEMU makes its socket (qemuBackupBegin).
func aboutAppArmor(etc, uuid, socket string) []Finding {
	profile := filepath.Join(etc, "libvirt", "libvirt-"+uuid)
	if !exists(profile) {
		return nil
	}
	rules, dir := appArmorRules(etc, profile, map[string]bool{}), filepath.Dir(socket)
	if appArmorAllows(rules, socket) {
		return []Finding{{Good, "host", "AppArmor lets QEMU make its socket in " + dir, ""}}
	}
	return []Finding{{Blocks, "host", fmt.Sprintf("AppArmor confines QEMU and no rule in %s lets it make its socket in %s (a refusal is in the kernel's log: dmesg | grep DENIED)", etc, dir),
		appArmorFix(etc, rules, filepath.Dir(dir)+"/** rwk,")}}
}

// appArmorFix adds a rule where the profiles of machines include the site's own:
// Debian and Ubuntu have a file for it, libvirt itself a directory (since 8.10).
func appArmorFix(etc, rules, rule string) string {
	if strings.Contains(rules, "<local/abstractions/libvirt-qemu>") {
		return fmt.Sprintf("echo '%s' >> %s/local/abstractions/libvirt-qemu", rule, etc)
	}
	return fmt.Sprintf("mkdir -p %s/abstractions/libvirt-qemu.d && echo '%s' >> %[1]s/abstractions/libvirt-qemu.d/holdfast", etc, rule)
}

// appArmorInclude is another file, or a directory of files, that belongs to a
// profile (apparmor.d(5), #include mechanism).
var appArmorInclude = regexp.MustCompile(`(?m)^\s*#?include\s+(?:if\s+exists\s+)?[<"]([^>"\n]+)[>"]`)

// appArmorRules is the text of a profile and of all that it includes.
func appArmorRules(etc, path string, seen map[string]bool) string {
	if seen[path] || len(seen) > 1000 {
		return ""
	}
	seen[path] = true
	if inside, err := os.ReadDir(path); err == nil {
		var all strings.Builder
		for _, e := range inside {
			all.WriteString(appArmorRules(etc, filepath.Join(path, e.Name()), seen))
		}
		return all.String()
	}
	text, err := readSmall(path, 1<<20)
	if err != nil {
		return ""
	}
	all := string(text) + "\n"
	for _, m := range appArmorInclude.FindAllStringSubmatch(all, -1) {
		if !filepath.IsAbs(m[1]) {
			m[1] = filepath.Join(etc, m[1])
		}
		all += appArmorRules(etc, m[1], seen)
	}
	return all
}

// appArmorRule is a rule about a path (apparmor.d(5), file rules): not the ones
// that deny, which come with a word before the path.
var appArmorRule = regexp.MustCompile(`(?m)^\s*(?:audit\s+)?(?:allow\s+)?(?:owner\s+)?("[^"\n]+"|[/@]\S*)\s+([a-zA-Z]+)\s*,`)

// appArmorAllows says whether one of the rules lets a file be made at path.
// Rules that deny are not weighed: libvirt's have none that could meet it.
func appArmorAllows(rules, path string) bool {
	for _, m := range appArmorRule.FindAllStringSubmatch(rules, -1) {
		if !strings.ContainsAny(m[2], "w") {
			continue
		}
		if glob, err := regexp.Compile(globExpr(strings.Trim(m[1], `"`))); err == nil && glob.MatchString(path) {
			return true
		}
	}
	return false
}

// globExpr writes an AppArmor glob (apparmor.d(5), globbing) as a regular
// expression. Variables but @{run} match nothing.
func globExpr(glob string) string {
	glob = strings.NewReplacer("@{run}", "{/run,/var/run}").Replace(glob)
	var b strings.Builder
	b.WriteString("^")
	for depth := 0; glob != ""; {
		n := 1
		switch c := glob[0]; {
		case strings.HasPrefix(glob, "**"):
			n = 2
			b.WriteString(".*")
		case c == '*':
			b.WriteString("[^/]*")
		case c == '?':
			b.WriteString("[^/]")
		case c == '{':
			depth++
			b.WriteString("(?:")
		case c == '}' && depth > 0:
			depth--
			b.WriteString(")")
		case c == ',' && depth > 0:
			b.WriteString("|")
		case c == '[' && strings.Contains(glob, "]"):
			n = strings.IndexByte(glob, ']') + 1
			b.WriteString(glob[:n])
		default:
			b.WriteString(regexp.QuoteMeta(glob[:1]))
		}
		glob = glob[n:]
	}
	return b.String() + "$"
}

// fileType is the SELinux type of a directory, or of the nearest one above it
// that is there; "" unknown.
func fileType(path string) string {
	for !exists(path) && path != filepath.Dir(path) {
		path = filepath.Dir(path)
	}
	label := make([]byte, 256)
	n, err := syscall.Getxattr(path, "security.selinux", label)
	if err != nil {
		return ""
	}
	parts := strings.Split(strings.TrimRight(string(label[:n]), "\x00"), ":") // user:role:type:level
	if len(parts) < 3 {
		return ""
	}
	return parts[2]
}

// socketTypes are the types of directories in which QEMU, confined by SELinux as
// svirt_t, may make sockets (fedora-selinux/selinux-policy, virt.te, "virtual
// domains common policy": manage_sock_files_pattern; in tmp_t by a transition to
// svirt_tmp_t). The running machine's own directory has libvirt's svirt_image_t.
var socketTypes = map[string]bool{"qemu_var_run_t": true, "svirt_image_t": true, "svirt_home_t": true, "svirt_tmp_t": true, "tmp_t": true}

func aboutSELinux(label, scratchDir string) []Finding {
	if socketTypes[label] {
		return []Finding{{Good, "host", "SELinux lets QEMU make its socket in the scratch directory (" + label + ")", ""}}
	}
	return []Finding{{Lessens, "host", fmt.Sprintf("SELinux may keep QEMU from making its socket in %s (type %q); a refusal is in the audit log: ausearch -m avc -c qemu-kvm", scratchDir, label),
		fmt.Sprintf("semanage fcontext -a -t qemu_var_run_t '%s(/.*)?' && restorecon -R %s", scratchDir, scratchDir)}}
}
