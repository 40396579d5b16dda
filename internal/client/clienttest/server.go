// Package clienttest is a scripted ARM server for the tests of the client and
// of the command line. It answers the shapes recorded in the contract with the
// official clients, over real TLS and with a real sign-in, and plays jobs one
// step per look. It has no rules and keeps no bytes: what Holdfast does is
// tested against the real server. Only tests may import it.
package clienttest

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// What the server knows its caller by.
const (
	Subscription = "11111111-1111-1111-1111-111111111111"
	Tenant       = "22222222-2222-2222-2222-222222222222"
	ClientID     = "33333333-3333-3333-3333-333333333333"
	Secret       = "correct-horse-battery-staple"
	token        = "opaque-token-of-the-test"
)

// Server is a scripted server. URL and CAFile stay; the other members are set
// in Change.
type Server struct {
	URL    string
	CAFile string
	// Hold keeps jobs at their last step but one until it is false.
	Hold bool
	// Down answers everything with 503 while it is above zero, and counts down.
	Down int
	// PageSize splits lists into pages.
	PageSize int

	mu        sync.Mutex
	requests  []Request
	resources map[string]object // by lower-case path
	order     []string
	jobs      map[string]*job
}

// Request is one request that the server has seen.
type Request struct {
	Method, Path, Query string
	Body                object
}

type object = map[string]any

// New starts a server with one site, one VM and one vault, and stops it with
// the test. dir takes the CA file.
func New(t testing.TB, dir string) *Server {
	s := &Server{PageSize: 2, resources: map[string]object{}, jobs: map[string]*job{}}
	s.mu.Lock() // no request is answered before all is there
	defer s.mu.Unlock()
	h := httptest.NewTLSServer(http.HandlerFunc(s.serve))
	t.Cleanup(h.Close)
	s.URL = h.URL
	s.CAFile = filepath.Join(dir, "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
	if err := os.WriteFile(s.CAFile, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s.seed()
	return s
}

// Env is the environment that signs in to the server, NAME=VALUE.
func (s *Server) Env() []string {
	return []string{
		"HOLDFAST_ENDPOINT=" + s.URL, "HOLDFAST_TENANT_ID=" + Tenant, "HOLDFAST_CLIENT_ID=" + ClientID,
		"HOLDFAST_CLIENT_SECRET=" + Secret, "HOLDFAST_CA_FILE=" + s.CAFile, "HOLDFAST_SUBSCRIPTION_ID=" + Subscription,
	}
}

// Change runs f while no request is being answered.
func (s *Server) Change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// Seen is what came in so far, the sign-in left out.
func (s *Server) Seen() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Put places a resource, as if it had always been there.
func (s *Server) Put(id, location string, properties object) {
	key := strings.ToLower(id)
	if _, ok := s.resources[key]; !ok {
		s.order = append(s.order, key)
	}
	kind, name := typeAndName(id)
	s.resources[key] = object{"id": id, "name": name, "type": kind, "location": location, "properties": properties}
}

func typeAndName(id string) (kind, name string) {
	segments := strings.Split(strings.Trim(id, "/"), "/")
	name = segments[len(segments)-1]
	for i := len(segments) - 1; i >= 0; i-- {
		if strings.EqualFold(segments[i], "providers") {
			kind = segments[i+1]
			for j := i + 2; j < len(segments); j += 2 {
				kind += "/" + segments[j]
			}
			return kind, name
		}
	}
	return "", name
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := r.URL.Path
	switch {
	case strings.HasSuffix(path, "/.well-known/openid-configuration"):
		reply(w, http.StatusOK, object{"issuer": s.URL + "/" + Tenant + "/v2.0",
			"authorization_endpoint": s.URL + "/" + Tenant + "/oauth2/v2.0/authorize",
			"token_endpoint":         s.URL + "/" + Tenant + "/oauth2/v2.0/token"})
	case strings.HasSuffix(path, "/oauth2/v2.0/token"):
		s.signIn(w, r)
	case s.Down > 0:
		s.Down--
		Fail(w, http.StatusServiceUnavailable, "ServiceUnavailable", "The server is starting.")
	case r.Header.Get("Authorization") != "Bearer "+token:
		Fail(w, http.StatusUnauthorized, "AuthenticationFailed", "The token is not valid.")
	default:
		q := Request{Method: r.Method, Path: path, Query: r.URL.RawQuery}
		if r.ContentLength != 0 {
			if err := json.NewDecoder(r.Body).Decode(&q.Body); err != nil {
				Fail(w, http.StatusBadRequest, "InvalidRequestContent", err.Error())
				return
			}
		}
		s.requests = append(s.requests, q)
		s.arm(w, q)
	}
}

func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	if r.PostFormValue("client_secret") != Secret || r.PostFormValue("client_id") != ClientID {
		reply(w, http.StatusUnauthorized, object{"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."})
		return
	}
	reply(w, http.StatusOK, object{"token_type": "Bearer", "expires_in": 3600, "ext_expires_in": 3600, "access_token": token})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the test's own client has gone
}

// Fail answers an ARM error.
func Fail(w http.ResponseWriter, status int, code, message string) {
	reply(w, status, object{"error": object{"code": code, "message": message}})
}

func (s *Server) page(w http.ResponseWriter, q Request, match func(key string) bool) {
	var all []object
	for _, key := range s.order {
		if r, ok := s.resources[key]; ok && match(key) {
			all = append(all, r)
		}
	}
	skip := 0
	if _, after, ok := strings.Cut(q.Query, "skip="); ok {
		fmt.Sscan(after, &skip)
	}
	body := object{"value": all[skip:]}
	if end := skip + s.PageSize; end < len(all) {
		// Another host name than the client's: it must come back to the endpoint.
		next := "https://server.invalid" + q.Path + "?api-version=1&skip=" + fmt.Sprint(end)
		body = object{"value": all[skip:end], "nextLink": next}
	}
	if all == nil {
		body["value"] = []object{}
	}
	reply(w, http.StatusOK, body)
}
