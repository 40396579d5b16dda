package snapshot_test

import (
	"bytes"
	"context"
	"crypto/md5"
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
	devices map[string]string        // target to path in the guest, of this boot
	base    map[string][]byte        // content at the last point, by target
	extents map[string][]disk.Extent // of the last point's read, by target
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
	l.extents = map[string][]disk.Extent{}
	for _, d := range s.Disks {
		got, extents, err := assemble(l.t.Context(), l.base[d.Target], d)
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
		content[d.Target], l.extents[d.Target] = got, extents
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
func assemble(ctx context.Context, base []byte, d snapshot.Disk) (out []byte, all []disk.Extent, err error) {
	out = make([]byte, d.Size)
	at := int64(0)
	for e, err := range d.Source.Extents(ctx) {
		if err != nil {
			return nil, nil, err
		}
		if e.Offset != at || e.Length <= 0 {
			return nil, nil, fmt.Errorf("extent %+v does not follow %d", e, at)
		}
		at = e.End()
		all = append(all, e)
		switch e.Kind {
		case disk.Data:
			if _, err := d.Source.ReadAt(out[e.Offset:e.End()], e.Offset); err != nil {
				return nil, nil, err
			}
		case disk.Same:
			if e.End() > int64(len(base)) {
				return nil, nil, fmt.Errorf("extent %+v is the same as nothing: the base has %d bytes", e, len(base))
			}
			copy(out[e.Offset:e.End()], base[e.Offset:e.End()])
		}
	}
	if at != d.Size {
		return nil, nil, fmt.Errorf("extents end at %d of %d", at, d.Size)
	}
	return out, all, nil
}

// device gives the path in the guest of a disk known by its target.
func (l *lab) device(target string) string {
	l.t.Helper()
	if strings.HasPrefix(target, "vd") && target != "vdz" {
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
	l.Sh(writing(l.device(target), offMiB, count))
}

// writing is the guest's command for it.
func writing(device string, offMiB, count int) string {
	return fmt.Sprintf("dd if=/dev/urandom of=%s bs=1M seek=%d count=%d oflag=direct status=none", device, offMiB, count)
}

// sums asks the guest for the checksums of disks, by target.
func (l *lab) sums(targets []string) map[string]string {
	l.t.Helper()
	command := "md5sum"
	for _, target := range targets {
		command += " " + l.device(target)
	}
	sums := map[string]string{}
	for i, line := range strings.Split(strings.TrimSpace(l.Sh(command)), "\n") {
		sums[targets[i]], _, _ = strings.Cut(line, " ")
	}
	return sums
}

// sumOf is that checksum.
func sumOf(content []byte) string {
	sum := md5.Sum(content) // it is compared, not trusted
	return hex.EncodeToString(sum[:])
}

// wantSums checks the last point's disks against what the guest reads.
func (l *lab) wantSums(targets []string) {
	l.t.Helper()
	l.wantThese(l.sums(targets))
}

// wantThese checks the last point's disks against checksums.
func (l *lab) wantThese(sums map[string]string) {
	l.t.Helper()
	for target, sum := range sums {
		if sum != sumOf(l.base[target]) {
			l.t.Errorf("disk %s: the point is not what the guest has", target)
		}
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
