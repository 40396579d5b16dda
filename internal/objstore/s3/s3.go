// Package s3 is an object store in a bucket of Amazon S3 or of a server that
// speaks its protocol (MinIO, Ceph, versitygw, R2, Wasabi, …).
//
// Put is one conditional request, If-None-Match: * (Amazon S3 API, PutObject;
// Amazon since November 2024), so that of many creators one wins. A server that
// refuses or ignores the condition is found out by the first Put, and then a
// claim in the bucket decides; see claim.go. Objects have at most 5 GiB, the
// limit of one PutObject request.
//
// With object lock on in the bucket, the store has retention, in compliance
// mode unless Config says governance. Such a bucket has versions; Delete
// removes the object's current version itself and leaves no delete marker.
//
// Keys below the prefix that are no valid names of objstore are not listed:
// the store's own keys start with '+'. A failed request is tried once: package
// retry wraps it.
package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/transport"
)

// maxObject is the most that one PutObject request takes, in bytes.
const maxObject = 5 << 30

// Config says where the bucket is and how to be let in. Bucket is needed.
type Config struct {
	Bucket string
	Prefix string // "a/b": keys are a/b/name; "" = the whole bucket

	Endpoint   string     // URL of the server, "https://host:port"; "" = Amazon
	Region     string     // "" = us-east-1 on servers with an Endpoint, else asked for
	Addressing Addressing // "" = the virtual host at Amazon, the path elsewhere
	// Governance takes locks that a privileged user can break instead of
	// compliance locks, which nobody can.
	Governance bool
	// SSE demands that the server encrypts what it stores (SSE-S3 is AES256,
	// SSE-KMS aws:kms): some buckets refuse what comes without. "" leaves it to
	// the bucket. KMSKey names the key of aws:kms; "" is the bucket's.
	SSE, KMSKey string
	// Credentials; nil = from the environment, ~/.aws/credentials, or the
	// machine's role (EC2, ECS, EKS), whichever is first.
	Credentials *credentials.Credentials
	Transport   http.RoundTripper // nil = package transport's
}

// Addressing is how a bucket stands in a URL.
type Addressing string

// The ways of addressing.
const (
	ByPath Addressing = "path" // https://host/bucket/key
	ByHost Addressing = "host" // https://bucket.host/key
)

// Store is an objstore.Store in a bucket.
type Store struct {
	client   *minio.Client
	core     minio.Core
	bucket   string
	prefix   string // "" or ends in "/"
	location string
	lock     minio.RetentionMode // "" = no retention
	sse      encrypt.ServerSide  // nil = as the bucket is set up

	probe       sync.Mutex
	conditional condition
	claimTries  int // how often a claim is tried again
}

var _ objstore.Store = (*Store)(nil)

// Open opens the bucket, which must exist. location is what String returns.
func Open(ctx context.Context, c Config, location string) (*Store, error) {
	s, err := newStore(c, location)
	if err == nil {
		err = s.signedIn()
	}
	if err != nil {
		return nil, fmt.Errorf("s3: open %s: %w", location, err)
	}
	ok, err := s.client.BucketExists(ctx, c.Bucket)
	if err != nil {
		return nil, fmt.Errorf("s3: open %s: bucket %s: %w", location, c.Bucket, classify(err))
	}
	if !ok {
		return nil, fmt.Errorf("s3: open %s: %w: no bucket %s", location, objstore.ErrNotExist, c.Bucket)
	}
	// A server without object lock, or one that doesn't let us ask, has none.
	if enabled, _, _, _, err := s.client.GetObjectLockConfig(ctx, c.Bucket); err == nil && enabled == "Enabled" {
		s.lock = minio.Compliance
		if c.Governance {
			s.lock = minio.Governance
		}
	} else if ctx.Err() != nil {
		return nil, fmt.Errorf("s3: open %s: %w", location, ctx.Err())
	}
	return s, nil
}

func newStore(c Config, location string) (*Store, error) {
	host, secure, err := endpoint(c.Endpoint)
	if err != nil {
		return nil, err
	}
	opt := minio.Options{Creds: c.Credentials, Secure: secure, Region: c.Region, Transport: transport.New(), MaxRetries: 1}
	if c.Transport != nil {
		opt.Transport = c.Transport
	}
	if opt.Creds == nil {
		opt.Creds = defaultCredentials()
	}
	if c.Region == "" && c.Endpoint != "" {
		opt.Region = "us-east-1"
	}
	switch c.Addressing {
	case ByPath:
		opt.BucketLookup = minio.BucketLookupPath
	case ByHost:
		opt.BucketLookup = minio.BucketLookupDNS
	}
	client, err := minio.New(host, &opt)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", objstore.ErrInvalid, err)
	}
	s := &Store{client: client, core: minio.Core{Client: client}, bucket: c.Bucket, location: location, claimTries: claimTries}
	if s.sse, err = serverSide(c); err != nil {
		return nil, err
	}
	if c.Prefix != "" {
		s.prefix = c.Prefix + "/"
	}
	return s, nil
}

// serverSide is what each upload says of its encryption at rest.
func serverSide(c Config) (encrypt.ServerSide, error) {
	switch {
	case c.SSE == "" && c.KMSKey == "":
		return nil, nil
	case c.SSE == "AES256" && c.KMSKey == "":
		return encrypt.NewSSE(), nil
	case c.SSE == "aws:kms":
		sse, err := encrypt.NewSSEKMS(c.KMSKey, nil)
		if err != nil {
			return nil, fmt.Errorf("%w: server-side encryption: %w", objstore.ErrInvalid, err)
		}
		return sse, nil
	}
	return nil, fmt.Errorf("%w: server-side encryption %q with key %q: it is AES256 without a key, or aws:kms", objstore.ErrInvalid, c.SSE, c.KMSKey)
}

func defaultCredentials() *credentials.Credentials {
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
	})
}

// signedIn fails if there are no credentials: without, the client would go on
// as nobody, and the server refuse in words of its own.
func (s *Store) signedIn() error {
	v, err := s.client.GetCreds()
	if err != nil {
		return fmt.Errorf("%w: credentials: %w", objstore.ErrPermission, err)
	}
	if v.AccessKeyID == "" {
		return fmt.Errorf("%w: no credentials: neither AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, nor a credentials file, nor a role of this machine", objstore.ErrPermission)
	}
	return nil
}

// FileCredentials reads the section profile ("" = default) of an AWS credentials
// file; file "" = ~/.aws/credentials.
func FileCredentials(file, profile string) (*credentials.Credentials, error) {
	c := credentials.NewFileAWSCredentials(file, profile)
	if _, err := c.GetWithContext(nil); err != nil {
		return nil, fmt.Errorf("%w: %w", objstore.ErrPermission, err)
	}
	return c, nil
}

func endpoint(raw string) (host string, secure bool, err error) {
	if raw == "" {
		return "s3.amazonaws.com", true, nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return "", false, fmt.Errorf("%w: endpoint %q is not https://HOST or https://HOST:PORT", objstore.ErrInvalid, raw)
	}
	return u.Host, u.Scheme == "https", nil
}

func (s *Store) Put(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
	err := s.begin(ctx, name)
	if err == nil && !opt.RetainUntil.IsZero() && s.lock == "" {
		err = errNoRetention
	}
	if size := body.Size(); err == nil && size > maxObject {
		err = fmt.Errorf("%w: %d bytes, at most %d", objstore.ErrInvalid, size, int64(maxObject))
	}
	if err == nil {
		err = s.create(ctx, s.prefix+name, body, opt)
	}
	return s.fail("put", name, err)
}

// upload is one PutObject request.
func (s *Store) upload(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions, conditional bool) error {
	o := minio.PutObjectOptions{ContentType: "application/octet-stream", DisableMultipart: true, ServerSideEncryption: s.sse}
	if conditional {
		o.SetMatchETagExcept("*")
	}
	if !opt.RetainUntil.IsZero() {
		o.Mode, o.RetainUntilDate = s.lock, wholeSecond(opt.RetainUntil)
		o.SendContentMd5 = true // wanted with locks (Amazon S3 API, PutObject)
	}
	_, err := s.client.PutObject(ctx, s.bucket, key, io.NewSectionReader(body, 0, body.Size()), body.Size(), o)
	return err
}

func (s *Store) Get(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	if err := s.begin(ctx, name); err != nil {
		return nil, s.fail("get", name, err)
	}
	r, err := s.get(ctx, name, off, length)
	return r, s.fail("get", name, err)
}

func (s *Store) get(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	if off < 0 || length == 0 || off > 0 && length < 0 {
		// Ranges that HTTP can't say, or to which it answers alike for an
		// offset at the end and one past it.
		info, err := s.stat(ctx, name)
		if err != nil {
			return nil, err
		}
		if length, err = objstore.CheckRange(info.Size, off, length); err != nil {
			return nil, err
		}
		if length == 0 {
			return objstore.NewReader(ctx, io.NopCloser(strings.NewReader("")), 0), nil
		}
	}
	opt := minio.GetObjectOptions{}
	if length > 0 {
		if length > 1<<62 || off > 1<<62 {
			return nil, fmt.Errorf("%w: %d bytes from %d", objstore.ErrInvalid, length, off)
		}
		if err := opt.SetRange(off, off+length-1); err != nil {
			return nil, fmt.Errorf("%w: %w", objstore.ErrInvalid, err)
		}
	}
	r, info, header, err := s.core.GetObject(ctx, s.bucket, s.prefix+name, opt)
	if err != nil {
		return nil, err
	}
	if length > 0 && header.Get("Content-Range") == "" {
		r.Close()
		return nil, errors.New("the server ignores ranges")
	}
	if length > 0 && info.Size < length {
		r.Close()
		return nil, fmt.Errorf("%w: %d bytes from %d: %s", objstore.ErrInvalid, length, off, header.Get("Content-Range"))
	}
	return objstore.NewReader(ctx, r, info.Size), nil
}

func (s *Store) Stat(ctx context.Context, name string) (objstore.Info, error) {
	if err := s.begin(ctx, name); err != nil {
		return objstore.Info{}, s.fail("stat", name, err)
	}
	o, err := s.stat(ctx, name)
	if err != nil {
		return objstore.Info{}, s.fail("stat", name, err)
	}
	return objstore.Info{Name: name, Size: o.Size, RetainUntil: retainUntil(o)}, nil
}

// stat asks for the object. The answer to HEAD has no body, so that "no such
// key" and "no such bucket" look alike: the bucket is asked for too then.
func (s *Store) stat(ctx context.Context, name string) (minio.ObjectInfo, error) {
	o, err := s.client.StatObject(ctx, s.bucket, s.prefix+name, minio.StatObjectOptions{})
	if err == nil || minio.ToErrorResponse(err).StatusCode != 404 {
		return o, err
	}
	ok, berr := s.client.BucketExists(ctx, s.bucket)
	switch {
	case berr != nil:
		return o, berr
	case !ok:
		return o, fmt.Errorf("bucket %s is gone", s.bucket)
	}
	return o, objstore.ErrNotExist
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
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	opt := minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}
	if after > prefix {
		opt.StartAfter = s.prefix + after
	}
	last := ""
	for o := range s.client.ListObjectsIter(ctx, s.bucket, opt) {
		if o.Err != nil {
			return o.Err
		}
		name, ok := strings.CutPrefix(o.Key, s.prefix)
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
	return ctx.Err() // the iterator ends silently with its context
}

func (s *Store) Delete(ctx context.Context, name string) error {
	if err := s.begin(ctx, name); err != nil {
		return s.fail("delete", name, err)
	}
	o, err := s.stat(ctx, name)
	if err != nil {
		return s.fail("delete", name, err)
	}
	err = s.client.RemoveObject(ctx, s.bucket, s.prefix+name, minio.RemoveObjectOptions{VersionID: o.VersionID})
	if until := retainUntil(o); isHeld(err, until) {
		err = fmt.Errorf("%w until %s: %w", objstore.ErrHeld, until.UTC().Format(time.RFC3339), err)
	}
	return s.fail("delete", name, err)
}

func (s *Store) Retain(ctx context.Context, name string, until time.Time) error {
	err := s.begin(ctx, name)
	if err == nil && s.lock == "" {
		err = errNoRetention
	}
	if err == nil {
		err = s.retain(ctx, name, wholeSecond(until))
	}
	return s.fail("retain", name, err)
}

func (s *Store) retain(ctx context.Context, name string, until time.Time) error {
	o, err := s.stat(ctx, name)
	if err != nil || !retainUntil(o).Before(until) {
		return err
	}
	err = s.client.PutObjectRetention(ctx, s.bucket, s.prefix+name, minio.PutObjectRetentionOptions{
		Mode: &s.lock, RetainUntilDate: &until, VersionID: o.VersionID,
	})
	if err == nil {
		return nil
	}
	// Refused, perhaps, because someone has locked it for longer meanwhile.
	if o, serr := s.stat(ctx, name); serr == nil && !retainUntil(o).Before(until) {
		return nil
	}
	return err
}

func (s *Store) Features() objstore.Features { return objstore.Features{Retention: s.lock != ""} }

func (s *Store) String() string { return s.location }

func (s *Store) begin(ctx context.Context, name string) error {
	if err := objstore.ValidName(name); err != nil {
		return err
	}
	return ctx.Err()
}

func (s *Store) fail(verb, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("s3: %s %q in %s: %w", verb, name, s.location, classify(err))
}
