package open

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/azblob"
)

func TestParse(t *testing.T) {
	t.Parallel()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]Location{
		"/srv/backup":              {Kind: Directory, Path: "/srv/backup"},
		"dir/":                     {Kind: Directory, Path: filepath.Join(wd, "dir")},
		"c:dir":                    {Kind: Directory, Path: filepath.Join(wd, "c:dir")},
		"file:///srv/my%20backup/": {Kind: Directory, Path: "/srv/my backup"},
		"file://localhost/srv":     {Kind: Directory, Path: "/srv"},
		"s3://my-bucket":           {Kind: S3, Bucket: "my-bucket"},
		"s3://my.bucket_1/":        {Kind: S3, Bucket: "my.bucket_1"},
		"s3://bucket/a/b/?region=r&endpoint=https://h:9000&addressing=path&lock=governance&credentials=/f&profile=p": {Kind: S3,
			Bucket: "bucket", Prefix: "a/b", Region: "r", Endpoint: "https://h:9000", Addressing: "path", Lock: "governance", Credentials: "/f", Profile: "p"},
		"s3://bucket?sse=aws:kms&kms-key=alias/backup": {Kind: S3, Bucket: "bucket", SSE: "aws:kms", KMSKey: "alias/backup"},
		"azblob://account1/container/p?endpoint=http%3A%2F%2F127.0.0.1%3A10000%2Faccount1": {Kind: AzBlob, Account: "account1",
			Bucket: "container", Prefix: "p", Endpoint: "http://127.0.0.1:10000/account1"},
		"azblob://account1/$root":                    {Kind: AzBlob, Account: "account1", Bucket: "$root"},
		"gs://bucket/p?anonymous=true&lock=unlocked": {Kind: GCS, Bucket: "bucket", Prefix: "p", Anonymous: true, Lock: "unlocked"},
	} {
		got, err := Parse(raw)
		want.raw = raw
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v, want %+v", raw, got, err, want)
		}
		if got.String() != raw {
			t.Errorf("%q prints as %q", raw, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for raw, says := range map[string]string{
		"":                   "empty",
		"s3:bucket":          "s3: must be followed by //",
		"file:/srv":          "file: must be followed by //",
		"file://srv/backup":  "absolute path",
		"file:///srv?x=1":    "no ?parameters",
		"ftp://host/dir":     `scheme "ftp"`,
		"s3://":              `bucket ""`,
		"s3://Bucket":        `bucket "Bucket"`,
		"s3://bu":            `bucket "bu"`,
		"s3://bucket:80/a":   "bucket",
		"s3://bucket/A":      "prefix",
		"s3://bucket/a/../b": "prefix",
		"s3://bucket/" + strings.Repeat("ab/", 100) + "c": "prefix",
		"s3://bucket?regoin=x":                            `no parameter "regoin"`,
		"s3://bucket?region=a&region=b":                   "region is given twice",
		"s3://bucket?region=":                             "region is empty",
		"s3://bucket?lock=locked":                         "lock is not one of compliance, governance",
		"s3://bucket?sse=rot13":                           "sse is not one of AES256, aws:kms",
		"s3://bucket?sse=AES256&kms-key=k":                "kms-key: it belongs to sse=aws:kms",
		"s3://bucket?endpoint=host:9000":                  "endpoint is not https://",
		"s3://bucket?endpoint=https://u:secret@h":         "no user, password",
		"s3://id:secret@bucket":                           "no user or password",
		"s3://bucket#x":                                   "fragment",
		"s3://bucket?a=%zz":                               "parsed",
		"azblob://account":                                `container ""`,
		"azblob://acc-ount/container":                     `account "acc-ount"`,
		"azblob://account/con--tainer":                    `container "con--tainer"`,
		"azblob://account/container?sig=abc":              `no parameter "sig"`,
		"gs://bucket?anonymous=yes":                       "anonymous is not one of true, false",
		"s3://secret%zz@bucket":                           "cannot be parsed",
	} {
		_, err := Parse(raw)
		if !errors.Is(err, objstore.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want one that says %q", raw, err, says)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error repeats a secret: %v", raw, err)
		}
	}
}

func TestAzureSecretText(t *testing.T) {
	t.Parallel()
	conn := "DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=a2V5;EndpointSuffix=core.chinacloudapi.cn"
	for text, want := range map[string]azblob.Config{
		"a2V5":          {Account: "acc", Key: "a2V5"},
		"?sv=1&sig=abc": {Account: "acc", SAS: "?sv=1&sig=abc"},
		conn:            {Account: "acc", Key: "a2V5", Endpoint: "https://acc.blob.core.chinacloudapi.cn"},
		"BlobEndpoint=http://h/acc;SharedAccessSignature=sv=1&sig=a%3D;": {Account: "acc", SAS: "sv=1&sig=a%3D", Endpoint: "http://h/acc"},
	} {
		got := azblob.Config{Account: "acc"}
		if err := azureSecretText(&got, text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "AccountKey=", "AccountKey=x;nonsense", "AccountName=other;AccountKey=c2VjcmV0"} {
		c := azblob.Config{Account: "acc"}
		err := azureSecretText(&c, text)
		if !errors.Is(err, objstore.ErrInvalid) || strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What is accepted names a place completely and prints as it was written.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"/srv", "dir", "file:///x", "s3://bucket/a/b?region=r", "azblob://account/container?lock=locked",
		"gs://bucket?anonymous=true", "s3://u:p@bucket", "s3://%zz", "://", "s3://bucket?endpoint=http://h", "s3://bucket/..", "file://\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		l, err := Parse(raw)
		if err != nil {
			if !errors.Is(err, objstore.ErrInvalid) {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		if l.String() != raw {
			t.Fatalf("%q prints as %q", raw, l)
		}
		if l.Kind == Directory {
			if !filepath.IsAbs(l.Path) || strings.ContainsRune(l.Path, 0) {
				t.Fatalf("%q: path %q", raw, l.Path)
			}
			return
		}
		if l.Bucket == "" || l.Prefix != "" && objstore.ValidName(l.Prefix) != nil {
			t.Fatalf("%q: %+v", raw, l)
		}
	})
}

func FuzzConnectionString(f *testing.F) {
	for _, s := range []string{"AccountName=acc;AccountKey=a==", "a;b", "=;=", "BlobEndpoint=x;SharedAccessSignature=y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := azblob.Config{Account: "acc"}
		if err := connectionString(&c, text); err == nil && c.Key == "" && c.SAS == "" {
			t.Fatalf("%q: accepted without a secret", text)
		}
	})
}
