package server

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"holdfast"
	"holdfast/internal/arm"
	"holdfast/internal/resource"
)

// statuses says what a kind of error is in HTTP. Clients try again on 408, 429
// and 5xx (arm-contract, 4), so a state of the world that trying again at once
// does not change is a 4xx.
var statuses = map[holdfast.Kind]int{
	holdfast.Invalid:     http.StatusBadRequest,
	holdfast.NotFound:    http.StatusNotFound,
	holdfast.Conflict:    http.StatusConflict,
	holdfast.Forbidden:   http.StatusForbidden,
	holdfast.Unsupported: http.StatusConflict,
	holdfast.Unreachable: http.StatusConflict,
	holdfast.Full:        http.StatusConflict,
	holdfast.Denied:      http.StatusConflict,
	holdfast.WrongKey:    http.StatusConflict,
	holdfast.Damaged:     http.StatusConflict,
	holdfast.Canceled:    http.StatusConflict,
	holdfast.Internal:    http.StatusInternalServerError,
}

// Refusals of HTTP's own kind, which no rule knows.
type (
	unauthenticated struct{ message string }
	httpError       struct {
		status        int
		code, message string
	}
	methodNotAllowed struct {
		method  string
		allowed []string
	}
)

func (e unauthenticated) Error() string { return e.message }
func (e httpError) Error() string       { return e.message }
func (e methodNotAllowed) Error() string {
	return fmt.Sprintf("%s is not offered here; offered: %s.", e.method, strings.Join(e.allowed, ", "))
}

// failure is the answer to a request that could not be met. Causes and defects
// go to the log; the caller gets the id under which they are there.
func failure(r *request, err error) answer {
	var (
		e  *holdfast.Error
		un unauthenticated
		he httpError
		tm tooMany
		mn methodNotAllowed
	)
	switch {
	case errors.As(err, &un):
		a := refusal(http.StatusUnauthorized, "AuthenticationFailed", un.message, "")
		a.header = http.Header{"Www-Authenticate": {fmt.Sprintf(`Bearer authorization_uri="%s/adfs", error="invalid_token"`, r.base())}}
		return a
	case errors.As(err, &tm):
		a := refusal(http.StatusTooManyRequests, "TooManyRequests", tm.Error(), "")
		a.header = tm.header()
		return a
	case errors.As(err, &he):
		return refusal(he.status, he.code, he.message, "")
	case errors.Is(err, resource.ErrPrecondition):
		return refusal(http.StatusPreconditionFailed, "PreconditionFailed", "The resource is not as the request's If-Match or If-None-Match expects it; read it again.", "")
	case errors.As(err, &mn):
		a := refusal(http.StatusMethodNotAllowed, "MethodNotAllowed", mn.Error(), "")
		a.header = http.Header{"Allow": {strings.Join(mn.allowed, ", ")}}
		return a
	case errors.As(err, &e) && e.Kind != holdfast.Internal:
		r.server.Log.Info("request refused", "id", r.id, "kind", e.Kind, "error", err)
		return refusal(statuses[e.Kind], string(e.Kind), strings.TrimSpace(e.Message+" "+e.Hint), e.Target)
	}
	r.server.Log.Error("request failed", "id", r.id, "error", err)
	return refusal(http.StatusInternalServerError, string(holdfast.Internal), "The server met an error of its own. Its log has more under the id "+r.id+".", "")
}

func refusal(code int, kind, message, target string) answer {
	return status(code, arm.ErrorBody{Error: arm.Error{Code: kind, Message: message, Target: target}})
}
