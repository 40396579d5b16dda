package nbd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"holdfast/internal/disk"
)

// transmission is one client of a server after its handshake. One goroutine
// reads requests, each request is done in one of its own, and answers go out
// one at a time.
type transmission struct {
	server     *server
	nc         net.Conn
	export     *served
	structured bool
	status     bool // base:allocation was negotiated

	wmu sync.Mutex // held while an answer is written
	smu sync.Mutex // guards walk
	walk
}

// asked is one request as it came.
type asked struct {
	flags, cmd uint16
	cookie     uint64
	off        int64
	length     int64
	payload    []byte
	held       int64 // bytes of the server's memory
}

// run serves requests until the client goes or breaks the protocol.
func (t *transmission) run(ctx context.Context) {
	br := bufio.NewReaderSize(t.nc, 4<<10)
	depth := make(chan struct{}, serverDepth)
	var wg sync.WaitGroup
	defer t.walk.stop()
	defer wg.Wait()
	defer t.nc.Close() // before waiting: answers that nobody takes must not hold us
	for {
		a, err := t.next(ctx, br)
		if err != nil || a.cmd == cmdDisconnect {
			if err == nil {
				wg.Wait() // a client that says goodbye has its answers first
			}
			return
		}
		depth <- struct{}{}
		wg.Go(func() {
			defer func() {
				t.server.memory.Release(a.held)
				<-depth
			}()
			if err := t.serve(ctx, a); err != nil {
				_ = t.nc.Close() // half an answer: nothing more can follow
			}
		})
	}
}

// payloadTime is how long the bytes of one write may take to come.
const payloadTime = 5 * time.Minute

// next reads a request with its payload.
func (t *transmission) next(ctx context.Context, br *bufio.Reader) (*asked, error) {
	var h [requestSize]byte
	if _, err := io.ReadFull(br, h[:]); err != nil {
		return nil, err
	}
	be := binary.BigEndian
	a := &asked{flags: be.Uint16(h[4:]), cmd: be.Uint16(h[6:]), cookie: be.Uint64(h[8:]),
		off: int64(be.Uint64(h[16:])), length: int64(be.Uint32(h[24:]))}
	if be.Uint32(h[:]) != magicRequest || a.cmd == cmdWrite && a.length > maxPayload {
		return nil, errHangup
	}
	if (a.cmd == cmdWrite || a.cmd == cmdRead) && a.length <= maxPayload {
		if err := t.server.memory.Acquire(ctx, a.length); err != nil {
			return nil, err
		}
		a.held = a.length
	}
	if a.cmd != cmdWrite {
		return a, nil
	}
	a.payload = make([]byte, a.length)
	_ = t.nc.SetReadDeadline(time.Now().Add(payloadTime)) // who holds our memory must be quick
	_, err := io.ReadFull(br, a.payload)
	_ = t.nc.SetReadDeadline(time.Time{})
	if err != nil {
		t.server.memory.Release(a.held)
		return nil, err
	}
	return a, nil
}

// serve does one request and answers it. Its error is one of the connection.
func (t *transmission) serve(ctx context.Context, a *asked) error {
	if err := t.check(a); err != nil {
		return t.refuse(a, err)
	}
	switch a.cmd {
	case cmdRead:
		return t.read(a)
	case cmdBlockStatus:
		return t.blockStatus(ctx, a)
	}
	if err := t.change(a); err != nil {
		return t.refuse(a, err)
	}
	return t.answer(a, chunkNone, nil, nil)
}

// allowed are the flags that each command takes.
var allowed = map[uint16]uint16{cmdRead: flagDF, cmdWrite: uint16(FUA), cmdFlush: 0, cmdTrim: uint16(FUA),
	cmdWriteZeroes: uint16(FUA | NoHole), cmdBlockStatus: flagReqOne}

const (
	flagDF     = 1 << 2
	flagReqOne = 1 << 3
)

// check refuses what the export cannot do, by the errors that proto.md names.
func (t *transmission) check(a *asked) error {
	flags, known := allowed[a.cmd]
	size := t.export.Source.Size()
	outside := a.off < 0 || a.off > size || a.length > size-a.off
	changes := a.cmd == cmdWrite || a.cmd == cmdTrim || a.cmd == cmdWriteZeroes
	switch {
	case !known:
		return fmt.Errorf("command %d is not known here: %w", a.cmd, syscall.EINVAL)
	case a.flags&^flags != 0:
		return fmt.Errorf("flags %#x: %w", a.flags, syscall.EINVAL)
	case changes && t.export.Target == nil:
		return fmt.Errorf("export is read-only: %w", syscall.EPERM)
	case a.cmd == cmdFlush:
		return nil
	case outside && (a.cmd == cmdWrite || a.cmd == cmdWriteZeroes):
		return fmt.Errorf("beyond the end: %w", syscall.ENOSPC)
	case outside, a.cmd == cmdBlockStatus && (a.length == 0 || !t.status):
		return fmt.Errorf("range or context: %w", syscall.EINVAL)
	case a.cmd == cmdRead && a.length > maxPayload:
		return fmt.Errorf("read is too long: %w", syscall.EOVERFLOW)
	}
	return nil
}

// change does the requests that have no answer but done.
func (t *transmission) change(a *asked) error {
	target := t.export.Target
	if target == nil {
		return nil // a flush of what cannot be written
	}
	var err error
	switch a.cmd {
	case cmdFlush:
		return target.Sync()
	case cmdWrite:
		_, err = target.WriteAt(a.payload, a.off)
	case cmdTrim, cmdWriteZeroes:
		err = target.Zero(a.off, a.length)
	}
	t.export.changes.Add(1) // also after an error: part of it may be done
	if err == nil && a.flags&uint16(FUA) != 0 {
		err = target.Sync()
	}
	return err
}

func (t *transmission) read(a *asked) error {
	p := make([]byte, a.length)
	if n, err := t.export.Source.ReadAt(p, a.off); n < len(p) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return t.refuse(a, err)
	}
	if !t.structured {
		return t.answer(a, chunkData, nil, p)
	}
	head := binary.BigEndian.AppendUint64(nil, uint64(a.off))
	switch {
	case len(p) == 0:
		return t.answer(a, chunkNone, nil, nil)
	case disk.IsZero(p):
		return t.answer(a, chunkHole, binary.BigEndian.AppendUint32(head, uint32(len(p))), nil)
	}
	return t.answer(a, chunkData, head, p)
}

// answer sends the one and only chunk of a good answer; without structured
// replies it is a simple one and head is not sent.
func (t *transmission) answer(a *asked, kind uint16, head, body []byte) error {
	var b []byte
	if t.structured {
		b = binary.BigEndian.AppendUint32(b, magicStructured)
		b = binary.BigEndian.AppendUint16(b, chunkDone)
		b = binary.BigEndian.AppendUint16(b, kind)
		b = binary.BigEndian.AppendUint64(b, a.cookie)
		b = binary.BigEndian.AppendUint32(b, uint32(len(head)+len(body)))
		b = append(b, head...)
	} else {
		b = simpleReply(0, a.cookie)
	}
	t.wmu.Lock()
	defer t.wmu.Unlock()
	parts := net.Buffers{b, body}
	_, err := parts.WriteTo(t.nc)
	return err
}

func simpleReply(code uint32, cookie uint64) []byte {
	b := binary.BigEndian.AppendUint32(nil, magicSimple)
	b = binary.BigEndian.AppendUint32(b, code)
	return binary.BigEndian.AppendUint64(b, cookie)
}

// refuse answers with an error: its errno where it has one, EIO otherwise.
func (t *transmission) refuse(a *asked, err error) error {
	code := uint32(syscall.EIO)
	var errno syscall.Errno
	if errors.As(err, &errno) {
		code = uint32(errnoOf(uint32(errno)))
	}
	if !t.structured {
		t.wmu.Lock()
		defer t.wmu.Unlock()
		_, err := t.nc.Write(simpleReply(code, a.cookie))
		return err
	}
	text := printable([]byte(err.Error()))
	head := binary.BigEndian.AppendUint32(nil, code)
	head = binary.BigEndian.AppendUint16(head, uint16(len(text)))
	return t.answer(a, chunkError, head, []byte(text))
}
