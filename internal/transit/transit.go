// Package transit says how everything of Holdfast that speaks over a network is
// encrypted: the server, its command line, the object stores, outside issuers.
//
// It promises TLS with forward secrecy and AES-256 (matrix SEC-01). That is TLS
// 1.2 with ECDHE and AES-256-GCM, and no TLS 1.3: Go prefers AES-128 there and
// cannot be told otherwise (crypto/tls, Config.CipherSuites). It says nothing of
// certificates: whom to trust is the caller's.
package transit

import "crypto/tls"

// Config is a new TLS configuration for either side.
func Config() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		MaxVersion:   tls.VersionTLS12, //nolint:gosec // see the package's comment
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384},
	}
}
