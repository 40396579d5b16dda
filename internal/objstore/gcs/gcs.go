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
	"strings"
	"time"

	"holdfast/internal/objstore"
)

// Config says where the bucket is and how to be let in. Bucket is needed.
type Config struct {
	Bucket string
	Prefix string // "a/b": objects are a/b/name; "" = the whole bucket

	Endpoint string // URL of a server other than Google's; "" = Google
	Unlocked bool   // take locks that an owner can still shorten

	// CredentialsFile is a service account's key file; "" = what
	// GOOGLE_APPLICATION_CREDENTIALS names, gcloud's login, or the machine's
	// identity.
	CredentialsFile string
	Anonymous       bool // send no credentials
}

// Store is an objstore.Store in a bucket.
type Store struct {
	api       *api
	prefix    string // "" or ends in "/"
	location  string
	retention bool
	mode      string
}

var _ objstore.Store = (*Store)(nil)

// Open opens the bucket, which must exist. location is what String returns.
func Open(ctx context.Context, c Config, location string) (*Store, error) {
	api, err := newAPI(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("gcs: open %s: %w", location, err)
	}
	s := &Store{api: api, location: location, mode: "Locked"}
	if c.Prefix != "" {
		s.prefix = c.Prefix + "/"
	}
	if c.Unlocked {
		s.mode = "Unlocked"
	}
	if err := s.bucketThere(ctx); err != nil {
		if isNotFound(err) {
			err = fmt.Errorf("%w: no bucket %s: %w", objstore.ErrNotExist, c.Bucket, err)
		}
		return nil, fmt.Errorf("gcs: open %s: %w", location, classify(err))
	}
	// To ask needs a right that reading and writing objects doesn't: without
	// it there is no retention.
	s.retention, err = api.hasRetention(ctx)
	var answer *apiError
	if err != nil && !errors.As(err, &answer) {
		return nil, fmt.Errorf("gcs: open %s: %w", location, err)
	}
	return s, nil
}

// bucketThere lists one object, for which the right to list is enough.
func (s *Store) bucketThere(ctx context.Context) error {
	_, err := s.api.list(ctx, s.prefix, "", "", 1)
	return err
}

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

func (s *Store) upload(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
	var lock *retention
	if !opt.RetainUntil.IsZero() {
		lock = &retention{s.mode, opt.RetainUntil.UTC()}
	}
	return s.api.insert(ctx, s.prefix+name, io.NewSectionReader(body, 0, body.Size()), body.Size(), lock)
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
		o, err := s.api.get(ctx, s.prefix+name)
		if err != nil {
			return nil, err
		}
		if length, err = objstore.CheckRange(o.Size, off, length); err != nil {
			return nil, err
		}
		if length == 0 {
			return objstore.NewReader(ctx, io.NopCloser(strings.NewReader("")), 0), nil
		}
	}
	if length > 1<<62 || off > 1<<62 {
		return nil, fmt.Errorf("%w: %d bytes from %d", objstore.ErrInvalid, length, off)
	}
	r, n, err := s.api.media(ctx, s.prefix+name, off, length)
	if err != nil {
		return nil, err
	}
	if length > 0 && n != length {
		r.Close()
		return nil, fmt.Errorf("%w: %d bytes from %d: beyond the end", objstore.ErrInvalid, length, off)
	}
	return objstore.NewReader(ctx, r, n), nil
}

func (s *Store) Stat(ctx context.Context, name string) (objstore.Info, error) {
	if err := begin(ctx, name); err != nil {
		return objstore.Info{}, s.fail("stat", name, err)
	}
	o, err := s.api.get(ctx, s.prefix+name)
	if err != nil {
		return objstore.Info{}, s.fail("stat", name, s.absent(ctx, err))
	}
	return objstore.Info{Name: name, Size: o.Size, RetainUntil: o.until()}, nil
}

// absent asks for the bucket too when an object isn't there: the server answers
// alike when it's the bucket that isn't.
func (s *Store) absent(ctx context.Context, err error) error {
	if !isNotFound(err) {
		return err
	}
	if berr := s.bucketThere(ctx); berr != nil {
		return fmt.Errorf("the bucket is gone, or can't be asked: %w", berr)
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
	from, last, token := "", "", ""
	if after > prefix {
		from = s.prefix + after
	}
	for {
		p, err := s.api.list(ctx, s.prefix+prefix, from, token, 1000)
		if err != nil {
			return err
		}
		for _, o := range p.Items {
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
		if token = p.Next; token == "" {
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
	o, err := s.api.get(ctx, s.prefix+name)
	if err != nil {
		return err
	}
	err = s.api.delete(ctx, s.prefix+name, o.Generation)
	if isHeld(err) {
		return fmt.Errorf("%w until %s: %w", objstore.ErrHeld, o.until().UTC().Format(time.RFC3339), err)
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
	o, err := s.api.get(ctx, s.prefix+name)
	if err != nil || o.Retention != nil && !o.Retention.Until.Before(until) {
		return err
	}
	return s.api.retain(ctx, s.prefix+name, retention{s.mode, until.UTC()})
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
