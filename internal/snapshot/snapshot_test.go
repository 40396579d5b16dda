package snapshot_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/disk"
	"holdfast/internal/guestlab"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/libvirt"
	"holdfast/internal/snapshot"
)

// The test binary is also the watchdog, as the holdfast binary is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == snapshot.WatchdogCommand {
		os.Exit(snapshot.WatchdogMain(os.Args[2:], func(ctx context.Context, uri string) (hypervisor.Host, error) {
			return libvirt.Connect(ctx, uri)
		}))
	}
	if len(os.Args) > 1 && os.Args[1] == victimCommand {
		os.Exit(victim(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// lab is a guest and the points that were taken of it.
type lab struct {
	*guestlab.Guest
	t       testing.TB
	scratch string
	last    *snapshot.Checkpoint
	devices map[string]string // target to path in the guest, of this boot
	base    map[string][]byte // content at the last point, by target
}

func newLab(t testing.TB, o guestlab.Options) *lab {
	t.Helper()
	return &lab{Guest: guestlab.New(t, o), t: t, scratch: guestlab.Dir(t), base: map[string][]byte{}, devices: map[string]string{}}
}

// request asks for a snapshot without the system disk, which is large.
func (l *lab) request() snapshot.Request {
	return snapshot.Request{Host: l.Host, URI: guestlab.URI, UUID: l.UUID, ScratchDir: l.scratch,
		Exclude: []string{"vda"}, Last: l.last}
}

func (l *lab) take() *snapshot.Snapshot {
	l.t.Helper()
	s, err := snapshot.Take(l.t.Context(), l.request())
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

// backup takes a point the way a mover does: from the base and what changed.
// It fails the test when that is not what the disk held at the instant.
func (l *lab) backup() *snapshot.Snapshot {
	l.t.Helper()
	s := l.take()
	l.read(s)
	return s
}

// read completes a point from an open snapshot.
func (l *lab) read(s *snapshot.Snapshot) {
	l.t.Helper()
	content := map[string][]byte{}
	for _, d := range s.Disks {
		got, err := assemble(l.t.Context(), l.base[d.Target], d)
		if err != nil {
			l.t.Fatalf("disk %s: %v", d.Target, err)
		}
		whole := make([]byte, d.Size)
		if _, err := d.Source.ReadAt(whole, 0); err != nil {
			l.t.Fatalf("disk %s: %v", d.Target, err)
		}
		if !bytes.Equal(got, whole) {
			l.t.Fatalf("disk %s (incremental %v): base and changes do not make the disk", d.Target, d.Incremental)
		}
		content[d.Target] = got
	}
	if err := s.Check(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	if err := s.Release(l.t.Context(), true); err != nil {
		l.t.Fatal(err)
	}
	l.last, l.base = s.Checkpoint, content
}

// assemble makes a disk's content of its base and its extents.
func assemble(ctx context.Context, base []byte, d snapshot.Disk) ([]byte, error) {
	out := make([]byte, d.Size)
	at := int64(0)
	for e, err := range d.Source.Extents(ctx) {
		if err != nil {
			return nil, err
		}
		if e.Offset != at || e.Length <= 0 {
			return nil, fmt.Errorf("extent %+v does not follow %d", e, at)
		}
		at = e.End()
		switch e.Kind {
		case disk.Data:
			if _, err := d.Source.ReadAt(out[e.Offset:e.End()], e.Offset); err != nil {
				return nil, err
			}
		case disk.Same:
			if e.End() > int64(len(base)) {
				return nil, fmt.Errorf("extent %+v is the same as nothing: the base has %d bytes", e, len(base))
			}
			copy(out[e.Offset:e.End()], base[e.Offset:e.End()])
		}
	}
	if at != d.Size {
		return nil, fmt.Errorf("extents end at %d of %d", at, d.Size)
	}
	return out, nil
}

// device gives the path in the guest of a disk known by its target.
func (l *lab) device(target string) string {
	l.t.Helper()
	if strings.HasPrefix(target, "vd") {
		return "/dev/" + target
	}
	if l.devices[target] == "" {
		d, err := l.Host.Domain(l.t.Context(), l.UUID)
		if err != nil {
			l.t.Fatal(err)
		}
		i := slices.IndexFunc(d.Disks, func(k hypervisor.Disk) bool { return k.Target == target })
		l.devices[target] = l.Device(i)
	}
	return l.devices[target]
}

// start boots the guest again; its kernel may number disks differently now.
func (l *lab) start() {
	l.t.Helper()
	l.devices = map[string]string{}
	l.Start()
}

// write fills a range of a disk in the guest with random bytes, past its caches.
func (l *lab) write(target string, offMiB, count int) {
	l.t.Helper()
	l.Sh(fmt.Sprintf("dd if=/dev/urandom of=%s bs=1M seek=%d count=%d oflag=direct status=none", l.device(target), offMiB, count))
}

// wantSum checks the last point's disk against what the guest reads.
func (l *lab) wantSum(target string) {
	l.t.Helper()
	sum := sha256.Sum256(l.base[target])
	got := strings.Fields(l.Sh("sha256sum " + l.device(target)))[0]
	if got != hex.EncodeToString(sum[:]) {
		l.t.Errorf("disk %s: the point is not what the guest has", target)
	}
}

// find gives one disk of a snapshot.
func find(t testing.TB, s *snapshot.Snapshot, target string) snapshot.Disk {
	t.Helper()
	for _, d := range s.Disks {
		if d.Target == target {
			return d
		}
	}
	t.Fatalf("no disk %s in the snapshot", target)
	return snapshot.Disk{}
}

func TestFirstAndSecondPoint(t *testing.T) {
	l := newLab(t, guestlab.Options{Name: "points", Disks: []guestlab.Disk{{}, {Format: "raw"}}})
	l.write("vdb", 0, 8)
	l.write("vdc", 4, 4)
	s := l.backup()
	t.Logf("first: %s (%s), frozen for %s", s.Consistency, s.Reason, s.FrozenFor)
	if s.Consistency != snapshot.FileSystem {
		t.Errorf("consistency %s: %s", s.Consistency, s.Reason)
	}
	l.wantSum("vdb")
	l.wantSum("vdc")
	l.write("vdb", 2, 1)
	l.write("vdc", 5, 1)
	s = l.backup()
	t.Logf("second: %s, frozen for %s", s.Consistency, s.FrozenFor)
	if b := find(t, s, "vdb"); !b.Incremental {
		t.Errorf("vdb was read in full: %s", b.Reason)
	}
	if c := find(t, s, "vdc"); c.Incremental || c.Reason == "" {
		t.Errorf("vdc: incremental %v, reason %q", c.Incremental, c.Reason)
	}
	l.wantSum("vdb")
	l.wantSum("vdc")
}

// waitErr waits until a snapshot says that it has failed.
func waitErr(t testing.TB, s *snapshot.Snapshot) error {
	t.Helper()
	for range 400 {
		if err := s.Check(t.Context()); err != nil {
			return err
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}
