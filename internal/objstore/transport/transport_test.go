package transport

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// short is long enough for what moves and short enough to wait for.
const short = time.Second

func server(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func get(url string) (int64, error) {
	resp, err := (&http.Client{Transport: stalling(short)}).Get(url)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return io.Copy(io.Discard, resp.Body)
}

// An answer that never begins, and one that stops in the middle, end with an
// error, without a deadline of the caller.
func TestStall(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	defer close(end)
	silent := server(t, func(w http.ResponseWriter, r *http.Request) { <-end })
	if _, err := get(silent); err == nil {
		t.Error("a server that doesn't answer gave one")
	}
	stops := server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "2000")
		w.Write(make([]byte, 1000))
		w.(http.Flusher).Flush()
		<-end
	})
	if n, err := get(stops); !os.IsTimeout(err) || n != 1000 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// A server that takes no bytes ends an upload too.
func TestStalledUpload(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	body := strings.NewReader(strings.Repeat("x", 64<<20)) // more than sockets hold
	_, err = (&http.Client{Transport: stalling(short)}).Post("http://"+l.Addr().String(), "text/plain", body)
	if err == nil {
		t.Fatal("an upload that nobody takes succeeded")
	}
}

// A transfer that takes longer than the limit, but moves, goes on.
func TestSlowIsNotStalled(t *testing.T) {
	t.Parallel()
	slow := server(t, func(w http.ResponseWriter, r *http.Request) {
		for range 6 {
			w.Write(make([]byte, 1000))
			w.(http.Flusher).Flush()
			<-time.After(short / 4)
		}
	})
	if n, err := get(slow); err != nil || n != 6000 {
		t.Fatalf("%d bytes, %v", n, err)
	}
}

// The same of an upload, although no answer comes for longer than the limit.
func TestSlowUploadIsNotStalled(t *testing.T) {
	t.Parallel()
	const size = 48 << 20
	slow := server(t, func(w http.ResponseWriter, r *http.Request) {
		var got int64
		for got < size {
			n, err := io.CopyN(io.Discard, r.Body, 4<<20)
			if got += n; err != nil {
				t.Error(err)
				return
			}
			<-time.After(short / 6)
		}
	})
	resp, err := (&http.Client{Transport: stalling(short)}).Post(slow, "text/plain", strings.NewReader(strings.Repeat("x", size)))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{MaxVersion: tls.VersionTLS11}
	s.StartTLS()
	t.Cleanup(s.Close)
	tr := New()
	tr.TLSClientConfig.RootCAs = s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.RoundTrip(req); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Fatalf("TLS 1.1: %v", err)
	}
}
