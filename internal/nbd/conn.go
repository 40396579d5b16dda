package nbd

import (
	"bufio"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// conn is one connection in the transmission phase. Requests are sent by the
// goroutines that make them; one goroutine reads every reply and is the only
// one that ends a request, so that a caller's buffer is never written after
// its call returned.
type conn struct {
	nc      net.Conn
	info    Info
	ids     map[uint32]string
	timeout time.Duration

	load atomic.Int32  // requests under way, for choosing a connection
	dead chan struct{} // closed when the reader has ended every request

	wmu sync.Mutex // held while one request is written

	mu       sync.Mutex // guards what follows
	inflight map[uint64]*request
	cookie   uint64
	err      error // why the connection ended
}

// request is one command on the wire.
type request struct {
	cmd, flags uint16
	off        int64
	length     uint32
	payload    []byte // write: what goes out
	dst        []byte // read: where the answer goes
	status     map[string][]statusRun

	filled spans // read: ranges of dst that were answered
	chunks int   // pieces of the reply so far
	err    error
	done   chan struct{}
}

// newConn starts the transmission phase after a handshake.
func newConn(nc net.Conn, n *negotiation, timeout time.Duration) *conn {
	c := &conn{nc: nc, info: n.info, ids: n.ids, timeout: timeout,
		dead: make(chan struct{}), inflight: map[uint64]*request{}}
	go c.read()
	return c
}

// start sends r. Its end comes through wait.
func (c *conn) start(r *request) {
	r.done = make(chan struct{})
	c.load.Add(1)
	c.mu.Lock()
	if c.err != nil {
		r.err = c.err
		c.mu.Unlock()
		close(r.done)
		return
	}
	c.cookie++
	cookie := c.cookie
	c.inflight[cookie] = r
	if len(c.inflight) == 1 {
		c.rearm()
	}
	c.mu.Unlock()
	if err := c.send(cookie, r); err != nil {
		c.fail(fmt.Errorf("nbd: send request: %w", err))
	}
}

// send writes the header and payload in one piece.
func (c *conn) send(cookie uint64, r *request) error {
	var h [requestSize]byte
	putRequest(&h, r.flags, r.cmd, cookie, r.off, r.length)
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.timeout > 0 {
		if err := c.nc.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
			return err
		}
	}
	if len(r.payload) == 0 {
		_, err := c.nc.Write(h[:])
		return err
	}
	parts := net.Buffers{h[:], r.payload}
	_, err := parts.WriteTo(c.nc)
	return err
}

// wait returns when r has ended.
func (c *conn) wait(r *request) error {
	<-r.done
	c.load.Add(-1)
	return r.err
}

// rearm moves the read deadline: there is one only while a request waits. The
// caller holds c.mu.
func (c *conn) rearm() {
	if c.timeout <= 0 {
		return
	}
	var t time.Time
	if len(c.inflight) > 0 {
		t = time.Now().Add(c.timeout)
	}
	_ = c.nc.SetReadDeadline(t) // fails only on a closed connection, which the reader sees
}

// fail ends the connection for a reason; the first reason stays. The requests
// are ended by the reader, which this wakes.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	_ = c.nc.Close() // the reason is known already
}

// finish ends one request.
func (c *conn) finish(cookie uint64, r *request) {
	c.mu.Lock()
	delete(c.inflight, cookie)
	c.rearm()
	c.mu.Unlock()
	close(r.done)
}

// read is the reader goroutine.
func (c *conn) read() {
	defer close(c.dead)
	err := c.readReplies(bufio.NewReaderSize(c.nc, 4<<10))
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		err = fmt.Errorf("%w: nothing in %v", ErrTimeout, c.timeout)
	}
	c.fail(err)
	c.mu.Lock()
	waiting := c.inflight
	c.inflight = nil
	err = c.err
	c.mu.Unlock()
	for _, r := range waiting {
		if r.err == nil {
			r.err = err
		}
		close(r.done)
	}
}

// lookup finds the request that a reply is for.
func (c *conn) lookup(cookie uint64) (*request, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.inflight[cookie]
	if r == nil {
		return nil, protocolError("reply to a request that was not made")
	}
	if c.timeout > 0 {
		c.rearm()
	}
	return r, nil
}

// close says goodbye and waits until the reader is gone.
func (c *conn) close() {
	c.mu.Lock()
	alive := c.err == nil
	c.mu.Unlock()
	if alive {
		var h [requestSize]byte
		putRequest(&h, 0, cmdDisconnect, 0, 0, 0)
		_ = c.nc.SetWriteDeadline(time.Now().Add(time.Second))
		if c.wmu.TryLock() {
			_, _ = c.nc.Write(h[:]) // a courtesy; the server sees the end anyway
			c.wmu.Unlock()
		}
	}
	c.fail(ErrClosed)
	<-c.dead
}
