// Package backup is the wire form of what lies in a Recovery Services vault:
// protected items, containers, recovery points, jobs, operations and the
// requests for backup and restore. The types are those of the Azure SDK for Go,
// so that what the SDK reads is what is written here.
//
// Decoding refuses what it does not understand, naming the member; it never
// falls back to a base type, in which the members would vanish (arm-contract, 8).
package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	sdk "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservicesbackup/v4"

	"holdfast"
	"holdfast/internal/arm"
)

// decode reads a request body into one of the SDK's types.
func decode(body []byte, into any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return holdfast.Errorf(holdfast.Invalid, "", "The request has no body.")
	}
	if err := json.Unmarshal(body, into); err != nil {
		return badBody(err)
	}
	return nil
}

// badBody names the member that a decoding error is about, without the SDK's
// type names.
func badBody(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	text := err.Error()
	if i := strings.LastIndex(text, "struct field "); i >= 0 {
		text = text[i+len("struct field "):]
	}
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		return holdfast.Errorf(holdfast.Invalid, t.Field, "The request body cannot be read: %s is a %s.", t.Field, t.Value)
	}
	return holdfast.Errorf(holdfast.Invalid, "", "The request body cannot be read: %s.", strings.TrimPrefix(text, "json: "))
}

// unknown is a discriminator that names no type we know.
func unknown(member string, got *string, want string) error {
	return holdfast.Errorf(holdfast.Invalid, "properties."+member, "properties.%s is %q; it must be %q.", member, deref(got), want)
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func ptrs[T any](list []T) []*T {
	out := make([]*T, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}

// moment is a time on the wire; not yet is the year 1, which az shows as none.
func moment(t time.Time) *time.Time { return to.Ptr(t.UTC()) }

// Accepted is the status of an operation that ended when its job was made.
func Accepted(path, jobID string, at time.Time) arm.OperationStatus {
	s := arm.OperationStatus{ID: path, Name: jobID, Status: string(sdk.OperationStatusValuesSucceeded), StartTime: at.UTC().Format(time.RFC3339Nano), EndTime: at.UTC().Format(time.RFC3339Nano)}
	s.Properties = &sdk.OperationStatusJobExtendedInfo{ObjectType: to.Ptr("OperationStatusJobExtendedInfo"), JobID: &jobID}
	return s
}
