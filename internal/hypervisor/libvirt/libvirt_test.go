package libvirt_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/guest"
	"holdfast/internal/guestlab"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/libvirt"
)

func TestConnectRefuses(t *testing.T) {
	for name, uri := range map[string]string{
		"not a URI":       "://",
		"other driver":    "xen:///system",
		"no path":         "qemu://",
		"wrong path":      "qemu:///sytem",
		"nobody listens":  "qemu+unix:///system?socket=" + filepath.Join(t.TempDir(), "none"),
		"unknown machine": "qemu+tcp://192.0.2.1.invalid/system",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := libvirt.Connect(t.Context(), uri)
			if !errors.Is(err, hypervisor.ErrUnreachable) {
				t.Fatalf("%s: %v, want ErrUnreachable", uri, err)
			}
		})
	}
}

func TestGuest(t *testing.T) {
	g := guestlab.New(t, guestlab.Options{Name: "facts", Screen: true, Disks: []guestlab.Disk{{}, {Format: "raw", Bus: "scsi"}}})
	t.Run("facts", func(t *testing.T) { facts(t, g) })
	t.Run("screen", func(t *testing.T) { screen(t, g) })
	t.Run("agent", func(t *testing.T) { agent(t, g) })
	t.Run("checkpoints", func(t *testing.T) { checkpoints(t, g) })
	t.Run("refusals", func(t *testing.T) { refusals(t, g) })
}

func screen(t *testing.T, g *guestlab.Guest) {
	image, err := g.Host.Screenshot(t.Context(), g.UUID)
	if err != nil || !strings.HasPrefix(string(image), "\x89PNG") && !strings.HasPrefix(string(image), "P6") {
		t.Errorf("screenshot: %d bytes, %v", len(image), err)
	}
	if _, err := g.Host.Screenshot(t.Context(), "6a3f4d3e-0000-4000-8000-000000000000"); !errors.Is(err, hypervisor.ErrNoDomain) {
		t.Errorf("of no domain: %v", err)
	}
}

func facts(t *testing.T, g *guestlab.Guest) {
	d, err := g.Host.Domain(t.Context(), g.UUID)
	if err != nil {
		t.Fatal(err)
	}
	if d.State != hypervisor.Running || d.VCPUs != 2 || d.MemoryBytes != 1<<30 || !d.Persistent || d.UEFI {
		t.Errorf("facts: %+v", d)
	}
	if !d.AgentChannel || !d.AgentConnected {
		t.Errorf("agent channel %v, connected %v", d.AgentChannel, d.AgentConnected)
	}
	if d.QEMUUser < 0 {
		t.Error("no QEMU user")
	}
	want := []struct {
		target, format, bus string
		size                int64
	}{{"vda", "qcow2", "virtio", 2 << 30}, {"vdb", "qcow2", "virtio", 64 << 20}, {"sda", "raw", "scsi", 64 << 20}}
	if len(d.Disks) != len(want) {
		t.Fatalf("%d disks: %+v", len(d.Disks), d.Disks)
	}
	for i, w := range want {
		got := d.Disks[i]
		if got.Target != w.target || got.Format != w.format || got.Bus != w.bus || got.Size != w.size || got.Path != g.Disks[i] {
			t.Errorf("disk %d: %+v, want %+v", i, got, w)
		}
	}
	all, err := g.Host.Domains(t.Context())
	if err != nil || !slices.ContainsFunc(all, func(d hypervisor.Domain) bool { return d.UUID == g.UUID }) {
		t.Errorf("Domains: %v, %+v", err, all)
	}
	if named, err := g.Host.DomainNamed(t.Context(), g.Name); err != nil || named.UUID != g.UUID {
		t.Errorf("DomainNamed: %v", err)
	}
	if _, err := g.Host.Networks(t.Context()); err != nil {
		t.Error(err)
	}
}

func agent(t *testing.T, g *guestlab.Guest) {
	os, err := g.Agent.OS(t.Context(), 10*time.Second)
	if err != nil || os.ID != "debian" || os.Windows() {
		t.Errorf("OS: %+v, %v", os, err)
	}
	if got := g.Sh("echo hello"); got != "hello\n" {
		t.Errorf("echo: %q", got)
	}
	r, err := g.Agent.Run(t.Context(), guest.Command{Path: "/bin/sh", Args: []string{"-c", "cat; exit 3"}, Stdin: []byte("in")}, time.Minute)
	if err != nil || r.Code != 3 || string(r.Stdout) != "in" {
		t.Errorf("run: %+v, %v", r, err)
	}
	if _, err := g.Agent.Run(t.Context(), guest.Command{Path: "/bin/sleep", Args: []string{"60"}}, time.Millisecond); !errors.Is(err, guest.ErrTimeout) {
		t.Errorf("sleep: %v, want ErrTimeout", err)
	}
	if n, err := g.Agent.Freeze(t.Context(), 10*time.Second); err != nil || n == 0 {
		t.Fatalf("freeze: %d, %v", n, err)
	}
	if frozen, err := g.Agent.Frozen(t.Context(), 10*time.Second); err != nil || !frozen {
		t.Errorf("frozen: %v, %v", frozen, err)
	}
	if n, err := g.Agent.Thaw(t.Context(), 10*time.Second); err != nil || n == 0 {
		t.Errorf("thaw: %d, %v", n, err)
	}
	if n, err := g.Agent.Thaw(t.Context(), 10*time.Second); err != nil || n != 0 {
		t.Errorf("second thaw: %d, %v", n, err)
	}
}

// begin starts a backup of vda and vdb that sets a checkpoint.
func begin(t *testing.T, g *guestlab.Guest, checkpoint, since string) error {
	t.Helper()
	b := hypervisor.Backup{Socket: filepath.Join(g.Dir, "nbd-"+checkpoint), Checkpoint: checkpoint, Omit: []string{"sda"}}
	for i, target := range []string{"vda", "vdb"} {
		scratch := filepath.Join(g.Dir, checkpoint+target)
		size := []string{"2G", "64M"}[i]
		if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", scratch, size).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		b.Disks = append(b.Disks, hypervisor.BackupDisk{Target: target, Scratch: scratch, Since: since, Bitmap: true})
	}
	return g.Host.BeginBackup(t.Context(), g.UUID, b)
}

func checkpoints(t *testing.T, g *guestlab.Guest) {
	ctx := t.Context()
	if err := os.Chmod(g.Dir, 0o777); err != nil { // QEMU makes its socket there
		t.Fatal(err)
	}
	if job, err := g.Host.BackupJob(ctx, g.UUID); job != nil || err != nil {
		t.Fatalf("job before the first: %+v, %v", job, err)
	}
	if err := begin(t, g, "one", ""); err != nil {
		t.Fatal(err)
	}
	job, err := g.Host.BackupJob(ctx, g.UUID)
	if err != nil || job == nil || job.Socket != filepath.Join(g.Dir, "nbd-one") || len(job.Scratch) != 2 {
		t.Errorf("job: %+v, %v", job, err)
	}
	if err := g.Host.EndBackup(ctx, g.UUID); err != nil {
		t.Fatal(err)
	}
	if job, err := g.Host.BackupJob(ctx, g.UUID); job != nil || err != nil {
		t.Errorf("job after its end: %+v, %v", job, err)
	}
	if err := begin(t, g, "two", "one"); err != nil {
		t.Fatal(err)
	}
	if err := g.Host.EndBackup(ctx, g.UUID); err != nil {
		t.Fatal(err)
	}
	if names, err := g.Host.Checkpoints(ctx, g.UUID); err != nil || !slices.Equal(names, []string{"one", "two"}) {
		t.Errorf("checkpoints: %v, %v", names, err)
	}
	doc, err := g.Host.CheckpointXML(ctx, g.UUID, "two")
	if err != nil || !strings.Contains(doc, "vdb") {
		t.Fatalf("XML: %v\n%s", err, doc)
	}
	if err := g.Host.RedefineCheckpoint(ctx, g.UUID, doc, []string{"vda", "vdb"}); err != nil {
		t.Errorf("redefine what is there: %v", err)
	}
	if err := g.Host.DeleteCheckpoint(ctx, g.UUID, "two"); err != nil {
		t.Error(err)
	}
	var broken *hypervisor.BitmapError
	if err := g.Host.RedefineCheckpoint(ctx, g.UUID, doc, []string{"vdb"}); !errors.As(err, &broken) || broken.Target != "vdb" {
		t.Errorf("redefine what is gone: %v", err)
	}
	if err := begin(t, g, "three", "nothing"); err == nil {
		t.Error("a backup since an unknown checkpoint began")
	}
	if err := g.Host.DropBitmaps(ctx, g.UUID, "stray", []string{"vda"}); err != nil {
		t.Errorf("drop what is not there: %v", err)
	}
	if names, err := g.Host.Checkpoints(ctx, g.UUID); err != nil || !slices.Equal(names, []string{"one"}) {
		t.Errorf("checkpoints after a failed drop: %v, %v", names, err)
	}
	if err := g.Host.DeleteCheckpoint(ctx, g.UUID, "one"); err != nil {
		t.Error(err)
	}
	if err := g.Host.DeleteCheckpoint(ctx, g.UUID, "one"); !errors.Is(err, hypervisor.ErrNoCheckpoint) {
		t.Errorf("delete again: %v", err)
	}
}

func refusals(t *testing.T, g *guestlab.Guest) {
	ctx := t.Context()
	if _, err := g.Host.Domain(ctx, "6ba7b810-9dad-11d1-80b4-00c04fd430c8"); !errors.Is(err, hypervisor.ErrNoDomain) {
		t.Errorf("unknown domain: %v", err)
	}
	if _, err := g.Host.DomainNamed(ctx, "holdfast-lab-nobody"); !errors.Is(err, hypervisor.ErrNoDomain) {
		t.Errorf("unknown name: %v", err)
	}
	if _, err := g.Host.Pool(ctx, "holdfast-lab-nopool"); !errors.Is(err, hypervisor.ErrNoPool) {
		t.Errorf("unknown pool: %v", err)
	}
	doc, err := g.Host.DomainXML(ctx, g.UUID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Host.Define(ctx, doc); !errors.Is(err, hypervisor.ErrExists) {
		t.Errorf("define again: %v", err)
	}
	if _, err := g.Host.Define(ctx, strings.Replace(doc, g.Name, g.Name+"-2", 1)); !errors.Is(err, hypervisor.ErrExists) {
		t.Errorf("define with a taken UUID: %v", err)
	}
	if _, err := g.Host.Define(ctx, "<domain><name>x</name></domain>"); !errors.Is(err, hypervisor.ErrInvalid) {
		t.Errorf("define nonsense: %v", err)
	}
	if err := g.Host.Start(ctx, g.UUID); err != nil {
		t.Errorf("start again: %v", err)
	}
	g.Destroy()
	g.Destroy()
	if err := begin(t, g, "off", ""); !errors.Is(err, hypervisor.ErrNotRunning) {
		t.Errorf("backup of a machine that is off: %v", err)
	}
	if job, err := g.Host.BackupJob(ctx, g.UUID); job != nil || err != nil {
		t.Errorf("job of a machine that is off: %+v, %v", job, err)
	}
	if _, err := g.Host.Agent(ctx, g.UUID, []byte(`{"execute":"guest-ping"}`), time.Second); err == nil {
		t.Error("the agent of a machine that is off answered")
	}
}
