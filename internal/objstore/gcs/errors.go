package gcs

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/api/googleapi"

	"holdfast/internal/objstore"
)

var errNoRetention = fmt.Errorf("%w: object retention is not enabled on the bucket", objstore.ErrInvalid)

// kinds maps HTTP statuses to the contract's errors (Cloud Storage, "HTTP
// status and error codes for JSON"). 404 isn't here: it's also said of buckets.
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
	for _, k := range []error{objstore.ErrNotExist, objstore.ErrHeld, objstore.ErrInvalid, objstore.ErrPermission} {
		if errors.Is(err, k) {
			return err
		}
	}
	var g *googleapi.Error
	if !errors.As(err, &g) {
		return err
	}
	if g.Code == http.StatusForbidden && strings.Contains(strings.ToLower(reason(g)), "ratelimit") {
		return err // passes
	}
	if kind := kinds[g.Code]; kind != nil {
		return fmt.Errorf("%w: %w", kind, err)
	}
	return err
}

func reason(g *googleapi.Error) string {
	if len(g.Errors) == 0 {
		return ""
	}
	return g.Errors[0].Reason
}

// isHeld says whether a delete was refused because of a lock (Cloud Storage,
// 403 retentionPolicyNotMet and objectUnderActiveHold).
func isHeld(err error) bool {
	var g *googleapi.Error
	if !errors.As(err, &g) || g.Code != http.StatusForbidden {
		return false
	}
	r := reason(g)
	return r == "retentionPolicyNotMet" || r == "objectUnderActiveHold" || strings.Contains(g.Message, "retention")
}

// isAnswer says whether err is what the server answered.
func isAnswer(err error) bool {
	var g *googleapi.Error
	return errors.As(err, &g)
}
