package s3_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/objstoretest"
	"holdfast/internal/objstore/s3"
	"holdfast/internal/objstore/servertest"
)

// servers are the real ones that the store is tried against.
var servers = map[string]func(testing.TB) string{
	"versitygw": servertest.VersityGW,
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

func TestConformance(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := start(t)
			t.Run("plain", func(t *testing.T) {
				objstoretest.Run(t, func(t *testing.T) objstore.Store {
					return open(t, s3.Config{Endpoint: url, Bucket: newBucket(t, url, false)})
				})
			})
			t.Run("prefix", func(t *testing.T) {
				bucket := newBucket(t, url, false)
				objstoretest.Run(t, func(t *testing.T) objstore.Store {
					return open(t, s3.Config{Endpoint: url, Bucket: bucket, PathStyle: true, Prefix: fmt.Sprintf("deep/%d", buckets.Add(1))})
				})
			})
			t.Run("lock", func(t *testing.T) {
				objstoretest.Run(t, func(t *testing.T) objstore.Store {
					s := open(t, s3.Config{Endpoint: url, Bucket: newBucket(t, url, true)})
					if !s.Features().Retention {
						t.Fatal("a bucket with object lock has no retention")
					}
					return s
				})
			})
		})
	}
}
