// Package transport makes the HTTP transport of the stores behind a network:
// encrypted as transit says, and no wait without an end.
//
// A connection on which nothing moves for Stall fails, so that a call that the
// network has forgotten ends although its context doesn't. It does not limit
// how long a transfer takes that moves. An idle transport makes no request.
package transport

import (
	"context"
	"net"
	"net/http"
	"time"

	"holdfast/internal/transit"
)

// Stall is how long a connection in use may be silent.
const Stall = 90 * time.Second

// New returns a transport for one store. Proxies are taken from the
// environment, as net/http does.
func New() *http.Transport { return stalling(Stall) }

// stalling returns a transport with another limit than Stall.
func stalling(limit time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return stallConn{c, limit}, nil
		},
		TLSClientConfig:       transit.Config(),
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: limit,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       60 * time.Second,
		MaxIdleConns:          256,
		MaxIdleConnsPerHost:   64,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
		DisableCompression:    true, // bytes as they are stored
	}
}

// stallConn gives every read and write its own deadline. The client always waits
// for an answer, also while it still sends the request: so a write moves the
// deadline of that read too.
type stallConn struct {
	net.Conn
	limit time.Duration
}

func (c stallConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c stallConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
