package embedded

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"holdfast/internal/clock"
	"holdfast/internal/transit"
)

// authority is the CA of this server and the certificate that it shows. The CA
// is made at the first start and trusted by its file; the certificate is kept in
// memory and made anew when it nears its end or its names change.
type authority struct {
	dir   string
	names []string // DNS names and IP addresses
	now   clock.Clock

	ca    *x509.Certificate
	caKey crypto.Signer

	given *given // nil: only its own

	mu   sync.Mutex
	leaf *tls.Certificate
}

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 365 * 24 * time.Hour
	renewAt  = 30 * 24 * time.Hour // left
)

// openAuthority opens the CA in dir, making it if there is none. host is where
// the server listens.
func openAuthority(dir, host string, now clock.Clock) (*authority, error) {
	a := &authority{dir: dir, now: now, names: []string{"localhost", "127.0.0.1", "::1"}}
	more := []string{host}
	if name, err := os.Hostname(); err == nil {
		more = append(more, name)
	}
	for _, n := range more {
		if ip := net.ParseIP(n); n != "" && (ip == nil || !ip.IsUnspecified()) && !slices.Contains(a.names, n) {
			a.names = append(a.names, n)
		}
	}
	if err := a.loadCA(); errors.Is(err, fs.ErrNotExist) {
		return a, a.makeCA()
	} else if err != nil {
		return nil, fmt.Errorf("CA in %s: %w", dir, err)
	}
	return a, nil
}

func (a *authority) caFile() string  { return filepath.Join(a.dir, "ca.pem") }
func (a *authority) keyFile() string { return filepath.Join(a.dir, "ca.key") }

func (a *authority) loadCA() error {
	pair, err := tls.LoadX509KeyPair(a.caFile(), a.keyFile())
	if err != nil {
		return err
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return fmt.Errorf("its key is a %T", pair.PrivateKey)
	}
	a.ca, a.caKey = pair.Leaf, key
	return nil
}

// makeCA writes the key first: a certificate without its key would be trusted
// for nothing.
func (a *authority) makeCA() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := a.now()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Holdfast CA " + now.Format("2006-01-02")},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePrivate(a.keyFile(), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))); err != nil {
		return err
	}
	if err := writePrivate(a.caFile(), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))); err != nil {
		return err
	}
	if err := os.Chmod(a.caFile(), 0o644); err != nil { // the certificate is for everybody
		return err
	}
	return a.loadCA()
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic("internal error: " + err.Error()) // crypto/rand does not fail
	}
	return n
}

// config is the TLS that the server speaks (SEC-01).
func (a *authority) config() *tls.Config {
	c := transit.Config()
	c.GetCertificate, c.NextProtos = a.certificate, []string{"http/1.1"}
	return c
}

// certificate returns the given certificate where it covers the name that is
// asked for, else the server's own, which is renewed near its end.
func (a *authority) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := a.given.forHello(hello); c != nil {
		return c, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.leaf != nil && a.leaf.Leaf.NotAfter.Sub(a.now()) > renewAt {
		return a.leaf, nil
	}
	leaf, err := a.issue()
	if err == nil {
		a.leaf = leaf
	}
	return leaf, err
}

func (a *authority) issue() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := a.now()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "holdfast"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range a.names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.ca, key.Public(), a.caKey)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}
