package repository_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"holdfast/internal/matrix"
	"holdfast/internal/objstore"
	"holdfast/internal/objstore/azblob"
	"holdfast/internal/objstore/gcs"
	"holdfast/internal/objstore/local"
	"holdfast/internal/objstore/retry"
	"holdfast/internal/objstore/s3"
	"holdfast/internal/objstore/servertest"
	"holdfast/internal/repository"
)

// stores makes an empty store of each kind on a real server, as users get it.
var stores = map[string]func(t *testing.T) objstore.Store{
	"directory":           openDirectory,
	"versitygw":           func(t *testing.T) objstore.Store { return openS3(t, servertest.VersityGW(t), false) },
	"versitygw with lock": func(t *testing.T) objstore.Store { return openS3(t, servertest.VersityGW(t), true) },
	"minio":               func(t *testing.T) objstore.Store { return openS3(t, servertest.MinIO(t), false) },
	"minio with lock":     func(t *testing.T) objstore.Store { return openS3(t, servertest.MinIO(t), true) },
	"azurite":             openAzurite,
	"fake-gcs-server":     openGCS,
}

func openDirectory(t *testing.T) objstore.Store {
	s, err := local.Create(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openS3(t *testing.T, url string, lock bool) objstore.Store {
	keys := credentials.NewStaticV4(servertest.AccessKey, servertest.SecretKey, "")
	c, err := minio.New(strings.TrimPrefix(url, "http://"), &minio.Options{Creds: keys, Region: "us-east-1"})
	if err == nil {
		err = c.MakeBucket(t.Context(), "vault", minio.MakeBucketOptions{ObjectLocking: lock})
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := s3.Open(t.Context(), s3.Config{Endpoint: url, Bucket: "vault", Prefix: "deep/place", Credentials: keys}, "s3://vault")
	if err != nil {
		t.Fatal(err)
	}
	return retry.New(s, retry.Options{})
}

func openAzurite(t *testing.T) objstore.Store {
	url := servertest.Azurite(t)
	key, err := container.NewSharedKeyCredential(servertest.AzureAccount, servertest.AzureKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := container.NewClientWithSharedKeyCredential(url+"/vault", key, nil)
	if err == nil {
		_, err = c.Create(t.Context(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := azblob.Open(t.Context(), azblob.Config{Endpoint: url, Container: "vault", Account: servertest.AzureAccount, Key: servertest.AzureKey}, "azblob://vault")
	if err != nil {
		t.Fatal(err)
	}
	return retry.New(s, retry.Options{})
}

func openGCS(t *testing.T) objstore.Store {
	url := servertest.GCS(t)
	resp, err := http.Post(url+"/storage/v1/b?project=p", "application/json", strings.NewReader(`{"name":"vault"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	s, err := gcs.Open(t.Context(), gcs.Config{Endpoint: url, Bucket: "vault", Anonymous: true}, "gs://vault")
	if err != nil {
		t.Fatal(err)
	}
	return retry.New(s, retry.Options{})
}

// A repository's life on each kind of real store: backup, incremental, deletion,
// collection, verification, check, damage, and the restore of all by a process
// that has only the store and the key.
func TestServers(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := open(t)
			if strings.HasSuffix(name, "with lock") {
				onLockingServer(t, store)
				return
			}
			onServer(t, store)
		})
	}
}

func onServer(t *testing.T, store objstore.Store) {
	rng := rand.New(rand.NewPCG(51, 51))
	r := initRepo(t, store)
	want := mustChain(t, rng, r, content(rng, 200*chunkSize+777), 4, 20)
	if err := r.DeletePoints(t.Context(), "p0", "p2"); err != nil {
		t.Fatal(err)
	}
	delete(want, "p0")
	delete(want, "p2")
	st, err := r.Collect(t.Context(), repository.CollectOptions{Thin: 0.95})
	if err != nil || st.Deleted == 0 {
		t.Errorf("collect: %+v, %v", st, err)
	}
	all := func(r *repository.Repository) {
		points, err := r.Points(t.Context(), "")
		if err != nil || len(points) != len(want) {
			t.Fatalf("%d points, %v", len(points), err)
		}
		for _, p := range points {
			mustRestore(t, r, p, want[p.ID])
			if q, err := r.Point(t.Context(), p.ID); err != nil || string(q.Attributes) != `{"xml":"`+p.ID+`"}` {
				t.Errorf("point %s: %s, %v", p.ID, q.Attributes, err)
			}
		}
	}
	fresh := openRepo(t, store, repository.Options{})
	all(fresh)
	if rep, err := fresh.Check(t.Context(), repository.CheckOptions{}); err != nil || len(rep.Findings) > 0 {
		t.Errorf("check: %+v, %v", rep, err)
	}
	if v, err := fresh.Verify(t.Context(), repository.VerifyOptions{}); err != nil || v.Blobs == 0 {
		t.Errorf("verify: %+v, %v", v, err)
	}
	var lost string
	for info, err := range store.List(t.Context(), "packs/", "") {
		if err != nil {
			t.Fatal(err)
		}
		lost = info.Name
	}
	whole := fetch(t, store, lost)
	replace(t, store, lost, whole[:len(whole)/2])
	if named, _ := inspect(t.Context(), t, lost, openRepo(t, store, repository.Options{})); !named[lost] {
		t.Errorf("%s was cut in half and is not named: %v", lost, named)
	}
	replace(t, store, lost, whole)
	fresh = openRepo(t, store, repository.Options{})
	if _, err := fresh.Verify(t.Context(), repository.VerifyOptions{}); err != nil {
		t.Errorf("verify of what was put back: %v", err)
	}
	all(fresh)
}

// onLockingServer is the life of a repository whose server holds what was put
// for a while: a collection leaves it and takes it when its time has come.
func onLockingServer(t *testing.T, store objstore.Store) {
	const hold = 4 * time.Second
	rng := rand.New(rand.NewPCG(52, 52))
	r := initRepo(t, store)
	if err := r.SetRetention(t.Context(), hold); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	kept := content(rng, 60*chunkSize)
	p := mustBackup(t, r, "kept", "a", nil, &memDisk{data: kept})
	mustBackup(t, r, "gone", "b", nil, &memDisk{data: content(rng, 50*chunkSize)})
	packs := countObjects(t, store, "packs/")
	if err := r.DeletePoint(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	st, err := r.Collect(t.Context(), repository.CollectOptions{})
	if took := time.Since(begun); took < hold && (err != nil || st.Held == 0 || st.Deleted != 0 || st.Extended == 0) {
		t.Fatalf("collect %v after the first backup: %+v, %v", took, st, err)
	}
	if n := countObjects(t, store, "packs/"); n != packs {
		t.Errorf("%d packs, were %d", n, packs)
	}
	for st.Held > 0 { // until the server lets go: hold and a quarter
		if time.Since(begun) > 15*hold {
			t.Fatalf("still held after %v: %+v", time.Since(begun), st)
		}
		select {
		case <-time.After(hold / 4):
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
		if st, err = r.Collect(t.Context(), repository.CollectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := countObjects(t, store, "packs/"); n >= packs {
		t.Errorf("%d packs are left of %d", n, packs)
	}
	mustRestore(t, openRepo(t, store, repository.Options{}), p, kept)
}

// What lies in the store is sealed: no name, attribute or content of a point can
// be found in any object, whoever reads the store. And it is compressed.
func TestNothingInTheClear(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "SEC-03", "ZIP-02")
	store := openDirectory(t)
	r := initRepo(t, store)
	const size = 300 * chunkSize
	line := []byte("A sentence that a backup must not show to anyone, number %08d.\n")
	var text bytes.Buffer
	for i := 0; text.Len() < size; i++ {
		fmt.Fprintf(&text, string(line), i)
	}
	data := text.Bytes()[:size]
	p := mustBackup(t, r, "secret-point", "secret-series", nil, &memDisk{data: data})
	mustRestore(t, r, p, data)
	var stored int64
	words := [][]byte{line[:20], []byte("secret-point"), []byte("secret-series"), []byte("vda"), []byte(`"xml"`), []byte(p.Disks[0].Root())}
	n := 0
	for info, err := range store.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		raw := fetch(t, store, info.Name)
		stored += int64(len(raw))
		n++
		for _, w := range words {
			if bytes.Contains(raw, w) || strings.Contains(info.Name, string(w)) {
				t.Errorf("%s shows %q", info.Name, w)
			}
		}
	}
	if n < 8 || stored > size/4 {
		t.Errorf("%d objects hold %d bytes for %d of text", n, stored, size)
	}
}
