package embedded

import (
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"sync/atomic"
)

// given is a certificate that the server was given, from files that somebody
// else renews.
type given struct {
	certFile, keyFile string // absolute
	now               atomic.Pointer[tls.Certificate]
}

// openGiven reads a certificate chain and its key (PEM); nil for no files.
func openGiven(cert, key string) (*given, error) {
	if cert == "" && key == "" {
		return nil, nil
	}
	if cert == "" || key == "" {
		return nil, fmt.Errorf("a TLS certificate and its key go together")
	}
	g := &given{}
	var err error
	if g.certFile, err = filepath.Abs(cert); err != nil {
		return nil, err
	}
	if g.keyFile, err = filepath.Abs(key); err != nil {
		return nil, err
	}
	return g, g.reload()
}

// reload reads the files again; what cannot be read leaves the old certificate.
func (g *given) reload() error {
	if g == nil {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(g.certFile, g.keyFile)
	if err != nil {
		return fmt.Errorf("TLS certificate %s: %w", g.certFile, err)
	}
	g.now.Store(&pair)
	return nil
}

// covers says whether the certificate is for a host name or address.
func (g *given) covers(host string) bool {
	return g != nil && host != "" && g.now.Load().Leaf.VerifyHostname(host) == nil
}

// forHello is the certificate if it is for what the client asks for: a name, or
// the address that it connected to. nil: it is not.
func (g *given) forHello(hello *tls.ClientHelloInfo) *tls.Certificate {
	host := hello.ServerName
	if host == "" && hello.Conn != nil {
		host, _, _ = net.SplitHostPort(hello.Conn.LocalAddr().String())
	}
	if !g.covers(host) {
		return nil
	}
	return g.now.Load()
}

// ReloadCertificate reads the given certificate again. Connections that are
// there keep theirs; after an error all do.
func (s *Server) ReloadCertificate() error { return s.tls.given.reload() }
