// Package nbd speaks the NBD protocol: a client good enough to back up and
// restore disks through any server that follows the specification (QEMU,
// qemu-nbd, nbdkit), and adapters that make an export a [disk.Source] or a
// [disk.Target].
//
// It promises: fixed newstyle handshake with NBD_OPT_GO; structured replies and
// metadata contexts where the server has them; any number of requests in
// flight at once on each connection; every number that the server says is
// checked before it is believed, so that a hostile server can make a request
// fail but can neither make the client allocate without bound nor hand it
// bytes that it did not send.
//
// It does not promise retries (a broken connection stays broken: the caller
// dials again), TLS, or the extended headers of newer servers: requests are
// split so that 32-bit lengths suffice.
//
// Facts come from the protocol document of the NetworkBlockDevice project,
// doc/proto.md ("proto.md" in comments).
package nbd

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"unicode"
)

var (
	// ErrProtocol marks a server that broke the protocol or a limit of ours.
	// The connection is closed.
	ErrProtocol = errors.New("nbd: server broke the protocol")
	// ErrClosed marks a request on a client that was closed by its owner.
	ErrClosed = errors.New("nbd: client is closed")
	// ErrTimeout marks a server that sent nothing for [Options.Timeout] while
	// a request waited for it. The connection is closed.
	ErrTimeout = errors.New("nbd: server does not answer")
	// ErrUnknownExport marks an export name that the server does not have.
	ErrUnknownExport = errors.New("nbd: server has no such export")
	// ErrNoContext marks a metadata context that was not negotiated.
	ErrNoContext = errors.New("nbd: metadata context is not available")
	// ErrUnsupported marks a request that the server did not offer at the
	// handshake, or a server that lacks what this client cannot do without.
	ErrUnsupported = errors.New("nbd: not supported by the server")
	// ErrRange marks a request outside the export.
	ErrRange = errors.New("nbd: outside the export")
)

// Error is a request that the server refused or failed. Its errno is one of
// the values that the protocol allows (proto.md, "Error values"); they equal
// the numbers of Linux, so errors.Is(err, syscall.ENOSPC) works.
type Error struct {
	Op      string // "read", "write", "zero", "trim", "flush", "block status"
	Offset  int64  // bytes, of the request
	Length  int64  // bytes, of the request
	Errno   syscall.Errno
	Message string // the server's own words, made printable; may be empty
}

func (e *Error) Error() string {
	s := fmt.Sprintf("nbd: %s of %d bytes at %d: %v", e.Op, e.Length, e.Offset, e.Errno)
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// Unwrap gives the errno to errors.Is.
func (e *Error) Unwrap() error { return e.Errno }

// errnoOf maps an error number of the wire. Unknown numbers are EINVAL
// (proto.md, "Error values").
func errnoOf(n uint32) syscall.Errno {
	switch e := syscall.Errno(n); e {
	case syscall.EPERM, syscall.EIO, syscall.ENOMEM, syscall.EINVAL, syscall.ENOSPC,
		syscall.EOVERFLOW, syscall.ENOTSUP, syscall.ESHUTDOWN:
		return e
	}
	return syscall.EINVAL
}

// printable makes a server's string safe to show: at most 1 KiB, one line.
func printable(b []byte) string {
	if len(b) > 1<<10 {
		b = b[:1<<10]
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '.'
		}
		return r
	}, strings.ToValidUTF8(string(b), "."))
}

func protocolError(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, a...))
}
