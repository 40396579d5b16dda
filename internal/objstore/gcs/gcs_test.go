package gcs_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/gcs"
	"holdfast/internal/objstore/objstoretest"
	"holdfast/internal/objstore/servertest"
)

var buckets atomic.Int64

func newBucket(t *testing.T, endpoint string) string {
	t.Helper()
	name := fmt.Sprintf("bucket-%d", buckets.Add(1))
	resp, err := http.Post(endpoint+"/storage/v1/b?project=p", "application/json", strings.NewReader(`{"name":"`+name+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
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
