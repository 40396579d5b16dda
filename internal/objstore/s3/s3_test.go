package s3_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/objstoretest"
	"holdfast/internal/objstore/retry"
	"holdfast/internal/objstore/s3"
	"holdfast/internal/objstore/servertest"
)

// servers are the real ones that the store is tried against.
var servers = map[string]func(testing.TB) string{
	"versitygw": func(t testing.TB) string { return servertest.VersityGW(t) },
	"minio":     servertest.MinIO,
}

func keys() *credentials.Credentials {
	return credentials.NewStaticV4(servertest.AccessKey, servertest.SecretKey, "")
}

func wrongKeys() *credentials.Credentials {
	return credentials.NewStaticV4(servertest.AccessKey, "wrong", "")
}

var buckets atomic.Int64

// newBucket makes a bucket with or without object lock and returns its name.
func newBucket(t *testing.T, endpoint string, lock bool) string {
	t.Helper()
	c, err := minio.New(endpoint[len("http://"):], &minio.Options{Creds: keys(), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("bucket-%d", buckets.Add(1))
	if err := c.MakeBucket(context.Background(), name, minio.MakeBucketOptions{ObjectLocking: lock}); err != nil {
		t.Fatal(err)
	}
	return name
}

func open(t *testing.T, c s3.Config) *s3.Store {
	t.Helper()
	c.Credentials = keys()
	s, err := s3.Open(t.Context(), c, "s3://"+c.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// served is the store as users get it: a server may refuse a put and close the
// connection before the body is sent, which only a retry tells from a failure.
func served(s objstore.Store) objstore.Store { return retry.New(s, retry.Options{}) }

func TestConformance(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := start(t)
			t.Run("plain", func(t *testing.T) {
				objstoretest.Run(t, func(t *testing.T) objstore.Store {
					return served(open(t, s3.Config{Endpoint: url, Bucket: newBucket(t, url, false)}))
				})
			})
			t.Run("prefix", func(t *testing.T) {
				bucket := newBucket(t, url, false)
				objstoretest.Run(t, func(t *testing.T) objstore.Store {
					return served(open(t, s3.Config{Endpoint: url, Bucket: bucket, Addressing: s3.ByPath, Prefix: fmt.Sprintf("deep/%d", buckets.Add(1))}))
				})
			})
			t.Run("lock", func(t *testing.T) {
				objstoretest.Run(t, func(t *testing.T) objstore.Store {
					s := open(t, s3.Config{Endpoint: url, Bucket: newBucket(t, url, true)})
					if !s.Features().Retention {
						t.Fatal("a bucket with object lock has no retention")
					}
					return served(s)
				})
			})
		})
	}
}

// A server that knows its buckets by host name.
func TestAddressingByHost(t *testing.T) {
	t.Parallel()
	url := servertest.VersityGW(t, "--virtual-domain", "s3.example")
	_, port, err := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	var hosts sync.Map
	s := open(t, s3.Config{Endpoint: "http://s3.example:" + port, Bucket: newBucket(t, url, false), Addressing: s3.ByHost,
		Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			hosts.Store(address, true)
			return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
		}}})
	if err := s.Put(t.Context(), "a/b", strings.NewReader("data"), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if info, err := s.Stat(t.Context(), "a/b"); err != nil || info.Size != 4 {
		t.Fatalf("%+v, %v", info, err)
	}
	hosts.Range(func(host, _ any) bool {
		if !strings.HasPrefix(host.(string), "bucket-") {
			t.Errorf("asked %s", host)
		}
		return true
	})
}

func TestNoCredentials(t *testing.T) {
	t.Parallel()
	none := credentials.NewStaticV4("", "", "")
	_, err := s3.Open(t.Context(), s3.Config{Endpoint: "http://127.0.0.1:1", Bucket: "bucket", Credentials: none}, "s3://bucket")
	if !errors.Is(err, objstore.ErrPermission) || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Fatal(err)
	}
}
