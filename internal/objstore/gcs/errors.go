package gcs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"holdfast/internal/objstore"
)

var errNoRetention = fmt.Errorf("%w: object retention is not enabled on the bucket", objstore.ErrInvalid)

// apiError is an answer of the server that isn't a success (Cloud Storage, "HTTP
// status and error codes for JSON").
type apiError struct {
	Status  int
	Reason  string
	Message string
}

func (e *apiError) Error() string {
	return fmt.Sprintf("the server answers %d %s (%s)", e.Status, e.Message, e.Reason)
}

// readError reads the answer's body, which is JSON, or text for media.
func readError(resp *http.Response) error {
	e := &apiError{Status: resp.StatusCode, Message: http.StatusText(resp.StatusCode)}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return e // the status says enough
	}
	var answer struct {
		Error struct {
			Message string
			Errors  []struct{ Reason string }
		}
	}
	if json.Unmarshal(body, &answer) == nil && answer.Error.Message != "" {
		e.Message = answer.Error.Message
		if len(answer.Error.Errors) > 0 {
			e.Reason = answer.Error.Errors[0].Reason
		}
	}
	return e
}

// withoutURL keeps the request's URL, long and escaped, out of errors: the
// caller's says verb and name.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// kinds maps statuses to the contract's errors. 404 isn't here: it's also said
// of buckets.
var kinds = map[int]error{
	http.StatusPreconditionFailed:           objstore.ErrExist, // our only one is ifGenerationMatch=0
	http.StatusUnauthorized:                 objstore.ErrPermission,
	http.StatusForbidden:                    objstore.ErrPermission,
	http.StatusRequestedRangeNotSatisfiable: objstore.ErrInvalid,
	http.StatusRequestEntityTooLarge:        objstore.ErrInvalid,
	http.StatusInsufficientStorage:          objstore.ErrFull,
}

// classify adds the contract's error to what the server said.
func classify(err error) error {
	var e *apiError
	if !errors.As(err, &e) || kinds[e.Status] == nil || errors.Is(err, objstore.ErrHeld) {
		return err
	}
	if strings.Contains(strings.ToLower(e.Reason), "ratelimit") {
		return err // passes
	}
	return fmt.Errorf("%w: %w", kinds[e.Status], err)
}

func isNotFound(err error) bool {
	var e *apiError
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// isHeld says whether a delete was refused because of a lock or a hold.
func isHeld(err error) bool {
	var e *apiError
	return errors.As(err, &e) && e.Status == http.StatusForbidden &&
		(e.Reason == "retentionPolicyNotMet" || e.Reason == "objectUnderActiveHold")
}
