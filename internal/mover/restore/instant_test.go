package restore

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/hypervisor"
	"holdfast/internal/nbd"
	"holdfast/internal/repository"
)

// instantHost makes the bed a host of an instant restore: it has no VM at first,
// and pulls as QEMU does, with qemu-img.
type instantHost struct {
	bedHost
	pulls map[string]int
	gone  bool // the VM was deleted
}

func (h *instantHost) Domains(context.Context) ([]hypervisor.Domain, error) {
	if h.xml == "" {
		return nil, nil
	}
	return []hypervisor.Domain{{UUID: "u-1", Name: "new"}}, nil
}

func (h *instantHost) DomainNamed(context.Context, string) (hypervisor.Domain, error) {
	return hypervisor.Domain{}, hypervisor.ErrNoDomain
}

func (h *instantHost) Define(_ context.Context, xml string) (string, error) {
	h.xml = xml
	return "u-1", nil
}

func (h *instantHost) Domain(ctx context.Context, uuid string) (hypervisor.Domain, error) {
	if h.gone {
		return hypervisor.Domain{}, hypervisor.ErrNoDomain
	}
	d, err := h.bedHost.Domain(ctx, uuid)
	for i, k := range parsed(h.t, h.xml) {
		if s := k.element.FindElement("backingStore/source/host"); s != nil {
			d.Disks[i].BackingSocket = s.SelectAttrValue("socket", "")
		}
	}
	return d, err
}

func (h *instantHost) Pull(_ context.Context, _, target string, _ int64) error {
	if h.pulls[target]++; h.pulls[target] == 1 {
		return nil // and it breaks off
	}
	doc, devices, err := readDomain(h.xml, "the test")
	if err != nil {
		return err
	}
	for _, k := range hardDisks(devices) {
		if k.target != target {
			continue
		}
		if out, err := exec.Command("qemu-img", "rebase", "-f", "qcow2", "-b", "", k.path).CombinedOutput(); err != nil {
			h.t.Errorf("%v: %s", err, out)
		}
		removeAll(k.element, "backingStore")
	}
	h.xml, err = doc.WriteToString()
	return err
}

func (h *instantHost) Pulling(context.Context, string, string) (int64, int64, bool, error) {
	return 0, 0, false, nil
}

// instantBed is a bed with an instant restore to do.
func instantBed(t *testing.T) (*bed, *instantHost, Mover) {
	t.Helper()
	b := newBed(t, "qcow2")
	b.xml, b.running, b.state = "", "", hypervisor.ShutOff
	scratch, err := os.MkdirTemp("", "hf") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(scratch) })
	b.args.Mode, b.args.VM, b.args.VMName, b.args.BootFirst, b.args.Site.ScratchDir = holdfast.CreateVM, holdfast.VMRef{}, "new", true, scratch
	h := &instantHost{bedHost: b.host(), pulls: map[string]int{}}
	return b, h, Mover{
		Hosts:        func(context.Context, holdfast.SiteRef) (hypervisor.Host, error) { return h, nil },
		Repositories: func(context.Context, holdfast.RepositoryRef) (*repository.Repository, error) { return b.repo, nil },
	}
}

// TestInstant fills the disks of a VM that runs, over a pull that broke off, and of
// one that was powered off; a server that stops is followed by one that goes on.
func TestInstant(t *testing.T) {
	t.Parallel()
	for _, off := range []bool{false, true} {
		b, h, m := instantBed(t)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := m.Run(ctx, b.args, news{b, new([]string)})
			ended <- err
		}()
		await(t, func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.state.Active() })
		readsPoint(t, b)
		stop()
		if err := <-ended; err == nil {
			t.Fatal("a run that was stopped says that it is done")
		}
		if done, err := m.Undo(t.Context(), b.args); !done || err != nil {
			t.Fatalf("its VM is there, and undo says %v, %v", done, err)
		}
		if off {
			b.state = hypervisor.ShutOff
		}
		if _, err := m.Run(t.Context(), b.args, news{b, new([]string)}); err != nil {
			t.Fatal(err)
		}
		if off != (b.state == hypervisor.ShutOff) {
			t.Errorf("its power was changed: %s", b.state)
		}
		if strings.Contains(h.xml, "nbd") || strings.Contains(h.xml, "policy") {
			t.Errorf("it does not stand alone:\n%s", h.xml)
		}
		for i, k := range parsed(t, h.xml) {
			if got := readImage(t, k.path, "qcow2"); !slices.Equal(got, content(uint64(i+11))) {
				t.Errorf("%s is not as in the point", k.target)
			}
		}
		if err := m.Forget(t.Context(), b.args); err != nil {
			t.Fatal(err)
		}
		want(t, b.pool, "back-vda.qcow2", "back-vdc.qcow2", "own-vda", "own-vdb", "own-vdd")
	}
}

// TestInstantDeleted: a VM that is deleted while its disks are filled ends the work.
func TestInstantDeleted(t *testing.T) {
	t.Parallel()
	b, h, m := instantBed(t)
	h.noStart = func(string) error { h.gone = true; return nil }
	var warned []string
	if _, err := m.Run(t.Context(), b.args, news{b, &warned}); err != nil || len(warned) != 1 || !strings.Contains(warned[0], "deleted") {
		t.Errorf("%v, %q", err, warned)
	}
}

// readsPoint reads a disk as QEMU does, from the socket in the definition.
func readsPoint(t *testing.T, b *bed) {
	t.Helper()
	sockets, err := filepath.Glob(filepath.Join(b.args.Site.ScratchDir, "*.sock"))
	if err != nil || len(sockets) != 1 {
		t.Fatal(sockets, err)
	}
	c, err := nbd.Dial(t.Context(), "unix", sockets[0], "vda", nbd.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := make([]byte, diskSize)
	if _, err := c.ReadAt(got, 0); err != nil || !slices.Equal(got, content(11)) {
		t.Errorf("the VM reads something else: %v", err)
	}
}

// await looks until seen says yes, for at most 10 s.
func await(t *testing.T, seen func() bool) {
	t.Helper()
	deadline, tick := time.After(10*time.Second), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !seen() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("not seen within 10 s")
		}
	}
}

// TestOwned: who is neither root nor the owner of the images is sent away.
func TestOwned(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	b, _, m := instantBed(t)
	r := &run{args: b.args, progress: news{b, new([]string)}}
	if err := r.openPlace(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if err := r.openPoint(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	stop, err := r.serve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if err := os.Chmod(b.args.Site.ScratchDir, 0o711); err != nil {
		t.Fatal(err)
	}
	read := func() error {
		return exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "qemu-img", "info", "nbd+unix:///vda?socket="+r.socket()).Run()
	}
	if read() == nil {
		t.Error("anybody reads the point")
	}
	image := filepath.Join(b.pool, "back-vda.qcow2")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(image, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if err := read(); err != nil {
		t.Errorf("the owner of the image: %v", err)
	}
	if c, err := net.Dial("unix", r.socket()); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
}
