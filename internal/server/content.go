package server

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast"
	"holdfast/internal/api/compute"
	"holdfast/internal/service"
)

// contentPath is where the disk of an access is read.
const contentPath = "/content/{access}/disk"

// What disk restore points hold, as page blobs: a client of Azure's blobs reads
// them (learn.microsoft.com/rest/api/storageservices/get-blob,
// get-blob-properties, get-page-ranges). Who has the secret of an access may.
var contentRoutes = []route{
	get(contentPath, public, (*Server).content),
	{method: http.MethodHead, pattern: contentPath, action: public, handler: (*Server).content},
}

const (
	// chunkTime bounds how long a client may take to receive what is written at once.
	chunkTime = time.Minute
	// readAhead is how much of a disk is read at once, bytes.
	readAhead = 1 << 20
	// blobVersion is the version of the blob service that the answers are of.
	blobVersion = "2021-12-02"
)

// content answers with the bytes of a disk, or with which of its pages are not
// empty. Long after the request's own time: as long as its client takes them.
func (s *Server) content(r *request) (answer, error) {
	if s.signIns.spent(r.address(), s.Clock()) {
		return blobRefusal(http.StatusTooManyRequests, "ServerBusy", "Too many accesses that are not valid came from this address."), nil
	}
	ctx, end := context.WithCancel(context.WithoutCancel(r.Context()))
	a, d, c, err := s.Service.OpenAccess(ctx, r.captures["access"], r.URL.Query().Get("sig"))
	if err == nil && !saysAll(r.URL.Query(), a) {
		err = service.ErrNoAccess
	}
	if err != nil {
		end()
		return s.notGiven(r, err)
	}
	b := blob{content: c, made: d.Point.Result.Time, tag: fmt.Sprintf(`"%s.%s"`, d.Point.Result.PointID, d.Disk.Target), end: end, ctx: ctx}
	if a.VHD {
		b.footer = compute.VHDFooter(c.Size(), b.made)
	}
	if strings.EqualFold(r.URL.Query().Get("comp"), "pagelist") {
		return answer{status: http.StatusOK, stream: http.HandlerFunc(b.pages)}, nil
	}
	return answer{status: http.StatusOK, stream: http.HandlerFunc(b.serve)}, nil
}

// saysAll says whether a query has the words of an access as they were given.
func saysAll(q url.Values, a service.Access) bool {
	for name, want := range accessWords(a) {
		if !slices.Equal(q[name], want) {
			return false
		}
	}
	return true
}

// notGiven is a refusal in the words of the blob service.
func (s *Server) notGiven(r *request, err error) (answer, error) {
	var e *holdfast.Error
	if !errors.As(err, &e) || e.Kind == holdfast.Internal {
		return answer{}, err
	}
	switch e.Kind {
	case holdfast.Forbidden:
		s.signIns.take(r.address(), s.Clock())
		return blobRefusal(http.StatusForbidden, "AuthenticationFailed", e.Message), nil
	case holdfast.NotFound:
		return blobRefusal(http.StatusNotFound, "BlobNotFound", e.Message), nil
	}
	return blobRefusal(statuses[e.Kind], string(e.Kind), e.Message), nil
}

func blobRefusal(code int, word, message string) answer {
	var body struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}
	body.Code, body.Message = word, message
	b, err := xml.Marshal(body)
	if err != nil {
		panic("internal error: " + err.Error()) // strings can be written
	}
	a := status(code, text(xml.Header+string(b)))
	a.header = http.Header{"Content-Type": {"application/xml"}, "X-Ms-Error-Code": {word}, "X-Ms-Version": {blobVersion}}
	return a
}

// blob is a disk of a restore point as a page blob.
type blob struct {
	content holdfast.Content
	footer  []byte // of a VHD; nil for the plain disk
	made    time.Time
	tag     string // ETag, quoted
	ctx     context.Context
	end     context.CancelFunc
}

func (b blob) size() int64 { return b.content.Size() + int64(len(b.footer)) }

// ReadAt reads the disk and, after it, the footer.
func (b blob) ReadAt(p []byte, off int64) (n int, err error) {
	disk := b.content.Size()
	if off < disk {
		n, err = b.content.ReadAt(p[:min(int64(len(p)), disk-off)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
	}
	if n < len(p) && off+int64(n) >= disk {
		n += copy(p[n:], b.footer[min(off+int64(n)-disk, int64(len(b.footer))):])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// header says of the blob what its clients look at.
func (b blob) header(h http.Header) {
	h.Set("ETag", b.tag)
	h.Set("Last-Modified", b.made.UTC().Format(http.TimeFormat))
	for name, value := range map[string]string{
		"x-ms-version": blobVersion, "x-ms-blob-type": "PageBlob", "x-ms-creation-time": b.made.UTC().Format(http.TimeFormat), "x-ms-lease-status": "unlocked",
		"x-ms-lease-state": "available", "x-ms-server-encrypted": "true", "x-ms-blob-sequence-number": "0", "x-ms-blob-content-length": strconv.FormatInt(b.size(), 10),
	} {
		h.Set(name, value)
	}
}

// serve answers Get Blob and Get Blob Properties. Ranges and conditions are
// HTTP's; x-ms-range is the blob service's word for Range.
func (b blob) serve(w http.ResponseWriter, r *http.Request) {
	defer b.end()
	b.header(w.Header())
	w.Header().Set("Content-Type", "application/octet-stream")
	if asked := r.Header.Get("x-ms-range"); asked != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Range", asked)
	}
	if nothing.MatchString(r.Header.Get("Range")) { // which net/http answers with 206
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", b.size()))
		(&patient{ResponseWriter: w}).WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	http.ServeContent(&patient{ResponseWriter: w}, r, "", b.made, &ahead{ReadSeeker: io.NewSectionReader(b, 0, b.size())})
}

// nothing is the last no bytes, which no blob can satisfy (RFC 9110, 14.1.2).
var nothing = regexp.MustCompile(`^\s*bytes\s*=\s*-0+\s*$`)

// pages answers Get Page Ranges: which pages are not known to be empty.
func (b blob) pages(w http.ResponseWriter, r *http.Request) {
	defer b.end()
	b.header(w.Header())
	w.Header().Set("Content-Type", "application/xml")
	from, to, found := pageRange(r.Header, b.size())
	if !found {
		noRange.write(w)
		return
	}
	out := &patient{ResponseWriter: w}
	if r.Method == http.MethodHead {
		out.WriteHeader(http.StatusOK)
		return
	}
	say := func(format string, args ...any) bool { _, err := fmt.Fprintf(out, format, args...); return err == nil }
	say("%s<PageList>", xml.Header)
	page := func(off, length int64) bool {
		first, last := max(off, from), min(off+length, to)
		return first >= last || say("<PageRange><Start>%d</Start><End>%d</End></PageRange>", first, last-1)
	}
	if err := b.content.Filled(b.ctx, page); err != nil {
		panic(http.ErrAbortHandler) // half a list would be taken for the whole
	}
	if b.footer != nil {
		page(b.content.Size(), int64(len(b.footer)))
	}
	say("</PageList>")
}

// pageRange is the range that a request for page ranges is about, as the bytes
// from and before to; found is false when it is none of the blob.
func pageRange(h http.Header, size int64) (from, to int64, found bool) {
	asked := h.Get("x-ms-range")
	if asked == "" {
		asked = h.Get("Range")
	}
	if asked == "" {
		return 0, size, true
	}
	first, last, ok := strings.Cut(strings.TrimPrefix(asked, "bytes="), "-")
	from, err := strconv.ParseInt(first, 10, 64)
	if !ok || err != nil || from < 0 || from >= size {
		return 0, 0, false
	}
	to = size
	if last != "" {
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil || n < from {
			return 0, 0, false
		}
		if n < size-1 {
			to = n + 1
		}
	}
	return from, to, true
}

// patient gives a client time for each piece instead of for the whole, and says
// in the blob service's way that a range is none.
type patient struct {
	http.ResponseWriter
	refused bool // that was said
}

func (p *patient) WriteHeader(code int) {
	if code != http.StatusRequestedRangeNotSatisfiable {
		p.ResponseWriter.WriteHeader(code)
		return
	}
	p.refused = true
	noRange.write(p.ResponseWriter)
}

// noRange is what the blob service answers about a range that is none of the blob.
var noRange = blobRefusal(http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The range specified is invalid for the current size of the resource.")

func (p *patient) Write(b []byte) (int, error) {
	if p.refused { // net/http says it in its own way
		return len(b), nil
	}
	// A writer without deadlines has none to move.
	_ = http.NewResponseController(p.ResponseWriter).SetWriteDeadline(time.Now().Add(chunkTime))
	return p.ResponseWriter.Write(b)
}

// ahead reads more at once than it is asked for: small reads of a repository cost
// as much as large ones.
type ahead struct {
	io.ReadSeeker
	buf  []byte
	left []byte
}

func (a *ahead) Read(p []byte) (int, error) {
	if len(a.left) == 0 {
		if a.buf == nil {
			a.buf = make([]byte, readAhead)
		}
		n, err := a.ReadSeeker.Read(a.buf)
		if n == 0 {
			return 0, err
		}
		a.left = a.buf[:n]
	}
	n := copy(p, a.left)
	a.left = a.left[n:]
	return n, nil
}

func (a *ahead) Seek(offset int64, whence int) (int64, error) {
	a.left = nil // ServeContent seeks to an end or a start, never by what was read
	return a.ReadSeeker.Seek(offset, whence)
}
