package gcs_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/gcs"
	"holdfast/internal/objstore/objstoretest"
	"holdfast/internal/objstore/servertest"
)

// withRetention stands before fake-gcs-server, which keeps the retention of an
// object but says of no bucket that it's enabled and refuses no delete, and adds
// both as the service documents them (Cloud Storage, "Object Retention Lock").
func withRetention(t *testing.T, server string) string {
	t.Helper()
	to, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, to.Host
	}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest, isBucket := strings.CutPrefix(r.URL.Path, "/storage/v1/b/")
		switch {
		case r.Method == http.MethodGet && isBucket && !strings.Contains(rest, "/"):
			io.WriteString(w, `{"objectRetention":{"mode":"Enabled"}}`)
		case r.Method == http.MethodDelete && held(t, server+r.URL.EscapedPath()):
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"error":{"code":403,"message":"Object is subject to bucket's retention policy or object retention",`+
				`"errors":[{"reason":"retentionPolicyNotMet"}]}}`)
		default:
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// held asks the server until when the object is to be retained.
func held(t *testing.T, object string) bool {
	resp, err := http.Get(object)
	if err != nil {
		t.Error(err)
		return true
	}
	defer resp.Body.Close()
	var o struct {
		Retention struct{ RetainUntilTime time.Time }
	}
	return json.NewDecoder(resp.Body).Decode(&o) == nil && time.Now().Before(o.Retention.RetainUntilTime)
}

func TestConformanceWithRetention(t *testing.T) {
	t.Parallel()
	server := servertest.GCS(t)
	url := withRetention(t, server)
	objstoretest.Run(t, func(t *testing.T) objstore.Store {
		s := open(t, gcs.Config{Endpoint: url, Bucket: newBucket(t, server)})
		if !s.Features().Retention {
			t.Fatal("a bucket with object retention has none")
		}
		return s
	})
}
