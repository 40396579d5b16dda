// Package azblob is an object store in a container of Azure Blob Storage, or of
// a server that speaks its protocol (Azurite).
//
// Put is one Put Blob request with If-None-Match: * (Azure REST, Put Blob and
// "Specifying conditional headers"), so that of many creators one wins. Blobs
// have at most 5000 MiB, the limit of one such request.
//
// In a container with version-level immutability the store has retention, by a
// locked policy on each blob unless Config says unlocked. Azure lets a held
// blob's current version become a previous one; so Delete asks first whether
// the blob is held, and then removes the version too, so that a container with
// versions doesn't grow.
//
// Accounts with a hierarchical namespace don't list in byte order; List says
// so when it meets it. A failed request is tried once: package retry wraps it.
package azblob

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/transport"
)

// maxObject is the most that one Put Blob request takes, in bytes.
const maxObject = 5000 << 20

// Config says where the container is and how to be let in. Account and
// Container are needed. The first credential that is set is used.
type Config struct {
	Account   string
	Container string
	Prefix    string // "a/b": blobs are a/b/name; "" = the whole container

	Endpoint string // URL of the account's blob service; "" = Azure's for Account
	Unlocked bool   // take policies that an owner can still shorten

	Key   string                 // of the account, base64
	SAS   string                 // shared access signature, "sv=…"
	Token azcore.TokenCredential // nil = environment, workload or managed identity, az login
}

// Store is an objstore.Store in a container.
type Store struct {
	container *container.Client
	prefix    string // "" or ends in "/"
	location  string
	retention bool
	mode      blob.ImmutabilityPolicySetting
}

var _ objstore.Store = (*Store)(nil)

// Open opens the container, which must exist. location is what String returns.
func Open(ctx context.Context, c Config, location string) (*Store, error) {
	client, err := newClient(c)
	if err != nil {
		return nil, fmt.Errorf("azblob: open %s: %w", location, err)
	}
	s := &Store{container: client, location: location, mode: blob.ImmutabilityPolicySettingLocked}
	if c.Prefix != "" {
		s.prefix = c.Prefix + "/"
	}
	if c.Unlocked {
		s.mode = blob.ImmutabilityPolicySettingUnlocked
	}
	p, err := client.GetProperties(ctx, nil)
	switch {
	case isCode(err, "ContainerNotFound"):
		return nil, fmt.Errorf("azblob: open %s: %w: no container %s", location, objstore.ErrNotExist, c.Container)
	case err != nil:
		return nil, fmt.Errorf("azblob: open %s: container %s: %w", location, c.Container, classify(err))
	}
	s.retention = p.IsImmutableStorageWithVersioningEnabled != nil && *p.IsImmutableStorageWithVersioningEnabled
	return s, nil
}

func newClient(c Config) (*container.Client, error) {
	base := c.Endpoint
	if base == "" {
		base = "https://" + c.Account + ".blob.core.windows.net"
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" {
		return nil, fmt.Errorf("%w: endpoint %q is not https://HOST[:PORT][/ACCOUNT]", objstore.ErrInvalid, base)
	}
	u = u.JoinPath(c.Container)
	opt := &container.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: &http.Client{Transport: transport.New()},
		Retry:     policy.RetryOptions{MaxRetries: -1},
	}}
	switch {
	case c.Key != "":
		key, err := container.NewSharedKeyCredential(c.Account, c.Key)
		if err != nil {
			return nil, fmt.Errorf("%w: the account key is not base64", objstore.ErrInvalid)
		}
		return container.NewClientWithSharedKeyCredential(u.String(), key, opt)
	case c.SAS != "":
		u.RawQuery = strings.TrimPrefix(c.SAS, "?")
		return container.NewClientWithNoCredential(u.String(), opt)
	}
	if c.Token == nil {
		if c.Token, err = azidentity.NewDefaultAzureCredential(nil); err != nil {
			return nil, fmt.Errorf("%w: %w", objstore.ErrPermission, err)
		}
	}
	return container.NewClient(u.String(), c.Token, opt)
}

func (s *Store) blob(name string) *blockblob.Client {
	return s.container.NewBlockBlobClient(s.prefix + name)
}

func (s *Store) Put(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
	err := begin(ctx, name)
	if err == nil && !opt.RetainUntil.IsZero() && !s.retention {
		err = errNoRetention
	}
	if size := body.Size(); err == nil && size > maxObject {
		err = fmt.Errorf("%w: %d bytes, at most %d", objstore.ErrInvalid, size, int64(maxObject))
	}
	if err == nil {
		err = s.upload(ctx, name, body, opt)
	}
	return s.fail("put", name, err)
}

func (s *Store) upload(ctx context.Context, name string, body objstore.Body, opt objstore.PutOptions) error {
	any := azcore.ETagAny
	o := &blockblob.UploadOptions{AccessConditions: &blob.AccessConditions{
		ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: &any},
	}}
	if !opt.RetainUntil.IsZero() {
		until := wholeSecond(opt.RetainUntil)
		o.ImmutabilityPolicyMode, o.ImmutabilityPolicyExpiryTime = &s.mode, &until
	}
	_, err := s.blob(name).Upload(ctx, streaming.NopCloser(io.NewSectionReader(body, 0, body.Size())), o)
	if isCode(err, "BlobImmutableDueToPolicy") {
		return fmt.Errorf("%w: %w", objstore.ErrExist, err)
	}
	return err
}

func (s *Store) Get(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	if err := begin(ctx, name); err != nil {
		return nil, s.fail("get", name, err)
	}
	r, err := s.get(ctx, name, off, length)
	return r, s.fail("get", name, err)
}

func (s *Store) get(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	if off < 0 || length == 0 || off > 0 && length < 0 {
		// Ranges that HTTP can't say, or to which it answers alike for an
		// offset at the end and one past it.
		p, err := s.blob(name).GetProperties(ctx, nil)
		if err != nil {
			return nil, err
		}
		if length, err = objstore.CheckRange(*p.ContentLength, off, length); err != nil {
			return nil, err
		}
		if length == 0 {
			return objstore.NewReader(ctx, io.NopCloser(strings.NewReader("")), 0), nil
		}
	}
	if length > 1<<62 || off > 1<<62 {
		return nil, fmt.Errorf("%w: %d bytes from %d", objstore.ErrInvalid, length, off)
	}
	r, err := s.blob(name).DownloadStream(ctx, &blob.DownloadStreamOptions{
		Range: blob.HTTPRange{Offset: off, Count: max(length, 0)},
	})
	if err != nil {
		return nil, err
	}
	if r.ContentLength == nil || length > 0 && *r.ContentLength != length {
		r.Body.Close()
		return nil, fmt.Errorf("%w: %d bytes from %d: beyond the end", objstore.ErrInvalid, length, off)
	}
	return objstore.NewReader(ctx, r.Body, *r.ContentLength), nil
}

func (s *Store) Stat(ctx context.Context, name string) (objstore.Info, error) {
	if err := begin(ctx, name); err != nil {
		return objstore.Info{}, s.fail("stat", name, err)
	}
	p, err := s.blob(name).GetProperties(ctx, nil)
	if err != nil {
		return objstore.Info{}, s.fail("stat", name, err)
	}
	info := objstore.Info{Name: name, Size: *p.ContentLength}
	if p.ImmutabilityPolicyExpiresOn != nil {
		info.RetainUntil = *p.ImmutabilityPolicyExpiresOn
	}
	return info, nil
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
	full := s.prefix + prefix
	opt := &container.ListBlobsFlatOptions{Prefix: &full}
	if after > prefix {
		// Servers that don't know it list from the start: hence the test below.
		from := s.prefix + after
		opt.StartFrom = &from
	}
	last := ""
	for pager := s.container.NewListBlobsFlatPager(opt); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, b := range page.Segment.BlobItems {
			name, ok := strings.CutPrefix(*b.Name, s.prefix)
			if !ok || objstore.ValidName(name) != nil {
				continue
			}
			if name <= last {
				return fmt.Errorf("the server lists %q after %q: not in byte order (a hierarchical namespace can't be used)", name, last)
			}
			if last = name; name <= after {
				continue
			}
			if !yield(objstore.Info{Name: name, Size: *b.Properties.ContentLength}) {
				return nil
			}
		}
	}
	return nil
}

func (s *Store) Delete(ctx context.Context, name string) error {
	err := begin(ctx, name)
	if err == nil {
		err = s.delete(ctx, name)
	}
	return s.fail("delete", name, err)
}

func (s *Store) delete(ctx context.Context, name string) error {
	b := s.blob(name)
	p, err := b.GetProperties(ctx, nil)
	if err != nil {
		return err
	}
	if p.LegalHold != nil && *p.LegalHold {
		return fmt.Errorf("%w: legal hold", objstore.ErrHeld)
	}
	// Both times are the server's.
	if end := p.ImmutabilityPolicyExpiresOn; end != nil && p.Date != nil && p.Date.Before(*end) {
		return fmt.Errorf("%w until %s", objstore.ErrHeld, end.UTC().Format(time.RFC3339))
	}
	if _, err := b.Delete(ctx, nil); err != nil || p.VersionID == nil || *p.VersionID == "" {
		return err
	}
	v, err := b.WithVersionID(*p.VersionID)
	if err != nil {
		return err
	}
	if _, err := v.Delete(ctx, nil); err != nil && !isCode(err, "BlobNotFound") {
		return fmt.Errorf("deleted, but its version stays: %w", err)
	}
	return nil
}

func (s *Store) Retain(ctx context.Context, name string, until time.Time) error {
	err := begin(ctx, name)
	if err == nil && !s.retention {
		err = errNoRetention
	}
	if err == nil {
		err = s.retain(ctx, name, wholeSecond(until))
	}
	return s.fail("retain", name, err)
}

func (s *Store) retain(ctx context.Context, name string, until time.Time) error {
	p, err := s.blob(name).GetProperties(ctx, nil)
	if err != nil {
		return err
	}
	if end := p.ImmutabilityPolicyExpiresOn; end != nil && !end.Before(until) {
		return nil
	}
	_, err = s.blob(name).SetImmutabilityPolicy(ctx, until, &blob.SetImmutabilityPolicyOptions{Mode: &s.mode})
	return err
}

func (s *Store) Features() objstore.Features { return objstore.Features{Retention: s.retention} }

func (s *Store) String() string { return s.location }

func (s *Store) fail(verb, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("azblob: %s %q in %s: %w", verb, name, s.location, classify(err))
}

func begin(ctx context.Context, name string) error {
	if err := objstore.ValidName(name); err != nil {
		return err
	}
	return ctx.Err()
}
