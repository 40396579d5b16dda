package gcs

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/transport"
)

// The requests of the JSON API, version 1, that a store needs (Cloud Storage,
// "JSON API reference"). Google's own library is left out on purpose: it brings
// gRPC, xDS and OpenTelemetry into the binary for these seven requests.

const scope = "https://www.googleapis.com/auth/devstorage.read_write"

// api makes requests for one bucket.
type api struct {
	client *http.Client
	base   string // "https://storage.googleapis.com"
	bucket string
}

// object is what the API says of an object.
type object struct {
	Name           string     `json:"name"`
	Size           int64      `json:"size,string"`
	Generation     int64      `json:"generation,string"`
	Retention      *retention `json:"retention"`
	RetentionUntil time.Time  `json:"retentionExpirationTime"` // of the bucket's policy
}

type retention struct {
	Mode  string    `json:"mode"`
	Until time.Time `json:"retainUntilTime"`
}

// until returns when the object can be deleted.
func (o object) until() time.Time {
	if o.Retention != nil && o.Retention.Until.After(o.RetentionUntil) {
		return o.Retention.Until
	}
	return o.RetentionUntil
}

func newAPI(ctx context.Context, c Config) (*api, error) {
	a := &api{base: "https://storage.googleapis.com", bucket: c.Bucket}
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" {
			return nil, fmt.Errorf("%w: endpoint %q is not https://HOST[:PORT]", objstore.ErrInvalid, c.Endpoint)
		}
		a.base = u.Scheme + "://" + u.Host
	}
	base := transport.New()
	a.client = &http.Client{Transport: base}
	if c.Anonymous {
		return a, nil
	}
	creds, err := findCredentials(context.WithValue(ctx, oauth2.HTTPClient, a.client), c.CredentialsFile)
	if err != nil {
		return nil, fmt.Errorf("%w: credentials: %w", objstore.ErrPermission, err)
	}
	a.client = &http.Client{Transport: &oauth2.Transport{Source: creds.TokenSource, Base: base}}
	return a, nil
}

func findCredentials(ctx context.Context, file string) (*google.Credentials, error) {
	// The credentials outlive the call that finds them.
	ctx = context.WithoutCancel(ctx)
	if file == "" {
		return google.FindDefaultCredentials(ctx, scope)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	creds, err := google.CredentialsFromJSONWithType(ctx, data, google.ServiceAccount, scope)
	if err != nil {
		return nil, fmt.Errorf("%s is not the key file of a service account", file) // err may quote it
	}
	return creds, nil
}

// do sends a request and returns the answer if its status is below 300.
func (a *api) do(ctx context.Context, method, path string, query url.Values, header http.Header, body io.Reader, length int64) (*http.Response, error) {
	u := a.base + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = length
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, readError(resp)
	}
	return resp, nil
}

// call sends a request with a JSON body, if in isn't nil, and decodes the JSON
// answer into out, if it isn't nil.
func (a *api) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body []byte
	header := http.Header{}
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
		header.Set("Content-Type", "application/json")
	}
	resp, err := a.do(ctx, method, path, query, header, bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<20)).Decode(out); err != nil {
		return fmt.Errorf("answer of the server: %w", err)
	}
	return nil
}

func (a *api) bucketPath() string { return "/storage/v1/b/" + url.PathEscape(a.bucket) }

func (a *api) objectPath(key string) string { return a.bucketPath() + "/o/" + url.PathEscape(key) }

// insert uploads an object in one request, if there is none of the name. The
// body is sent as multipart/related: the metadata, then the content.
func (a *api) insert(ctx context.Context, key string, content io.Reader, size int64, lock *retention) error {
	meta := map[string]any{"name": key, "contentType": "application/octet-stream"}
	if lock != nil {
		meta["retention"] = lock
	}
	text, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	boundary := rand.Text() + rand.Text()
	head := "--" + boundary + "\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n" + string(text) +
		"\r\n--" + boundary + "\r\nContent-Type: application/octet-stream\r\n\r\n"
	tail := "\r\n--" + boundary + "--\r\n"
	exact := &exactBody{r: content, left: size}
	body := io.MultiReader(bytes.NewReader([]byte(head)), exact, bytes.NewReader([]byte(tail)))
	query := url.Values{"uploadType": {"multipart"}, "ifGenerationMatch": {"0"}, "fields": {"name"}}
	header := http.Header{"Content-Type": {"multipart/related; boundary=" + boundary}}
	resp, err := a.do(ctx, http.MethodPost, "/upload"+a.bucketPath()+"/o", query, header, body, int64(len(head)+len(tail))+size)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// exactBody fails when the content is shorter than it said, so that the tail
// can't be taken for content.
type exactBody struct {
	r    io.Reader
	left int64
}

func (b *exactBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.left -= int64(n)
	if err == io.EOF && b.left > 0 {
		err = fmt.Errorf("read body: %w", io.ErrUnexpectedEOF)
	}
	return n, err
}

// media opens length bytes of an object from off, all of it if length < 0. n is
// how many there are to read.
func (a *api) media(ctx context.Context, key string, off, length int64) (r io.ReadCloser, n int64, err error) {
	header := http.Header{}
	if length > 0 {
		header.Set("Range", "bytes="+strconv.FormatInt(off, 10)+"-"+strconv.FormatInt(off+length-1, 10))
	}
	resp, err := a.do(ctx, http.MethodGet, a.objectPath(key), url.Values{"alt": {"media"}}, header, nil, 0)
	if err != nil {
		return nil, 0, err
	}
	if resp.ContentLength < 0 || length > 0 && resp.StatusCode != http.StatusPartialContent && resp.ContentLength != length {
		resp.Body.Close()
		return nil, 0, errors.New("the server ignores ranges, or doesn't say how long its answer is")
	}
	return resp.Body, resp.ContentLength, nil
}

const objectFields = "name,size,generation,retention,retentionExpirationTime"

func (a *api) get(ctx context.Context, key string) (o object, err error) {
	err = a.call(ctx, http.MethodGet, a.objectPath(key), url.Values{"fields": {objectFields}}, nil, &o)
	return o, err
}

// page is one page of a listing.
type page struct {
	Items []object `json:"items"`
	Next  string   `json:"nextPageToken"`
}

func (a *api) list(ctx context.Context, prefix, from, token string, most int) (p page, err error) {
	q := url.Values{"prefix": {prefix}, "maxResults": {strconv.Itoa(most)}, "projection": {"noAcl"},
		"fields": {"nextPageToken,items(name,size)"}}
	if from != "" {
		q.Set("startOffset", from)
	}
	if token != "" {
		q.Set("pageToken", token)
	}
	err = a.call(ctx, http.MethodGet, a.bucketPath()+"/o", q, nil, &p)
	return p, err
}

func (a *api) delete(ctx context.Context, key string, generation int64) error {
	q := url.Values{"generation": {strconv.FormatInt(generation, 10)}}
	return a.call(ctx, http.MethodDelete, a.objectPath(key), q, nil, nil)
}

func (a *api) retain(ctx context.Context, key string, lock retention) error {
	in := map[string]any{"retention": lock}
	return a.call(ctx, http.MethodPatch, a.objectPath(key), url.Values{"fields": {"name"}}, in, nil)
}

// hasRetention says whether objects of the bucket can be locked.
func (a *api) hasRetention(ctx context.Context) (bool, error) {
	var b struct {
		ObjectRetention struct {
			Mode string `json:"mode"`
		} `json:"objectRetention"`
	}
	err := a.call(ctx, http.MethodGet, a.bucketPath(), url.Values{"fields": {"objectRetention"}}, nil, &b)
	return b.ObjectRetention.Mode == "Enabled", err
}
