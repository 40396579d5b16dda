package restore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/hypervisor"
	"holdfast/internal/mover"
	"holdfast/internal/repository"
)

// instantBed is a host that has no VM at first. Its QEMU is qemu-img: the guest's
// writes go into the images that the VM has, and a mirror is a commit.
type instantBed struct {
	*bed
	gone   bool               // the VM was deleted
	saved  bool               // it is off with its memory saved
	reason string             // why the VM is paused
	mirror *hypervisor.Mirror // of the disk that mirrors names
	on     string
	late   func()            // just before the VM is defined anew
	breaks int               // mirrors that break off
	guest  map[string][]byte // what its disks have to read as, by target
	points map[string]string // the same of the point, each a raw file
	writes int
}

// instantLife is one process that restores: its host and its progress. At its
// dieAt-th step it dies, and whatever of it is left never goes on.
type instantLife struct {
	hypervisor.Host
	*instantBed
	mu     sync.Mutex
	steps  int
	dieAt  int
	dead   bool
	died   chan struct{}
	asks   []string // what was asked of the host that changes something
	warned []string
	said   string // the last that it waited for
}

// cluster is what QEMU keeps the writes of a guest in, bytes.
const cluster = 64 << 10

func newInstantBed(t *testing.T, format string) *instantBed {
	t.Helper()
	b := &instantBed{bed: newBed(t, format), guest: map[string][]byte{"vda": content(11), "vdc": content(12)}, points: map[string]string{}}
	for target, bytes := range b.guest {
		b.points[target] = filepath.Join(t.TempDir(), target)
		if err := os.WriteFile(b.points[target], bytes, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.xml, b.running, b.state = "", "", hypervisor.ShutOff
	scratch, err := os.MkdirTemp("", "hf") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(scratch) })
	b.args.Mode, b.args.VM, b.args.VMName, b.args.BootFirst, b.args.Site.ScratchDir = holdfast.CreateVM, holdfast.VMRef{}, "new", true, scratch
	return b
}

func (b *instantBed) life(dieAt int) *instantLife {
	return &instantLife{instantBed: b, dieAt: dieAt, died: make(chan struct{})}
}

func (l *instantLife) mover() Mover {
	return Mover{
		Hosts:        func(context.Context, holdfast.SiteRef) (hypervisor.Host, error) { return l, nil },
		Repositories: func(context.Context, holdfast.RepositoryRef) (*repository.Repository, error) { return l.repo, nil },
		Look:         time.Millisecond,
	}
}

// alive is passed by all that a process does; step is where it can die. What the
// goroutine beside the work does is no step, so that the work itself is what stands
// still when it died.
func (l *instantLife) alive() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		l.mu.Unlock()
		select {}
	}
}

func (l *instantLife) step() {
	l.alive()
	l.mu.Lock()
	l.steps++
	if l.dead = l.steps == l.dieAt; l.dead {
		close(l.died)
		l.mu.Unlock()
		select {}
	}
	l.mu.Unlock()
}

// ask is one request that changes something: it can die before and after.
func (l *instantLife) ask(what string, do func() error) error {
	l.step()
	l.asks = append(l.asks, what)
	l.bed.mu.Lock()
	err := do()
	l.bed.mu.Unlock()
	l.step()
	return err
}

// The progress of a life.
func (l *instantLife) Task(string)        { l.step() }
func (l *instantLife) Cancellable(bool)   { l.step() }
func (l *instantLife) Bytes(int64, int64) { l.alive() }

func (l *instantLife) Property(name, value string) {
	l.step()
	if name == "Waiting" {
		l.bed.mu.Lock()
		defer l.bed.mu.Unlock()
		l.said = value
	}
}

func (l *instantLife) Reached(any) error { return nil }
func (l *instantLife) Warn(m string)     { l.step(); l.warned = append(l.warned, m) }

// The host of a life.
func (l *instantLife) Close() error                              { return nil }
func (l *instantLife) RefreshPool(context.Context, string) error { return nil }

func (l *instantLife) Domains(ctx context.Context) ([]hypervisor.Domain, error) {
	if d, err := l.Domain(ctx, "u-1"); err == nil {
		return []hypervisor.Domain{d}, nil
	}
	return nil, nil
}

func (l *instantLife) DomainNamed(context.Context, string) (hypervisor.Domain, error) {
	return hypervisor.Domain{}, hypervisor.ErrNoDomain
}

func (l *instantLife) Domain(_ context.Context, uuid string) (d hypervisor.Domain, err error) {
	l.alive()
	l.bed.mu.Lock()
	defer l.bed.mu.Unlock()
	if uuid != "u-1" || l.xml == "" || l.gone {
		return d, hypervisor.ErrNoDomain
	}
	d = hypervisor.Domain{UUID: uuid, Name: "new", State: l.state, StateReason: l.reason, Persistent: true, Saved: l.saved}
	xml := l.xml
	if l.state.Active() {
		xml = l.running
	}
	for _, k := range parsed(l.t, xml) {
		disk := hypervisor.Disk{Target: k.target, Path: k.path, Size: diskSize}
		if l.on == k.target && l.state.Active() {
			disk.Mirror = l.mirror
		}
		d.Disks = append(d.Disks, disk)
	}
	return d, nil
}

func (l *instantLife) DomainXML(_ context.Context, uuid string) (string, error) {
	l.step()
	l.bed.mu.Lock()
	defer l.bed.mu.Unlock()
	if uuid != "u-1" || l.xml == "" || l.gone {
		return "", hypervisor.ErrNoDomain
	}
	return l.xml, nil
}

func (l *instantLife) Define(_ context.Context, xml string) (string, error) {
	return "u-1", l.ask("define", func() error { l.xml = xml; return nil })
}

func (l *instantLife) Redefine(_ context.Context, _, xml string) error {
	return l.ask("redefine", func() error {
		if l.late != nil {
			l.late()
		}
		l.xml = xml
		return nil
	})
}

func (l *instantLife) Undefine(context.Context, string) error {
	return l.ask("undefine", func() error { l.xml = ""; return nil })
}

func (l *instantLife) Start(context.Context, string) error {
	return l.ask("start", func() error {
		if l.noStart != nil {
			return l.noStart(l.xml)
		}
		if !l.state.Active() {
			l.state, l.running = hypervisor.Running, l.xml
			l.guestWrites()
		}
		return nil
	})
}

func (l *instantLife) Suspend(context.Context, string) error {
	return l.ask("suspend", func() error { l.state, l.reason = hypervisor.Paused, "user"; return nil })
}

func (l *instantLife) Resume(context.Context, string) error {
	l.alive()
	l.bed.mu.Lock()
	defer l.bed.mu.Unlock()
	if l.state == hypervisor.Paused {
		l.state, l.reason = hypervisor.Running, ""
		l.guestWrites()
	}
	return nil
}

func (l *instantLife) Mirror(_ context.Context, _, target, path, format string) error {
	return l.ask("mirror", func() error {
		if l.mirror != nil || format != l.args.Format || filepath.Base(path) != "back-"+target+"."+format {
			return fmt.Errorf("a mirror of %s to %s (%s), and there is %v", target, path, format, l.mirror)
		}
		if l.breaks--; l.breaks < 0 {
			l.mirror, l.on = &hypervisor.Mirror{Path: path, Ready: true}, target
		}
		return nil
	})
}

func (l *instantLife) Pivot(_ context.Context, _, target string) error {
	return l.ask("pivot", func() error {
		if l.state != hypervisor.Paused || l.on != target {
			l.t.Errorf("a pivot of %s while the VM is %s and %s is mirrored", target, l.state, l.on)
		}
		l.commit(target, l.mirror.Path)
		l.running, l.xml = l.moved(l.running, target, l.mirror.Path), l.moved(l.xml, target, l.mirror.Path)
		l.mirror, l.on = nil, ""
		return nil
	})
}

// moved is a definition with another image for a disk, as libvirt writes it.
func (b *instantBed) moved(xml, target, path string) string {
	doc, devices, err := readDomain(xml, "the test")
	if err != nil {
		b.t.Error(err)
		return xml
	}
	for _, k := range hardDisks(devices) {
		if k.target == target {
			placeDisk(k.element, path, b.args.Format)
			k.element.CreateElement("backingStore")
		}
	}
	out, _ := doc.WriteToString()
	return out
}

// commit is what QEMU's mirror comes to.
func (b *instantBed) commit(target, path string) {
	j := join{run: &run{args: b.args, staging: stagingIn(b.pool, b.args.RestoreID)}, disk: mover.ManifestDisk{Fact: holdfast.DiskFact{Target: target}}}
	if j.final() != path {
		b.t.Errorf("%s is not %s", path, j.final())
	}
	if err := j.commit(context.Background()); err != nil {
		b.t.Error(err)
	}
}

// guestWrites has the guest write some of a cluster of each disk that no one wrote
// before, into the image that the disk is on, over what it reads there.
func (b *instantBed) guestWrites() {
	const from, length = 12 << 10, 20 << 10
	b.writes++
	for _, k := range parsed(b.t, b.running) {
		at := b.writes*cluster%diskSize + from
		out, err := exec.Command("qemu-io", "-c", fmt.Sprintf("write -P %d %d %d", b.writes, at, length), b.image(k)).CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("wrote")) {
			b.t.Errorf("the guest cannot write to %s: %v: %s", k.path, err, out)
		}
		for i := range length {
			b.guest[k.target][at+i] = byte(b.writes)
		}
	}
}

// guestReads fails the test unless the guest reads what it wrote, and the point's.
func (b *instantBed) guestReads() {
	for _, k := range parsed(b.t, b.running) {
		raw := filepath.Join(b.t.TempDir(), k.target)
		out, err := exec.Command("qemu-img", "convert", "-O", "raw", b.image(k), raw).CombinedOutput()
		if got, _ := os.ReadFile(raw); err != nil || !slices.Equal(got, b.guest[k.target]) {
			b.t.Errorf("the guest reads something else on %s: %v: %s", k.target, err, out)
		}
	}
}

// image names the image that a disk is on, with the point behind it if it is an
// overlay.
func (b *instantBed) image(k hardDisk) string {
	file := func(path string) map[string]any { return map[string]any{"driver": "file", "filename": path} }
	image := map[string]any{"driver": b.args.Format, "file": file(k.path)}
	if strings.HasSuffix(k.path, ".overlay") {
		image = map[string]any{"driver": "qcow2", "file": file(k.path), "backing": map[string]any{"driver": "raw", "file": file(b.points[k.target])}}
	}
	name, _ := json.Marshal(image)
	return "json:" + string(name)
}

// right fails the test unless the VM stands alone, on whole disks with all that
// the guest wrote, and nothing else is there.
func (b *instantBed) right(when string) {
	t := b.t
	t.Helper()
	if err := b.life(0).mover().Forget(t.Context(), b.args); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.xml, "nbd") || strings.Contains(b.xml, "policy") || strings.Contains(b.xml, "backingStore") {
		t.Errorf("%s: it does not stand alone:\n%s", when, b.xml)
	}
	for target, want := range b.guest {
		path := filepath.Join(b.pool, "back-"+target+"."+b.args.Format)
		if got := readImage(t, path, b.args.Format); !slices.Equal(got, want) {
			t.Errorf("%s: %s does not have what it had", when, target)
		}
		if !b.gone && !strings.Contains(b.xml, path) {
			t.Errorf("%s: the VM does not have %s", when, path)
		}
	}
	want(t, b.pool, "back-vda."+b.args.Format, "back-vdc."+b.args.Format, "own-vda", "own-vdb", "own-vdd")
}
