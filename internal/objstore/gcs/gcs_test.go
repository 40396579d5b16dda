package gcs_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"cloud.google.com/go/storage"
	"google.golang.org/api/option"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/gcs"
	"holdfast/internal/objstore/objstoretest"
	"holdfast/internal/objstore/servertest"
)

var buckets atomic.Int64

func newBucket(t *testing.T, endpoint string) string {
	t.Helper()
	c, err := storage.NewClient(context.Background(), option.WithoutAuthentication(), option.WithEndpoint(endpoint+"/storage/v1/"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	name := fmt.Sprintf("bucket-%d", buckets.Add(1))
	if err := c.Bucket(name).Create(context.Background(), "project", nil); err != nil {
		t.Fatal(err)
	}
	return name
}

func open(t *testing.T, c gcs.Config) *gcs.Store {
	t.Helper()
	c.Anonymous = true
	s, err := gcs.Open(t.Context(), c, "gs://"+c.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	url := servertest.GCS(t)
	t.Run("plain", func(t *testing.T) {
		objstoretest.Run(t, func(t *testing.T) objstore.Store {
			return open(t, gcs.Config{Endpoint: url, Bucket: newBucket(t, url)})
		})
	})
	t.Run("prefix", func(t *testing.T) {
		b := newBucket(t, url)
		objstoretest.Run(t, func(t *testing.T) objstore.Store {
			return open(t, gcs.Config{Endpoint: url, Bucket: b, Prefix: fmt.Sprintf("deep/%d", buckets.Add(1))})
		})
	})
}
