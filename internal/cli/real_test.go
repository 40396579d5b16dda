package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"holdfast"
	"holdfast/internal/embedded"
	"holdfast/internal/job"
)

// TestRealServer runs the command line against the real server: its API, its
// rules, its catalog and its jobs. Only the data wing below it is a stand-in,
// which keeps the contracts of the ports.
func TestRealServer(t *testing.T) {
	t.Parallel()
	sites := sync.Map{} // of *hosts, by the script's directory
	testscript.Run(t, testscript.Params{
		Dir: "testdata/real",
		Setup: func(env *testscript.Env) error {
			h := &hosts{change: make(chan struct{})}
			sites.Store(env.WorkDir, h)
			dir := filepath.Join(env.WorkDir, "data")
			s, err := embedded.Start(context.Background(), embedded.Config{DataDir: dir, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler),
				Inventory: h, Provisioner: h,
				Backup:  job.Func[holdfast.BackupArgs, holdfast.BackupResult](h.Backup),
				Restore: job.Func[holdfast.RestoreArgs, holdfast.RestoreResult](h.Restore),
				Delete:  job.Func[holdfast.DeletePointsArgs, holdfast.DeletePointsResult](h.Delete)})
			if err != nil {
				return err
			}
			env.Defer(func() {
				h.set(func() { h.held = false })
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			env.Setenv("HOLDFAST_ENV", s.AdminEnv())
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"host": func(ts *testscript.TestScript, _ bool, args []string) {
				h, _ := sites.Load(ts.Getenv("WORK"))
				h.(*hosts).command(ts, args)
			},
			"exits":     exits,
			"interrupt": func(ts *testscript.TestScript, _ bool, args []string) { interrupt(ts, args) },
		},
		UpdateScripts: os.Getenv("HOLDFAST_UPDATE") != "",
	})
}

// hosts is a data wing: one host with VMs, and movers that move nothing.
type hosts struct {
	mu     sync.Mutex
	change chan struct{} // closed and made anew at each change
	held   bool          // movers wait in their transfer
	fault  *holdfast.Error
	gone   []string // VMs that are gone
}

func (h *hosts) set(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	close(h.change)
	h.change = make(chan struct{})
}

// command is "host hold|release|fail MESSAGE|lose VM" in a script.
func (h *hosts) command(ts *testscript.TestScript, args []string) {
	h.set(func() {
		switch args[0] {
		case "hold":
			h.held = true
		case "release":
			h.held = false
		case "fail":
			h.fault = holdfast.Errorf(holdfast.Full, "", "%s", args[1]).WithHint("Make room.")
		case "heal":
			h.fault = nil
		case "lose":
			h.gone = append(h.gone, args[1])
		default:
			ts.Fatalf("no such thing: host %s", args[0])
		}
	})
}

// wait waits while the host is held, and gives the fault that it shall have.
func (h *hosts) wait(ctx context.Context) error {
	for {
		h.mu.Lock()
		held, change, fault := h.held, h.change, h.fault
		h.mu.Unlock()
		switch {
		case !held && fault != nil:
			return fault
		case !held:
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-change:
		}
	}
}

func (h *hosts) Discover(_ context.Context, site holdfast.SiteRef) (holdfast.DiscoverResult, error) {
	if !strings.HasPrefix(site.URI, "qemu:///") {
		return holdfast.DiscoverResult{}, holdfast.Errorf(holdfast.Unreachable, "properties.uri", "libvirt at %s does not answer.", site.URI)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	d := holdfast.DiscoverResult{Host: "host1", Libvirt: "9.0.0", QEMU: "7.2.0", Networks: []string{"default"},
		Pools: []holdfast.PoolFact{{Name: "default", Path: "/pool", Type: "dir", Available: 1 << 40}}}
	for _, name := range []string{"web", "db"} {
		if !slices.Contains(h.gone, name) {
			d.VMs = append(d.VMs, holdfast.VMFact{VMRef: holdfast.VMRef{UUID: "uuid-" + name, Name: name}, State: "running", VCPUs: 2, MemoryBytes: 1 << 30,
				AgentUp: true, OS: "Debian 12", OSType: "Linux", Networks: []string{"default"}, Disks: []holdfast.DiskFact{
					{LUN: -1, Target: "vda", Path: "/pool/" + name + "-a", Pool: "default", Format: "qcow2", Size: 2 << 30},
					{LUN: 0, Target: "vdb", Path: "/pool/" + name + "-b", Pool: "default", Format: "qcow2", Size: 1 << 30}}})
		}
	}
	return d, nil
}

func (h *hosts) VM(ctx context.Context, site holdfast.SiteRef, name string) (holdfast.VMFact, error) {
	d, err := h.Discover(ctx, site)
	for _, vm := range d.VMs {
		if vm.Name == name {
			return vm, nil
		}
	}
	return holdfast.VMFact{}, errors.Join(err, holdfast.Errorf(holdfast.NotFound, name, "There is no VM %q.", name))
}

// Check finds fault with db alone.
func (h *hosts) Check(ctx context.Context, site holdfast.SiteRef, name string) ([]holdfast.Finding, error) {
	if _, err := h.VM(ctx, site, name); err != nil {
		return nil, err
	}
	found := []holdfast.Finding{{Severity: holdfast.Good, Subject: "host", Text: "20000 MiB are free for scratch files in " + site.ScratchDir},
		{Severity: holdfast.Lessens, Subject: "vm", Text: "no guest agent is connected; its backups are crash-consistent", Fix: "in the guest: install and start qemu-guest-agent"}}
	if name == "db" {
		found = append(found, holdfast.Finding{Severity: holdfast.Blocks, Subject: "disk vdb", Text: "disk vdb has format vmdk", Fix: "convert it"})
	}
	return found, nil
}

func (h *hosts) Guest(ctx context.Context, site holdfast.SiteRef, name string) (holdfast.GuestFact, error) {
	_, err := h.VM(ctx, site, name)
	return holdfast.GuestFact{ID: "debian", Name: "Debian GNU/Linux 12", Version: "12", Machine: "x86_64", Looked: true}, err
}

func (h *hosts) Stored(context.Context, holdfast.RepositoryRef) (int64, error) {
	return 0, nil
}

func (h *hosts) TryKey(context.Context, string) error { return nil }

func (h *hosts) Usable(holdfast.RepositoryRef) error {
	return nil
}

func (h *hosts) Provision(_ context.Context, a holdfast.ProvisionArgs) (holdfast.ProvisionResult, error) {
	return holdfast.ProvisionResult{RepositoryID: "r-" + a.Repository.KeyID}, nil
}

func (h *hosts) Backup(ctx context.Context, a holdfast.BackupArgs, p holdfast.Progress) (holdfast.BackupResult, error) {
	p.Task("Take Snapshot")
	p.Cancellable(false)
	p.Task("Transfer data to vault")
	p.Bytes(1<<20, 3<<30)
	if err := h.wait(ctx); err != nil {
		return holdfast.BackupResult{}, err
	}
	p.Bytes(3<<30, 3<<30)
	p.Property("Frozen for", "0.4 s")
	p.Warn("One file system has no freeze.")
	return holdfast.BackupResult{PointID: a.PointID, Time: time.Now().UTC(), Consistency: holdfast.FileSystemConsistent, Reason: "Frozen.",
		VMSize: "2 vCPU, 1 GiB", OSType: "Linux", Disks: []holdfast.DiskResult{{LUN: -1, Target: "vda", Size: 2 << 30}, {LUN: 0, Target: "vdb", Size: 1 << 30}}}, nil
}

func (h *hosts) Restore(ctx context.Context, a holdfast.RestoreArgs, p holdfast.Progress) (holdfast.RestoreResult, error) {
	p.Task("Restore disks")
	p.Property("Args", string(holdfast.Marshal(a)))
	return holdfast.RestoreResult{}, h.wait(ctx)
}

func (h *hosts) Delete(context.Context, holdfast.DeletePointsArgs, holdfast.Progress) (holdfast.DeletePointsResult, error) {
	return holdfast.DeletePointsResult{}, nil
}
