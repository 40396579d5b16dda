package libvirt_test

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"holdfast/internal/guestlab"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/libvirt"
)

// relay stands between a client and libvirtd, and breaks off like a daemon that
// is restarted. The real daemon is shared with other tests.
type relay struct {
	l     net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func newRelay(t *testing.T) *relay {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "sock"))
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{l: l}
	t.Cleanup(func() { l.Close(); r.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("unix", "/var/run/libvirt/libvirt-sock")
			if err != nil {
				c.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, c, up)
			r.mu.Unlock()
			go io.Copy(up, c)
			go io.Copy(c, up)
		}
	}()
	return r
}

// cut breaks all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

func TestLostConnection(t *testing.T) {
	guestlab.Host(t) // libvirt is there
	r := newRelay(t)
	h, err := libvirt.Connect(t.Context(), "qemu:///system?socket="+r.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for range 3 {
		r.cut()
		// The first call after the cut may still meet the dead connection.
		if _, err := h.Pools(t.Context()); err != nil && !errors.Is(err, hypervisor.ErrUnreachable) {
			t.Errorf("%v, want ErrUnreachable", err)
		}
		if _, err := h.Pools(t.Context()); err != nil {
			t.Errorf("the second call after a cut: %v", err)
		}
	}
	r.l.Close()
	r.cut()
	h.Pools(t.Context())
	if _, err := h.Pools(t.Context()); !errors.Is(err, hypervisor.ErrUnreachable) {
		t.Errorf("libvirtd gone: %v, want ErrUnreachable", err)
	}
	h.Close()
	if _, err := h.Pools(t.Context()); !errors.Is(err, hypervisor.ErrUnreachable) {
		t.Errorf("closed: %v, want ErrUnreachable", err)
	}
}
