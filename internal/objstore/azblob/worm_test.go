package azblob_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/azblob"
	"holdfast/internal/objstore/objstoretest"
	"holdfast/internal/objstore/servertest"
)

// worm stands before Azurite, which has no immutability policies, and adds
// version-level ones as the service documents them (Azure REST: Put Blob, Set
// Blob Immutability Policy, Get Blob Properties, Get Container Properties): it
// keeps what the requests say, and refuses to delete or to shorten.
type worm struct {
	azurite *httputil.ReverseProxy

	mu    sync.Mutex
	until map[string]time.Time // by path
}

const (
	untilHeader = "X-Ms-Immutability-Policy-Until-Date"
	modeHeader  = "X-Ms-Immutability-Policy-Mode"
)

func newWorm(t *testing.T, azurite string) string {
	t.Helper()
	to, err := url.Parse(azurite)
	if err != nil {
		t.Fatal(err)
	}
	w := &worm{until: map[string]time.Time{}}
	w.azurite = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, to.Host
		},
		ModifyResponse: w.answer,
	}
	s := httptest.NewServer(w)
	t.Cleanup(s.Close)
	return s.URL + to.Path
}

// answer adds what is known of a blob, or of a container, to Azurite's answer.
func (w *worm) answer(resp *http.Response) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	path := resp.Request.URL.Path
	if resp.Request.URL.Query().Get("restype") == "container" {
		resp.Header.Set("X-Ms-Immutable-Storage-With-Versioning-Enabled", "true")
	}
	if resp.StatusCode >= 300 {
		return nil
	}
	switch resp.Request.Method {
	case http.MethodPut:
		if text := resp.Request.Header.Get(untilHeader); text != "" {
			until, err := http.ParseTime(text)
			if err != nil {
				return err
			}
			w.until[path] = until
		}
	case http.MethodDelete:
		delete(w.until, path)
	default:
		if until, ok := w.until[path]; ok {
			resp.Header.Set(untilHeader, until.UTC().Format(http.TimeFormat))
			resp.Header.Set(modeHeader, "locked")
		}
	}
	return nil
}

func (w *worm) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	until := w.until[r.URL.Path]
	w.mu.Unlock()
	switch {
	case r.Method == http.MethodDelete && time.Now().Before(until):
		refuse(out)
	case r.Method == http.MethodPut && r.URL.Query().Get("comp") == "immutabilityPolicies":
		next, err := http.ParseTime(r.Header.Get(untilHeader))
		if err != nil || next.Before(until) || r.Header.Get(modeHeader) == "" {
			refuse(out)
			return
		}
		w.mu.Lock()
		w.until[r.URL.Path] = next
		w.mu.Unlock()
		out.WriteHeader(http.StatusOK)
	default:
		w.azurite.ServeHTTP(out, r)
	}
}

func refuse(out http.ResponseWriter) {
	out.Header().Set("X-Ms-Error-Code", "BlobImmutableDueToPolicy")
	out.WriteHeader(http.StatusConflict)
}

func TestConformanceWithImmutability(t *testing.T) {
	t.Parallel()
	azurite := servertest.Azurite(t)
	url := newWorm(t, azurite)
	objstoretest.Run(t, func(t *testing.T) objstore.Store {
		s := open(t, azblob.Config{Endpoint: url, Container: newContainer(t, azurite)})
		if !s.Features().Retention {
			t.Fatal("a container with version-level immutability has no retention")
		}
		return s
	})
}
