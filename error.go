package holdfast

import (
	"errors"
	"fmt"
)

// Kind is what went wrong, in the few ways that a caller can act on. Kinds are
// append-only: they are stored in jobs and shown to users as error codes.
type Kind string

// The kinds.
const (
	Invalid     Kind = "InvalidParameter"    // the request is wrong; Target names the field
	NotFound    Kind = "ResourceNotFound"    // what the request names is not there
	Conflict    Kind = "Conflict"            // it is there already, or busy
	Forbidden   Kind = "AuthorizationFailed" // the caller may not
	Unsupported Kind = "OperationNotAllowed" // a rule of the matrix refuses it
	Unreachable Kind = "HostUnreachable"     // libvirt, the guest agent or the store does not answer
	Full        Kind = "InsufficientStorage" // no room left
	Denied      Kind = "StorageAccessDenied" // the server may not read or write there
	WrongKey    Kind = "WrongKey"            // the key does not open the repository
	Damaged     Kind = "DataDamaged"         // bytes were read and are wrong
	Canceled    Kind = "OperationCanceled"   // the user stopped it
	Internal    Kind = "InternalServerError" // a defect of Holdfast
)

// ErrUnsure says of a job that was broken off that nobody can be asked now whether
// its work had been done.
var ErrUnsure = errors.New("whether the work was done cannot be asked")

// Error is an error that a user can read and act on.
type Error struct {
	Kind    Kind
	Target  string // the field, resource or path that it is about
	Message string // what is wrong, in one sentence
	Hint    string // what to do about it; may be empty
	Cause   error  // for the log; never shown to a remote user
}

// Error gives message, hint and cause on one line.
func (e *Error) Error() string {
	s := e.Message
	if e.Hint != "" {
		s += " " + e.Hint
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Errorf makes an Error of a kind about a target.
func Errorf(kind Kind, target, format string, args ...any) *Error {
	return &Error{Kind: kind, Target: target, Message: fmt.Sprintf(format, args...)}
}

// WithHint adds what to do about it.
func (e *Error) WithHint(hint string) *Error { e.Hint = hint; return e }

// WithCause adds what lies below.
func (e *Error) WithCause(err error) *Error { e.Cause = err; return e }

// KindOf is the kind of the first Error in err's chain, or Internal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}
