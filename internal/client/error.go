package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// Reason is why a call failed, in the ways that its caller can act on.
type Reason int

// The reasons.
const (
	Internal    Reason = iota // the server or this client has a defect
	Usage                     // what was asked cannot be sent
	NotFound                  // 404: what the request names is not there
	Refused                   // 400, 403, 409, 412…: the server said no; nothing was changed
	NotSignedIn               // no credentials, or the server does not accept them
	Unreachable               // no answer: network, TLS, or a server that is down
	Failed                    // it was accepted and the work failed
	Interrupted               // the caller's context ended
)

// Error is why a call failed. Code, Target and Message are the server's own
// where the server answered.
type Error struct {
	Reason  Reason
	Status  int // HTTP status; 0 if the server did not answer
	Code    string
	Target  string
	Message string
	Details []string // more messages of the server, each a sentence
	Hint    string   // what to do about it; may be empty
	Cause   error    // what lies below; never the server's answer
}

// Error gives code, message, details, hint and cause on one line.
func (e *Error) Error() string {
	var s strings.Builder
	if e.Code != "" {
		s.WriteString("(" + e.Code + ") ")
	}
	s.WriteString(e.Message)
	for _, d := range append(e.Details[:len(e.Details):len(e.Details)], e.Hint) {
		if d != "" {
			s.WriteString(" " + d)
		}
	}
	if e.Cause != nil {
		s.WriteString(": " + e.Cause.Error())
	}
	return s.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// ReasonOf is the reason of the first Error in err's chain, or Internal.
func ReasonOf(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return Internal
}

// translate makes an *Error of whatever the SDK returned.
func (c *Client) translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var done *Error
	if errors.As(err, &done) {
		return done
	}
	if ctx.Err() != nil {
		return &Error{Reason: Interrupted, Code: "Interrupted", Message: "Stopped before the server answered.", Cause: context.Cause(ctx)}
	}
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		return responseError(answer)
	}
	var signIn *azidentity.AuthenticationFailedError
	if errors.As(err, &signIn) && signIn.RawResponse != nil && signIn.RawResponse.StatusCode < 500 {
		return signInError(signIn.RawResponse)
	}
	if cause := c.transport.failure(); cause != nil {
		return unreachable(c.config.Endpoint, cause)
	}
	return &Error{Reason: Internal, Code: "UnexpectedAnswer", Message: "The server's answer could not be used.", Cause: err}
}

// errorBody is ARM's error body (contract, section 4).
type errorBody struct {
	Code    string      `json:"code"`
	Message string      `json:"message"`
	Target  string      `json:"target"`
	Details []errorBody `json:"details"`
	Hint    string      `json:"recommendation"`
}

func responseError(answer *azcore.ResponseError) *Error {
	e := &Error{Status: answer.StatusCode, Code: answer.ErrorCode, Reason: reasonOfStatus(answer.StatusCode)}
	var body struct {
		Error errorBody `json:"error"`
	}
	if answer.RawResponse != nil {
		if b, err := runtime.Payload(answer.RawResponse); err == nil {
			// A body that is not ARM's leaves the members empty, which is said below.
			_ = json.Unmarshal(b, &body)
		}
	}
	e.fill(body.Error)
	if e.Message == "" {
		e.Message = "The server answered " + http.StatusText(e.Status) + " and no message."
	}
	if e.Reason == NotSignedIn && e.Hint == "" {
		e.Hint = signInHint
	}
	return e
}

func (e *Error) fill(b errorBody) {
	if b.Code != "" {
		e.Code = b.Code
	}
	e.Message, e.Target, e.Hint = b.Message, b.Target, b.Hint
	for _, d := range b.Details {
		if d.Message != "" {
			e.Details = append(e.Details, d.Message)
		}
	}
}

func reasonOfStatus(status int) Reason {
	switch {
	case status == http.StatusUnauthorized:
		return NotSignedIn
	case status == http.StatusNotFound:
		return NotFound
	case status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		return Unreachable
	case status >= 400 && status < 500:
		return Refused
	}
	return Internal
}

const signInHint = "Check " + EnvTenantID + ", " + EnvClientID + " and " + EnvClientSecret + ", or name the right file with --env."

// signInError reads an OAuth 2 error answer (RFC 6749, section 5.2).
func signInError(resp *http.Response) *Error {
	e := &Error{Reason: NotSignedIn, Status: resp.StatusCode, Code: "AuthenticationFailed", Hint: signInHint,
		Message: "The server did not accept the credentials."}
	var body struct {
		Description string `json:"error_description"`
	}
	if b, err := runtime.Payload(resp); err == nil && json.Unmarshal(b, &body) == nil && body.Description != "" {
		e.Message = body.Description
	}
	return e
}
