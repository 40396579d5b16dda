package nbd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Options of Dial. The zero value is good.
type Options struct {
	// Contexts are metadata contexts to ask for ("base:allocation",
	// "qemu:dirty-bitmap:NAME"). Ask only for what is needed: qemu-nbd 6.2.0
	// answers base:allocation wrongly when qemu:allocation-depth is asked for
	// too (oVirt imageio, pull request 21). Info().Contexts has what came.
	Contexts []string
	// Connections is how many connections to use where the server allows
	// several (NBD_FLAG_CAN_MULTI_CONN); 0 and 1 mean one. At most 16.
	Connections int
	// Timeout breaks a connection on which a request waits and nothing comes
	// for that long. 0 means 5 minutes, negative means never.
	Timeout time.Duration
	// Piece is the longest read or write sent as one request, bytes; longer
	// ones are split and sent together. 0 means 1 MiB.
	Piece int64
}

const (
	defaultTimeout = 5 * time.Minute
	defaultPiece   = 1 << 20
	maxConnections = 16
	// furtherPatience is how long a connection beyond the first may take.
	furtherPatience = 5 * time.Second
	maxContexts     = 16
)

func (o Options) withDefaults() (Options, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Piece == 0 {
		o.Piece = defaultPiece
	}
	o.Connections = max(o.Connections, 1)
	switch {
	case o.Connections > maxConnections:
		return o, fmt.Errorf("nbd: Options.Connections is %d, at most %d", o.Connections, maxConnections)
	case len(o.Contexts) > maxContexts:
		return o, fmt.Errorf("nbd: Options.Contexts has %d names, at most %d", len(o.Contexts), maxContexts)
	case o.Piece < maxMinBlock:
		return o, fmt.Errorf("nbd: Options.Piece is %d, at least %d", o.Piece, maxMinBlock)
	}
	for _, c := range o.Contexts {
		if len(c) == 0 || len(c) > maxString {
			return o, fmt.Errorf("nbd: Options.Contexts has a name of %d bytes, 1 to %d are allowed", len(c), maxString)
		}
	}
	return o, nil
}

// Client is an open export. All methods may be called from many goroutines at
// once; requests of all of them travel together.
type Client struct {
	info  Info
	piece int64
	conns []*conn
	stop  func() bool  // takes the client off its context
	edge  sync.Mutex   // held while a block is read, changed and written
	plain atomic.Bool  // the server refuses zero and trim requests longer than MaxPayload
	next  atomic.Int64 // spreads requests over connections of equal load
}

// Dial opens an export. The context is the client's life: when it ends, the
// connections are closed and every request fails with its cause. Errors:
// ErrUnknownExport, ErrProtocol, ErrUnsupported, or what the network said.
func Dial(ctx context.Context, network, address, export string, o Options) (*Client, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if len(export) > maxString {
		return nil, fmt.Errorf("nbd: export name of %d bytes, at most %d", len(export), maxString)
	}
	first, err := dialOne(ctx, network, address, export, o.Contexts, o.Timeout)
	if err != nil {
		return nil, err
	}
	c := newClient(first, o)
	for len(c.conns) < o.Connections && c.info.MultiConn {
		// Block status is asked on the first connection: the others need no contexts.
		further, err := dialFurther(ctx, network, address, export, o.Timeout)
		if err == nil {
			err = sameExport(c.info, further)
		}
		if errors.Is(err, ErrProtocol) || ctx.Err() != nil {
			_ = c.Close() // the first reason counts
			return nil, err
		}
		if err != nil {
			break // servers limit connections; those that we have do
		}
		c.conns = append(c.conns, further)
	}
	c.stop = context.AfterFunc(ctx, func() { c.end(context.Cause(ctx)) })
	return c, nil
}

// dialFurther is dialOne for a connection that could be done without: a server
// that is full may let it wait instead of refusing it.
func dialFurther(ctx context.Context, network, address, export string, timeout time.Duration) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, furtherPatience)
	defer cancel()
	return dialOne(ctx, network, address, export, nil, timeout)
}

// newClient makes a client of its first connection.
func newClient(first *conn, o Options) *Client {
	info := first.info
	return &Client{info: info, conns: []*conn{first},
		piece: max(min(o.Piece, info.MaxPayload)/info.MinBlock, 1) * info.MinBlock}
}

func dialOne(ctx context.Context, network, address, export string, contexts []string, timeout time.Duration) (*conn, error) {
	var d net.Dialer
	if timeout > 0 {
		d.Timeout = timeout
	}
	nc, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("nbd: %w", err)
	}
	return open(ctx, nc, export, contexts, timeout)
}

// open runs the handshake on nc, which it closes on failure.
func open(ctx context.Context, nc net.Conn, export string, contexts []string, timeout time.Duration) (*conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if timeout > 0 {
		_ = nc.SetDeadline(time.Now().Add(timeout))
	}
	if ctx.Err() != nil { // the deadline above may have undone the context's
		_ = nc.Close()
		return nil, context.Cause(ctx)
	}
	n, err := handshake(nc, export, contexts)
	if err != nil {
		_ = nc.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	if !stop() {
		_ = nc.Close()
		return nil, context.Cause(ctx)
	}
	_ = nc.SetDeadline(time.Time{})
	return newConn(nc, n, timeout), nil
}

// sameExport checks that a further connection shows the export of the first.
func sameExport(first Info, c *conn) error {
	if c.info.Size == first.Size && c.info.MinBlock == first.MinBlock && c.info.MaxPayload == first.MaxPayload &&
		c.info.ReadOnly == first.ReadOnly && c.info.Structured == first.Structured {
		return nil
	}
	c.close()
	return protocolError("a further connection shows another export")
}

// Info is what the server said of the export.
func (c *Client) Info() Info { return c.info }

// Size of the export, bytes.
func (c *Client) Size() int64 { return c.info.Size }

// Close ends the connections. Requests under way end with ErrClosed. It may be
// called more than once.
func (c *Client) Close() error {
	if c.stop != nil {
		c.stop()
	}
	for _, conn := range c.conns {
		conn.close()
	}
	return nil
}

func (c *Client) end(err error) {
	for _, conn := range c.conns {
		conn.fail(err)
	}
}

// pick chooses the connection with the least work.
func (c *Client) pick() *conn {
	if len(c.conns) == 1 {
		return c.conns[0]
	}
	start := int(c.next.Add(1))
	best := c.conns[start%len(c.conns)]
	for i := range c.conns {
		if o := c.conns[(start+i)%len(c.conns)]; o.load.Load() < best.load.Load() {
			best = o
		}
	}
	return best
}

// do sends one request and waits for its end.
func (c *Client) do(r *request) error {
	conn := c.pick()
	conn.start(r)
	return conn.wait(r)
}

// split runs fn's requests for [0, n) in pieces, all under way together (at
// most window), and returns how many bytes from the start are surely done.
func (c *Client) split(n, piece int64, fn func(at, length int64) *request) (int64, error) {
	if n <= piece {
		if err := c.do(fn(0, n)); err != nil {
			return 0, err
		}
		return n, nil
	}
	type sent struct {
		conn *conn
		r    *request
	}
	const window = 32
	var queue []sent
	var done int64
	var first error
	for at := int64(0); at < n || len(queue) > 0; {
		if at < n && len(queue) < window && first == nil {
			length := min(piece, n-at)
			s := sent{c.pick(), fn(at, length)}
			s.conn.start(s.r)
			queue = append(queue, s)
			at += length
			continue
		}
		if len(queue) == 0 {
			break // failed: nothing more is sent
		}
		s := queue[0]
		queue = queue[1:]
		if err := s.conn.wait(s.r); err != nil && first == nil {
			first = err
		}
		if first == nil {
			done += int64(s.r.length)
		}
	}
	return done, first
}

// check refuses a range outside the export.
func (c *Client) check(off, n int64) error {
	if off < 0 || n < 0 || off > c.info.Size || n > c.info.Size-off {
		return fmt.Errorf("%w: %d bytes at %d of %d", ErrRange, n, off, c.info.Size)
	}
	return nil
}

// aligned says whether a range is one that the server takes as it is. The end
// of an export may be ragged.
func (c *Client) aligned(off, n int64) bool {
	b := c.info.MinBlock
	return off%b == 0 && (n%b == 0 || off+n == c.info.Size)
}

// ReadAt reads as io.ReaderAt: at the end of the export it returns io.EOF.
func (c *Client) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, c.check(off, 0)
	}
	if off >= c.info.Size && len(p) > 0 {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	var eof error
	if int64(len(p)) > c.info.Size-off {
		p, eof = p[:c.info.Size-off], io.EOF
	}
	var n int64
	var err error
	if c.aligned(off, int64(len(p))) {
		n, err = c.readAligned(p, off)
	} else {
		n, err = c.readRagged(p, off)
	}
	if err != nil {
		return int(n), err
	}
	return int(n), eof
}

func (c *Client) readAligned(p []byte, off int64) (int64, error) {
	return c.split(int64(len(p)), c.piece, func(at, n int64) *request {
		return &request{cmd: cmdRead, off: off + at, length: uint32(n), dst: p[at : at+n]}
	})
}

// readRagged reads a range that is no multiple of the server's minimum block,
// a piece at a time.
func (c *Client) readRagged(p []byte, off int64) (int64, error) {
	b, done := c.info.MinBlock, int64(0)
	for done < int64(len(p)) {
		at := off + done
		start := at / b * b
		end := min((min(off+int64(len(p)), start+c.piece)+b-1)/b*b, c.info.Size)
		buf := make([]byte, end-start)
		if _, err := c.readAligned(buf, start); err != nil {
			return done, err
		}
		done += int64(copy(p[done:], buf[at-start:]))
	}
	return done, nil
}

// errUnwritable is a write to an export that is read-only.
var errUnwritable = fmt.Errorf("%w: the export is read-only: %w", ErrUnsupported, syscall.EPERM)
