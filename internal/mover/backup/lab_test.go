package backup_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"holdfast"
	"holdfast/internal/clock"
	"holdfast/internal/guestlab"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/libvirt"
	"holdfast/internal/mover"
	"holdfast/internal/mover/backup"
	"holdfast/internal/mover/capture"
	"holdfast/internal/mover/deletion"
	"holdfast/internal/mover/restore"
	"holdfast/internal/mover/restorepoint"
	"holdfast/internal/objstore"
	"holdfast/internal/objstore/open"
	"holdfast/internal/repository"
	"holdfast/internal/snapshot"
)

// TestMain is the thaw watchdog, too: the snapshot room starts this program as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == snapshot.WatchdogCommand {
		os.Exit(snapshot.WatchdogMain(os.Args[2:], func(ctx context.Context, uri string) (hypervisor.Host, error) {
			return libvirt.Connect(ctx, uri)
		}))
	}
	os.Exit(m.Run())
}

const (
	diskSize = 32 << 20
	block    = 1 << 20 // where a moment leaves its mark, and how far
)

// lab is a real machine that boots nothing, with one data disk, and the data
// directory of a server.
type lab struct {
	*guestlab.Guest
	dir         string
	opener      *mover.Opener
	maker       *capture.Maker
	vault, site holdfast.RepositoryRef
	n, back     int      // points asked for, restores
	full        sync.Map // URLs of stores that take nothing more
}

func newLab(t *testing.T) *lab { return newLabOf(t, guestlab.Disk{Size: diskSize}) }

// newLabOf is newLab with these data disks.
func newLabOf(t *testing.T, disks ...guestlab.Disk) *lab {
	l := &lab{Guest: guestlab.New(t, guestlab.Options{Name: "tier", Paused: true, NoAgent: true, Disks: disks}), dir: t.TempDir()}
	l.vault = holdfast.RepositoryRef{URL: "file://" + filepath.Join(l.dir, "vault"), KeyID: "vault"}
	l.site = holdfast.RepositoryRef{URL: "file://" + filepath.Join(l.dir, "operational"), KeyID: "operational", Quick: true}
	l.serve()
	if _, err := l.opener.Make(t.Context(), l.vault); err != nil {
		t.Fatal(err)
	}
	return l
}

// serve is the start of another server on the data directory; the one before is
// dead.
func (l *lab) serve() {
	l.opener = &mover.Opener{KeyDir: filepath.Join(l.dir, "keys"), CacheDir: filepath.Join(l.dir, "cache"), Owner: repository.Owner{ID: l.dir, Instance: rand.Text()},
		OpenStore: func(ctx context.Context, url string, create bool) (objstore.Store, error) {
			how := open.Open
			if create {
				how = open.Create
			}
			store, err := how(ctx, url)
			if err != nil {
				return nil, err
			}
			return &limited{store, l, url}, nil
		}}
	l.T.(*testing.T).Cleanup(func() {
		if err := l.opener.Close(); err != nil {
			l.T.Error(err)
		}
	})
	l.maker = &capture.Maker{Hosts: l.connect, Opener: l.opener, Clock: clock.System, Log: slog.New(slog.DiscardHandler)}
}

// limited is a store that is full when the lab says so.
type limited struct {
	objstore.Store
	lab *lab
	url string
}

func (s *limited) Put(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
	if _, full := s.lab.full.Load(s.url); full && strings.HasPrefix(name, "packs/") {
		return fmt.Errorf("put %s: %w", name, objstore.ErrFull)
	}
	return s.Store.Put(ctx, name, body, opt)
}

func (l *lab) connect(ctx context.Context, site holdfast.SiteRef) (hypervisor.Host, error) {
	h, err := libvirt.Connect(ctx, site.URI)
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (l *lab) siteRef() holdfast.SiteRef {
	return holdfast.SiteRef{Name: "here", URI: guestlab.URI, ScratchDir: filepath.Join(l.Dir, "scratch")}
}

// args asks for another backup of the data disk.
func (l *lab) args() holdfast.BackupArgs {
	l.n++
	return holdfast.BackupArgs{Site: l.siteRef(), VM: holdfast.VMRef{UUID: l.UUID, Name: l.Name}, Repository: l.vault, Operational: l.site,
		Series: "item", PointID: fmt.Sprintf("%03d", l.n), Want: holdfast.CrashConsistent, ExcludeLUNs: []int{-1}}
}

// write leaves the mark of a moment on the disk.
func (l *lab) write(moment byte) {
	l.T.Helper()
	l.writeTo(1, moment)
}

// writeTo leaves it on the n-th disk.
func (l *lab) writeTo(n int, moment byte) {
	l.T.Helper()
	out, err := exec.Command("virsh", "-q", "-c", guestlab.URI, "qemu-monitor-command", l.Name, "--hmp",
		fmt.Sprintf(`qemu-io -d /machine/peripheral/virtio-disk%d/virtio-backend "write -P %d %d %d"`, n, moment, int(moment)*block, block)).CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		l.T.Fatalf("write: %v: %s", err, out)
	}
}

// checkpoints are ours on the machine.
func (l *lab) checkpoints() []string {
	l.T.Helper()
	names, err := l.Host.Checkpoints(l.T.Context(), l.UUID)
	if err != nil {
		l.T.Fatal(err)
	}
	return names
}

func (l *lab) mover() backup.Mover {
	return backup.Mover{Capture: l.maker, Repositories: l.opener.Repository, Log: slog.New(slog.DiscardHandler)}
}

// backup runs as a job does: what an earlier run left is taken back before.
func (l *lab) backup(a holdfast.BackupArgs, p *told) (holdfast.BackupResult, error) {
	l.T.Helper()
	m := l.mover()
	if _, err := m.Undo(l.T.Context(), a); err != nil && !errors.Is(err, holdfast.ErrUnsure) {
		l.T.Fatal(err)
	}
	return m.Run(l.T.Context(), a, p)
}

// made is a backup that must succeed.
func (l *lab) made(a holdfast.BackupArgs) (holdfast.BackupResult, *told) {
	l.T.Helper()
	p := &told{}
	res, err := l.backup(a, p)
	if err != nil {
		l.T.Fatal(err)
	}
	return res, p
}

func (l *lab) restorePoint(a holdfast.RestorePointArgs, p *told) (holdfast.RestorePointResult, error) {
	return restorepoint.Mover{Capture: l.maker, Repositories: l.opener.Repository}.Run(l.T.Context(), a, p)
}

// has says which of a repository's points are there.
func (l *lab) has(ref holdfast.RepositoryRef) (ids []string) {
	l.T.Helper()
	r, err := l.opener.Repository(l.T.Context(), ref)
	if err != nil {
		l.T.Fatal(err)
	}
	points, err := r.Points(l.T.Context(), "")
	if err != nil {
		l.T.Fatal(err)
	}
	for _, p := range points {
		ids = append(ids, p.ID)
	}
	slices.Sort(ids)
	return ids
}

// wantIn fails unless a repository has these points.
func (l *lab) wantIn(ref holdfast.RepositoryRef, what string, ids ...string) {
	l.T.Helper()
	if got := l.has(ref); !slices.Equal(got, ids) {
		l.T.Errorf("%s: %s has the points %v, want %v", what, ref.KeyID, got, ids)
	}
}

// restored restores a point's data disk and fails unless it has these moments.
func (l *lab) restored(id string, instant bool, moments ...byte) *told {
	l.T.Helper()
	l.back++
	a := holdfast.RestoreArgs{Site: l.siteRef(), Repository: l.vault, PointID: id, RestoreID: fmt.Sprint(l.back), Mode: holdfast.RestoreDisks,
		Directory: l.Dir, Format: "raw", NamePrefix: fmt.Sprintf("back%d", l.back)}
	if instant {
		a.Instant = l.site
	}
	p := &told{}
	res, err := restore.Mover{Hosts: l.connect, Repositories: l.opener.Repository}.Run(l.T.Context(), a, p)
	if err != nil {
		l.T.Fatal(err)
	}
	got, err := os.ReadFile(res.Disks[0].Path)
	if err != nil {
		l.T.Fatal(err)
	}
	want := make([]byte, diskSize)
	for _, m := range moments {
		copy(want[int(m)*block:], bytes.Repeat([]byte{m}, block))
	}
	if !bytes.Equal(got, want) {
		l.T.Errorf("point %s did not come back as the disk was at moments %v", id, moments)
	}
	return p
}

func (l *lab) remove(a holdfast.DeletePointsArgs) holdfast.DeletePointsResult {
	l.T.Helper()
	a.Repository, a.Hosts = l.vault, []holdfast.SiteRef{l.siteRef()}
	res, err := deletion.Mover{Repositories: l.opener.Repository, Drop: l.maker.Drop}.Run(l.T.Context(), a, &told{})
	if err != nil {
		l.T.Fatal(err)
	}
	return res
}

// told is a job that listens.
type told struct {
	mu         sync.Mutex
	tasks      []string // a * after the name: it may be cancelled
	properties map[string]string
	warnings   []string
	reached    []any
	onReached  func()
	onBytes    func(done, total int64)
}

func (p *told) Task(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tasks = append(p.tasks, name)
}

func (p *told) Cancellable(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := &p.tasks[len(p.tasks)-1]
	if *last = strings.TrimSuffix(*last, "*"); yes {
		*last += "*"
	}
}

func (p *told) Bytes(done, total int64) {
	if p.onBytes != nil {
		p.onBytes(done, total)
	}
}

func (p *told) Property(key, value string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.properties == nil {
		p.properties = map[string]string{}
	}
	p.properties[key] = value
}

func (p *told) Warn(message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.warnings = append(p.warnings, message)
}

func (p *told) Reached(result any) error {
	p.reached = append(p.reached, result)
	if p.onReached != nil {
		p.onReached()
	}
	return nil
}

// full says that the data disk was read in full.
func (p *told) full() bool { return strings.HasPrefix(p.properties["Disk vdb"], "full") }
