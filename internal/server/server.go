// Package server is the HTTP face of Holdfast: it speaks ARM as az, the Azure
// SDKs and Terraform expect it (docs: the ARM contract of the clients), decodes,
// authorises, calls the rules in service and encodes the answer.
//
// It promises that every operation names the action that a caller needs and
// that it is checked before anything is looked up; that a request is bounded in
// size and time; that a refusal is an ARM error body with a code, a message and
// where possible a target; and that a panic costs one request and no more.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/authn"
	"holdfast/internal/authz"
	"holdfast/internal/service"
)

// Limits of one request.
const (
	maxBody     = 4 << 20 // bytes; a deployment's template is the largest
	maxHeaders  = 64 << 10
	readTime    = time.Minute
	headerTime  = 15 * time.Second
	requestTime = 5 * time.Minute // a new vault on a slow store takes the longest
	idleTime    = 2 * time.Minute
)

// Config is what a Server needs.
type Config struct {
	Service      *service.Service
	Metrics      Metrics // nil: nothing is counted
	Issuer       *authn.Issuer
	Subscription string // the server's own: rights on it are rights on the principals
	Clock        func() time.Time
	Log          *slog.Logger
}

// Server answers requests. It is an http.Handler.
type Server struct {
	Config
	routes  []route
	callers *limiter // requests, by principal
	signIns *limiter // failed sign-ins, by address
}

// New makes a server. A route without an action name panics here, at start.
func New(c Config) *Server {
	return &Server{Config: c, routes: compile(allRoutes()), callers: newLimiter(callerRate, callerBurst), signIns: newLimiter(signInRate, signInBurst)}
}

// HTTP returns an http.Server for it with the limits set. It speaks HTTP/1.1
// only: the clients gain nothing from HTTP/2, which wants an AES-128 suite in TLS
// 1.2 (RFC 9113, 9.2.2).
func (s *Server) HTTP() *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Protocols: &protocols,
		Handler:   s, MaxHeaderBytes: maxHeaders, ReadHeaderTimeout: headerTime, ReadTimeout: readTime,
		WriteTimeout: requestTime + readTime, IdleTimeout: idleTime, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	began := time.Now()
	id := requestID(hr)
	h := w.Header()
	h.Set("x-ms-request-id", id)
	h.Set("x-ms-correlation-request-id", id)
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Strict-Transport-Security", "max-age=31536000")
	if c := hr.Header.Get("x-ms-client-request-id"); isID(c) {
		h.Set("x-ms-client-request-id", c)
	}
	ctx, cancel := context.WithTimeout(hr.Context(), requestTime)
	defer cancel()
	hr.Body = http.MaxBytesReader(w, hr.Body, maxBody)
	r := &request{Request: hr.WithContext(ctx), server: s, id: id, path: []string{}, pattern: "none"}
	a := s.answer(r)
	if s.Metrics != nil {
		s.Metrics.Request(knownMethod(hr.Method), r.pattern, a.status, time.Since(began))
	}
	s.audit(r, a)
	if a.stream != nil {
		a.stream.ServeHTTP(w, hr)
	} else {
		a.write(w)
	}
	s.Log.Info("request", "id", id, "method", hr.Method, "path", hr.URL.Path, "status", a.status, "action", r.action, "principal", r.caller.Name,
		"from", hr.RemoteAddr, "ms", time.Since(began).Milliseconds())
}

// knownMethod keeps words of callers out of the metrics.
func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete:
		return m
	}
	return "other"
}

// answer finds what a request means, checks that its caller may, and does it.
func (s *Server) answer(r *request) (a answer) {
	defer func() {
		if v := recover(); v != nil {
			s.Log.Error("request panicked", "id", r.id, "panic", v, "stack", string(debug.Stack()))
			a = failure(r, errors.New("panic"))
		}
	}()
	if err := s.match(r); err != nil {
		return failure(r, err)
	}
	for _, check := range []func(*request) error{s.identify, s.authorise, s.inside, s.limited, s.unlocked} {
		if r.action == public {
			break
		}
		if err := check(r); err != nil {
			return failure(r, err)
		}
	}
	if r.handler == nil {
		return failure(r, r.refusal)
	}
	r.expect()
	a, err := r.handler(s, r)
	if err != nil {
		return failure(r, err)
	}
	return a
}

// requestID is the caller's correlation id, or a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get("x-ms-correlation-request-id"); isID(id) {
		return id
	}
	return uuid.NewString()
}

// isID says whether an id from outside may go into headers and logs.
func isID(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	})
}

// identify finds out by the bearer token who asks. A step of a deployment has
// no token: it is known for whom it is made.
func (s *Server) identify(r *request) error {
	if r.caller.ID != "" {
		return nil
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return unauthenticated{"The request has no bearer token."}
	}
	p, err := s.Issuer.Verify(r.Context(), token)
	if errors.Is(err, authn.ErrToken) {
		s.Log.Warn("token refused", "id", r.id, "error", err)
		return unauthenticated{"The access token is invalid or has expired."}
	}
	if err != nil {
		return err
	}
	r.caller = authz.Caller{ID: p.ID, ClientID: p.ClientID, Name: p.Name}
	return nil
}

// authorise checks that the caller may do the action.
func (s *Server) authorise(r *request) (err error) {
	r.Request = r.WithContext(authz.WithCaller(r.Context(), r.caller))
	if r.grants, err = s.Service.Identity.Grants(r.Context(), r.caller.ID); err != nil {
		return err
	}
	grants, err := r.granted()
	if err != nil {
		return err
	}
	if r.action == signedIn || authz.Allowed(grants, r.action, r.target()) {
		return nil
	}
	return r.forbidden(r.action, r.resource())
}

// forbidden is the refusal of an action that the caller has no right to.
func (r *request) forbidden(action, resource string) error {
	return holdfast.Errorf(holdfast.Forbidden, resource, "The client %q with object id %q may not perform %s on %s.", r.caller.ClientID, r.caller.ID, action, resource)
}

// may says whether the caller may do an action on a resource.
func (r *request) may(action, resource string) bool {
	return authz.Allowed(r.grants, action, resource)
}

// target is the resource whose scope decides. What lies in no subscription
// (principals) is decided by the rights on the server's own one.
func (r *request) target() string {
	if r.sub() == "" {
		return "/subscriptions/" + r.server.Subscription
	}
	return r.resource()
}

// unlocked refuses what a lock forbids, before any rule is asked. Locks
// themselves are not locked: they could never be removed.
func (s *Server) unlocked(r *request) error {
	action := strings.ToLower(r.action)
	if r.sub() == "" || strings.HasSuffix(action, "/read") || r.action == signedIn || strings.HasPrefix(action, "microsoft.authorization/locks/") {
		return nil
	}
	return r.unlockedFor(r.action, r.resource())
}

// unlockedFor refuses an action that a lock on a resource forbids.
func (r *request) unlockedFor(action, resource string) error {
	l, locked, err := r.server.Service.Resources.LockedBy(r.Context(), resource, strings.HasSuffix(strings.ToLower(action), "/delete"))
	if err != nil || !locked {
		return err
	}
	return httpError{http.StatusConflict, "ScopeLocked", fmt.Sprintf("The scope %s cannot perform %s because of the lock %s (%s). Remove the lock and try again.", resource, action, l.ID, l.Level)}
}
