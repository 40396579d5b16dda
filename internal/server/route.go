package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"holdfast"
	"holdfast/internal/arm"
)

// handler answers one kind of request.
type handler func(*Server, *request) (answer, error)

// Two actions that are not checked against roles.
const (
	public   = "public"    // no sign-in: discovery, tokens, health
	signedIn = "signed in" // what it shows depends on who asks
)

// route is one operation. A pattern's {name} takes any segment; the other
// segments are compared without case, as ARM paths are.
type route struct {
	method  string
	pattern string
	action  string
	handler handler
	// anyVersion lets a request have no api-version: it is not an ARM operation.
	anyVersion bool

	segments []string
}

// anyScope, as the first segment of a pattern, takes the id of any scope:
// a subscription or something below one.
const anyScope = "{scope...}"

// compile prepares a table, and refuses one with a mistake in it.
func compile(table []route) []route {
	seen := map[string]bool{}
	for i := range table {
		r := &table[i]
		if r.action == "" || r.handler == nil {
			panic(fmt.Sprintf("internal error: %s %s has no action or no handler", r.method, r.pattern))
		}
		r.segments = strings.Split(strings.Trim(r.pattern, "/"), "/")
		r.anyVersion = r.anyVersion || r.action == public
		key := r.method + " " + strings.ToLower(r.pattern)
		if seen[key] {
			panic("internal error: two routes " + key)
		}
		seen[key] = true
	}
	// Literal segments before captures, so that the more exact route is found first.
	slices.SortStableFunc(table, func(a, b route) int { return captured(a) - captured(b) })
	return table
}

// captured counts how much of a route is not literal.
func captured(r route) int {
	return strings.Count(r.pattern, "{") + 100*strings.Count(r.pattern, anyScope)
}

// fits says whether a path is one of the route's, and what its captures are.
func (r *route) fits(path []string) (map[string]string, bool) {
	captures := map[string]string{}
	segments := r.segments
	if segments[0] == anyScope {
		n := len(path) - len(segments) + 1 // so many segments are the scope
		scope := "/" + strings.Join(path[:max(0, n)], "/")
		id, err := arm.ParseID(scope)
		if n < 2 || err != nil {
			return nil, false
		}
		captures["scope"], captures["sub"] = scope[1:], id.Subscription
		segments, path = segments[1:], path[n:]
	}
	if len(path) != len(segments) {
		return nil, false
	}
	for i, s := range segments {
		if name, ok := strings.CutPrefix(s, "{"); ok {
			captures[strings.TrimSuffix(name, "}")] = path[i]
		} else if !strings.EqualFold(s, path[i]) {
			return nil, false
		}
	}
	return captures, true
}

// match finds the route of a request. A path that nobody answers leaves no
// handler: the caller signs in before being told so.
func (s *Server) match(r *request) (err error) {
	if r.path, err = arm.Segments(r.URL.EscapedPath()); err != nil {
		return holdfast.Errorf(holdfast.Invalid, "path", "The request's path is malformed: %v.", err)
	}
	r.action = signedIn
	r.refusal = holdfast.Errorf(holdfast.NotFound, r.resource(), "There is no resource type at %s.", r.resource())
	var others []string
	for i := range s.routes {
		route := &s.routes[i]
		captures, ok := route.fits(r.path)
		if !ok {
			continue
		}
		if route.method != r.Method {
			others = append(others, route.method)
			continue
		}
		r.captures, r.action, r.handler, r.pattern = captures, route.action, route.handler, route.pattern
		return r.checkVersion(route)
	}
	if len(others) > 0 {
		r.refusal = methodNotAllowed{r.Method, others}
	}
	return nil
}

// checkVersion demands an api-version of an ARM operation.
func (r *request) checkVersion(route *route) error {
	q := r.URL.Query()
	r.version = strings.ToLower(q.Get("api-version"))
	switch {
	case route.anyVersion && r.version == "":
		return nil
	case r.version == "":
		return httpError{http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests."}
	case !arm.IsVersion(r.version):
		return httpError{http.StatusBadRequest, "InvalidApiVersionParameter", fmt.Sprintf("The api-version %q is invalid: it is a date such as 2024-04-01, perhaps with -preview.", r.version)}
	case !arm.WasVersion(r.version):
		return httpError{http.StatusBadRequest, "NoRegisteredProviderFound", fmt.Sprintf("No registered resource provider was found for the API version '%s'. The supported api-versions are '%s'.", r.version, strings.Join(versions, ", "))}
	}
	return nil
}

// allRoutes is everything that Holdfast answers.
func allRoutes() []route {
	return slices.Concat(signInRoutes, resourceRoutes, deploymentRoutes, providerRoutes, computeRoutes, machineRoutes, restorePointRoutes, encryptionSetRoutes, contentRoutes, operationRoutes, authorizationRoutes, vaultRoutes, guardRoutes, policyRoutes, itemRoutes, jobRoutes, tagRoutes, auditRoutes, documentRoutes, alertRoutes, metricRoutes)
}

func get(pattern, action string, h handler) route {
	return route{method: http.MethodGet, pattern: pattern, action: action, handler: h}
}

func put(pattern, action string, h handler) route {
	return route{method: http.MethodPut, pattern: pattern, action: action, handler: h}
}

func patch(pattern, action string, h handler) route {
	return route{method: http.MethodPatch, pattern: pattern, action: action, handler: h}
}

func post(pattern, action string, h handler) route {
	return route{method: http.MethodPost, pattern: pattern, action: action, handler: h}
}

func remove(pattern, action string, h handler) route {
	return route{method: http.MethodDelete, pattern: pattern, action: action, handler: h}
}

// Operation is one operation that the server offers.
type Operation struct {
	Method  string
	Pattern string
	Action  string
}

// Operations lists everything that the server offers, for documents and tests.
func Operations() []Operation {
	var all []Operation
	for _, r := range compile(allRoutes()) {
		all = append(all, Operation{r.method, r.pattern, r.action})
	}
	return all
}
