// Package libvirt is the [hypervisor.Host] of a libvirt daemon, spoken to over
// its own RPC protocol (https://libvirt.org/internals/rpc.html); no C library.
//
// It promises what the contract promises, and that a lost connection (a
// restarted libvirtd) costs the calls in flight and no later one.
package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	rpc "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"holdfast/internal/hypervisor"
)

// connectTimeout bounds one attempt to reach libvirt.
const connectTimeout = 20 * time.Second

// Host is one libvirt daemon. Make it with Connect.
type Host struct {
	uri *url.URL

	mu     sync.Mutex
	conn   *rpc.Libvirt // nil before the first use and after Close
	closed bool
}

var _ hypervisor.Host = (*Host)(nil)

// Connect reaches the libvirt at a URI such as qemu:///system
// (https://libvirt.org/uri.html). hypervisor.ErrUnreachable when the URI is
// wrong or nobody answers.
func Connect(ctx context.Context, uri string) (*Host, error) {
	u, err := parseURI(uri)
	if err != nil {
		return nil, fmt.Errorf("%w: URI %q: %w", hypervisor.ErrUnreachable, uri, err)
	}
	h := &Host{uri: u}
	if err := h.ping(ctx); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// parseURI accepts QEMU's URIs, of this machine or another.
func parseURI(uri string) (*url.URL, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, err
	}
	driver, _, _ := strings.Cut(u.Scheme, "+")
	if driver != "qemu" {
		return nil, errors.New("must start with qemu:, such as qemu:///system")
	}
	if u.Path != "/system" && u.Path != "/session" {
		return nil, fmt.Errorf("path %q must be /system or /session", u.Path)
	}
	return u, nil
}

// Close ends the connection. Calls after it fail.
func (h *Host) Close() error {
	h.mu.Lock()
	conn := h.conn
	h.conn, h.closed = nil, true
	h.mu.Unlock()
	if conn == nil || !conn.IsConnected() {
		return nil
	}
	return conn.Disconnect()
}

// connection gives the living connection, made anew when it was lost.
func (h *Host) connection() (*rpc.Libvirt, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, fmt.Errorf("%w: the connection was closed", hypervisor.ErrUnreachable)
	}
	if h.conn != nil && h.conn.IsConnected() {
		return h.conn, nil
	}
	conn, err := rpc.ConnectToURI(h.uri)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", hypervisor.ErrUnreachable, h.uri.Redacted(), err)
	}
	h.conn = conn
	return conn, nil
}

// call runs one exchange with libvirt. When ctx ends first it returns at once
// and the answer is dropped; the protocol has no way to take a call back.
func call[T any](ctx context.Context, h *Host, f func(*rpc.Libvirt) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	done := make(chan answer, 1)
	go func() {
		conn, err := h.connection()
		if err != nil {
			done <- answer{none, err}
			return
		}
		v, err := f(conn)
		if err != nil && lost(conn, err) {
			h.forget(conn)
			err = fmt.Errorf("%w: %s: %w", hypervisor.ErrUnreachable, h.uri.Redacted(), err)
		}
		done <- answer{v, classify(err)}
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// lost says whether an error means that the connection is gone. The client
// notices that by itself only when its reader gets to run.
func lost(conn *rpc.Libvirt, err error) bool {
	return !conn.IsConnected() || errors.As(err, new(*net.OpError)) || errors.Is(err, syscall.EINVAL)
}

// forget makes the next call connect anew.
func (h *Host) forget(conn *rpc.Libvirt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn == conn {
		h.conn = nil
	}
}

// do is call without an answer.
func do(ctx context.Context, h *Host, f func(*rpc.Libvirt) error) error {
	_, err := call(ctx, h, func(l *rpc.Libvirt) (struct{}, error) { return struct{}{}, f(l) })
	return err
}

// ping asks libvirt for a sign of life: a question that it answers at once,
// unlike that for QEMU's version, for which it may have to probe QEMU.
func (h *Host) ping(ctx context.Context) error {
	unanswered := fmt.Errorf("%w: %s does not answer within %s", hypervisor.ErrUnreachable, h.uri.Redacted(), connectTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, unanswered)
	defer cancel()
	err := do(ctx, h, func(l *rpc.Libvirt) error {
		_, err := l.ConnectGetLibVersion()
		return err
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = context.Cause(ctx)
	}
	return err
}

// Info says what the host is.
func (h *Host) Info(ctx context.Context) (hypervisor.Info, error) {
	return call(ctx, h, func(l *rpc.Libvirt) (hypervisor.Info, error) {
		name, err := l.ConnectGetHostname()
		if err != nil {
			return hypervisor.Info{}, err
		}
		lib, err := l.ConnectGetLibVersion()
		if err != nil {
			return hypervisor.Info{}, err
		}
		qemu, err := l.ConnectGetVersion()
		if err != nil {
			return hypervisor.Info{}, err
		}
		return hypervisor.Info{Host: name, Libvirt: version(lib), QEMU: version(qemu)}, nil
	})
}

// Confinement names the security driver that confines QEMU
// (https://libvirt.org/formatcaps.html, secmodel).
func (h *Host) Confinement(ctx context.Context) (string, error) {
	return call(ctx, h, func(l *rpc.Libvirt) (string, error) {
		doc, err := l.ConnectGetCapabilities()
		if err != nil {
			return "", err
		}
		return confinement(doc)
	})
}

func confinement(doc string) (string, error) {
	var caps libvirtxml.Caps
	if err := caps.Unmarshal(doc); err != nil {
		return "", fmt.Errorf("capabilities: %w", err)
	}
	for _, m := range caps.Host.SecModel {
		if m.Name == "apparmor" || m.Name == "selinux" {
			return m.Name, nil
		}
	}
	return "", nil
}

// version writes libvirt's version number: major·10⁶ + minor·10³ + release.
func version(v uint64) string {
	return fmt.Sprintf("%d.%d.%d", v/1_000_000, v/1000%1000, v%1000)
}
