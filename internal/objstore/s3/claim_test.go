package s3_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/signer"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/objstoretest"
	"holdfast/internal/objstore/s3"
	"holdfast/internal/objstore/servertest"
)

// oldServer stands before a real server and makes of it one that ignores the
// condition of a put, or refuses it. It signs the requests anew, which over TLS
// don't cover the content.
func oldServer(t *testing.T, server string, refuse bool) (endpoint string, transport http.RoundTripper) {
	t.Helper()
	to, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	quiet := log.New(io.Discard, "", 0) // of requests that are cut on purpose
	proxy := &httputil.ReverseProxy{ErrorLog: quiet, Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.Header.Del("If-None-Match")
		r.SetURL(to)
		r.Out.Host = to.Host
		*r.Out = *signer.SignV4(*r.Out, servertest.AccessKey, servertest.SecretKey, "", "us-east-1")
	}}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse && r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotImplemented)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, s.Client().Transport
}

func openOld(t *testing.T, server string, refuse bool) *s3.Store {
	t.Helper()
	endpoint, transport := oldServer(t, server, refuse)
	s := open(t, s3.Config{Endpoint: endpoint, Transport: transport, Bucket: newBucket(t, server, false), Addressing: s3.ByPath})
	if ok, err := s.ConditionalPut(t.Context()); ok || err != nil {
		t.Fatalf("conditional put: %v, %v", ok, err)
	}
	return s
}

func TestConformanceByClaims(t *testing.T) {
	t.Parallel()
	url := servertest.VersityGW(t)
	objstoretest.Run(t, func(t *testing.T) objstore.Store { return openOld(t, url, false) })
}

func TestRefusedCondition(t *testing.T) {
	t.Parallel()
	s := openOld(t, servertest.VersityGW(t), true)
	for _, want := range []error{nil, objstore.ErrExist} {
		err := s.Put(t.Context(), "a", bytes.NewReader([]byte("a")), objstore.PutOptions{})
		if !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
	}
}

// The claim of a dead process stops a put of other content, and not one of the
// same.
func TestDeadClaim(t *testing.T) {
	t.Parallel()
	url := servertest.VersityGW(t)
	endpoint, transport := oldServer(t, url, false)
	bucket := newBucket(t, url, false)
	s := open(t, s3.Config{Endpoint: endpoint, Transport: transport, Bucket: bucket, Prefix: "p", Addressing: s3.ByPath})
	s.SetClaimTries(2)
	ours := []byte("ours")
	dead := fmt.Sprintf("p/+claim/%x.dead.%x", sha256.Sum256([]byte("p/name")), sha256.Sum256(ours))
	c, err := minio.New(strings.TrimPrefix(url, "http://"), &minio.Options{Creds: keys(), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutObject(t.Context(), bucket, dead, bytes.NewReader(nil), 0, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	err = s.Put(t.Context(), "name", bytes.NewReader([]byte("other")), objstore.PutOptions{})
	if err == nil || errors.Is(err, objstore.ErrExist) || !strings.Contains(err.Error(), dead) {
		t.Fatalf("put of other content: %v, want an error that names %s", err, dead)
	}
	if err := s.Put(t.Context(), "name", bytes.NewReader(ours), objstore.PutOptions{}); err != nil {
		t.Fatalf("put of the same content: %v", err)
	}
	err = s.Put(t.Context(), "name", bytes.NewReader([]byte("other")), objstore.PutOptions{})
	if !errors.Is(err, objstore.ErrExist) {
		t.Fatalf("put when it's there: %v", err)
	}
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil || info.Name != "name" {
			t.Fatalf("%q is listed, %v", info.Name, err)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	url := servertest.VersityGW(t)
	bucket := newBucket(t, url, false)
	_, err := s3.Open(t.Context(), s3.Config{Endpoint: url, Bucket: "no-such-bucket", Credentials: keys()}, "s3://no-such-bucket")
	if !errors.Is(err, objstore.ErrNotExist) || !strings.Contains(err.Error(), "no-such-bucket") {
		t.Errorf("no bucket: %v", err)
	}
	_, err = s3.Open(t.Context(), s3.Config{Endpoint: url, Bucket: bucket, Credentials: wrongKeys()}, "s3://bucket")
	if !errors.Is(err, objstore.ErrPermission) {
		t.Errorf("wrong keys: %v", err)
	}
	_, err = s3.Open(t.Context(), s3.Config{Endpoint: "ftp://host", Bucket: bucket, Credentials: keys()}, "s3://bucket")
	if !errors.Is(err, objstore.ErrInvalid) {
		t.Errorf("wrong endpoint: %v", err)
	}
	// A bucket that is gone says nothing about its objects.
	s := open(t, s3.Config{Endpoint: url, Bucket: bucket})
	c, err := minio.New(strings.TrimPrefix(url, "http://"), &minio.Options{Creds: keys(), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.RemoveBucket(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	_, serr := s.Stat(t.Context(), "a")
	_, gerr := s.Get(t.Context(), "a", 0, -1)
	derr := s.Delete(t.Context(), "a")
	for verb, err := range map[string]error{"stat": serr, "get": gerr, "delete": derr} {
		if err == nil || errors.Is(err, objstore.ErrNotExist) {
			t.Errorf("%s in a bucket that is gone: %v", verb, err)
		}
	}
}
