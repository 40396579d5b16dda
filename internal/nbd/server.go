package nbd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"holdfast/internal/disk"
)

// Export is a disk that a server offers.
type Export struct {
	Name        string // at most 4096 bytes; "" is the default export
	Description string // shown to clients; may be empty
	// Source is what clients read. Zero extents are offered as
	// base:allocation; Same counts as data.
	Source disk.Source
	// Target, if set, takes what clients write; Source must then read what
	// was written, at once. Without it the export is read-only.
	Target disk.Target
}

// ServerOptions of Serve. The zero value is good.
type ServerOptions struct {
	// Connections is how many clients may be connected at once; 0 means 64.
	// Further ones wait to be accepted.
	Connections int
	// Memory bounds the bytes of all requests under way; 0 means 128 MiB, at
	// least 64 MiB.
	Memory int64
	// Handshake bounds the time for a client's handshake; 0 means 30 seconds.
	Handshake time.Duration
}

const (
	serverDepth = 32  // requests of one connection under way at once
	maxOptions  = 128 // options of one handshake
)

// served is an export of a running server.
type served struct {
	Export
	changes atomic.Int64 // writes and zeroes so far: what was known of the map before is stale
}

// server is one Serve.
type server struct {
	exports []*served
	o       ServerOptions
	memory  *semaphore.Weighted
}

// Serve offers exports to all who connect to l, until ctx ends; then it closes
// l and every connection, waits for the requests under way, and returns nil.
// Any other end is an error of l. Who may connect is the matter of the
// listener: the protocol is spoken in the clear and asks for no name.
//
// It speaks fixed newstyle with structured replies, base:allocation, reads,
// and for writable exports writes, zeroes, trims (done as zeroes), FUA and
// flush. Several connections to one export see one another's writes, and a
// flush covers all of them.
func Serve(ctx context.Context, l net.Listener, o ServerOptions, exports ...Export) error {
	if err := checkExports(exports); err != nil {
		return err
	}
	if o.Connections <= 0 {
		o.Connections = 64
	}
	if o.Handshake <= 0 {
		o.Handshake = 30 * time.Second
	}
	if o.Memory == 0 {
		o.Memory = 128 << 20
	}
	o.Memory = max(o.Memory, 2*maxPayload)
	s := &server{o: o, memory: semaphore.NewWeighted(o.Memory)}
	for _, e := range exports {
		s.exports = append(s.exports, &served{Export: e})
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel() // before waiting
	slots := make(chan struct{}, o.Connections)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		nc, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = nc.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("nbd: accept: %w", err)
		}
		wg.Go(func() {
			s.connection(ctx, nc)
			<-slots
		})
	}
}

func checkExports(exports []Export) error {
	names := map[string]bool{}
	for _, e := range exports {
		switch {
		case len(e.Name) > maxString || len(e.Description) > maxString:
			return fmt.Errorf("nbd: export name or description of more than %d bytes", maxString)
		case names[e.Name]:
			return fmt.Errorf("nbd: two exports named %q", e.Name)
		case e.Source == nil:
			return fmt.Errorf("nbd: export %q has no Source", e.Name)
		case e.Target != nil && e.Target.Size() != e.Source.Size():
			return fmt.Errorf("nbd: export %q reads %d bytes and writes %d", e.Name, e.Source.Size(), e.Target.Size())
		}
		names[e.Name] = true
	}
	return nil
}

// connection serves one client to its end. What ends it is the client's
// matter: a client that breaks the protocol is cut off.
func (s *server) connection(ctx context.Context, nc net.Conn) {
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	if nc.SetDeadline(time.Now().Add(s.o.Handshake)) != nil {
		return
	}
	h := &serverHandshake{server: s, rw: nc}
	e, err := h.run()
	if err != nil || e == nil || nc.SetDeadline(time.Time{}) != nil {
		return
	}
	t := &transmission{server: s, nc: nc, export: e, structured: h.structured, status: h.contexts[e.Name]}
	t.run(ctx)
}

// find gives the export of a name.
func (s *server) find(name string) *served {
	for _, e := range s.exports {
		if e.Name == name {
			return e
		}
	}
	return nil
}

// flags are the transmission flags of an export (proto.md, "Transmission
// flags").
func (e *Export) flags() uint16 {
	f := uint16(canFlags | canDontFrag | canMultiConn)
	if e.Target == nil {
		return f | isReadOnly
	}
	return f | canFlush | canFUA | canTrim | canWriteZero
}

// errHangup ends a connection whose client broke the protocol.
var errHangup = errors.New("nbd: client broke the protocol")
