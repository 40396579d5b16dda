package server

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// plain is a disk whose bytes are its offsets.
type plain int64

func (p plain) Size() int64 { return int64(p) }

func (p plain) ReadAt(b []byte, off int64) (n int, err error) {
	for n = range b {
		if off+int64(n) >= int64(p) {
			return n, io.EOF
		}
		b[n] = byte(off + int64(n))
	}
	return len(b), nil
}

func (p plain) Filled(_ context.Context, f func(off, length int64) bool) error {
	f(0, int64(p))
	return nil
}

// FuzzPageRange: no header makes a range that lies outside of the blob.
func FuzzPageRange(f *testing.F) {
	for _, seed := range []string{"", "bytes=0-511", "bytes=512-", "bytes=9223372036854775807-9223372036854775807", "bytes=-5", "bytes=5-1", "0-", "bytes=a-b", "bytes=0-9223372036854775807"} {
		f.Add(seed, int64(4096))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 1 {
			return
		}
		from, to, found := pageRange(http.Header{"X-Ms-Range": {header}}, size)
		if found && (from < 0 || from >= to || to > size) {
			t.Errorf("%q of %d bytes: %d to %d", header, size, from, to)
		}
	})
}

// FuzzBlobRange: whatever range is asked for, what is answered with 206 is those
// bytes of the disk and of the footer behind it.
func FuzzBlobRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-0", "bytes=1000-1999", "bytes=1020-", "bytes=-3", "bytes=0-1,5-9", "bytes=2000-", "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if strings.ContainsAny(header, "\r\n\x00") {
			return
		}
		footer := []byte(strings.Repeat("f", 512))
		b := blob{content: plain(1024), footer: footer, made: time.Unix(1, 0), tag: `"x"`, ctx: t.Context(), end: func() {}}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("x-ms-range", header)
		w := httptest.NewRecorder()
		b.serve(w, r)
		var first, last, size int
		from, to, _ := strings.Cut(strings.TrimPrefix(w.Header().Get("Content-Range"), "bytes "), "-")
		if w.Code != http.StatusPartialContent || strings.Contains(header, ",") {
			return
		}
		if !number(from, &first) || !number(strings.Split(to, "/")[0], &last) || !number(strings.Split(to, "/")[1], &size) || size != 1536 || w.Body.Len() != last-first+1 {
			t.Fatalf("%q: %q, %d bytes", header, w.Header().Get("Content-Range"), w.Body.Len())
		}
		for i, got := range w.Body.Bytes() {
			want := byte('f')
			if first+i < 1024 {
				want = byte(first + i)
			}
			if got != want {
				t.Fatalf("%q: byte %d is %d, want %d", header, first+i, got, want)
			}
		}
	})
}

func number(s string, n *int) bool {
	*n = 0
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
		*n = *n*10 + int(c-'0')
	}
	return s != ""
}

// TestRangesOfNothing: a range that is none of the blob is refused in the words of the
// blob service (RFC 9110, 14.1.2 and 15.5.17).
func TestRangesOfNothing(t *testing.T) {
	t.Parallel()
	for _, header := range []string{"bytes=-0", "bytes=-00", "bytes=1024-", "bytes=5000-6000", "bytes=9-3"} {
		b := blob{content: plain(1024), made: time.Unix(1, 0), tag: `"x"`, ctx: t.Context(), end: func() {}}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Range", header)
		w := httptest.NewRecorder()
		b.serve(w, r)
		if w.Code != http.StatusRequestedRangeNotSatisfiable || w.Header().Get("Content-Type") != "application/xml" || w.Header().Get("X-Ms-Error-Code") != "InvalidRange" ||
			strings.Count(w.Body.String(), "<Code>InvalidRange</Code>") != 1 || !strings.HasSuffix(w.Body.String(), "</Error>") {
			t.Errorf("%s: %d %v %s", header, w.Code, w.Header(), w.Body)
		}
		if header == "bytes=-0" && w.Header().Get("Content-Range") != "bytes */1024" {
			t.Errorf("%s: %v", header, w.Header())
		}
	}
}
