// Package arm is the grammar of Azure Resource Manager: resource ids, paths,
// api-versions, $filter, error bodies, paging, ETags and the headers of
// asynchronous operations. It knows no noun: what a vault is, others say.
//
// Everything that parses takes bytes from outside and never panics. Names keep
// the case they came in and are compared without it, as ARM does.
package arm

import (
	"regexp"
	"strings"
	"time"
)

// ErrorBody is ARM's body of a refusal (github.com/microsoft/api-guidelines,
// Azure "Error Response").
type ErrorBody struct {
	Error Error `json:"error"`
}

// Error is what is wrong: Code for programs, Message for people, Target for
// the field or resource that it is about.
type Error struct {
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Target  string  `json:"target,omitempty"`
	Details []Error `json:"details,omitempty"`
}

// List is a page of a listing.
type List[T any] struct {
	Value    []T    `json:"value"`
	NextLink string `json:"nextLink,omitempty"`
}

// OperationStatus is the body at Azure-AsyncOperation.
type OperationStatus struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Status     string `json:"status"` // InProgress, Succeeded, Failed or Canceled
	StartTime  string `json:"startTime,omitempty"`
	EndTime    string `json:"endTime,omitempty"`
	Properties any    `json:"properties,omitempty"`
	Error      *Error `json:"error,omitempty"`
}

// firstVersion is the api-version with which ARM began; no client asks for an
// older one.
const firstVersion = "2014-04-01"

var version = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-(preview|alpha|beta|rc|privatepreview))?$|^1\.0$`)

// IsVersion says whether s is a well-formed api-version: a date, perhaps a
// preview. 1.0 is the metadata endpoint's oldest.
func IsVersion(s string) bool {
	s = strings.ToLower(s)
	if s == "1.0" || !version.MatchString(s) {
		return s == "1.0"
	}
	_, err := time.Parse(time.DateOnly, s[:len(time.DateOnly)])
	return err == nil
}

// WasVersion says whether a well-formed api-version can be one: not of a time
// before there were any. Newer ones than those that are known are taken, since
// clients ask for them before anybody else has heard of them (arm-contract, 4).
func WasVersion(s string) bool { return s == "1.0" || strings.ToLower(s) >= firstVersion }

var name = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.()-]{0,88}[A-Za-z0-9_()-])?$`)

// IsName says whether s can name a resource: 1 to 90 letters, digits and
// _ . ( ) -, not ending in a dot (Azure's rule for a resource group).
func IsName(s string) bool { return name.MatchString(s) }

// NameRule is what IsName demands, for messages.
const NameRule = "1 to 90 letters, digits or any of _ . ( ) -, beginning with a letter, digit or _ and not ending in a dot"
