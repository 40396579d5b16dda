package restore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"

	"holdfast"
	"holdfast/internal/disk/disktest"
	"holdfast/internal/disk/image"
	"holdfast/internal/hypervisor"
	"holdfast/internal/keyring"
	"holdfast/internal/matrix"
	"holdfast/internal/mover"
	"holdfast/internal/objstore/mem"
	"holdfast/internal/repository"
)

const diskSize = 512 << 10

// bed is a host with one VM and a point of it, and the one place that all
// requests to the host and all news of the mover pass: a run dies there like a
// process, for whoever comes after it never goes on.
type bed struct {
	t     *testing.T
	pool  string
	store *mem.Store // of repo
	repo  *repository.Repository
	point string // id
	args  holdfast.RestoreArgs

	mu      sync.Mutex
	xml     string
	state   hypervisor.State
	reason  string           // of a pause
	was     hypervisor.State // before the restore, and after it
	running string           // the definition that it runs with
	noStart func(xml string) error
	dieAt   int // the how manieth step kills; 0 none
	steps   int
	died    chan struct{}
}

func content(seed uint64) []byte {
	b := make([]byte, diskSize)
	disktest.Fill(b[:diskSize/2], seed)
	return b
}

func domainXML(disks ...string) string {
	return `<domain type="kvm"><name>web</name><uuid>u-1</uuid><genid>g-1</genid><os><type>hvm</type></os><devices>` + strings.Join(disks, "") +
		`<disk type="file" device="cdrom"><target dev="sdz" bus="sata"/></disk><interface type="network"><mac address="52:54:00:00:00:01"/><source network="default"/></interface></devices></domain>`
}

func diskXML(path, format, target, more string) string {
	return `<disk type="file" device="disk"><driver name="qemu" type="` + format + `"/><source file="` + path + `"/><target dev="` + target + `" bus="virtio"/>` + more + `</disk>`
}

// newBed makes a VM with disks vda and vdb; the point of it has vda and vdc, and
// knows of vdd, which it does not hold. The VM has vdd, too.
func newBed(t *testing.T, format string) *bed {
	t.Helper()
	return newBedAt(t, format, t.TempDir())
}

func newBedAt(t *testing.T, format, pool string) *bed {
	t.Helper()
	b := &bed{t: t, pool: pool, state: hypervisor.Running, was: hypervisor.Running, reason: hypervisor.PausedUser, died: make(chan struct{})}
	disks := []string{}
	for i, target := range []string{"vda", "vdb", "vdd"} {
		path := filepath.Join(b.pool, "own-"+target)
		writeImage(t, path, format, content(uint64(i+1)))
		disks = append(disks, diskXML(path, format, target, `<serial>own</serial><address type="pci" slot="0x0`+fmt.Sprint(i+3)+`"/>`))
	}
	b.xml = domainXML(disks...)
	b.running = b.xml
	b.commit()
	b.args = holdfast.RestoreArgs{RestoreID: "r1", PointID: b.point, Mode: holdfast.ReplaceDisks, Directory: b.pool, Format: format, NamePrefix: "back",
		VM: holdfast.VMRef{UUID: "u-1", Name: "web"}, Start: true, KeepPaused: true}
	return b
}

func writeImage(t *testing.T, path, format string, content []byte) {
	t.Helper()
	target, err := image.CreateTarget(t.Context(), path, format, int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if _, err := target.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	if err := target.Commit(); err != nil {
		t.Fatal(err)
	}
}

func readImage(t *testing.T, path, format string) []byte {
	t.Helper()
	s, err := image.OpenSource(t.Context(), path, format)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b := make([]byte, s.Size())
	if _, err := s.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// commit makes the repository and the point.
func (b *bed) commit() {
	t := b.t
	t.Helper()
	b.store = mem.New(mem.Options{})
	repo, err := repository.Init(t.Context(), b.store, keyring.WeakPassphrase("x"), repository.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := repo.Begin(t.Context(), repository.PointSpec{ID: "p1", Series: "s", Created: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	fact := func(target string, lun int) holdfast.DiskFact {
		return holdfast.DiskFact{LUN: lun, Target: target, Format: "qcow2", Bus: "virtio", Size: diskSize}
	}
	m := mover.Manifest{Version: mover.ManifestVersion, DomainXML: domainXML(diskXML("/then/a", "qcow2", "vda", ""), diskXML("/then/c", "qcow2", "vdc", "<serial>then</serial>"), diskXML("/then/d", "qcow2", "vdd", "")),
		Disks: []mover.ManifestDisk{{Fact: fact("vda", -1)}, {Fact: fact("vdc", 5)}}}
	m.VM.Disks = []holdfast.DiskFact{fact("vda", -1), fact("vdc", 5), fact("vdd", 0)}
	for i, d := range m.Disks {
		if _, err := w.Disk(t.Context(), repository.DiskSpec{Name: d.Fact.Target}, &disktest.Disk{Bytes: content(uint64(i + 11))}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Commit(t.Context(), repository.Manifest{Time: time.Now(), Attributes: holdfast.Marshal(m)}); err != nil {
		t.Fatal(err)
	}
	b.repo, b.point = repo, "p1"
}

// step is one moment at which a process can die.
func (b *bed) step() {
	b.mu.Lock()
	b.steps++
	die := b.steps == b.dieAt
	b.mu.Unlock()
	if die {
		close(b.died)
		select {}
	}
}

// The host of the bed.
type bedHost struct {
	hypervisor.Host
	*bed
}

func (b *bed) host() bedHost { return bedHost{bed: b} }

func (h bedHost) Close() error                              { return nil }
func (h bedHost) RefreshPool(context.Context, string) error { return nil }

func (h bedHost) of(uuid string, do func() error) error {
	if uuid != "u-1" {
		return hypervisor.ErrNoDomain
	}
	h.step()
	defer h.step()
	h.mu.Lock()
	defer h.mu.Unlock()
	return do()
}

func (h bedHost) DomainXML(_ context.Context, uuid string) (xml string, err error) {
	err = h.of(uuid, func() error { xml = h.xml; return nil })
	return xml, err
}

func (h bedHost) Domain(_ context.Context, uuid string) (d hypervisor.Domain, err error) {
	err = h.of(uuid, func() error {
		xml := h.xml
		if h.state.Active() {
			xml = h.running
		}
		d = hypervisor.Domain{UUID: uuid, Name: "web", State: h.state, StateReason: h.reason, Persistent: true}
		for _, k := range parsed(h.t, xml) {
			d.Disks = append(d.Disks, hypervisor.Disk{Target: k.target, Device: "disk", Bus: k.bus, Kind: "file", Path: k.path, Format: h.args.Format})
		}
		return nil
	})
	return d, err
}

func (h bedHost) Redefine(_ context.Context, uuid, xml string) error {
	return h.of(uuid, func() error { h.xml = xml; return nil })
}

func (h bedHost) Shutdown(_ context.Context, uuid string) error {
	return h.of(uuid, func() error {
		if h.state != hypervisor.Paused { // a paused guest hears nothing
			h.state, h.running = hypervisor.ShutOff, ""
		}
		return nil
	})
}

func (h bedHost) Destroy(_ context.Context, uuid string) error {
	return h.of(uuid, func() error { h.state, h.running = hypervisor.ShutOff, ""; return nil })
}

func (h bedHost) StartPaused(_ context.Context, uuid string) error {
	return h.of(uuid, func() error {
		if !h.state.Active() {
			h.state, h.running = hypervisor.Paused, h.xml
		}
		return nil
	})
}

func (h bedHost) Start(_ context.Context, uuid string) error {
	return h.of(uuid, func() error {
		if h.noStart != nil && !h.state.Active() {
			if err := h.noStart(h.xml); err != nil {
				return err
			}
		}
		if !h.state.Active() {
			h.state, h.running = hypervisor.Running, h.xml
		}
		return nil
	})
}

func parsed(t *testing.T, xml string) []hardDisk {
	t.Helper()
	_, devices, err := readDomain(xml, "the test")
	if err != nil {
		t.Fatal(err)
	}
	return hardDisks(devices)
}

// news is the mover's Progress in the bed.
type news struct {
	*bed
	warned *[]string
}

func (n news) Task(string)             { n.step() }
func (n news) Cancellable(bool)        { n.step() }
func (n news) Bytes(int64, int64)      { n.step() }
func (n news) Property(string, string) { n.step() }
func (n news) Reached(any) error       { n.step(); return nil }
func (n news) Warn(m string)           { *n.warned = append(*n.warned, m) }

func (b *bed) mover() Mover {
	return Mover{
		Hosts:        func(context.Context, holdfast.SiteRef) (hypervisor.Host, error) { return b.host(), nil },
		Repositories: func(context.Context, holdfast.RepositoryRef) (*repository.Repository, error) { return b.repo, nil },
	}
}

// bootable fails the test unless the VM has its own disks or the point's, whole,
// and its own are as they were in any case. It says whether it has the point's.
func (b *bed) bootable(when string) (replaced bool) {
	b.t.Helper()
	for i, target := range []string{"vda", "vdb", "vdd"} {
		if got := readImage(b.t, filepath.Join(b.pool, "own-"+target), b.args.Format); !slices.Equal(got, content(uint64(i+1))) {
			b.t.Fatalf("%s: the original's %s is not what it was", when, target)
		}
	}
	b.mu.Lock()
	xml, state, running := b.xml, b.state, b.running
	b.mu.Unlock()
	disks := parsed(b.t, xml)
	var is []string
	for _, k := range disks {
		is = append(is, k.target+"="+filepath.Base(k.path))
	}
	switch has := strings.Join(is, " "); has {
	case "vda=own-vda vdb=own-vdb vdd=own-vdd":
	case "vda=back-vda." + b.args.Format + " vdc=back-vdc." + b.args.Format + " vdd=own-vdd":
		replaced = true
		for i, k := range disks[:2] {
			if got := readImage(b.t, k.path, b.args.Format); !slices.Equal(got, content(uint64(i+11))) {
				b.t.Fatalf("%s: the new %s is not that of the point", when, k.target)
			}
		}
	default:
		b.t.Fatalf("%s: the VM has %s", when, has)
	}
	if state.Active() {
		for _, k := range parsed(b.t, running) {
			if _, err := os.Stat(k.path); err != nil {
				b.t.Fatalf("%s: it runs on a disk that is gone: %v", when, err)
			}
		}
	}
	return replaced
}

// TestReplaceDiesAtEveryStep kills a replacing restore at each step that can be
// seen from outside. The VM is bootable at once, without anybody's help; the next
// process either ends the work or, when the repository is gone, gives the VM back
// as it was.
func TestReplaceDiesAtEveryStep(t *testing.T) {
	matrix.Covers(t, "RST-03")
	for format, was := range map[string]hypervisor.State{"qcow2": hypervisor.Running, "raw": hypervisor.Paused} {
		whole := newBed(t, format)
		whole.state, whole.was = was, was
		var warned []string
		if _, err := whole.mover().Run(t.Context(), whole.args, news{whole, &warned}); err != nil {
			t.Fatal(err)
		}
		whole.ended(warned)
		t.Logf("%s: %d steps", format, whole.steps)
		for at := 1; at <= whole.steps; at++ {
			for _, gone := range []bool{false, true}[:map[string]int{"qcow2": 2, "raw": 1}[format]] {
				dies(t, format, was, at, gone)
			}
		}
	}
}

// dies kills a run at a step and sees what the next process makes of it.
func dies(t *testing.T, format string, was hypervisor.State, at int, gone bool) {
	t.Helper()
	b, when := newBed(t, format), fmt.Sprintf("%s, killed at step %d, repository gone %v", format, at, gone)
	b.dieAt, b.state, b.was = at, was, was
	var warned []string
	go func() { _, _ = b.mover().Run(context.WithoutCancel(t.Context()), b.args, news{b, new([]string)}) }()
	<-b.died
	swapped := b.bootable(when)

	next := b.mover()
	if gone {
		next.Repositories = func(context.Context, holdfast.RepositoryRef) (*repository.Repository, error) {
			return nil, repository.ErrNotRepository
		}
	}
	done, err := next.Undo(t.Context(), b.args)
	if err != nil || done != swapped {
		t.Fatalf("%s: undo says %v, %v", when, done, err)
	}
	if replaced := b.bootable(when + ", undone"); replaced != swapped || !done && b.state != was {
		t.Fatalf("%s: after undoing the VM is %s, replaced %v", when, b.state, replaced)
	}
	_, err = next.Run(t.Context(), b.args, news{b, &warned})
	if gone && !done {
		if holdfast.KindOf(err) != holdfast.NotFound || b.bootable(when+", failed") || b.state != was {
			t.Fatalf("%s: %v, and the VM is %s", when, err, b.state)
		}
		want(t, b.pool, "own-vda", "own-vdb", "own-vdd")
		return
	}
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	b.ended(warned)
}

// ended fails the test unless the VM has the disks of the point and is else as it was.
func (b *bed) ended(warned []string) {
	t := b.t
	t.Helper()
	warned = slices.DeleteFunc(warned, func(w string) bool { return b.was == hypervisor.Paused && strings.Contains(w, "The VM was paused") })
	if !b.bootable("at the end") || b.state != b.was || b.running != b.xml || len(warned) > 0 {
		t.Fatalf("at the end it is %s, %v with\n%s", b.state, warned, b.xml)
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromString(b.xml); err != nil {
		t.Fatal(err)
	}
	for path, value := range map[string]string{
		"/domain/name": "web", "/domain/uuid": "u-1", "/domain/genid": "",
		"/domain/devices/disk[1]/serial": "own", "/domain/devices/disk[2]/serial": "then",
	} {
		if e := doc.FindElement(path); e == nil || e.Text() != value {
			t.Errorf("%s is not %q in\n%s", path, value, b.xml)
		}
	}
	if doc.FindElement("/domain/devices/disk[1]/address[@slot='0x03']") == nil || doc.FindElement("/domain/devices/disk[2]/address") != nil ||
		doc.FindElement("/domain/devices/disk[4][@device='cdrom']") == nil || doc.FindElement("/domain/devices/interface/mac[@address='52:54:00:00:00:01']") == nil {
		t.Errorf("the definition is\n%s", b.xml)
	}
	if err := b.mover().Forget(t.Context(), b.args); err != nil {
		t.Fatal(err)
	}
	files := []string{"back-original.xml", "back-vda." + b.args.Format, "back-vdc." + b.args.Format, "own-vda", "own-vdb", "own-vdd"}
	want(t, b.pool, files...)
}

// TestReplacePaused: a paused VM is not asked for five minutes. It is paused again,
// unless somebody wants it to run, or QEMU had paused it for its old disks.
func TestReplacePaused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		reason string
		keep   bool
		want   hypervisor.State
	}{
		{"by a user", hypervisor.PausedUser, true, hypervisor.Paused},
		{"by a user, to be started", hypervisor.PausedUser, false, hypervisor.Running},
		{"for want of room", hypervisor.PausedIOError, true, hypervisor.Running},
	} {
		b := newBed(t, "qcow2")
		b.state, b.reason, b.args.KeepPaused = hypervisor.Paused, c.reason, c.keep
		var warned []string
		start := time.Now()
		if _, err := b.mover().Run(t.Context(), b.args, news{b, &warned}); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if !b.bootable(c.name) || b.state != c.want || b.running != b.xml || len(warned) != 1 || time.Since(start) > mover.Grace/2 {
			t.Errorf("%s: it is %s, %v", c.name, b.state, warned)
		}
	}
}

// TestReplaceThatCannotStart: a VM that does not start with the new disks has its
// own again, and runs.
func TestReplaceThatCannotStart(t *testing.T) {
	b := newBed(t, "qcow2")
	b.noStart = func(xml string) error {
		if strings.Contains(xml, "back-vda") {
			return errors.New("no")
		}
		return nil
	}
	var warned []string
	before := b.xml
	_, err := b.mover().Run(t.Context(), b.args, news{b, &warned})
	if err == nil || len(warned) > 0 || b.xml != before || b.state != hypervisor.Running || b.bootable("refused") {
		t.Errorf("%v, %v; it is %s with\n%s", err, warned, b.state, b.xml)
	}
	want(t, b.pool, "own-vda", "own-vdb", "own-vdd")
}

// TestReplaceSome replaces the disk that was asked for and no other.
func TestReplaceSome(t *testing.T) {
	b := newBed(t, "qcow2")
	b.args.LUNs, b.args.Start = []int{-1}, false
	b.state, b.running = hypervisor.ShutOff, ""
	res, err := b.mover().Run(t.Context(), b.args, news{b, new([]string)})
	if err != nil || !slices.Equal(res.Retained, []string{filepath.Join(b.pool, "own-vda")}) || b.state != hypervisor.ShutOff {
		t.Fatalf("%+v, %v, it is %s", res, err, b.state)
	}
	got := map[string]string{}
	for _, k := range parsed(t, b.xml) {
		got[k.target] = filepath.Base(k.path)
	}
	if !maps.Equal(got, map[string]string{"vda": "back-vda.qcow2", "vdb": "own-vdb", "vdd": "own-vdd"}) {
		t.Errorf("the VM has %v", got)
	}
}

// TestReplaceWritesWhatDiffers: on a file system that clones files, a disk costs
// the bytes that differ, and the disk that it was cloned from stays as it was.
func TestReplaceWritesWhatDiffers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	img := filepath.Join(dir, "xfs")
	for _, args := range [][]string{{"truncate", "-s", "512M", img}, {"mkfs.xfs", "-q", "-m", "reflink=1", img}, {"mount", "-o", "loop", img, dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no XFS can be mounted here: %v: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() { _ = exec.Command("umount", dir).Run() })
	for name, c := range map[string]struct {
		format       string
		change, cost int64
	}{"the same": {"raw", 0, 0}, "changed": {"raw", 1, diskSize / 2}, "the same image": {"qcow2", 0, 0}, "a changed image": {"qcow2", 1, diskSize / 2}} { // its data is one frame
		pool := filepath.Join(dir, name)
		if err := os.Mkdir(pool, 0o700); err != nil {
			t.Fatal(err)
		}
		b, own := newBedAt(t, c.format, pool), content(11)
		own[100<<10] ^= byte(c.change)
		path := filepath.Join(pool, "own-vda")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		writeImage(t, path, c.format, own)
		res, err := b.mover().Run(t.Context(), b.args, news{b, new([]string)})
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Disks[0].Read; got != c.cost {
			t.Errorf("%s: vda cost %d bytes, want %d", name, got, c.cost)
		}
		if got := readImage(t, filepath.Join(pool, "back-vda."+c.format), c.format); !slices.Equal(got, content(11)) {
			t.Errorf("%s: vda is not that of the point", name)
		}
		if got := readImage(t, path, c.format); !slices.Equal(got, own) {
			t.Errorf("%s: the disk that was replaced was written to", name)
		}
	}
}
