package embedded_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/clock"
	"holdfast/internal/embedded"
	"holdfast/internal/job"
)

// world is the data wing of these tests: two machines on one host, movers that
// do what the test says. It keeps the contracts of the ports.
type world struct {
	mu       sync.Mutex
	vms      []holdfast.VMFact
	down     bool              // libvirt does not answer
	provided map[string]string // repository URL -> id
	refuse   error             // of Provision
	unusable error             // of every repository
	hold     chan struct{}     // if set, movers wait for it
	begun    chan string       // movers say that they began
	// transferring, if set, is received from once by a backup that transfers, which
	// then goes on when it is closed.
	transferring chan struct{}
	restores     []holdfast.RestoreArgs
	backups      []holdfast.BackupArgs
	fail         error            // of movers
	cut          error            // of the second phase of backups
	clock        clock.Clock      // nil is the machine's
	ticks        <-chan time.Time // nil is each minute
	metrics      string           // where they are read
	findings     []holdfast.Finding
	asked        chan struct{} // if set, Stored says there that it was asked
	volumes      []holdfast.VolumeFact
	pools        []holdfast.PoolFact // beside default
	noDefault    bool                // there is no pool default
	machines     []holdfast.MachineArgs
	restored     []holdfast.DiskResult // what restores bring back
}

func newWorld() *world {
	disks := []holdfast.DiskFact{{LUN: -1, Target: "vda", Path: "/pool/a", Pool: "default", Format: "qcow2", Size: 2 << 30}, {LUN: 0, Target: "vdb", Path: "/pool/b", Format: "qcow2", Size: 1 << 30}}
	vm := func(name, uuid string) holdfast.VMFact {
		return holdfast.VMFact{VMRef: holdfast.VMRef{UUID: uuid, Name: name}, State: "running", VCPUs: 2, MemoryBytes: 1 << 30, AgentUp: true, OSType: "Linux", Disks: disks, Networks: []string{"default"},
			NICs: []holdfast.NICFact{{MAC: "52:54:00:00:00:0" + uuid[2:], Network: "default", Kind: "network", Model: "virtio"}}}
	}
	return &world{vms: []holdfast.VMFact{vm("web", "u-1"), vm("db", "u-2")}, provided: map[string]string{}, begun: make(chan string, 100)}
}

func (w *world) reach(site holdfast.SiteRef) error {
	if w.down || !strings.HasPrefix(site.URI, "qemu:///") {
		return holdfast.Errorf(holdfast.Unreachable, site.URI, "libvirt at %s does not answer.", site.URI)
	}
	return nil
}

func (w *world) Discover(_ context.Context, site holdfast.SiteRef) (holdfast.DiscoverResult, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	pools := append([]holdfast.PoolFact{{Name: "default", Path: "/pool", Type: "dir", Available: 1 << 40}}, w.pools...)
	if w.noDefault {
		pools = w.pools
	}
	return holdfast.DiscoverResult{Host: "host1", Libvirt: "9.0.0", QEMU: "7.2.0", Networks: []string{"default", "lab"}, Pools: pools, VMs: slices.Clone(w.vms)}, w.reach(site)
}

func (w *world) VM(_ context.Context, site holdfast.SiteRef, name string) (holdfast.VMFact, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.reach(site); err != nil {
		return holdfast.VMFact{}, err
	}
	for _, vm := range w.vms {
		if vm.Name == name {
			return vm, nil
		}
	}
	return holdfast.VMFact{}, holdfast.Errorf(holdfast.NotFound, name, "There is no VM %q.", name)
}

func (w *world) Check(ctx context.Context, site holdfast.SiteRef, name string) ([]holdfast.Finding, error) {
	if _, err := w.VM(ctx, site, name); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.findings, nil
}

func (w *world) Guest(ctx context.Context, site holdfast.SiteRef, name string) (holdfast.GuestFact, error) {
	if _, err := w.VM(ctx, site, name); err != nil {
		return holdfast.GuestFact{}, err
	}
	return holdfast.GuestFact{ID: "debian", Name: "Debian GNU/Linux 12", Version: "12", Machine: "x86_64", Looked: true}, nil
}

func (w *world) Stored(context.Context, holdfast.RepositoryRef) (int64, error) {
	if w.asked != nil {
		w.asked <- struct{}{}
	}
	return 12345, nil
}

func (w *world) TryKey(_ context.Context, url string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if strings.HasSuffix(url, "/none") {
		return holdfast.Errorf(holdfast.WrongKey, url, "The key service has no such key.")
	}
	return nil
}

func (w *world) Usable(holdfast.RepositoryRef) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unusable
}

func (w *world) Provision(_ context.Context, a holdfast.ProvisionArgs) (holdfast.ProvisionResult, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		return holdfast.ProvisionResult{}, w.refuse
	}
	w.provided[a.Repository.URL] = "r-" + a.Repository.KeyID
	return holdfast.ProvisionResult{RepositoryID: w.provided[a.Repository.URL], CanHold: a.HoldDays > 0}, nil
}

// wait is what a mover does first.
func (w *world) wait(ctx context.Context, what string) error {
	w.mu.Lock()
	hold, fail := w.hold, w.fail
	w.mu.Unlock()
	w.begun <- what
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return fail
}

func (w *world) Backup(ctx context.Context, a holdfast.BackupArgs, p holdfast.Progress) (holdfast.BackupResult, error) {
	w.mu.Lock()
	w.backups = append(w.backups, a)
	w.mu.Unlock()
	p.Task("Take Snapshot")
	if err := w.wait(ctx, "backup "+a.VM.Name); err != nil {
		return holdfast.BackupResult{}, err
	}
	vm, err := w.VM(ctx, a.Site, a.VM.Name)
	if err != nil {
		return holdfast.BackupResult{}, err
	}
	res := holdfast.BackupResult{Kept: vm.Kept, PointID: a.PointID, Time: time.Now().UTC(), Consistency: holdfast.FileSystemConsistent, Reason: "The guest agent froze the file systems.",
		VMSize: "2 vCPU, 1 GiB", OSType: "Linux", Disks: []holdfast.DiskResult{{LUN: -1, Target: "vda", Pool: vm.Disks[0].Pool, Path: vm.Disks[0].Path, Size: 2 << 30}, {LUN: 0, Target: "vdb", Pool: vm.Disks[1].Pool, Size: 1 << 30}}, Copied: a.Waiting}
	for _, ref := range a.Elsewhere {
		res.Copied = append(res.Copied, ref.PointID)
	}
	p.Cancellable(false)
	if err := p.Reached(res); err != nil {
		return holdfast.BackupResult{}, err
	}
	p.Task("Transfer data to vault")
	p.Bytes(3<<30, 3<<30)
	p.Property("Frozen for", "0.4 s")
	if err := w.transfer(ctx); err != nil {
		return res, err
	}
	return res, w.cut
}

// transfer waits where a test wants a backup to be in its second phase.
func (w *world) transfer(ctx context.Context) error {
	for range 2 {
		if w.transferring == nil {
			break
		}
		select {
		case <-w.transferring:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (w *world) Restore(ctx context.Context, a holdfast.RestoreArgs, p holdfast.Progress) (holdfast.RestoreResult, error) {
	w.mu.Lock()
	w.restores = append(w.restores, a)
	if a.FileName != "" {
		w.volumes = append(w.volumes, holdfast.VolumeFact{Name: a.FileName, Pool: a.Pool, Path: "/pool/" + a.FileName, Format: a.Format, Size: max(1<<30, a.ImageSize)})
	}
	w.mu.Unlock()
	p.Task("Restore disks")
	return holdfast.RestoreResult{Disks: w.restored}, w.wait(ctx, "restore "+a.VMName)
}

// backup and restore are the world's movers as jobs run them.
func (w *world) backup() job.Func[holdfast.BackupArgs, holdfast.BackupResult]    { return w.Backup }
func (w *world) restore() job.Func[holdfast.RestoreArgs, holdfast.RestoreResult] { return w.Restore }

// running is a started server and what a client needs to reach it.
type running struct {
	*embedded.Server
	*world
	dir string
	env map[string]string
	hc  *http.Client
}

// serve starts a server on a free port over dir.
func serve(t *testing.T, w *world, dir string) *running {
	t.Helper()
	log := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := embedded.Start(t.Context(), embedded.Config{DataDir: dir, Listen: "127.0.0.1:0", Log: log, Clock: w.clock, Ticks: w.ticks, Metrics: w.metrics, Inventory: w, Provisioner: w, Backup: w.backup(), Restore: w.restore(), Machines: w, Machine: w.machine()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &running{Server: s, world: w, dir: dir, env: readEnv(t, filepath.Join(dir, "admin.env"))}
	pem, err := os.ReadFile(r.env["HOLDFAST_CA_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	r.hc = &http.Client{Transport: transport}
	return r
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}

func readEnv(t testing.TB, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	env := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "=")
		env[name] = value
	}
	return env
}
