package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"holdfast"
	"holdfast/internal/arm"
	"holdfast/internal/authz"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

// request is one request and what was found out about it.
type request struct {
	*http.Request
	server *Server
	id     string // correlation id

	path     []string // unescaped segments
	captures map[string]string
	version  string // api-version, lower case
	action   string
	handler  handler
	pattern  string // of the route
	refusal  error  // when there is no handler
	caller   authz.Caller
	grants   []authz.Grant
	step     bool // of a deployment, which was counted itself
}

// resource is the path as a resource id: what is asked for, in the caller's case.
func (r *request) resource() string { return "/" + strings.Join(r.path, "/") }

func (r *request) sub() string   { return r.captures["sub"] }
func (r *request) group() string { return r.captures["rg"] }
func (r *request) name() string  { return r.captures["name"] }

// scope is what an extension resource (a lock, an assignment) is attached to.
func (r *request) scope() string { return "/" + r.captures["scope"] }

// base is scheme and host as the caller sees them; links are made with it.
func (r *request) base() string { return "https://" + r.Host }

// body returns the request's body.
func (r *request) body() ([]byte, error) {
	b, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, httpError{http.StatusRequestEntityTooLarge, "RequestContentTooLarge", fmt.Sprintf("The request body is larger than %d bytes.", maxBody)}
	}
	if err != nil {
		return nil, holdfast.Errorf(holdfast.Invalid, "", "The request body could not be read to its end.").WithCause(err)
	}
	return b, nil
}

// decoded reads the body and decodes it.
func decoded[T any](r *request, decode func([]byte) (T, error)) (v T, err error) {
	b, err := r.body()
	if err != nil {
		return v, err
	}
	return decode(b)
}

// filter returns the $filter, in which only some names may occur.
func (r *request) filter(names ...string) (arm.Filter, error) {
	f, err := arm.ParseFilter(r.URL.Query().Get("$filter"))
	if err == nil {
		err = f.Only(names...)
	}
	if err != nil {
		return nil, holdfast.Errorf(holdfast.Invalid, "$filter", "%v.", err)
	}
	return f, nil
}

// expect takes what the request demands of the resource that it changes.
func (r *request) expect() {
	match, none := strings.Trim(strings.TrimPrefix(r.Header.Get("If-Match"), "W/"), `"`), r.Header.Get("If-None-Match")
	if r.Method == http.MethodGet || r.Method == http.MethodHead || match == "" && none == "" {
		return
	}
	r.Request = r.WithContext(resource.WithPrecondition(r.Context(), resource.Precondition{ID: r.resource(), Match: match, Absent: none == "*"}))
}

// answer is what a request gets.
type answer struct {
	status int
	header http.Header
	body   any          // nil is none
	stream http.Handler // writes status, headers and body instead; for what is large
	job    *job.Job     // that does what was asked for; nil: it is done
}

// text is a body that is no JSON; its handler names the type.
type text []byte

func ok(body any) (answer, error)      { return answer{status: http.StatusOK, body: body}, nil }
func noContent() (answer, error)       { return answer{status: http.StatusNoContent}, nil }
func status(code int, body any) answer { return answer{status: code, body: body} }

// listed is a whole listing in one page.
func listed[T any](all []T) (answer, error) {
	if all == nil {
		all = []T{} // [] and never null
	}
	return ok(arm.List[T]{Value: all})
}

// write sends the answer.
func (a answer) write(w http.ResponseWriter) {
	for k, v := range a.header {
		w.Header()[k] = v
	}
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	b, plain := a.body.(text)
	if !plain {
		var err error
		if b, err = json.Marshal(a.body); err != nil {
			panic(fmt.Sprintf("internal error: answer of type %T: %v", a.body, err))
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(b) // the caller may have gone
}
