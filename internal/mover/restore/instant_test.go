package restore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/disk/image"
	"holdfast/internal/hypervisor"
	"holdfast/internal/matrix"
	"holdfast/internal/mover"
	"holdfast/internal/nbd"
	"holdfast/internal/repository"
)

// instantBed is a host that has no VM at first. Its QEMU is qemu-img: the guest's
// writes go into the images that the VM has, and a mirror is a commit.
type instantBed struct {
	*bed
	gone   bool               // the VM was deleted
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
func (l *instantLife) Task(string)             { l.step() }
func (l *instantLife) Cancellable(bool)        { l.step() }
func (l *instantLife) Bytes(int64, int64)      { l.alive() }
func (l *instantLife) Property(string, string) { l.step() }
func (l *instantLife) Reached(any) error       { return nil }
func (l *instantLife) Warn(m string)           { l.step(); l.warned = append(l.warned, m) }

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
	d = hypervisor.Domain{UUID: uuid, Name: "new", State: l.state, StateReason: l.reason, Persistent: true}
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
		file := func(path string) map[string]any { return map[string]any{"driver": "file", "filename": path} }
		image := map[string]any{"driver": b.args.Format, "file": file(k.path)}
		if strings.HasSuffix(k.path, ".overlay") {
			image = map[string]any{"driver": "qcow2", "file": file(k.path), "backing": map[string]any{"driver": "raw", "file": file(b.points[k.target])}}
		}
		name, _ := json.Marshal(image)
		out, err := exec.Command("qemu-io", "-c", fmt.Sprintf("write -P %d %d %d", b.writes, at, length), "json:"+string(name)).CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("wrote")) {
			b.t.Errorf("the guest cannot write to %s: %v: %s", k.path, err, out)
		}
		for i := range length {
			b.guest[k.target][at+i] = byte(b.writes)
		}
	}
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

// TestInstant makes the disks of a VM that runs whole.
func TestInstant(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"qcow2", "raw"} {
		b := newInstantBed(t, format)
		l := b.life(0)
		if _, err := l.mover().Run(t.Context(), b.args, l); err != nil {
			t.Fatal(err)
		}
		asked := "define start mirror suspend pivot mirror suspend pivot redefine"
		if got := strings.Join(l.asks, " "); got != asked || len(l.warned) > 0 || b.state != hypervisor.Running || b.writes != 3 {
			t.Errorf("asked %q, want %q; warned %q; it is %s and wrote %d times", got, asked, l.warned, b.state, b.writes)
		}
		b.right(format)
	}
}

// TestInstantDiesAtEveryStep kills an instant restore at each step that can be seen
// from outside, and QEMU with it or not, and makes the next process go on. What the
// guest wrote is there, whichever of its disks was whole by then.
func TestInstantDiesAtEveryStep(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "RST-01")
	whole := newInstantBed(t, "qcow2")
	l := whole.life(0)
	if _, err := l.mover().Run(t.Context(), whole.args, l); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d steps", l.steps)
	for at := 1; at <= l.steps; at++ {
		instantDies(t, at, at%2 == 0)
		if os.Getenv("HOLDFAST_SOAK") != "" {
			instantDies(t, at, at%2 != 0)
		}
	}
}

func instantDies(t *testing.T, at int, off bool) {
	t.Helper()
	when := fmt.Sprintf("killed at step %d, QEMU too %v", at, off)
	b := newInstantBed(t, "qcow2")
	l := b.life(at)
	ended := make(chan error, 1)
	go func() {
		_, err := l.mover().Run(context.WithoutCancel(t.Context()), b.args, l)
		ended <- err
	}()
	select {
	case <-l.died:
	case err := <-ended:
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		return // it had one look less to take
	}
	b.bed.mu.Lock()
	if b.state.Active() && off {
		b.state, b.running, b.mirror, b.on, b.reason = hypervisor.ShutOff, "", nil, "", ""
	}
	was := b.state
	b.bed.mu.Unlock()
	next := b.life(0)
	if _, err := next.mover().Undo(t.Context(), b.args); err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	if _, err := next.mover().Run(t.Context(), b.args, next); err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	// It is as its user has it: who was started runs, who lost its power is off.
	if was.Active() && b.state != hypervisor.Running {
		t.Errorf("%s: it was %s and is %s (%s)", when, was, b.state, b.reason)
	}
	b.right(when)
}

// TestInstantDeleted: the disks of a VM that is deleted meanwhile are made whole,
// with what it wrote, by this process or the next.
func TestInstantDeleted(t *testing.T) {
	t.Parallel()
	for _, dieAt := range []int{0, 1} {
		b := newInstantBed(t, "qcow2")
		first := b.life(0)
		b.breaks = 1 << 20
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := first.mover().Run(ctx, b.args, first)
			ended <- err
		}()
		await(t, func() bool { b.bed.mu.Lock(); defer b.bed.mu.Unlock(); return b.breaks < 1<<20 })
		last := first
		if dieAt > 0 {
			stop()
			<-ended
		}
		b.bed.mu.Lock()
		b.gone, b.state, b.running = true, hypervisor.ShutOff, ""
		b.bed.mu.Unlock()
		if dieAt > 0 {
			last = b.life(0)
			if done, err := last.mover().Undo(t.Context(), b.args); !done || err != nil {
				t.Fatalf("undo says %v, %v", done, err)
			}
			_, err := last.mover().Run(t.Context(), b.args, last)
			ended <- err
		}
		if err := <-ended; err != nil || len(last.warned) != 1 || !strings.Contains(last.warned[0], "deleted") {
			t.Errorf("%v, %q", err, last.warned)
		}
		b.xml = ""
		b.right("deleted")
		stop()
	}
}

// TestInstantStartedLate: a VM that is started between the commit of an overlay and
// the definition of the file cannot open the overlay; where it opens it later, what
// it writes there is not lost.
func TestInstantStartedLate(t *testing.T) {
	t.Parallel()
	b := newInstantBed(t, "qcow2")
	ctx, stop := context.WithCancel(t.Context())
	l := b.life(0)
	b.breaks = 1 << 20
	ended := make(chan error, 1)
	go func() {
		_, err := l.mover().Run(ctx, b.args, l)
		ended <- err
	}()
	await(t, func() bool { b.bed.mu.Lock(); defer b.bed.mu.Unlock(); return b.breaks < 1<<20 })
	stop()
	<-ended
	b.state, b.running = hypervisor.ShutOff, ""
	next, starts := b.life(0), 0
	old := b.xml
	b.late = func() {
		if starts++; starts > 1 {
			return
		}
		overlay := parsed(t, old)[0].path
		if out, err := exec.Command("qemu-io", "-f", "raw", "-c", "read 0 512", overlay).CombinedOutput(); err == nil && !bytes.Contains(out, []byte("lock")) {
			t.Errorf("a QEMU opens the overlay: %s", out)
		}
		b.state, b.running = hypervisor.Running, old // it has yet to open its disks
		go func() {
			await(t, func() bool {
				release, err := image.Lock(overlay)
				return err == nil && release() == nil
			})
			b.bed.mu.Lock()
			defer b.bed.mu.Unlock()
			b.guestWrites()
			b.state, b.running = hypervisor.ShutOff, "" // killed
		}()
	}
	if _, err := next.mover().Run(t.Context(), b.args, next); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(strings.Join(next.asks, " "), "redefine redefine") || b.writes != 2 {
		t.Errorf("asked %q; it wrote %d times", next.asks, b.writes)
	}
	b.right("started late")
}

// TestInstantStuck: a VM that stands still because it could not read is let go on,
// also while its disks are written; one that its user paused is not.
func TestInstantStuck(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]hypervisor.State{hypervisor.PausedIOError: hypervisor.Running, "user": hypervisor.Paused} {
		b := newInstantBed(t, "qcow2")
		l := b.life(0)
		b.breaks = 1 << 20 // it cannot end
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := l.mover().Run(ctx, b.args, l)
			ended <- err
		}()
		state := func() hypervisor.State { b.bed.mu.Lock(); defer b.bed.mu.Unlock(); return b.state }
		await(t, func() bool { return state() == hypervisor.Running })
		b.bed.mu.Lock()
		b.state, b.reason, b.breaks = hypervisor.Paused, reason, 3
		b.bed.mu.Unlock()
		if want == hypervisor.Running {
			await(t, func() bool { return state() == want })
		}
		if err := <-ended; err != nil || state() != want {
			t.Errorf("%s: %v; it is %s", reason, err, state())
		}
		b.right(reason)
		stop()
	}
}

// TestInstantStuckAtTheEnd: a VM that could not read a moment before its last disk is
// whole runs when the work has ended.
func TestInstantStuckAtTheEnd(t *testing.T) {
	t.Parallel()
	b := newInstantBed(t, "qcow2")
	l := b.life(0)
	b.late = func() { b.state, b.reason = hypervisor.Paused, hypervisor.PausedIOError }
	if _, err := l.mover().Run(t.Context(), b.args, l); err != nil || b.state != hypervisor.Running {
		t.Errorf("%v; it is %s (%s)", err, b.state, b.reason)
	}
}

// TestInstantForeign: a disk on an image that the restore has not made is left
// alone, with its overlay, until it is back.
func TestInstantForeign(t *testing.T) {
	t.Parallel()
	b := newInstantBed(t, "qcow2")
	l := b.life(0)
	b.breaks = 1 << 20
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		_, err := l.mover().Run(ctx, b.args, l)
		ended <- err
	}()
	await(t, func() bool { b.bed.mu.Lock(); defer b.bed.mu.Unlock(); return b.breaks < 1<<20 })
	b.bed.mu.Lock()
	xml := b.xml
	b.state, b.running, b.xml = hypervisor.ShutOff, "", strings.ReplaceAll(xml, ".overlay", ".snapshot")
	b.bed.mu.Unlock()
	r := &run{args: b.args, progress: l, host: l, staging: stagingIn(b.pool, b.args.RestoreID)}
	j := join{run: r, vm: holdfast.VMRef{UUID: "u-1"}, disk: mover.ManifestDisk{Fact: holdfast.DiskFact{Target: "vda"}}}
	if done, err := j.step(ctx); done || err == nil || !strings.Contains(err.Error(), "blockcommit") {
		t.Errorf("a step of a disk with a snapshot: %v, %v", done, err)
	}
	if _, err := os.Stat(j.overlay()); err != nil {
		t.Error(err)
	}
	b.bed.mu.Lock()
	b.xml = xml
	b.bed.mu.Unlock()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	b.right("snapshot merged")
}

// TestInstantServes: what runs on the point reads it, from when it is defined.
func TestInstantServes(t *testing.T) {
	t.Parallel()
	b := newInstantBed(t, "qcow2")
	l := b.life(0)
	b.noStart = func(string) error { readsPoint(t, b); return errors.New("seen") }
	if _, err := l.mover().Run(t.Context(), b.args, l); err == nil || !strings.Contains(err.Error(), "seen") {
		t.Errorf("a VM that does not start: %v", err)
	}
}

// readsPoint reads a disk as QEMU does, from the socket in the definition.
func readsPoint(t *testing.T, b *instantBed) {
	t.Helper()
	sockets, err := filepath.Glob(filepath.Join(b.args.Site.ScratchDir, "*.sock"))
	if err != nil || len(sockets) != 1 || !strings.Contains(b.xml, sockets[0]) {
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

// TestOwned: who is neither root nor the owner of the overlays is sent away.
func TestOwned(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	b := newInstantBed(t, "qcow2")
	l := b.life(0)
	r := &run{args: b.args, progress: l}
	if err := r.openPlace(t.Context(), l.mover()); err != nil {
		t.Fatal(err)
	}
	if err := r.openPoint(t.Context(), l.mover()); err != nil {
		t.Fatal(err)
	}
	stop, err := r.serve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if err := errors.Join(os.Chmod(b.args.Site.ScratchDir, 0o711), os.Mkdir(r.staging.private, 0o700)); err != nil {
		t.Fatal(err)
	}
	read := func() error {
		return exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "qemu-img", "info", "nbd+unix:///vda?socket="+r.socket()).Run()
	}
	if read() == nil {
		t.Error("anybody reads the point")
	}
	if err := os.WriteFile(r.overlay("vda"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(r.overlay("vda"), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if err := read(); err != nil {
		t.Errorf("the owner of the overlay: %v", err)
	}
	if c, err := net.Dial("unix", r.socket()); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
}
