package azblob

import (
	"errors"
	"fmt"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"holdfast/internal/objstore"
)

var errNoRetention = fmt.Errorf("%w: version-level immutability is not enabled on the container", objstore.ErrInvalid)

// kinds maps the service's error codes to the contract's errors (Azure REST,
// "Blob service error codes" and "Common REST API error codes"). What isn't
// here is a failure that may pass; so is ContainerNotFound, which says nothing
// about an object.
var kinds = map[string]error{
	"BlobNotFound":                    objstore.ErrNotExist,
	"BlobAlreadyExists":               objstore.ErrExist,
	"ConditionNotMet":                 objstore.ErrExist, // our only condition is If-None-Match: *
	"UnauthorizedBlobOverwrite":       objstore.ErrExist,
	"BlobImmutableDueToPolicy":        objstore.ErrHeld,
	"BlobImmutableDueToLegalHold":     objstore.ErrHeld,
	"InvalidRange":                    objstore.ErrInvalid,
	"InvalidResourceName":             objstore.ErrInvalid,
	"RequestBodyTooLarge":             objstore.ErrInvalid,
	"AuthenticationFailed":            objstore.ErrPermission,
	"AuthorizationFailure":            objstore.ErrPermission,
	"AuthorizationPermissionMismatch": objstore.ErrPermission,
	"AuthorizationProtocolMismatch":   objstore.ErrPermission,
	"AuthorizationSourceIPMismatch":   objstore.ErrPermission,
	"InsufficientAccountPermissions":  objstore.ErrPermission,
	"InvalidAuthenticationInfo":       objstore.ErrPermission,
	"NoAuthenticationInformation":     objstore.ErrPermission,
	"AccountIsDisabled":               objstore.ErrPermission,
	"PublicAccessNotPermitted":        objstore.ErrPermission,
}

// classify adds the contract's error to what the server said.
func classify(err error) error {
	var r *azcore.ResponseError
	if !errors.As(err, &r) {
		return err
	}
	kind, ok := kinds[r.ErrorCode]
	if !ok || errors.Is(err, objstore.ErrExist) {
		return err
	}
	return fmt.Errorf("%w: %w", kind, err)
}

func isCode(err error, code string) bool {
	var r *azcore.ResponseError
	return errors.As(err, &r) && r.ErrorCode == code
}

// wholeSecond rounds up: the protocol has whole seconds.
func wholeSecond(t time.Time) time.Time {
	if r := t.Truncate(time.Second); !r.Equal(t) {
		t = r.Add(time.Second)
	}
	return t.UTC()
}
