package client

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"holdfast/internal/transit"
)

// transport carries every request, those of the sign-in included. It traces
// them if asked to, and remembers why the last one got no answer: on its way up
// through the sign-in library that reason would be lost.
type transport struct {
	next  http.RoundTripper
	trace io.Writer // nil traces nothing

	mu   sync.Mutex
	last error // of the last request, nil if it was answered
}

func newTransport(caFile string, trace io.Writer) (*transport, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, &Error{Reason: NotSignedIn, Code: "InvalidCAFile", Target: EnvCAFile, Cause: err,
				Message: "The CA file " + caFile + " cannot be read."}
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, &Error{Reason: NotSignedIn, Code: "InvalidCAFile", Target: EnvCAFile,
				Message: "The CA file " + caFile + " holds no PEM certificate."}
		}
	}
	security := transit.Config()
	security.RootCAs = roots
	return &transport{trace: trace, next: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       security,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 90 * time.Second, // registering a site asks libvirt first
		MaxIdleConnsPerHost:   4,
		IdleConnTimeout:       60 * time.Second,
	}}, nil
}

// Do is policy.Transporter. Redirects are not followed: ARM has none, and a
// token must not travel.
func (t *transport) Do(req *http.Request) (*http.Response, error) {
	began := time.Now()
	resp, err := t.next.RoundTrip(req)
	t.mu.Lock()
	t.last = err
	t.mu.Unlock()
	if t.trace != nil {
		t.print(req, resp, err, time.Since(began))
	}
	return resp, err
}

// print writes one line per request: no header but the request id, and no body,
// so that neither the secret nor a token can be in it.
func (t *transport) print(req *http.Request, resp *http.Response, err error, took time.Duration) {
	took = took.Round(time.Millisecond)
	if err != nil {
		fmt.Fprintf(t.trace, "debug: %s %s: %v (%v)\n", req.Method, req.URL.Redacted(), err, took)
		return
	}
	line := fmt.Sprintf("debug: %s %s: %s (%v)", req.Method, req.URL.Redacted(), resp.Status, took)
	if id := resp.Header.Get("x-ms-request-id"); id != "" {
		line += " request " + id
	}
	fmt.Fprintln(t.trace, line)
}

// failure is why the last request got no answer, or nil.
func (t *transport) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// unreachable says in a user's words why endpoint did not answer.
func unreachable(endpoint string, cause error) *Error {
	e := &Error{Reason: Unreachable, Code: "ServerUnreachable", Cause: cause,
		Message: "The server at " + endpoint + " cannot be reached.",
		Hint:    "Check that it runs, and " + EnvEndpoint + "."}
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(cause, &unknown):
		e.Message = "The certificate of " + endpoint + " is not signed by an authority that is trusted here."
		e.Hint = "Set " + EnvCAFile + " to the CA certificate of the server (ca.pem in its data directory)."
	case errors.As(cause, &name):
		e.Message = "The certificate of " + endpoint + " is for another name."
		e.Hint = "Use a name that the certificate has, in " + EnvEndpoint + "."
	case errors.Is(cause, syscall.ECONNREFUSED):
		e.Message = "Nothing listens at " + endpoint + "."
		e.Hint = "Start the server (holdfast serve), or correct " + EnvEndpoint + "."
	}
	return e
}

// atEndpoint is a pipeline policy that sends every request to the endpoint,
// whatever host a link of the server's names (nextLink, Azure-AsyncOperation).
// The server may know itself by another name than its clients do, and a token
// must go nowhere else.
type atEndpoint struct{ endpoint *url.URL }

func (p atEndpoint) Do(req *policy.Request) (*http.Response, error) {
	r := req.Raw()
	r.URL.Scheme, r.URL.Host, r.URL.User = p.endpoint.Scheme, p.endpoint.Host, nil
	r.Host = p.endpoint.Host
	return req.Next()
}
