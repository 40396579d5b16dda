// Package open turns the URL of a store, as users write it, into the store:
//
//	/srv/backup, ./dir, file:///srv/backup   a directory
//	s3://BUCKET/PREFIX?endpoint=https://HOST:PORT&region=R
//	azblob://ACCOUNT/CONTAINER/PREFIX?endpoint=https://HOST/ACCOUNT
//	gs://BUCKET/PREFIX
//
// A URL never holds a secret, so that it can be stored, shown and logged.
// Secrets come from the environment, from the files that the service's own
// tools use, or from a file named by credentials=FILE. Parameters, all optional:
//
//	s3      endpoint   URL of the server; none = Amazon
//	        region     none = us-east-1, or asked from Amazon
//	        addressing path | host: https://HOST/BUCKET or https://BUCKET.HOST; none =
//	                   host at Amazon, path elsewhere
//	        lock       compliance | governance: the kind of object locks
//	        sse        AES256 | aws:kms: demand that the server encrypts what it
//	                   stores; none = as the bucket is set up
//	        kms-key    the key's id, with sse=aws:kms; none = the bucket's
//	        credentials, profile   an AWS credentials file, and the section in it;
//	                   none = AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and
//	                   AWS_SESSION_TOKEN), ~/.aws/credentials, the machine's role
//	azblob  endpoint   URL of the account's blob service; none = Azure's
//	        lock       locked | unlocked: the kind of immutability policies
//	        credentials   a file with the account key, a shared access signature
//	                   ("sv=…") or a connection string; none = AZURE_STORAGE_KEY,
//	                   AZURE_STORAGE_SAS_TOKEN, AZURE_STORAGE_CONNECTION_STRING,
//	                   AZURE_TENANT_ID and so on, the machine's identity, az login
//	gs      endpoint   URL of another server; none = Google
//	        lock       locked | unlocked: the kind of object retention
//	        anonymous  true | false: send no credentials (for emulators)
//	        credentials   a service account's key file; none =
//	                   GOOGLE_APPLICATION_CREDENTIALS, gcloud, the machine's identity
//
// What is opened retries as package retry says. A server's certificate is checked
// against the system's authorities, and those in the file SSL_CERT_FILE.
package open

import (
	"context"
	"fmt"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/azblob"
	"holdfast/internal/objstore/gcs"
	"holdfast/internal/objstore/local"
	"holdfast/internal/objstore/retry"
	"holdfast/internal/objstore/s3"
)

// Open opens the store at the URL, which must exist. It fails with
// objstore.ErrInvalid on a wrong URL, ErrNotExist when there is no such
// directory, bucket or container, and ErrPermission.
func Open(ctx context.Context, url string) (objstore.Store, error) {
	l, err := Parse(url)
	if err != nil {
		return nil, err
	}
	return l.open(ctx, false)
}

// Create is Open, but makes a directory that isn't there. Buckets and
// containers are not made: their settings are the owner's choice.
func Create(ctx context.Context, url string) (objstore.Store, error) {
	l, err := Parse(url)
	if err != nil {
		return nil, err
	}
	return l.open(ctx, true)
}

func (l Location) open(ctx context.Context, create bool) (objstore.Store, error) {
	var s objstore.Store
	var err error
	switch l.Kind {
	case Directory:
		// Not retried: a file system doesn't fail for a moment.
		if create {
			return local.Create(ctx, l.Path)
		}
		return local.Open(ctx, l.Path)
	case S3:
		s, err = l.openS3(ctx)
	case AzBlob:
		s, err = l.openAzBlob(ctx)
	case GCS:
		s, err = gcs.Open(ctx, gcs.Config{Bucket: l.Bucket, Prefix: l.Prefix, Endpoint: l.Endpoint,
			Unlocked: l.Lock == "unlocked", CredentialsFile: l.Credentials, Anonymous: l.Anonymous}, l.String())
	default:
		return nil, fmt.Errorf("%w: store kind %q", objstore.ErrInvalid, l.Kind)
	}
	if err != nil {
		return nil, err
	}
	return retry.New(s, retry.Options{}), nil
}

func (l Location) openS3(ctx context.Context) (objstore.Store, error) {
	c := s3.Config{Bucket: l.Bucket, Prefix: l.Prefix, Endpoint: l.Endpoint, Region: l.Region, Addressing: s3.Addressing(l.Addressing),
		Governance: l.Lock == "governance", SSE: l.SSE, KMSKey: l.KMSKey}
	if l.Credentials != "" || l.Profile != "" {
		creds, err := s3.FileCredentials(l.Credentials, l.Profile)
		if err != nil {
			return nil, fmt.Errorf("credentials of %s: %w", l, err)
		}
		c.Credentials = creds
	}
	return s3.Open(ctx, c, l.String())
}

func (l Location) openAzBlob(ctx context.Context) (objstore.Store, error) {
	c := azblob.Config{Account: l.Account, Container: l.Bucket, Prefix: l.Prefix, Endpoint: l.Endpoint, Unlocked: l.Lock == "unlocked"}
	if err := azureSecret(&c, l.Credentials); err != nil {
		return nil, fmt.Errorf("credentials of %s: %w", l, err)
	}
	return azblob.Open(ctx, c, l.String())
}
