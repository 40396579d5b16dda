package s3

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"

	"holdfast/internal/objstore"
)

var errNoRetention = fmt.Errorf("%w: object lock is not enabled on the bucket", objstore.ErrInvalid)

// kinds maps the error codes of the protocol to the contract's errors (Amazon
// S3 API, List of error codes; the X-codes are MinIO's, QuotaExceeded Ceph's).
// What isn't here is a failure that may pass.
var kinds = map[string]error{
	"NoSuchKey":                      objstore.ErrNotExist,
	"NoSuchVersion":                  objstore.ErrNotExist,
	"PreconditionFailed":             objstore.ErrExist,
	"InvalidRange":                   objstore.ErrInvalid,
	"KeyTooLongError":                objstore.ErrInvalid,
	"EntityTooLarge":                 objstore.ErrInvalid,
	"AccessDenied":                   objstore.ErrPermission,
	"AllAccessDisabled":              objstore.ErrPermission,
	"AccountProblem":                 objstore.ErrPermission,
	"InvalidAccessKeyId":             objstore.ErrPermission,
	"SignatureDoesNotMatch":          objstore.ErrPermission,
	"ExpiredToken":                   objstore.ErrPermission,
	"InvalidToken":                   objstore.ErrPermission,
	"QuotaExceeded":                  objstore.ErrFull,
	"XMinioStorageFull":              objstore.ErrFull,
	"XMinioAdminBucketQuotaExceeded": objstore.ErrFull,
	"InsufficientStorage":            objstore.ErrFull,
}

// classify adds the contract's error to what the server said.
func classify(err error) error {
	for _, k := range []error{objstore.ErrNotExist, objstore.ErrExist, objstore.ErrHeld, objstore.ErrInvalid, objstore.ErrPermission, objstore.ErrFull} {
		if errors.Is(err, k) {
			return err
		}
	}
	r, ok := response(err)
	if !ok {
		return err
	}
	kind := kinds[r.Code]
	if kind == nil && r.StatusCode == http.StatusInsufficientStorage {
		kind = objstore.ErrFull
	}
	if kind == nil && r.StatusCode == http.StatusPreconditionFailed {
		kind = objstore.ErrExist
	}
	if kind == nil {
		return err
	}
	return fmt.Errorf("%w: %w", kind, err)
}

func response(err error) (minio.ErrorResponse, bool) {
	var r minio.ErrorResponse
	ok := errors.As(err, &r)
	return r, ok
}

// isHeld says whether a delete was refused because of a lock: Amazon answers
// AccessDenied as for any other refusal, MinIO ObjectLocked.
func isHeld(err error, until time.Time) bool {
	r, ok := response(err)
	if !ok {
		return false
	}
	switch r.Code {
	case "ObjectLocked", "InvalidRequest":
		return true
	case "AccessDenied":
		return !until.IsZero()
	}
	return false
}

// retainUntil returns the end of the object's lock as HEAD says it.
func retainUntil(o minio.ObjectInfo) time.Time {
	t, err := time.Parse(time.RFC3339, o.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"))
	if err != nil {
		return time.Time{}
	}
	return t
}

// wholeSecond rounds up: the client library sends whole seconds.
func wholeSecond(t time.Time) time.Time {
	if r := t.Truncate(time.Second); !r.Equal(t) {
		return r.Add(time.Second)
	}
	return t
}
