// Package guestlab makes real guests for tests: it starts libvirt where nobody
// does, defines a small Debian machine from the cached image with the disks
// that a test wants, boots it, waits for its agent, runs commands in it, and
// takes everything away at the end.
//
// Only tests import it. It promises that what it made is gone after the test,
// failed or not, and that nothing else is touched: every domain's name starts
// with "holdfast-lab-" and ends in the test's own random part. It does not
// promise speed: guests run under software emulation, because a /dev/kvm that
// is there may not work.
package guestlab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/guest"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/libvirt"
)

// URI is the libvirt of every lab.
const URI = "qemu:///system"

// bootDeadline is how long a guest may take until its agent answers. It takes
// 10 s of processor time; machines that run tests are busy.
const bootDeadline = 5 * time.Minute

// Disk is one data disk that a test wants.
type Disk struct {
	Format string // qcow2 (default) or raw
	Size   int64  // bytes; default 64 MiB
	Bus    string // virtio (default), scsi, sata
	Path   string // an existing image instead of a new one
	// Transient marks it as one whose content goes with the guest's power.
	Transient bool
	// LUKS encrypts it under the guest's libvirt secret.
	LUKS bool
}

// Options of a guest. The zero value is a guest with its system disk only.
type Options struct {
	Name   string // goes into the domain's name
	Disks  []Disk // data disks, in order of their targets
	System Disk   // only Format, Bus and LUKS count
	UEFI   bool   // OVMF with NVRAM; the kernel is loaded by QEMU
	TPM    bool   // swtpm 2.0
	Off    bool   // define it only
	Screen bool   // a VGA
	// NoAgent leaves out the agent's channel.
	NoAgent bool
	// Paused starts it and boots nothing: its disks are there, and it costs
	// no processor time.
	Paused bool
}

// Guest is one domain of a lab.
type Guest struct {
	Host  *libvirt.Host
	Agent guest.Agent
	UUID  string
	Name  string
	Dir   string   // its files; QEMU reaches it
	Disks []string // paths: the system disk, then the data disks
	// Secret is the libvirt secret of encrypted disks, if there are some.
	Secret hypervisor.Secret

	T testing.TB // whom a failure of a method fails; a subtest may take it over
}

// Host gives a libvirt that answers, started by scripts/libvirt-up when need
// be. A machine that cannot run guests skips the test and says why.
func Host(t testing.TB) *libvirt.Host {
	t.Helper()
	if err := up(); err != nil {
		t.Skipf("no libvirt on this machine: %v", err)
	}
	h, err := libvirt.Connect(t.Context(), URI)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

var up = sync.OnceValue(func() error { _, err := script("libvirt-up"); return err })

// Image gives the directory of the cached guest image, building it if need be.
func Image(t testing.TB) string {
	t.Helper()
	dir, err := image()
	if err != nil {
		t.Skipf("no guest image: %v", err)
	}
	return dir
}

var image = sync.OnceValues(func() (string, error) { return script("guest-image") })

// script runs one of the project's scripts and gives what it printed.
func script(name string) (string, error) {
	_, here, _, _ := runtime.Caller(0)
	cmd := exec.Command(filepath.Join(filepath.Dir(here), "..", "..", "scripts", name))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("scripts/%s: %w: %s", name, err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// Dir makes a directory that QEMU, which is not root, can reach. It goes away
// with the test.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "holdfast-lab-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// New defines a guest, boots it and waits for its agent.
func New(t testing.TB, o Options) *Guest {
	t.Helper()
	host, image := Host(t), Image(t)
	id := make([]byte, 4)
	if _, err := rand.Read(id); err != nil {
		t.Fatal(err)
	}
	name := "holdfast-lab-" + o.Name + "-" + hex.EncodeToString(id)
	g := &Guest{Host: host, Name: name, Dir: Dir(t), T: t}
	doc := g.domain(o, image)
	uuid, err := host.Define(t.Context(), doc)
	if err != nil {
		t.Fatalf("define: %v\n%s", err, doc)
	}
	g.UUID, g.Agent = uuid, guest.Of(host, uuid)
	t.Cleanup(g.remove)
	switch {
	case o.Paused:
		g.run("virsh", "-q", "-c", URI, "start", "--paused", name)
	case !o.Off:
		g.firstBoot(!o.NoAgent)
	}
	return g
}

// spinDeadline is how long a first boot may take until it is tried once more.
const spinDeadline = 90 * time.Second

// firstBoot boots a guest that nothing has touched yet. Two in some thousand boots
// under emulation spin in the kernel's first seconds, on a busy machine: such a
// guest is reset, once, and the log says so. Start, which boots what Holdfast may
// have had its hands on, does not.
func (g *Guest) firstBoot(agent bool) {
	g.T.Helper()
	if err := g.Host.Start(g.T.Context(), g.UUID); err != nil {
		g.T.Fatal(err)
	}
	if !agent {
		return
	}
	if err := g.answers(spinDeadline); err != nil {
		g.T.Logf("%s is reset in its first boot, after %s without its agent:\n%s", g.Name, spinDeadline, g.symptoms())
		g.run("virsh", "-q", "-c", URI, "reset", g.Name)
		g.WaitAgent()
	}
}

// remove takes the domain away, running or not.
func (g *Guest) remove() {
	// The test's own context is over by now.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := g.Host.Domain(ctx, g.UUID); err != nil {
		return // the test undefined it
	}
	if err := g.Host.Destroy(ctx, g.UUID); err != nil {
		g.T.Errorf("destroy %s: %v", g.Name, err)
	}
	if err := g.Host.Undefine(ctx, g.UUID); err != nil {
		g.T.Errorf("undefine %s: %v", g.Name, err)
	}
}

// Start boots the guest and, when it has an agent's channel, waits for it.
func (g *Guest) Start() {
	g.T.Helper()
	if err := g.Host.Start(g.T.Context(), g.UUID); err != nil {
		g.T.Fatal(err)
	}
	d, err := g.Host.Domain(g.T.Context(), g.UUID)
	if err != nil {
		g.T.Fatal(err)
	}
	if d.AgentChannel {
		g.WaitAgent()
	}
}

// WaitAgent waits until the guest agent answers.
func (g *Guest) WaitAgent() {
	g.T.Helper()
	if err := g.answers(bootDeadline); err != nil {
		g.T.Fatalf("the agent of %s does not answer after %s: %v\n%s", g.Name, bootDeadline, err, g.symptoms())
	}
}

// answers waits until the guest agent answers, for as long as it may take.
func (g *Guest) answers(patience time.Duration) error {
	ctx, cancel := context.WithTimeout(g.T.Context(), patience)
	defer cancel()
	for {
		err := g.Agent.Ping(ctx, 5*time.Second)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// symptoms says of a guest that does not answer what it wrote to its console and
// where its processors are.
func (g *Guest) symptoms() string {
	console, _ := os.ReadFile(filepath.Join(g.Dir, "console"))
	registers, _ := exec.Command("virsh", "-q", "-c", URI, "qemu-monitor-command", g.Name, "--hmp", "info registers -a").Output()
	state, _ := exec.Command("virsh", "-q", "-c", URI, "domstate", "--reason", g.Name).Output()
	return fmt.Sprintf("state: %sconsole:\n%s\nregisters:\n%s", state, console, registers)
}

// Destroy takes the guest's power away.
func (g *Guest) Destroy() {
	g.T.Helper()
	if err := g.Host.Destroy(g.T.Context(), g.UUID); err != nil {
		g.T.Fatal(err)
	}
}

// Shutdown ends the guest in order and waits until it is off.
func (g *Guest) Shutdown() {
	g.T.Helper()
	// The agent's answer may get lost in the shutdown.
	g.Agent.Run(g.T.Context(), guest.Command{Path: "/sbin/shutdown"}, time.Minute)
	g.WaitOff()
}

// WaitOff waits until libvirt says that the guest is off.
func (g *Guest) WaitOff() {
	g.T.Helper()
	ctx, cancel := context.WithTimeout(g.T.Context(), bootDeadline)
	defer cancel()
	for {
		d, err := g.Host.Domain(ctx, g.UUID)
		if err != nil {
			g.T.Fatal(err)
		}
		if !d.State.Active() {
			return
		}
		select {
		case <-ctx.Done():
			g.T.Fatalf("%s does not stop", g.Name)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Device gives the path that a disk has in the guest, found by its serial: the
// kernel numbers SCSI disks as they answer. i counts as in Disks.
func (g *Guest) Device(i int) string {
	g.T.Helper()
	return strings.TrimSpace(g.Sh(`for b in /sys/block/*; do
	if cat $b/serial $b/device/vpd_pg80 2>/dev/null | tr -d '\000' | grep -q '` + serial(i) + `$'; then echo /dev/${b##*/}; exit; fi
done; exit 1`))
}

// Sh runs a shell script in the guest and gives its output; it must succeed.
func (g *Guest) Sh(script string) string {
	g.T.Helper()
	out, err := g.Try(script)
	if err != nil {
		g.T.Fatal(err)
	}
	return out
}

// Try runs a shell script in the guest and gives its output.
func (g *Guest) Try(script string) (string, error) {
	r, err := g.Agent.Run(g.T.Context(), guest.Command{Path: "/bin/sh", Args: []string{"-c", script}}, 5*time.Minute)
	if err != nil {
		return "", err
	}
	if r.Code != 0 {
		return "", fmt.Errorf("in %s: %q: exit %d: %s%s", g.Name, script, r.Code, r.Stdout, r.Stderr)
	}
	return string(r.Stdout), nil
}
