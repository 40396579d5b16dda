package nbd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// script is a server that says what it is told to, whatever is asked. Each of
// its parts after the first, which is the handshake, is said when one more
// request has come.
type script struct {
	b    []byte // the part that is being written
	said [][]byte
}

func (s *script) u16(v uint16) *script { s.b = binary.BigEndian.AppendUint16(s.b, v); return s }
func (s *script) u32(v uint32) *script { s.b = binary.BigEndian.AppendUint32(s.b, v); return s }
func (s *script) u64(v uint64) *script { s.b = binary.BigEndian.AppendUint64(s.b, v); return s }
func (s *script) raw(p []byte) *script { s.b = append(s.b, p...); return s }
func (s *script) then() *script        { s.said, s.b = append(s.said, s.b), nil; return s }

func (s *script) greeting() *script {
	return s.u64(magicInit).u64(magicOption).u16(flagFixedNewstyle | flagNoZeroes)
}

func (s *script) option(option, kind uint32, data []byte) *script {
	return s.u64(magicReply).u32(option).u32(kind).u32(uint32(len(data))).raw(data)
}

func (s *script) context(id uint32, name string) *script {
	return s.option(optSetMetaContext, repMetaContext, (&script{}).u32(id).raw([]byte(name)).b)
}

func (s *script) export(size uint64, flags uint16) *script {
	return s.option(optGo, repInfo, (&script{}).u16(infoExport).u64(size).u16(flags).b)
}

func (s *script) chunk(cookie uint64, flags, kind uint16, data []byte) *script {
	return s.u32(magicStructured).u16(flags).u16(kind).u64(cookie).u32(uint32(len(data))).raw(data)
}

// ready is the handshake of an export of 1 MiB with one metadata context.
func ready() *script {
	return (&script{}).greeting().option(optStructuredReply, repAck, nil).
		context(1, ContextAllocation).option(optSetMetaContext, repAck, nil).
		export(1<<20, canFlags|canFlush|canWriteZero|canTrim).option(optGo, repAck, nil).then()
}

// scripted is a connection to a script.
type scripted struct {
	net.Conn // nil: the methods below are all that is called
	mu       sync.Mutex
	change   *sync.Cond
	parts    [][]byte
	requests int
	at       int // part
	shaken   bool
	closed   bool
}

func (s *script) conn() *scripted {
	c := &scripted{parts: append(slices.Clone(s.said), s.b)}
	c.change = sync.NewCond(&c.mu)
	return c
}

func (s *scripted) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closed:
			return 0, net.ErrClosed
		case s.at == len(s.parts), s.at > 0 && !s.shaken:
			return 0, io.EOF
		case s.at > s.requests:
			s.change.Wait()
		case len(s.parts[s.at]) == 0:
			s.at++
		default:
			n := copy(p, s.parts[s.at])
			s.parts[s.at] = s.parts[s.at][n:]
			return n, nil
		}
	}
}

func (s *scripted) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(p) == requestSize && binary.BigEndian.Uint32(p) == magicRequest {
		s.requests++
		s.change.Broadcast()
	}
	return len(p), nil
}

func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline is how the handshake ends: it takes the deadline away.
func (s *scripted) SetDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shaken = t.IsZero()
	return nil
}

func (s *scripted) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.change.Broadcast()
	return nil
}

// join makes a client of a scripted server.
func join(s *script) (*Client, error) {
	return joinConn(s.conn(), -1)
}

func joinConn(nc net.Conn, timeout time.Duration) (*Client, error) {
	first, err := open(context.Background(), nc, "", []string{ContextAllocation}, timeout)
	if err != nil {
		return nil, err
	}
	return newClient(first, Options{Piece: defaultPiece}), nil
}

// TestHostileHandshakes: each is refused, none of them believed.
func TestHostileHandshakes(t *testing.T) {
	t.Parallel()
	sr := func() *script { return (&script{}).greeting().option(optStructuredReply, repAck, nil) }
	noContext := func() *script { return sr().option(optSetMetaContext, repErrUnsupported, nil) }
	many := sr()
	for range maxOptReplies + 1 {
		many.context(1, ContextAllocation)
	}
	info := func(kind uint16, data ...uint32) []byte {
		s := (&script{}).u16(kind)
		for _, v := range data {
			s.u32(v)
		}
		return s.b
	}
	for name, c := range map[string]struct {
		s    *script
		want error
	}{
		"silence":           {&script{}, io.EOF},
		"http":              {(&script{}).raw([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")), ErrProtocol},
		"oldstyle":          {(&script{}).u64(magicInit).u64(0x00420281861253).u64(1), ErrUnsupported},
		"not fixed":         {(&script{}).u64(magicInit).u64(magicOption).u16(0), ErrUnsupported},
		"cut greeting":      {(&script{}).u64(magicInit).u64(magicOption), io.EOF},
		"bad reply magic":   {(&script{}).greeting().u64(1).u64(2).u64(3), ErrProtocol},
		"other option":      {(&script{}).greeting().option(optGo, repAck, nil), ErrProtocol},
		"long reply":        {(&script{}).greeting().u64(magicReply).u32(optStructuredReply).u32(repAck).u32(1 << 31), ErrProtocol},
		"wants TLS":         {(&script{}).greeting().option(optStructuredReply, repErrTLSRequired, nil), ErrUnsupported},
		"chatty":            {(&script{}).greeting().option(optStructuredReply, repInfo, nil), ErrProtocol},
		"foreign context":   {sr().context(1, "x:y"), ErrProtocol},
		"context twice":     {sr().context(1, ContextAllocation).context(2, ContextAllocation), ErrProtocol},
		"endless contexts":  {many, ErrProtocol},
		"short context":     {sr().option(optSetMetaContext, repMetaContext, []byte{1}), ErrProtocol},
		"context of info":   {sr().option(optSetMetaContext, repInfo, nil), ErrProtocol},
		"unknown export":    {sr().option(optSetMetaContext, repErrUnknown, []byte("no")), ErrUnknownExport},
		"unknown, later":    {noContext().option(optGo, repErrUnknown, nil), ErrUnknownExport},
		"no GO":             {noContext().option(optGo, repErrUnsupported, nil), ErrUnsupported},
		"GO says nothing":   {noContext().option(optGo, repAck, nil), ErrProtocol},
		"GO says contexts":  {noContext().option(optGo, repMetaContext, nil), ErrProtocol},
		"empty info":        {noContext().option(optGo, repInfo, nil), ErrProtocol},
		"short export":      {noContext().option(optGo, repInfo, info(infoExport, 1)), ErrProtocol},
		"negative size":     {noContext().export(1<<63, 1), ErrProtocol},
		"short blocks":      {noContext().option(optGo, repInfo, info(infoBlockSize, 1, 2)), ErrProtocol},
		"zero block":        {noContext().option(optGo, repInfo, info(infoBlockSize, 0, 1, 1)), ErrProtocol},
		"huge block":        {noContext().option(optGo, repInfo, info(infoBlockSize, 1<<20, 1<<20, 1<<20)), ErrProtocol},
		"odd block":         {noContext().option(optGo, repInfo, info(infoBlockSize, 3, 3, 3)), ErrProtocol},
		"preferred below":   {noContext().option(optGo, repInfo, info(infoBlockSize, 512, 1, 512)), ErrProtocol},
		"maximum below":     {noContext().option(optGo, repInfo, info(infoBlockSize, 512, 512, 1)), ErrProtocol},
		"maximum unaligned": {noContext().option(optGo, repInfo, info(infoBlockSize, 512, 512, 1000)), ErrProtocol},
	} {
		_, err := join(c.s)
		if !errors.Is(err, c.want) && !(c.want == io.EOF && errors.Is(err, io.ErrUnexpectedEOF)) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestHostileReplies: a request fails, and the rest after it; no bytes come
// from a reply that is not whole.
func TestHostileReplies(t *testing.T) {
	t.Parallel()
	at := func(off uint64, rest ...byte) []byte { return (&script{}).u64(off).raw(rest).b }
	hole := func(off uint64, n uint32) []byte { return (&script{}).u64(off).u32(n).b }
	flood := ready()
	for range maxChunks + 1 {
		flood.chunk(1, 0, chunkError, (&script{}).u32(5).u16(0).b)
	}
	for name, s := range map[string]*script{
		"nothing":          ready(),
		"bad magic":        ready().u32(7).u32(0).u64(0),
		"wrong cookie":     ready().chunk(9, chunkDone, chunkNone, nil),
		"simple read":      ready().u32(magicSimple).u32(0).u64(1).raw(make([]byte, 4096)),
		"in part":          ready().chunk(1, chunkDone, chunkData, at(4096, 1, 2, 3)),
		"nothing of it":    ready().chunk(1, chunkDone, chunkNone, nil),
		"twice":            ready().chunk(1, 0, chunkHole, hole(4096, 4096)).chunk(1, chunkDone, chunkData, at(4096, 1)),
		"before":           ready().chunk(1, chunkDone, chunkHole, hole(4095, 4096)),
		"beyond":           ready().chunk(1, chunkDone, chunkHole, hole(4096, 4097)),
		"far":              ready().chunk(1, chunkDone, chunkHole, hole(1<<63, 4096)),
		"empty hole":       ready().chunk(1, 0, chunkHole, hole(4096, 0)),
		"long hole chunk":  ready().chunk(1, 0, chunkHole, append(hole(4096, 4096), 0)),
		"no data":          ready().chunk(1, 0, chunkData, at(4096)),
		"none with bytes":  ready().chunk(1, chunkDone, chunkNone, []byte{1}),
		"none not done":    ready().chunk(1, 0, chunkNone, nil),
		"status to read":   ready().chunk(1, 0, chunkStatus, (&script{}).u32(1).u32(512).u32(0).b),
		"unknown type":     ready().chunk(1, 0, 77, nil),
		"short error":      ready().chunk(1, chunkDone, chunkError, []byte{0, 0, 0, 5}),
		"error of nothing": ready().chunk(1, chunkDone, chunkError, (&script{}).u32(0).u16(0).b),
		"error text cut":   ready().chunk(1, chunkDone, chunkError, (&script{}).u32(5).u16(9).b),
		"endless errors":   flood,
	} {
		c, err := join(s)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		p := bytes.Repeat([]byte{7}, 4096)
		n, err := c.ReadAt(p, 4096)
		if n != 0 || !errors.Is(err, ErrProtocol) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		if _, err := c.ReadAt(p, 0); err == nil {
			t.Errorf("%s: alive afterwards", name)
		}
	}
}

// TestReplyPieces takes a read in pieces of any order.
func TestReplyPieces(t *testing.T) {
	t.Parallel()
	s := ready().chunk(1, 0, chunkData, (&script{}).u64(3).raw([]byte("def")).b).
		chunk(1, 0, chunkHole, (&script{}).u64(8).u32(2).b).
		chunk(1, 0, chunkData, (&script{}).u64(0).raw([]byte("abc")).b).
		chunk(1, chunkDone, chunkData, (&script{}).u64(6).raw([]byte("gh")).b)
	c, err := join(s)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 10)
	if _, err := c.ReadAt(p, 0); err != nil || string(p) != "abcdefgh\x00\x00" {
		t.Fatalf("%q, %v", p, err)
	}
}

// TestErrorWords keeps a server's error, made printable.
func TestErrorWords(t *testing.T) {
	t.Parallel()
	text := "disk\x00on\nfire"
	s := ready().chunk(1, chunkDone, chunkErrorOffset, (&script{}).u32(28).u16(uint16(len(text))).raw([]byte(text)).u64(0).b).then().
		chunk(2, chunkDone, 0x8077, (&script{}).u32(999).u16(0).raw([]byte("whatever")).b)
	c, err := join(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteAt([]byte("x"), 0); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "disk.on.fire") {
		t.Errorf("%v", err)
	}
	if err := c.Flush(); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("unknown errno: %v", err)
	}
}

// TestHostileStatus: maps that are not one.
func TestHostileStatus(t *testing.T) {
	t.Parallel()
	runs := func(id uint32, v ...uint32) []byte {
		s := (&script{}).u32(id)
		for _, x := range v {
			s.u32(x)
		}
		return s.b
	}
	for name, s := range map[string]*script{
		"other context": ready().chunk(1, chunkDone, chunkStatus, runs(2, 4096, 0)),
		"twice":         ready().chunk(1, 0, chunkStatus, runs(1, 4096, 0)).chunk(1, chunkDone, chunkStatus, runs(1, 4096, 0)),
		"no context":    ready().chunk(1, chunkDone, chunkNone, nil),
		"no length":     ready().chunk(1, chunkDone, chunkStatus, runs(1, 0, 0)),
		"no extents":    ready().chunk(1, chunkDone, chunkStatus, runs(1)),
		"odd":           ready().chunk(1, chunkDone, chunkStatus, runs(1, 4096, 0, 1)),
		"simple":        ready().u32(magicSimple).u32(0).u64(1),
	} {
		c, err := join(s)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var last error
		for _, err := range c.BlockStatus(context.Background(), ContextAllocation) {
			last = err
		}
		if !errors.Is(last, ErrProtocol) {
			t.Errorf("%s: %v", name, last)
		}
	}
	// Short answers, and one that goes beyond the end, are fine.
	c, err := join(ready().chunk(1, chunkDone, chunkStatus, runs(1, 4096, 0, 4096, 3)).
		then().chunk(2, chunkDone, chunkStatus, runs(1, 4096, 3, 4096, 2)).then().chunk(3, chunkDone, chunkStatus, runs(1, 1<<31, 0)))
	if err != nil {
		t.Fatal(err)
	}
	var got []Status
	for s, err := range c.BlockStatus(context.Background(), ContextAllocation) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s)
	}
	want := []Status{{0, 4096, [4]uint32{0}}, {4096, 4096, [4]uint32{3}}, {8192, 4096, [4]uint32{3}}, {12288, 4096, [4]uint32{2}}, {16384, 1<<20 - 16384, [4]uint32{0}}}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

// TestTimeout breaks a connection whose server says nothing.
func TestTimeout(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go func() {
		_, _ = theirs.Write(ready().said[0])
	}()
	go func() { _, _ = io.Copy(io.Discard, theirs) }()
	c, err := joinConn(ours, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadAt(make([]byte, 512), 0); !errors.Is(err, ErrTimeout) {
		t.Fatalf("silent server: %v", err)
	}
}

// TestMergeRuns walks contexts whose borders differ.
func TestMergeRuns(t *testing.T) {
	t.Parallel()
	got := slices.Collect(mergeRuns(100, 30, [][]statusRun{{{10, 1}, {25, 2}}, {{5, 7}, {5, 8}, {20, 9}}}))
	want := []Status{{100, 5, [4]uint32{1, 7}}, {105, 5, [4]uint32{1, 8}}, {110, 20, [4]uint32{2, 9}}}
	if !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
}

// FuzzServer lets a server say anything: in the handshake, and in answer to
// each of some requests. No panic, no bytes that it did not send, no map with
// gaps.
func FuzzServer(f *testing.F) {
	hand := ready().said[0]
	data := (&script{}).chunk(1, chunkDone, chunkData, (&script{}).u64(0).raw(make([]byte, 4096)).b).b
	status := (&script{}).chunk(2, chunkDone, chunkStatus, (&script{}).u32(1).u32(4096).u32(3).u32(1<<20).u32(0).b).b
	f.Add(hand, data, status, (&script{}).u32(magicSimple).u32(0).u64(3).b)
	f.Add(hand, (&script{}).chunk(1, 0, chunkHole, (&script{}).u64(0).u32(512).b).
		chunk(1, chunkDone, chunkData, (&script{}).u64(512).raw(make([]byte, 3584)).b).b, status,
		(&script{}).chunk(3, chunkDone, chunkError, (&script{}).u32(5).u16(2).raw([]byte("no")).b).b)
	f.Add(hand[:18], []byte{}, []byte{}, []byte{})
	f.Add([]byte("HTTP/1.1"), []byte{}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, hand, read, status, rest []byte) {
		c, err := join((&script{}).raw(hand).then().raw(read).then().raw(status).then().raw(rest))
		if err != nil {
			return
		}
		silence := time.AfterFunc(100*time.Millisecond, func() { c.end(ErrTimeout) }) // half a reply and no more
		defer silence.Stop()
		p := make([]byte, 4096)
		if n, err := c.ReadAt(p, 0); n < len(p) && err == nil {
			t.Fatalf("read %d bytes without an error", n)
		}
		at := int64(0)
		for s, err := range c.BlockStatus(context.Background(), ContextAllocation) {
			if err != nil {
				break
			}
			if s.Offset != at || s.Length <= 0 {
				t.Fatalf("status %+v, expected one at %d", s, at)
			}
			at += s.Length
		}
		_ = c.Zero(0, min(4096, c.Size()), 0)
		_, _ = c.WriteAt(p[:1], 0)
		_ = c.Flush()
		_ = c.Close()
	})
}
