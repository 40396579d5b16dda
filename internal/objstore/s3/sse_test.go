package s3_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/sse"

	"holdfast/internal/matrix"
	"holdfast/internal/objstore"
	"holdfast/internal/objstore/objstoretest"
	"holdfast/internal/objstore/s3"
	"holdfast/internal/objstore/servertest"
)

// TestDemandedEncryption: in front of a real server stands one that does what a
// bucket of Amazon's with KMS keys and the usual policy does: it refuses objects
// that come without a word on encryption, and its ETags are no MD5.
func TestDemandedEncryption(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "SEC-07")
	behind := servertest.VersityGW(t)
	target, err := url.Parse(behind)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		ModifyResponse: func(r *http.Response) error {
			if tag := r.Header.Get("Etag"); tag != "" {
				r.Header.Set("Etag", `"`+strings.Repeat("9", 32)+`"`)
			}
			return nil
		},
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isObject := strings.Count(strings.Trim(r.URL.Path, "/"), "/") > 0; isObject && r.Method == http.MethodPut &&
			r.URL.RawQuery == "" && r.Header.Get("X-Amz-Server-Side-Encryption") != "aws:kms" {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>an explicit deny in a resource-based policy</Message></Error>`)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	without := open(t, s3.Config{Endpoint: front.URL, Bucket: newBucket(t, behind, false)})
	if err := without.Put(t.Context(), "a", strings.NewReader("x"), objstore.PutOptions{}); err == nil {
		t.Fatal("the server takes objects without encryption: it plays nothing")
	}
	objstoretest.Run(t, func(t *testing.T) objstore.Store {
		return served(open(t, s3.Config{Endpoint: front.URL, Bucket: newBucket(t, behind, false), SSE: "aws:kms", KMSKey: servertest.KMSKey}))
	})
}

// TestServerSideEncryption runs the conformance suite on a server that encrypts:
// because the bucket says so, or because the store asks for it.
func TestServerSideEncryption(t *testing.T) {
	t.Parallel()
	endpoint := servertest.MinIO(t)
	c, err := minio.New(strings.TrimPrefix(endpoint, "http://"), &minio.Options{Creds: keys(), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct {
		name     string
		bucket   *sse.Configuration
		config   s3.Config
		reported string
	}{
		{"the bucket's own", sse.NewConfigurationSSES3(), s3.Config{}, "AES256"},
		{"SSE-S3", nil, s3.Config{SSE: "AES256"}, "AES256"},
		{"SSE-KMS", nil, s3.Config{SSE: "aws:kms", KMSKey: servertest.KMSKey}, "aws:kms"},
	} {
		t.Run(k.name, func(t *testing.T) {
			fresh := func(t *testing.T) *s3.Store {
				k := k
				k.config.Endpoint, k.config.Bucket = endpoint, newBucket(t, endpoint, true)
				if k.bucket != nil {
					if err := c.SetBucketEncryption(t.Context(), k.config.Bucket, k.bucket); err != nil {
						t.Fatal(err)
					}
				}
				s := open(t, k.config)
				if err := s.Put(t.Context(), "seen", strings.NewReader("x"), objstore.PutOptions{}); err != nil {
					t.Fatal(err)
				}
				o, err := c.StatObject(t.Context(), k.config.Bucket, "seen", minio.StatObjectOptions{})
				if got := o.Metadata.Get("X-Amz-Server-Side-Encryption"); err != nil || got != k.reported {
					t.Fatalf("stored with encryption %q, %v; want %q", got, err, k.reported)
				}
				if err := s.Delete(t.Context(), "seen"); err != nil {
					t.Fatal(err)
				}
				return s
			}
			objstoretest.Run(t, func(t *testing.T) objstore.Store { return served(fresh(t)) })
		})
	}
}

func TestBadEncryption(t *testing.T) {
	t.Parallel()
	for _, c := range []s3.Config{{SSE: "rot13"}, {KMSKey: "k"}, {SSE: "AES256", KMSKey: "k"}} {
		c.Bucket, c.Endpoint, c.Credentials = "bucket", "http://127.0.0.1:1", keys()
		if _, err := s3.Open(t.Context(), c, "s3://bucket"); err == nil || !strings.Contains(err.Error(), "server-side encryption") {
			t.Errorf("%q with key %q: %v", c.SSE, c.KMSKey, err)
		}
	}
}
