package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/disk/image"
	"holdfast/internal/hypervisor"
	"holdfast/internal/matrix"
	"holdfast/internal/mover"
	"holdfast/internal/nbd"
)

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
			b.guestReads()
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

// TestInstantDamaged: a point that turns out to be damaged while the VM runs on it is
// told with the way out of waiting for it, and that way is one.
func TestInstantDamaged(t *testing.T) {
	t.Parallel()
	b := newInstantBed(t, "qcow2")
	for info, err := range b.store.List(t.Context(), "packs/", "") {
		if err != nil || b.store.Delete(t.Context(), info.Name) != nil {
			t.Fatal(info, err)
		}
	}
	l := b.life(0)
	ended := make(chan error, 1)
	go func() {
		_, err := l.mover().Run(t.Context(), b.args, l)
		ended <- err
	}()
	await(t, func() bool {
		b.bed.mu.Lock()
		defer b.bed.mu.Unlock()
		return strings.Contains(l.said, "ends when the VM is deleted with its disks")
	})
	b.bed.mu.Lock()
	b.gone, b.state, b.running, b.xml = true, hypervisor.ShutOff, "", ""
	b.bed.mu.Unlock()
	overlays, err := filepath.Glob(filepath.Join(b.pool, "*", "*.overlay"))
	if err != nil || len(overlays) != 2 {
		t.Fatal(overlays, err)
	}
	for _, path := range overlays {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestInstantForeign: a disk on an image that the restore has not made is left
// alone, with its overlay, until it is back; and so is one of a VM whose memory is
// saved.
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
	b.xml, b.saved = xml, true
	b.bed.mu.Unlock()
	await(t, func() bool { b.bed.mu.Lock(); defer b.bed.mu.Unlock(); return strings.Contains(l.said, "memory saved") })
	b.bed.mu.Lock()
	b.saved = false
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
