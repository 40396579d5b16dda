package embedded_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"

	"holdfast"
	"holdfast/internal/embedded"
	"holdfast/internal/job"
)

// pointStore is the operational repositories of a world's sites: what each point
// has of each disk, by repository, point and target.
type pointStore struct {
	*world
	mu     sync.Mutex
	points map[string]map[string][]byte // REPOSITORY POINT -> target -> bytes
	asked  []holdfast.RestorePointArgs
}

// diskSize is how much the disks of these points have, bytes; the facts say more.
const diskSize = 5<<20 + 512

func pointKey(repository holdfast.RepositoryRef, id string) string { return repository.URL + " " + id }

// Run makes a point, or copies one, with the contract of job.Work.
func (s *pointStore) Run(ctx context.Context, a holdfast.RestorePointArgs, p holdfast.Progress) (holdfast.RestorePointResult, error) {
	r := holdfast.RestorePointResult{PointID: a.PointID, Time: time.Now().UTC(), Consistency: holdfast.FileSystemConsistent, Reason: "the guest froze"}
	p.Task("Take Snapshot")
	p.Bytes(1, 4)
	if err := s.wait(ctx, "point "+a.VM.Name); err != nil {
		return r, err
	}
	vm, err := s.VM(ctx, holdfast.SiteRef{URI: "qemu:///system"}, a.VM.Name)
	if err != nil {
		return r, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, a)
	r.VM = vm
	content := map[string][]byte{}
	for _, k := range vm.Disks {
		if k.Temporary || slices.Contains(a.ExcludeLUNs, k.LUN) {
			continue
		}
		b := make([]byte, diskSize)
		random := rand.NewChaCha8(sha256.Sum256([]byte(a.PointID + k.Target)))
		random.Read(b[:1<<20])
		content[k.Target] = b
		r.Disks = append(r.Disks, holdfast.DiskResult{LUN: k.LUN, Target: k.Target, Size: diskSize})
	}
	if a.Want == holdfast.CrashConsistent {
		r.Consistency = a.Want
	}
	if a.Source != nil {
		content = s.points[pointKey(a.Source.Repository, a.Source.PointID)]
	}
	s.points[pointKey(a.Operational, a.PointID)] = content
	return r, nil
}

func (*pointStore) Undo(context.Context, holdfast.RestorePointArgs) (bool, error) { return false, nil }
func (*pointStore) Forget(context.Context, holdfast.RestorePointArgs) error       { return nil }

// deletedPoints is said when a deletion has ended, well or not.
const deletedPoints = "deleted points"

func (s *pointStore) remove(_ context.Context, a holdfast.DeletePointsArgs, _ holdfast.Progress) (r holdfast.DeletePointsResult, err error) {
	defer func() { s.begun <- deletedPoints }()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return r, s.fail
	}
	for _, id := range a.PointIDs {
		delete(s.points, pointKey(a.Repository, id))
	}
	return r, nil
}

func (s *pointStore) OpenDisk(_ context.Context, repository holdfast.RepositoryRef, point, target string) (holdfast.Content, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.points[pointKey(repository, point)][target]
	if !ok {
		return nil, holdfast.Errorf(holdfast.NotFound, point, "The point has no disk %s.", target)
	}
	return content{bytes.NewReader(b)}, nil
}

type content struct{ *bytes.Reader }

func (c content) Filled(_ context.Context, f func(off, length int64) bool) error {
	_ = f(0, 1<<20) && f(2<<20, 512)
	return nil
}

// points is a server with restore points, and its clients.
type points struct {
	*sdk
	store       *pointStore
	collections *armcompute.RestorePointCollectionsClient
	points      *armcompute.RestorePointsClient
	disks       *armcompute.DiskRestorePointClient
}

// servePoints starts a server with two sites whose machines have managed disks.
func servePoints(t *testing.T, change func(*embedded.Config, *world)) *points {
	t.Helper()
	return servePointsIn(t, t.TempDir(), change)
}

// servePointsIn is servePoints over a directory.
func servePointsIn(t *testing.T, dir string, change func(*embedded.Config, *world)) *points {
	t.Helper()
	var store *pointStore
	r := serveWith(t, dir, func(c *embedded.Config) {
		store = withPoints(c)
		if change != nil {
			change(c, store.world)
		}
	})
	p := &points{sdk: dial(t, r), store: store}
	var errs [3]error
	p.collections, errs[0] = armcompute.NewRestorePointCollectionsClient(p.sub, p.cred, p.options)
	p.points, errs[1] = armcompute.NewRestorePointsClient(p.sub, p.cred, p.options)
	p.disks, errs[2] = armcompute.NewDiskRestorePointClient(p.sub, p.cred, p.options)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return p
}

// withPoints lets a server have restore points, and its machines managed disks.
func withPoints(c *embedded.Config) *pointStore {
	store := &pointStore{world: c.Inventory.(*world), points: map[string]map[string][]byte{}}
	for i := range store.vms {
		store.vms[i].Disks = slices.Clone(store.vms[i].Disks)
		store.vms[i].Disks[1].Pool = "default"
	}
	c.RestorePoint, c.Contents, c.Delete = store, store, job.Func[holdfast.DeletePointsArgs, holdfast.DeletePointsResult](store.remove)
	return store
}

// site registers a site.
func (p *points) site(t *testing.T, name, uri, group string) {
	t.Helper()
	if code, out, _ := p.send(t, "PUT", "/subscriptions/"+p.sub+"/providers/Holdfast.Site/sites/"+name+"?api-version=2026-11-01", fmt.Sprintf(`{"properties":{"uri":%q,"resourceGroup":%q}}`, uri, group)); code != 201 {
		t.Fatalf("site %s: %d %v", name, code, out)
	}
}

// collection makes a collection of a source.
func (p *points) collection(t *testing.T, group, name, location, source string) armcompute.RestorePointCollection {
	t.Helper()
	c, err := p.collections.CreateOrUpdate(t.Context(), group, name, armcompute.RestorePointCollection{Location: &location,
		Properties: &armcompute.RestorePointCollectionProperties{Source: &armcompute.RestorePointCollectionSourceProperties{ID: &source}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.RestorePointCollection
}

// point makes a restore point and waits for it.
func (p *points) point(t *testing.T, group, collection, name string, ask armcompute.RestorePointProperties) armcompute.RestorePoint {
	t.Helper()
	poller, err := p.points.BeginCreate(t.Context(), group, collection, name, armcompute.RestorePoint{Properties: &ask}, nil)
	return done(t, poller, err).RestorePoint
}

// access gives the URL by which a disk of a restore point is read.
func (p *points) access(t *testing.T, group, collection, point, disk string, ask armcompute.GrantAccessData) string {
	t.Helper()
	ask.Access = to.Ptr(armcompute.AccessLevelRead)
	poller, err := p.disks.BeginGrantAccess(t.Context(), group, collection, point, disk, ask, nil)
	return *done(t, poller, err).AccessSAS
}

func page[T any](t *testing.T, p *runtime.Pager[T]) T {
	t.Helper()
	v, err := p.NextPage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// status is the HTTP status of a refusal.
func status(err error) int {
	var e *azcore.ResponseError
	if errors.As(err, &e) {
		return e.StatusCode
	}
	return 0
}

// made asks for a restore point and waits for it; the path has the shorts of
// refuses.
func (p *points) made(t *testing.T, path, body string) {
	t.Helper()
	p.follow(t, "PUT", path, body, 201)
}

func (p *points) deleted(t *testing.T, path string) {
	t.Helper()
	p.follow(t, "DELETE", path, "", 202)
}

func (s *sdk) follow(t *testing.T, method, path, body string, want int) {
	t.Helper()
	path = strings.NewReplacer("~G", "/subscriptions/"+s.sub+"/resourceGroups/lab").Replace(path)
	code, out, header := s.send(t, method, path+"?api-version=2024-11-01", body)
	if code != want {
		t.Fatalf("%s %s: %d %v", method, path, code, out)
	}
	at := strings.Split(header.Get("Azure-AsyncOperation"), "/")
	j, err := s.Jobs().Wait(t.Context(), at[len(at)-2])
	if err != nil || j.Failure != nil {
		t.Fatalf("%s %s: %+v, %v", method, path, j.Failure, err)
	}
}
