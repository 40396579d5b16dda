package open

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"holdfast/internal/objstore"
)

// Kind of store.
type Kind string

// The kinds, which are also the schemes of their URLs.
const (
	Directory Kind = "file"
	S3        Kind = "s3"
	AzBlob    Kind = "azblob"
	GCS       Kind = "gs"
)

// Location is a parsed store URL. It holds no secret.
type Location struct {
	Kind    Kind
	Path    string // of a Directory
	Account string // of AzBlob
	Bucket  string // or container
	Prefix  string // without slashes at its ends

	Endpoint    string
	Region      string
	Addressing  string // of S3: path, host or ""
	Lock        string // as written; "" = the strictest
	SSE         string // of S3: AES256, aws:kms or ""
	KMSKey      string // of S3, with aws:kms; "" = the bucket's
	Credentials string // name of a file
	Profile     string
	Anonymous   bool

	raw string
}

// String returns the URL as the user wrote it.
func (l Location) String() string { return l.raw }

// parameters are the allowed ones by kind, with the values that one can have;
// nil is any.
var parameters = map[Kind]map[string][]string{
	S3: {"endpoint": nil, "region": nil, "addressing": {"path", "host"}, "lock": {"compliance", "governance"},
		"sse": {"AES256", "aws:kms"}, "kms-key": nil, "credentials": nil, "profile": nil},
	AzBlob: {"endpoint": nil, "lock": {"locked", "unlocked"}, "credentials": nil},
	GCS:    {"endpoint": nil, "lock": {"locked", "unlocked"}, "credentials": nil, "anonymous": booleans},
}

var booleans = []string{"true", "false"}

// Parse reads a store URL. Errors are objstore.ErrInvalid, name the part of the
// URL and the rule, and don't repeat what could be a secret.
func Parse(raw string) (Location, error) {
	scheme, _, isURL := strings.Cut(raw, "://")
	if !isURL {
		return parsePath(raw)
	}
	u, err := url.Parse(raw)
	if err != nil {
		// The error of url.Parse repeats the URL, which may hold a secret.
		return Location{}, fmt.Errorf("%w: store URL: cannot be parsed", objstore.ErrInvalid)
	}
	l := Location{Kind: Kind(u.Scheme), raw: raw}
	switch {
	case u.User != nil:
		err = fmt.Errorf("no user or password belongs in it; use the environment or credentials=FILE")
	case u.Fragment != "":
		err = fmt.Errorf("no #fragment belongs in it")
	case l.Kind == Directory:
		return parseFile(u, raw)
	case parameters[l.Kind] == nil:
		err = fmt.Errorf("scheme %q is not one of file, s3, azblob, gs", scheme)
	}
	if err == nil {
		err = l.place(u)
	}
	if err == nil {
		err = l.query(u.RawQuery)
	}
	if err != nil {
		return Location{}, fmt.Errorf("%w: store URL: %w", objstore.ErrInvalid, err)
	}
	return l, nil
}

func parsePath(raw string) (Location, error) {
	if raw == "" || strings.ContainsRune(raw, 0) {
		return Location{}, fmt.Errorf("%w: store URL: empty, or not a path", objstore.ErrInvalid)
	}
	for kind := range parameters {
		if strings.HasPrefix(raw, string(kind)+":") {
			return Location{}, fmt.Errorf("%w: store URL: %s: must be followed by //", objstore.ErrInvalid, kind)
		}
	}
	if strings.HasPrefix(raw, "file:") {
		return Location{}, fmt.Errorf("%w: store URL: file: must be followed by // and an absolute path", objstore.ErrInvalid)
	}
	path, err := filepath.Abs(raw)
	if err != nil {
		return Location{}, fmt.Errorf("store path %q: %w", raw, err)
	}
	return Location{Kind: Directory, Path: path, raw: raw}, nil
}

func parseFile(u *url.URL, raw string) (Location, error) {
	switch {
	case u.Host != "" && u.Host != "localhost":
		return Location{}, fmt.Errorf("%w: store URL: file:// must be followed by an absolute path, as in file:///srv/backup", objstore.ErrInvalid)
	case !filepath.IsAbs(u.Path) || strings.ContainsRune(u.Path, 0):
		return Location{}, fmt.Errorf("%w: store URL: file:// needs an absolute path", objstore.ErrInvalid)
	case u.RawQuery != "" || u.ForceQuery:
		return Location{}, fmt.Errorf("%w: store URL: file:// has no ?parameters", objstore.ErrInvalid)
	}
	return Location{Kind: Directory, Path: filepath.Clean(u.Path), raw: raw}, nil
}

var (
	// Amazon S3, "Bucket naming rules"; older and other servers allow more, of
	// which '_' is met. Cloud Storage, "Bucket names", is alike.
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$`)
	// Azure, "Naming rules": storage account; container (and $root, $web).
	accountName   = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
	containerName = regexp.MustCompile(`^(\$root|\$web|[a-z0-9](-?[a-z0-9]){2,62})$`)
)

// place reads account, bucket and prefix.
func (l *Location) place(u *url.URL) error {
	host, path := u.Host, strings.Trim(u.Path, "/")
	if l.Kind == AzBlob {
		l.Account = host
		l.Bucket, l.Prefix, _ = strings.Cut(path, "/")
		switch {
		case !accountName.MatchString(l.Account):
			return fmt.Errorf("account %q: 3 to 24 lower-case letters and digits, as in azblob://ACCOUNT/CONTAINER", l.Account)
		case !containerName.MatchString(l.Bucket):
			return fmt.Errorf("container %q: 3 to 63 lower-case letters, digits and single '-', as in azblob://ACCOUNT/CONTAINER", l.Bucket)
		}
	} else {
		l.Bucket, l.Prefix = host, path
		if !bucketName.MatchString(l.Bucket) {
			return fmt.Errorf("bucket %q: 3 to 63 lower-case letters, digits, '-' and '.'", l.Bucket)
		}
	}
	l.Prefix = strings.Trim(l.Prefix, "/")
	if l.Prefix == "" {
		return nil
	}
	if err := objstore.ValidName(l.Prefix); err != nil {
		return fmt.Errorf("prefix: %w", err)
	}
	if len(l.Prefix) > maxPrefix {
		return fmt.Errorf("prefix: %d bytes, at most %d", len(l.Prefix), maxPrefix)
	}
	return nil
}

// maxPrefix leaves room for the longest name: keys have at most 1024 bytes
// (Amazon S3, Cloud Storage) or characters (Azure Blob), and the store's own
// ones are longer than a name.
const maxPrefix = 256

// query reads the parameters.
func (l *Location) query(raw string) error {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return fmt.Errorf("parameters cannot be parsed")
	}
	allowed := parameters[l.Kind]
	for _, name := range slices.Sorted(maps.Keys(q)) {
		values, ok := allowed[name]
		switch {
		case !ok:
			return fmt.Errorf("%s has no parameter %q; it has %s", l.Kind, name, strings.Join(slices.Sorted(maps.Keys(allowed)), ", "))
		case len(q[name]) > 1:
			return fmt.Errorf("parameter %s is given twice", name)
		case q.Get(name) == "":
			return fmt.Errorf("parameter %s is empty", name)
		case values != nil && !slices.Contains(values, q.Get(name)):
			return fmt.Errorf("parameter %s is not one of %s", name, strings.Join(values, ", "))
		}
	}
	l.Endpoint, l.Region, l.Lock = q.Get("endpoint"), q.Get("region"), q.Get("lock")
	l.Credentials, l.Profile = q.Get("credentials"), q.Get("profile")
	l.Addressing, l.Anonymous = q.Get("addressing"), q.Get("anonymous") == "true"
	l.SSE, l.KMSKey = q.Get("sse"), q.Get("kms-key")
	if l.KMSKey != "" && l.SSE != "aws:kms" {
		return errors.New("parameter kms-key: it belongs to sse=aws:kms")
	}
	return validEndpoint(l.Endpoint)
}

func validEndpoint(raw string) error {
	if raw == "" {
		return nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("parameter endpoint is not https://HOST or https://HOST:PORT")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("parameter endpoint: no user, password, ?query or #fragment belongs in it")
	}
	return nil
}
