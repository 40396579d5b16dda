// Package gcs is an object store in a bucket of Google Cloud Storage.
//
// Put is one upload with ifGenerationMatch=0 (Cloud Storage, "Request
// preconditions"), so that of many creators one wins. Delete removes the
// object's live generation itself, so that a bucket with versions doesn't
// grow. In a bucket with object retention enabled the store has retention, in
// locked mode unless Config says unlocked.
//
// A failed request is tried once: package retry wraps it.
package gcs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cloud.google.com/go/storage"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	htransport "google.golang.org/api/transport/http"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/transport"
)

// Config says where the bucket is and how to be let in. Bucket is needed.
type Config struct {
	Bucket string
	Prefix string // "a/b": objects are a/b/name; "" = the whole bucket

	Endpoint string // URL of a server other than Google's; "" = Google
	Unlocked bool   // take locks that an owner can still shorten

	// CredentialsFile is a service account's key or a federation config; "" =
	// GOOGLE_APPLICATION_CREDENTIALS, gcloud's login, or the machine's identity.
	CredentialsFile string
	Anonymous       bool // send no credentials
}

// Store is an objstore.Store in a bucket.
type Store struct {
	client    *storage.Client
	bucket    *storage.BucketHandle
	prefix    string // "" or ends in "/"
	location  string
	retention bool
	mode      string
}

var _ objstore.Store = (*Store)(nil)

// Open opens the bucket, which must exist. location is what String returns.
func Open(ctx context.Context, c Config, location string) (*Store, error) {
	client, err := newClient(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("gcs: open %s: %w", location, err)
	}
	client.SetRetry(storage.WithPolicy(storage.RetryNever))
	s := &Store{client: client, bucket: client.Bucket(c.Bucket), location: location, mode: "Locked"}
	if c.Prefix != "" {
		s.prefix = c.Prefix + "/"
	}
	if c.Unlocked {
		s.mode = "Unlocked"
	}
	if err := s.bucketThere(ctx); err != nil {
		client.Close()
		if errors.Is(err, storage.ErrBucketNotExist) {
			err = fmt.Errorf("%w: %w", objstore.ErrNotExist, err)
		}
		return nil, fmt.Errorf("gcs: open %s: bucket %s: %w", location, c.Bucket, classify(err))
	}
	// To ask needs a right that reading and writing objects doesn't: without
	// it there is no retention.
	if attrs, err := s.bucket.Attrs(ctx); err == nil {
		s.retention = attrs.ObjectRetentionMode == "Enabled"
	}
	return s, nil
}

func newClient(ctx context.Context, c Config) (*storage.Client, error) {
	auth := []option.ClientOption{option.WithScopes(storage.ScopeReadWrite)}
	switch {
	case c.Anonymous:
		auth = []option.ClientOption{option.WithoutAuthentication()}
	case c.CredentialsFile != "":
		auth = append(auth, option.WithCredentialsFile(c.CredentialsFile))
	}
	tr, err := htransport.NewTransport(ctx, transport.New(), auth...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", objstore.ErrPermission, err)
	}
	opts := []option.ClientOption{option.WithHTTPClient(&http.Client{Transport: tr}), storage.WithJSONReads()}
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" {
			return nil, fmt.Errorf("%w: endpoint %q is not https://HOST[:PORT]", objstore.ErrInvalid, c.Endpoint)
		}
		opts = append(opts, option.WithEndpoint(u.JoinPath("storage/v1/").String()))
	}
	return storage.NewClient(ctx, opts...)
}

// Close ends the client's connections. The store must not be used after.
func (s *Store) Close() error { return s.client.Close() }

// bucketThere lists one object, for which the right to list is enough.
func (s *Store) bucketThere(ctx context.Context) error {
	it := s.bucket.Objects(ctx, &storage.Query{Prefix: s.prefix})
	it.PageInfo().MaxSize = 1
	_, err := it.Next()
	if err == iterator.Done {
		return nil
	}
	return err
}

func (s *Store) object(name string) *storage.ObjectHandle { return s.bucket.Object(s.prefix + name) }

func (s *Store) Put(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
	err := begin(ctx, name)
	if err == nil && !opt.RetainUntil.IsZero() && !s.retention {
		err = errNoRetention
	}
	if err == nil {
		err = s.upload(ctx, name, body, opt)
	}
	return s.fail("put", name, err)
}

// upload sends the body in one request. Cancelling its context before the
// writer is closed is what keeps a body that breaks off from being stored.
func (s *Store) upload(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := s.object(name).If(storage.Conditions{DoesNotExist: true}).NewWriter(ctx)
	w.ChunkSize = 0 // no buffer, no second request
	w.ContentType = "application/octet-stream"
	if !opt.RetainUntil.IsZero() {
		w.Retention = &storage.ObjectRetention{Mode: s.mode, RetainUntil: opt.RetainUntil}
	}
	n, err := io.CopyBuffer(w, io.NewSectionReader(body, 0, body.Size()), make([]byte, 256<<10))
	if err == nil && n < body.Size() {
		err = fmt.Errorf("read body: %w", io.ErrUnexpectedEOF)
	}
	if err != nil {
		cancel()
		if cerr := w.Close(); isAnswer(cerr) {
			return cerr // the server refused early, and says why
		}
		return err
	}
	return w.Close()
}

func (s *Store) Get(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	if err := begin(ctx, name); err != nil {
		return nil, s.fail("get", name, err)
	}
	r, err := s.get(ctx, name, off, length)
	return r, s.fail("get", name, s.absent(ctx, err))
}

func (s *Store) get(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	if off < 0 || length == 0 || off > 0 && length < 0 {
		// Ranges that HTTP can't say, or to which it answers alike for an
		// offset at the end and one past it.
		attrs, err := s.object(name).Attrs(ctx)
		if err != nil {
			return nil, err
		}
		if length, err = objstore.CheckRange(attrs.Size, off, length); err != nil {
			return nil, err
		}
		if length == 0 {
			return objstore.NewReader(ctx, io.NopCloser(strings.NewReader("")), 0), nil
		}
	}
	if length > 1<<62 || off > 1<<62 {
		return nil, fmt.Errorf("%w: %d bytes from %d", objstore.ErrInvalid, length, off)
	}
	r, err := s.object(name).NewRangeReader(ctx, off, length)
	if err != nil {
		return nil, err
	}
	if length < 0 {
		length = r.Attrs.Size
	}
	if length > r.Attrs.Size-off {
		r.Close()
		return nil, fmt.Errorf("%w: %d bytes from %d of %d", objstore.ErrInvalid, length, off, r.Attrs.Size)
	}
	return objstore.NewReader(ctx, r, length), nil
}

func (s *Store) Stat(ctx context.Context, name string) (objstore.Info, error) {
	if err := begin(ctx, name); err != nil {
		return objstore.Info{}, s.fail("stat", name, err)
	}
	attrs, err := s.object(name).Attrs(ctx)
	if err != nil {
		return objstore.Info{}, s.fail("stat", name, s.absent(ctx, err))
	}
	return objstore.Info{Name: name, Size: attrs.Size, RetainUntil: retainUntil(attrs)}, nil
}

func retainUntil(attrs *storage.ObjectAttrs) time.Time {
	until := attrs.RetentionExpirationTime // of the bucket's policy
	if attrs.Retention != nil && attrs.Retention.RetainUntil.After(until) {
		until = attrs.Retention.RetainUntil
	}
	return until
}

// absent asks for the bucket too when an object isn't there: the library says
// the same of both.
func (s *Store) absent(ctx context.Context, err error) error {
	if !errors.Is(err, storage.ErrObjectNotExist) {
		return err
	}
	if berr := s.bucketThere(ctx); berr != nil {
		return berr
	}
	return fmt.Errorf("%w: %w", objstore.ErrNotExist, err)
}

func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		err := objstore.ValidPrefix(prefix)
		if err == nil {
			err = s.list(ctx, prefix, after, func(o objstore.Info) bool { return yield(o, nil) })
		}
		if err != nil {
			yield(objstore.Info{}, s.fail("list", prefix, err))
		}
	}
}

func (s *Store) list(ctx context.Context, prefix, after string, yield func(objstore.Info) bool) error {
	q := &storage.Query{Prefix: s.prefix + prefix, Projection: storage.ProjectionNoACL}
	if after > prefix {
		q.StartOffset = s.prefix + after
	}
	if err := q.SetAttrSelection([]string{"Name", "Size"}); err != nil {
		return err
	}
	last, it := "", s.bucket.Objects(ctx, q)
	for {
		o, err := it.Next()
		if err == iterator.Done {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		name, ok := strings.CutPrefix(o.Name, s.prefix)
		if !ok || objstore.ValidName(name) != nil || name <= after {
			continue
		}
		if name <= last {
			return fmt.Errorf("the server lists %q after %q: not in byte order", name, last)
		}
		last = name
		if !yield(objstore.Info{Name: name, Size: o.Size}) {
			return nil
		}
	}
}

func (s *Store) Delete(ctx context.Context, name string) error {
	err := begin(ctx, name)
	if err == nil {
		err = s.delete(ctx, name)
	}
	return s.fail("delete", name, s.absent(ctx, err))
}

func (s *Store) delete(ctx context.Context, name string) error {
	attrs, err := s.object(name).Attrs(ctx)
	if err != nil {
		return err
	}
	err = s.object(name).Generation(attrs.Generation).Delete(ctx)
	if until := retainUntil(attrs); isHeld(err) {
		return fmt.Errorf("%w until %s: %w", objstore.ErrHeld, until.UTC().Format(time.RFC3339), err)
	}
	return err
}

func (s *Store) Retain(ctx context.Context, name string, until time.Time) error {
	err := begin(ctx, name)
	if err == nil && !s.retention {
		err = errNoRetention
	}
	if err == nil {
		err = s.retain(ctx, name, until)
	}
	return s.fail("retain", name, s.absent(ctx, err))
}

func (s *Store) retain(ctx context.Context, name string, until time.Time) error {
	attrs, err := s.object(name).Attrs(ctx)
	if err != nil || attrs.Retention != nil && !attrs.Retention.RetainUntil.Before(until) {
		return err
	}
	_, err = s.object(name).Update(ctx, storage.ObjectAttrsToUpdate{
		Retention: &storage.ObjectRetention{Mode: s.mode, RetainUntil: until},
	})
	return err
}

func (s *Store) Features() objstore.Features { return objstore.Features{Retention: s.retention} }

func (s *Store) String() string { return s.location }

func (s *Store) fail(verb, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("gcs: %s %q in %s: %w", verb, name, s.location, classify(err))
}

func begin(ctx context.Context, name string) error {
	if err := objstore.ValidName(name); err != nil {
		return err
	}
	return ctx.Err()
}
